"""A transcript as HTML that survives a sanitizer and looks at home on light and dark pages.

Only plain tags, inline styles and words: no scripts, no style sheets, no colours for text. Borders
and backgrounds are translucent greys, so that they follow the page's own colours. An outcome is a
mark and a word, never a colour alone.
"""

import base64
from collections.abc import Iterable, Sequence

from msgspec import structs

from loom_nb.events import PlanItem
from loom_nb.notebook.cited import Evidence, Source
from loom_nb.notebook.render import acts, compactions, facts, products, recollections
from loom_nb.notebook.render import evidence as proofs
from loom_nb.notebook.render.facts import UNICODE
from loom_nb.notebook.render.segments import Segment, completed
from loom_nb.notebook.render.strict_markdown import PRE, coloured, escape, to_html, visible
from loom_nb.notebook.transcript import (
    Asked,
    Attached,
    Block,
    Card,
    Compacted,
    Notice,
    Picture,
    Product,
    Prompt,
    Recalled,
    Replaced,
    Retry,
    Thinking,
    Transcript,
    Variables,
    Words,
)
from loom_nb.remedies import typed_and_why
from loom_nb.wording import counted

RESULT_LINES = 200
RESULT_CHARS = 8_000
ASKED_CHARS = 100_000
"""Characters of the arguments of a call that is asked about: a person sees all of them."""
PREVIEW_LINES = 2_000
LARGEST_PICTURE = 4 * 1024 * 1024
"""Bytes; a larger picture is told in words."""
COLOURED_WHILE_OPEN = 6_000
"""Characters of a growing text up to which its code is coloured at each redraw."""

_EDGE = "rgba(128,128,128,0.35)"
_MONO = "font-family:monospace;font-size:0.92em"
_MUTED = "opacity:0.75"
_FLOWING = "white-space:pre-wrap;overflow-wrap:break-word"
_GOOD, _BAD, _HELD = "#2e9e5b", "#dd4b4b", "#b8860b"
"""Colours of marks and edges: three to one on white and on black."""
_CARD = (
    f"margin:0.3em 0;font-size:0.95em;border:1px solid {_EDGE};border-radius:6px;"
    "background:rgba(128,128,128,0.05)"
)
_ADDED, _REMOVED = "rgba(46,158,91,0.18)", "rgba(221,75,75,0.18)"
_UNDER = "padding:0 0.8em 0.4em 0.8em;font-size:0.9em;overflow-wrap:break-word"
_BADGE = f"white-space:pre;padding:0 0.4em;font-size:0.85em;border:1px solid {_HELD};border-radius:4px"
_ASIDE = f"margin:0.3em 0;padding:0 0 0 0.8em;border-left:3px solid {_EDGE}"
_LABEL = f"margin:0.5em 0 0 0;font-size:0.8em;letter-spacing:0.03em;{_MUTED}"
_IMAGES = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/gif": b"GIF8",
    "image/webp": b"RIFF",
}


def section(inner: str) -> str:
    """A part of a transcript as an element of its own. Only marked formulas in it are typeset."""
    return f'<section class="loom mathjax_ignore tex2jax_ignore" style="margin:0">\n{inner}</section>\n'


def block(shown: Block, *, times: bool = False, finished: bool = True, opened: bool = True) -> str:
    """One block.

    Args:
        shown: what is drawn.
        times: also durations and clocks.
        finished: the run is over, so that what is open stays so.
        opened: a call that waits for a person is shown with all that it is about.
    """
    match shown:
        case Words():
            return words(Segment(str(shown.text)), shown.evidence)
        case Thinking():
            return thinking(shown)
        case Card():
            return card(shown, times=times, finished=finished, opened=opened)
        case Notice():
            return notice(shown)
        case Retry():
            return _line(UNICODE.again, "retry", facts.retry_line(shown, times=times))
        case Attached():
            return picture(shown.picture)
        case Prompt():
            return prompt(shown)
        case Asked() | Variables() | Compacted() | Recalled() | Product():
            return act(shown, times=times, finished=finished)


def words(segment: Segment, evidence: Evidence | None = None) -> str:
    """The model's words."""
    return to_html(segment.markdown, evidence=evidence)


def open_words(segment: Segment, *, in_fence: bool, evidence: Evidence | None = None) -> str:
    """The end of a text that is still being written."""
    markdown = segment.markdown if in_fence else completed(segment.markdown)
    return to_html(markdown, colours=len(markdown) <= COLOURED_WHILE_OPEN, evidence=evidence)


def cut_off() -> str:
    """Says that the text above is not whole."""
    return f'<p style="margin:0.3em 0;{_MUTED}">{UNICODE.cut} the answer was cut off here</p>\n'


def thinking(shown: Thinking) -> str:
    """The reasoning, folded away; its length says whether to open it."""
    text = str(shown.text).strip()
    if not shown.closed:
        tail = text[-1_000:]
        label, body = "Thinking…", escape(("…" if len(text) > len(tail) else "") + tail)
    else:
        left = len(text) - facts.THINKING_SHOWN
        label, body = "Thinking", escape(text[: facts.THINKING_SHOWN])
        body += f"\n… {left:,} more characters" if left > 0 else ""
    count = len(text.split())
    size = counted(count, "word") if shown.closed else ""
    return (
        f'<details style="margin:0.3em 0"><summary style="cursor:pointer;{_MUTED}">{label}'
        f"{f' · {size}' if size else ''}</summary>"
        f'<div style="{_ASIDE};{_FLOWING};{_MUTED}">{body}</div></details>\n'
    )


def card(shown: Card, *, times: bool, finished: bool, opened: bool = True) -> str:
    """A tool call in one line, its arguments and result under it; what a person decided stays in sight."""
    waiting = None if finished else shown.waiting
    printed = "" if shown.closed or finished else _printed(shown)
    receipts = acts.receipts(shown, UNICODE, times=times, finished=finished)
    line = _card_line(shown, times=times, finished=finished)
    body = f'<div style="padding:0 0.8em 0.6em 0.8em">{_card_body(shown, waiting=waiting is not None)}</div>'
    if not (waiting or printed or receipts):
        return f'<details style="{_CARD}">{line}{body}</details>\n'
    under = "".join(f'<div style="{_UNDER}">{escape(told)}</div>' for told in receipts)
    if waiting is not None:
        under += f'<div style="{_UNDER}">{_how_to_answer(waiting, times=times)}</div>'
    unfold = " open" if waiting is not None and opened else ""
    return f'<div style="{_CARD}"><details{unfold}>{line}{body}</details>{under}{printed}</div>\n'


def _how_to_answer(asked: Asked, *, times: bool) -> str:
    ways = " or ".join(f"<code>{escape(way)}</code>" for way in acts.how_to_answer(asked))
    ends = acts.until(asked, times=times)
    return f"Answer by typing {ways} in a cell" + (f" · {escape(ends)}" if ends else "")


def _printed(shown: Card) -> str:
    """What a tool that is still running has printed."""
    tail, more = acts.output_tail(shown.output)
    if not tail:
        return ""
    cut = f"{UNICODE.cut}\n" if more else ""
    return f'<div style="padding:0 0.8em 0.4em 0.8em"><pre style="{PRE}">{cut}{escape(tail)}</pre></div>'


def _card_line(shown: Card, *, times: bool, finished: bool) -> str:
    word = facts.outcome_word(shown, finished=finished)
    colour = (
        _GOOD if shown.outcome == "ok" else _BAD if facts.icon(shown, UNICODE) == UNICODE.cross else _HELD
    )
    mark = f'<span style="color:{colour};font-weight:700">{facts.icon(shown, UNICODE)}</span>'
    gist = facts.arguments_gist(shown, 48)
    result = facts.result_gist(shown, 64) if shown.closed else ""
    aside = " · ".join(
        item
        for item in (facts.effects(shown), facts.seconds(shown.seconds) if times and shown.seconds else "")
        if item
    )
    return (
        f'<summary style="padding:0.3em 0.8em;cursor:pointer;overflow-wrap:break-word" '
        f'title="{escape(_spoken(shown, word or "ok"))}">'
        + (
            f'<span style="float:right;font-size:0.85em;margin-left:1em;{_MUTED}">{escape(aside)}</span>'
            if aside
            else ""
        )
        + f'{mark} <span style="{_MONO};font-weight:600">{escape(shown.name)}</span>'
        + (f' <span style="{_MONO};{_MUTED}">{escape(gist)}</span>' if gist else "")
        + (f" <strong>{escape(word)}</strong>" if word else "")
        + (f" {escape(shown.waiting.question.id)}" if shown.waiting and not finished else "")
        + "".join(f" {_badge(told)}" for told in acts.badges(shown))
        + (f" → {escape(result)}" if result else "")
        + "</summary>"
    )


def _badge(told: str) -> str:
    return f'<strong style="{_BADGE}">⚠ {escape(told)}</strong>'


def _spoken(shown: Card, word: str) -> str:
    return f"tool {shown.name}: {word}; arguments sha256:{shown.sha256[:16]}"


def _card_body(shown: Card, *, waiting: bool) -> str:
    parts = []
    if facts.verdict(shown) and acts.verdict_counts(shown):
        parts.append(f'<div style="{_LABEL}">Verdict</div><div>{escape(facts.verdict(shown))}</div>')
    parts += [_aspect(aspect) for aspect in acts.aspects(shown)]
    if shown.passed != {}:
        parts.append(f'<div style="{_LABEL}">Arguments</div>{_arguments(shown)}')
    parts.append(_preview(shown, opened=waiting))
    if shown.closed:
        head, left = facts.result_head(shown, lines=RESULT_LINES, chars=RESULT_CHARS)
        notes = "; ".join(note for note in (left, facts.chars_note(shown)) if note)
        label = "Result" if shown.outcome == "ok" else "Error"
        parts.append(f'<div style="{_LABEL}">{label}</div>{_pre(head) if head or not shown.pictures else ""}')
        parts += [picture(image) for image in shown.pictures]
        parts.append(f'<div style="font-size:0.85em;{_MUTED}">{escape(notes)}</div>' if notes else "")
    return "".join(parts) or f'<div style="{_MUTED}">no arguments</div>'


def _arguments(shown: Card) -> str:
    text, most = facts.arguments_block(shown), ASKED_CHARS if shown.asked else RESULT_CHARS
    left = len(text) - most
    note = f'<div style="font-size:0.85em;{_MUTED}">{left:,} more characters</div>' if left > 0 else ""
    return _pre(text[:most]) + note


def _aspect(shown: acts.Aspect) -> str:
    mark = "⚠ " if shown.warning else ""
    lines = "".join(
        f'<div style="overflow-wrap:break-word">{mark}{escape(line)}</div>' for line in shown.lines
    )
    return f'<div style="{_LABEL}">{escape(shown.name)}</div>{lines}'


def _preview(shown: Card, *, opened: bool) -> str:
    """What a call that was asked about would change or run."""
    approval = acts.preview_of(shown)
    if approval is None:
        return ""
    lines = approval.preview.rstrip("\n").split("\n")
    text = "\n".join(lines[:PREVIEW_LINES])
    if approval.preview_kind == "diff":
        code = "\n".join(_diff_line(line) for line in text.split("\n"))
    else:
        code = coloured(visible(text), acts.LANGUAGES[approval.preview_kind])
    left = len(lines) - PREVIEW_LINES
    note = f'<div style="font-size:0.85em;{_MUTED}">{left:,} more lines</div>' if left > 0 else ""
    return (
        f'<details style="margin:0.5em 0 0 0"{" open" if opened else ""}>'
        f'<summary style="cursor:pointer;font-size:0.9em">{escape(acts.preview_title(approval))}</summary>'
        f'<div class="highlight" style="background:transparent">'
        f'<pre style="{PRE};max-height:24em">{code}</pre></div>{note}</details>'
    )


def diff(text: str) -> str:
    """A unified diff by itself."""
    lines = "\n".join(map(_diff_line, text.rstrip("\n").split("\n")))
    return f'<pre style="{PRE};max-height:32em">{lines}</pre>'


def _diff_line(line: str) -> str:
    """The sign at its beginning says what it is; the ground only helps the eye."""
    if line.startswith(("+++", "---", "@@")):
        return f'<span style="{_MUTED}">{escape(line)}</span>'
    ground = {"+": _ADDED, "-": _REMOVED}.get(line[:1])
    return f'<span style="background:{ground}">{escape(line)}</span>' if ground else escape(line)


def _pre(text: str) -> str:
    return f'<pre style="{PRE};max-height:24em">{escape(text)}</pre>'


def picture(shown: Picture, alt: str = "") -> str:
    """A picture by its bytes where they are what they say; anything else in words."""
    line = escape(alt or facts.picture_line(shown))
    magic = _IMAGES.get(shown.media_type)
    if shown.stands:
        return f'<div style="{_MUTED}">[{line}: shown below]</div>\n'
    if magic is None or not shown.data.startswith(magic) or len(shown.data) > LARGEST_PICTURE:
        return f'<div style="{_MUTED}">[{line}]</div>\n'
    data = base64.b64encode(shown.data).decode()
    return f'<img alt="{line}" style="max-width:100%" src="data:{shown.media_type};base64,{data}">\n'


def product(shown: Product) -> str:
    """An artifact: its picture, its first rows or lines; else its name, size and kind."""
    told = escape(products.title(shown, UNICODE))
    if shown.picture is not None:
        body = picture(structs.replace(shown.picture, stands=False), alt=products.title(shown, UNICODE))
    elif shown.table is not None:
        body = table("", *products.rows(shown.table)) + _quiet(products.left(shown.table))
    elif shown.text:
        words, more = products.text(shown)
        body = _pre(words) + _quiet(more)
    else:
        body = _quiet(products.undrawn(shown))
    get = f"<code>{escape(products.hint(shown))}</code> or <code>{escape(products.ways(shown))}</code>"
    return (
        f'<div style="{_CARD};padding:0.3em 0.8em;overflow:auto">'
        f'<div style="font-weight:600;overflow-wrap:break-word">{told}</div>{body}'
        f'<div style="font-size:0.85em;{_MUTED}">{get}</div></div>\n'
    )


def _quiet(text: str) -> str:
    return f'<div style="font-size:0.9em;{_MUTED}">{escape(text)}</div>' if text else ""


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose rows begin with their labels; all of it is escaped."""
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = []
    for label, *values in rows:
        cells = "".join(f"<td>{escape(value)}</td>" for value in values)
        lines.append(f'<tr><th scope="row">{escape(label)}</th>{cells}</tr>\n')
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    whole = f"<table>{said}\n<thead><tr>{names}</tr></thead>\n<tbody>\n{''.join(lines)}</tbody></table>"
    return f'<div style="overflow:auto">{whole}</div>\n'


def notice(shown: Notice) -> str:
    """Something the reader should know."""
    warning = shown.level == "warning"
    return _line("⚠" if warning else "", "warning" if warning else "note", shown.text)


def _line(mark: str, word: str, text: str) -> str:
    return (
        f'<div style="{_ASIDE};font-size:0.92em">{mark}{" " if mark else ""}<strong>{word}</strong> '
        f'<span style="overflow-wrap:break-word">{escape(text)}</span></div>\n'
    )


def act(shown: Asked | Variables | Compacted | Recalled | Product, *, times: bool, finished: bool) -> str:
    """What was asked of a person, what became of the variables, or what is left out from here on."""
    match shown:
        case Asked():
            return question(shown, times=times, finished=finished)
        case Variables():
            return variables(shown)
        case Compacted():
            return compacted(shown, opened=False)
        case Recalled():
            return recalled(shown)
        case Product():
            return product(shown)


def question(shown: Asked, *, times: bool, finished: bool) -> str:
    """A question that is not about a call: a quiet line once it has its answer."""
    told = acts.question_line(shown, UNICODE, times=times, finished=finished)
    line = _line(UNICODE.ask, "asked", told)
    if not acts.waits(shown, finished=finished):
        return line
    asked = shown.question
    rows = [f'<div style="{_FLOWING}">{escape(asked.text)}</div>'] if asked.text else []
    if acts.offered(asked):
        rows.append(f"<ul>{''.join(f'<li>{escape(one)}</li>' for one in acts.offered(asked))}</ul>")
    if acts.asker(asked):
        rows.append(f'<div style="font-size:0.85em;{_MUTED}">asked by {escape(acts.asker(asked))}</div>')
    rows.append(f'<div style="font-size:0.9em">{_how_to_answer(shown, times=times)}</div>')
    return f'<div style="{_CARD};padding:0.3em 0.8em">{line}{"".join(rows)}</div>\n'


def variables(shown: Variables) -> str:
    """What happened to the variables of the notebook."""
    head = "".join(f'<th scope="col" style="text-align:left">{name}</th>' for name in acts.COLUMNS)
    rows = "".join(
        f'<tr><th scope="row" style="text-align:left"><code>{escape(row[0])}</code></th>'
        + "".join(f'<td style="text-align:left">{escape(cell)}</td>' for cell in row[1:])
        + "</tr>"
        for row in acts.variable_rows(shown)
    )
    note, hint = acts.variables_note(shown), acts.variables_hint(shown)
    under = f'<div style="font-size:0.9em">⚠ {escape(note)}</div>' if note else ""
    if hint:
        told = f"<code>{escape(hint)}</code> undoes it" if hint == acts.UNDO else escape(hint)
        under += f'<div style="font-size:0.9em">{told}</div>'
    table = f'<table style="margin:0.2em 0"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    title = f'<div style="font-weight:600">{escape(acts.variables_title(shown))}</div>'
    return f'<div style="{_CARD};padding:0.3em 0.8em;overflow:auto">{title}{table}{under}</div>\n'


def compacted(shown: Compacted, *, opened: bool) -> str:
    """A compaction, folded: what was sent and what is sent now in two columns, and how to undo it."""
    head = "".join(
        f'<th scope="col" style="{_SIDE};width:{width}">{name}</th>'
        for name, width in zip(compactions.COLUMNS, ("14%", "43%", "43%"), strict=True)
    )
    rows = "".join(_replaced(*pair) for pair in compactions.pairs(shown))
    body = ""
    if shown.handoff:
        cost = compactions.cost(shown)
        label = compactions.WROTE + (f" ({cost})" if cost else "")
        body = f'<div style="{_LABEL}">{label}</div><div style="{_ASIDE}">{to_html(shown.handoff)}</div>'
    body += (
        f'<table style="width:100%;table-layout:fixed;margin:0.4em 0"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )
    rest = compactions.rest(shown)
    body += f'<div style="font-size:0.9em;{_MUTED}">{rest}</div>' if rest else ""
    told = [way for way in (compactions.undo(shown), compactions.undo_one(shown)) if way]
    ways = " or one item: ".join(f"<code>{escape(way)}</code>" for way in told)
    body += f'<div style="font-size:0.9em">undo: {ways}</div>' if ways else ""
    return (
        f'<details style="{_CARD}"{" open" if opened else ""}>'
        f'<summary style="padding:0.3em 0.8em;cursor:pointer;overflow-wrap:break-word">'
        f"{escape(compactions.title(shown, UNICODE))}</summary>"
        f'<div style="padding:0 0.8em 0.6em 0.8em">{body}</div></details>\n'
    )


def recalled(shown: Recalled) -> str:
    """Notes that were shown to the model, folded: what each says and why it was recalled."""
    head = "".join(f'<th scope="col" style="{_SIDE}">{name}</th>' for name in recollections.COLUMNS)
    rows = "".join(
        f'<tr><th scope="row" style="{_SIDE}"><code>{escape(note_id)}</code></th>'
        f'<td style="{_SIDE}">{escape(words)}</td><td style="{_SIDE}">{escape(why)}</td></tr>'
        for note_id, words, why in recollections.rows(shown)
    )
    table = f'<table style="margin:0.4em 0"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    hint = f'<div style="font-size:0.9em"><code>{escape(recollections.hint(shown))}</code> tells more</div>'
    return (
        f'<details style="{_ASIDE};font-size:0.92em"><summary style="cursor:pointer">'
        f"{escape(recollections.title(shown))}</summary>"
        f'<div style="overflow:auto">{table}{hint}</div></details>\n'
    )


_SIDE = "text-align:left;vertical-align:top"


def _replaced(item: Replaced, was: str, now: str) -> str:
    size = (
        f'<span style="font-size:0.85em;font-weight:400;{_MUTED}">{compactions.tokens(item, UNICODE)}</span>'
    )
    sides = "".join(
        f'<td style="{_SIDE}"><div style="{_FLOWING};max-height:14em;overflow:auto">{escape(text)}</div></td>'
        for text in (was, now)
    )
    return f'<tr><th scope="row" style="{_SIDE}">{escape(item.item)}<br>{size}</th>{sides}</tr>'


def plan(items: Sequence[PlanItem], *, finished: bool) -> str:
    """The agent's plan as a checklist; empty where there is none. One that is done folds itself away."""
    if not items:
        return ""
    rows = "".join(_plan_item(item) for item in items)
    unfold = "" if finished and acts.plan_over(items) else " open"
    return (
        f'<details style="{_CARD}"{unfold}><summary style="padding:0.3em 0.8em;cursor:pointer">'
        f"{escape(acts.plan_title(items))}</summary>"
        f'<div style="padding:0 0.8em 0.5em 0.8em">{rows}</div></details>\n'
    )


def evidence(transcript: Transcript) -> str:
    """The passages that the answer cites, each where its number leads to; what it invented; the rest."""
    shown, answer = proofs.shown(transcript), transcript.text
    if shown is None:
        return ""
    told, _ = shown.cited(answer)
    rows = "".join(_source(shown, one) for one in told)
    flag, rest = proofs.warning(shown, answer), proofs.others(shown, answer)
    flag = f'<div style="margin:0.3em 0">⚠ <strong>{escape(flag)}</strong></div>' if flag else ""
    return (
        f'<details style="{_CARD}"{" open" if told or flag else ""}>'
        f'<summary style="padding:0.3em 0.8em;cursor:pointer">{escape(proofs.title(shown, answer))}</summary>'
        f'<div style="padding:0 0.8em 0.5em 0.8em">{flag}{rows}{_quiet(rest)}</div></details>\n'
    )


def _source(shown: Evidence, source: Source) -> str:
    number, url = source.passage.number, source.passage.url
    place = escape(proofs.line(source))
    if url.startswith(("http://", "https://")):
        place += (
            f' <a href="{escape(url)}" rel="noopener noreferrer nofollow" target="_blank">'
            f"{escape(url[:120])}</a>"
        )
    return (
        f'<div id="{shown.anchor(number)}" style="margin:0.4em 0;overflow-wrap:break-word">'
        f"<strong>[{number}]</strong> {place}{_quiet(proofs.under(source))}"
        + (
            f'<div style="{_ASIDE};font-size:0.9em">{escape(proofs.excerpt(source))}</div>'
            if source.excerpt
            else ""
        )
        + "</div>"
    )


def _plan_item(item: PlanItem) -> str:
    now = ";font-weight:600" if item.status == "active" else ""
    return (
        f'<div style="overflow-wrap:break-word{now}">{acts.plan_mark(item, UNICODE)} '
        f'{escape(acts.plan_text(item))} <span style="font-size:0.85em;{_MUTED}">'
        f"({acts.plan_word(item)})</span></div>"
    )


def prompt(shown: Prompt) -> str:
    """What the user said."""
    return (
        f'<div style="{_ASIDE};margin:0.5em 0"><div style="{_LABEL};margin:0">You</div>'
        f'<div style="white-space:pre-wrap;overflow-wrap:break-word">{escape(shown.text)}</div></div>\n'
    )


def used(shown: Prompt | None) -> str:
    """What travelled with the prompt, but for what is shown on cards of its own."""
    items = [facts.used_item(one) for one in shown.used] if shown is not None else []
    if not items:
        return ""
    return (
        f'<div style="margin:0 0 0.3em 0;font-size:0.85em;{_MUTED}">used: {escape(" · ".join(items))}</div>\n'
    )


def demo(transcript: Transcript) -> str:
    """The label of the demo model."""
    if not transcript.demo:
        return ""
    return (
        '<div style="margin:0 0 0.3em 0;font-size:0.85em"><strong style="padding:0 0.5em;'
        f'border:1px solid {_EDGE};border-radius:4px;letter-spacing:0.06em">DEMO</strong> '
        f'<span style="{_MUTED}">'
        "offline model: it follows rules and knows nothing of the world</span></div>\n"
    )


def failure(transcript: Transcript) -> str:
    """Why the run did not complete: a box with title, cause and fixes."""
    shown = facts.failure(transcript)
    if shown is None:
        return ""
    held = transcript.status in ("stopped", "limit", "denied", "interrupted")
    colour, mark = (_HELD, UNICODE.halt) if held else (_BAD, UNICODE.cross)
    rows = [f'<div style="margin:0.2em 0">{escape(shown.cause)}</div>'] if shown.cause else []
    for number, fix in enumerate(shown.fixes):
        label = "Try" if number == 0 else "or"
        typed, why = typed_and_why(fix)
        note = f' <span style="{_MUTED}">{escape(why)}</span>' if why else ""
        rows.append(
            f'<div style="margin:0.2em 0"><span style="{_MUTED}">{label}</span> '
            f"<code>{escape(typed)}</code>{note}</div>"
        )
    return (
        f'<div style="margin:0.5em 0;padding:0.4em 0.8em;border:1px solid {colour};'
        f'border-left:4px solid {colour};border-radius:4px">'
        '<h4 style="margin:0;font-size:1em;font-weight:600;font-style:normal">'
        f'<span style="color:{colour}">{mark}</span> {escape(shown.title)}</h4>'
        f"{''.join(rows)}</div>\n"
    )


def activity(transcript: Transcript) -> str:
    """What is going on, at the end of a run that has not ended."""
    items = [facts.activity(transcript) + "…"]
    if transcript.turn:
        items.append(f"step {transcript.turn}")
    return _small(" · ".join(items))


def footer(transcript: Transcript, *, times: bool = False) -> str:
    """The last line: model, steps, tokens, cost."""
    items = facts.footer_items(transcript, UNICODE, times=times)
    return _small_of(_chip(one) if facts.REPLAYED in one else escape(one) for one in items)


def _chip(text: str) -> str:
    return f'<span style="padding:0 0.5em;border:1px solid {_EDGE};border-radius:4px">{escape(text)}</span>'


def _small(text: str) -> str:
    return _small_of([escape(text)])


def _small_of(items: Iterable[str]) -> str:
    return f'<footer style="margin:0.5em 0 0 0;font-size:0.85em;{_MUTED}">{" · ".join(items)}</footer>\n'
