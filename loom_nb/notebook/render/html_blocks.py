"""A transcript as HTML that survives a sanitizer and looks at home on light and dark pages.

Only plain tags, inline styles and words: no scripts, no style sheets, no colours for text. Borders
and backgrounds are translucent greys, so that they follow the page's own colours. An outcome is a
mark and a word, never a colour alone.
"""

import base64

from loom_nb.notebook.render import facts
from loom_nb.notebook.render.facts import UNICODE
from loom_nb.notebook.render.segments import Segment, completed
from loom_nb.notebook.render.strict_markdown import PRE, escape, to_html
from loom_nb.notebook.transcript import (
    Attached,
    Block,
    Card,
    Notice,
    Picture,
    Prompt,
    Retry,
    Thinking,
    Transcript,
    Words,
)

RESULT_LINES = 200
RESULT_CHARS = 8_000
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


def block(shown: Block, *, times: bool = False, finished: bool = True) -> str:
    """One block that will not change any more."""
    match shown:
        case Words():
            return words(Segment(str(shown.text)))
        case Thinking():
            return thinking(shown)
        case Card():
            return card(shown, times=times, finished=finished)
        case Notice():
            return notice(shown)
        case Retry():
            return _line(UNICODE.again, "retry", facts.retry_line(shown, times=times))
        case Attached():
            return picture(shown.picture)
        case Prompt():
            return prompt(shown)


def words(segment: Segment) -> str:
    """The model's words."""
    return to_html(segment.markdown)


def open_words(segment: Segment, *, in_fence: bool) -> str:
    """The end of a text that is still being written."""
    markdown = segment.markdown if in_fence else completed(segment.markdown)
    return to_html(markdown, colours=len(markdown) <= COLOURED_WHILE_OPEN)


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
    size = f"{count:,} {'word' if count == 1 else 'words'}" if shown.closed else ""
    return (
        f'<details style="margin:0.3em 0"><summary style="cursor:pointer;{_MUTED}">{label}'
        f"{f' · {size}' if size else ''}</summary>"
        f'<div style="{_ASIDE};{_FLOWING};{_MUTED}">{body}</div></details>\n'
    )


def card(shown: Card, *, times: bool, finished: bool) -> str:
    """A tool call in one line, its arguments and result under it."""
    return (
        f'<details style="{_CARD}">{_card_line(shown, times=times, finished=finished)}'
        f'<div style="padding:0 0.8em 0.6em 0.8em">{_card_body(shown)}</div></details>\n'
    )


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
        + (f" → {escape(result)}" if result else "")
        + "</summary>"
    )


def _spoken(shown: Card, word: str) -> str:
    return f"tool {shown.name}: {word}; arguments sha256:{shown.sha256[:16]}"


def _card_body(shown: Card) -> str:
    parts = []
    if facts.verdict(shown):
        parts.append(f'<div style="{_LABEL}">Verdict</div><div>{escape(facts.verdict(shown))}</div>')
    if shown.passed != {}:
        parts.append(
            f'<div style="{_LABEL}">Arguments</div>{_pre(facts.arguments_block(shown)[:RESULT_CHARS])}'
        )
    if shown.closed:
        head, left = facts.result_head(shown, lines=RESULT_LINES, chars=RESULT_CHARS)
        notes = "; ".join(note for note in (left, facts.chars_note(shown)) if note)
        label = "Result" if shown.outcome == "ok" else "Error"
        parts.append(f'<div style="{_LABEL}">{label}</div>{_pre(head) if head or not shown.pictures else ""}')
        parts += [picture(image) for image in shown.pictures]
        parts.append(f'<div style="font-size:0.85em;{_MUTED}">{escape(notes)}</div>' if notes else "")
    return "".join(parts) or f'<div style="{_MUTED}">no arguments</div>'


def _pre(text: str) -> str:
    return f'<pre style="{PRE};max-height:24em">{escape(text)}</pre>'


def picture(shown: Picture) -> str:
    """A picture by its bytes where they are what they say; anything else in words."""
    line = escape(facts.picture_line(shown))
    magic = _IMAGES.get(shown.media_type)
    if magic is None or not shown.data.startswith(magic) or len(shown.data) > LARGEST_PICTURE:
        return f'<div style="{_MUTED}">[{line}]</div>\n'
    data = base64.b64encode(shown.data).decode()
    return f'<img alt="{line}" style="max-width:100%" src="data:{shown.media_type};base64,{data}">\n'


def notice(shown: Notice) -> str:
    """Something the reader should know."""
    warning = shown.level == "warning"
    return _line("⚠" if warning else "", "warning" if warning else "note", shown.text)


def _line(mark: str, word: str, text: str) -> str:
    return (
        f'<div style="{_ASIDE};font-size:0.92em">{mark}{" " if mark else ""}<strong>{word}</strong> '
        f'<span style="overflow-wrap:break-word">{escape(text)}</span></div>\n'
    )


def prompt(shown: Prompt) -> str:
    """What the user said."""
    return (
        f'<div style="{_ASIDE};margin:0.5em 0"><div style="{_LABEL};margin:0">You</div>'
        f'<div style="white-space:pre-wrap;overflow-wrap:break-word">{escape(shown.text)}</div></div>\n'
    )


def used(shown: Prompt | None) -> str:
    """What travelled with the prompt."""
    items = facts.used_items(shown)
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
        rows.append(
            f'<div style="margin:0.2em 0"><span style="{_MUTED}">{label}</span> '
            f"<code>{escape(fix)}</code></div>"
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
    return _small(" · ".join(facts.footer_items(transcript, UNICODE, times=times)))


def _small(text: str) -> str:
    return f'<footer style="margin:0.5em 0 0 0;font-size:0.85em;{_MUTED}">{escape(text)}</footer>\n'
