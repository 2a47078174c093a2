"""A transcript as Markdown that is inert in every renderer, also in those that trust HTML.

The model's words are parsed by the strict parser and written again in one normal form, in which
every character that could begin markup is escaped. So what another renderer makes of it is what we
saw: no HTML, no images, no links but http, https and mailto.
"""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from loom_nb.events import PlanItem
from loom_nb.notebook.render import acts, compactions, facts, products, recollections
from loom_nb.notebook.render import evidence as proofs
from loom_nb.notebook.render.facts import UNICODE
from loom_nb.notebook.render.segments import segments
from loom_nb.notebook.render.strict_markdown import parsed, visible
from loom_nb.notebook.transcript import (
    Asked,
    Attached,
    Block,
    Card,
    Compacted,
    Notice,
    Product,
    Prompt,
    Recalled,
    Retry,
    Thinking,
    Transcript,
    Variables,
    Words,
)
from loom_nb.remedies import typed_and_why

if TYPE_CHECKING:
    from markdown_it.token import Token

RESULT_LINES = 12
RESULT_CHARS = 1_500
PREVIEW_LINES = 200
PREVIEW_LINES_LATER = 12

_SPECIAL = re.compile(r"([\\`*_\[\]!|~$])")
_LINE_START = re.compile(r"^(\s*)([#>+=-])|^(\s*\d{1,9})([.)])(?=\s|$)")
_TAME = re.compile(r"[A-Za-z0-9\s+\-*/=^_{}\\().,;:']*")
"""Formulas that are harmless to a renderer that takes them for text."""


def markdown(transcript: Transcript, *, times: bool = False, prompt: bool = False) -> str:
    """The whole transcript."""
    parts = ["**DEMO**"] if transcript.demo else []
    items = facts.used_items(transcript.prompt)
    if items:
        parts.append(f"used: {escaped(' · '.join(items))}")
    parts += [
        _block(block, times=times, finished=transcript.finished)
        for block in transcript.blocks
        if prompt or not (isinstance(block, Prompt) and block.first)
    ]
    parts.append(_plan(transcript.plan))
    parts.append(_evidence(transcript))
    parts.append(_failure(transcript))
    parts.append(f"*{escaped(' · '.join(facts.footer_items(transcript, UNICODE, times=times)))}*")
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: str, *, line_start: bool = True) -> str:
    """Foreign text as Markdown text."""
    plain = visible(text).replace("\n", " ").replace("&", "&amp;").replace("<", "&lt;")
    plain = _SPECIAL.sub(r"\\\1", plain)
    return _LINE_START.sub(r"\1\3\\\2\4", plain) if line_start else plain


def code(text: str, *, in_table: bool = False) -> str:
    """Foreign text as a code span."""
    line = visible(text).replace("\n", " ")
    line = line.replace("|", "\\|") if in_table else line
    fence = "`" * (max((len(run) for run in re.findall(r"`+", line)), default=0) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") or not line.strip() else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def fenced(text: str, language: str = "") -> str:
    """Foreign text as a block of code."""
    body = visible(text).rstrip("\n")
    fence = "`" * max(3, max((len(run) for run in re.findall(r"`+", body)), default=0) + 1)
    return f"{fence}{language if re.fullmatch(r'[A-Za-z0-9_+#.-]{0,30}', language) else ''}\n{body}\n{fence}"


def words(source: str) -> str:
    """The model's Markdown in its normal form."""
    parts = []
    for segment in segments(source):
        tokens = parsed(segment.markdown)
        parts.append(fenced(segment.source) if tokens is None else "\n\n".join(_Writer(tokens).blocks()))
    return "\n\n".join(part for part in parts if part)


def _block(block: Block, *, times: bool, finished: bool) -> str:
    match block:
        case Words():
            cut = f"\n\n*{UNICODE.cut} the answer was cut off here*" if block.partial else ""
            told = str(block.text)
            return words(block.evidence.flagged(told) if block.evidence is not None else told) + cut
        case Thinking():
            text = str(block.text).strip()
            left = len(text) - facts.THINKING_SHOWN
            more = [f"… {left:,} more characters"] if left > 0 else []
            lines = ["**thinking**", *text[: facts.THINKING_SHOWN].split("\n"), *more]
            return "\n".join(
                f"> {line if n == 0 else escaped(line)}".rstrip() for n, line in enumerate(lines)
            )
        case Card():
            return _card(block, times=times, finished=finished)
        case Notice():
            return f"> **{'warning' if block.level == 'warning' else 'note'}** {escaped(block.text)}"
        case Retry():
            return f"> **retry** {escaped(facts.retry_line(block, times=times))}"
        case Attached():
            return escaped(f"[{facts.picture_line(block.picture)}]")
        case Prompt():
            lines = block.text.rstrip("\n").split("\n")
            return "\n".join(
                f"> {'**you** ' if n == 0 else ''}{escaped(line)}" for n, line in enumerate(lines)
            )
        case Asked() | Variables() | Compacted() | Recalled() | Product():
            return _act(block, times=times, finished=finished)


def compacted(shown: Compacted) -> str:
    """A compaction as a table of what was sent and what is sent now."""
    parts = [f"**{escaped(compactions.title(shown, UNICODE), line_start=False)}**"]
    if shown.handoff:
        parts += [f"{compactions.WROTE}:", _indented(words(shown.handoff), "> ", first="> ")]
    rows = [
        (f"{item.item}, {compactions.tokens(item, UNICODE)}", *(_cell(text) for text in texts))
        for item, *texts in compactions.pairs(shown)
    ]
    table = [compactions.COLUMNS, ("---",) * 3, *rows]
    parts.append("\n".join(f"| {' | '.join(row)} |" for row in table))
    parts += [one for one in (compactions.rest(shown), compactions.cost(shown)) if one]
    ways = [code(way) for way in (compactions.undo(shown), compactions.undo_one(shown)) if way]
    parts += ["undo: " + " or one item: ".join(ways)] if ways else []
    return "\n\n".join(parts)


def recalled(shown: Recalled) -> str:
    """Notes that were shown to the model: what each says and why it was recalled."""
    rows = [f"> - {code(i)} {escaped(words)} ({escaped(why)})" for i, words, why in recollections.rows(shown)]
    return "\n".join([f"> **note** {escaped(recollections.title(shown))}", ">", *rows])


def product(shown: Product) -> str:
    """An artifact: what it is, its first rows or lines, and how to get it."""
    parts = [f"**{escaped(products.title(shown, UNICODE), line_start=False)}**"]
    left = products.undrawn(shown)
    if shown.table is not None:
        parts.append(table(*products.rows(shown.table)))
        left = products.left(shown.table)
    elif shown.text:
        head, left = products.text(shown)
        parts.append(fenced(head))
    parts += [escaped(left)] if left else []
    parts.append(f"{code(products.hint(shown))} or {code(products.ways(shown))}")
    return "\n\n".join(parts)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of foreign words."""
    grid = [[_cell(cell) for cell in row] for row in (head, *rows)]
    lines = [grid[0], ["---"] * len(head), *grid[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def _cell(text: str) -> str:
    """Foreign text in a cell of a table."""
    return escaped(" ".join(text.split()), line_start=False) or " "


def _card(card: Card, *, times: bool, finished: bool) -> str:
    word = facts.outcome_word(card, finished=finished)
    line = f"- {facts.icon(card, UNICODE)} {code(card.name)}"
    line += f" *{escaped(facts.effects(card))}*" if card.effects else ""
    line += f" **{word}**" if word else ""
    waiting = None if finished else card.waiting
    line += f" ({escaped(waiting.question.id)})" if waiting is not None else ""
    line += f" ({facts.seconds(card.seconds)})" if times and card.seconds else ""
    gist = facts.result_gist(card) if card.closed else ""
    line += f" → {escaped(gist)}" if gist else ""
    parts = [line]
    if card.passed != {}:
        parts.append("arguments " + code(facts.arguments_line(card, 2_000)))
    parts += _governed(card, times=times, finished=finished)
    head, left = facts.result_head(card, lines=RESULT_LINES, chars=RESULT_CHARS)
    if "\n" in head or left or gist != head.strip():
        parts += [fenced(head)] if head else []
    parts += [escaped(f"[{facts.picture_line(picture)}]") for picture in card.pictures]
    notes = "; ".join(note for note in (left, facts.chars_note(card)) if note)
    parts += [escaped(notes)] if notes else []
    tail, _ = ("", False) if card.closed or finished else acts.output_tail(card.output)
    parts += [fenced(tail)] if tail else []
    return "\n\n".join([parts[0], *(_indented(part, "  ") for part in parts[1:])])


def _governed(card: Card, *, times: bool, finished: bool) -> Iterator[str]:
    """What the governance said, what a person was asked, and what came of it."""
    if facts.verdict(card) and acts.verdict_counts(card):
        yield "verdict " + escaped(facts.verdict(card))
    for aspect in acts.aspects(card):
        mark = "⚠ " if aspect.warning else ""
        yield f"{acts.label(aspect)} {mark}{escaped('; '.join(aspect.lines))}"
    waiting = None if finished else card.waiting
    approval = acts.preview_of(card)
    if approval is not None:
        lines = approval.preview.rstrip("\n").split("\n")
        limit = PREVIEW_LINES if waiting else PREVIEW_LINES_LATER
        yield f"preview {escaped(acts.preview_title(approval))}"
        yield fenced("\n".join(lines[:limit]), acts.LANGUAGES[approval.preview_kind])
        if len(lines) > limit:
            yield f"{UNICODE.cut} {len(lines) - limit:,} more lines"
    for line in acts.receipts(card, UNICODE, times=times, finished=finished):
        yield f"receipt {escaped(line)}"
    if waiting is not None:
        yield f"answer {_how_to_answer(waiting, times=times)}"


def _how_to_answer(asked: Asked, *, times: bool) -> str:
    ways = " or ".join(code(way) for way in acts.how_to_answer(asked))
    ends = acts.until(asked, times=times)
    return f"{ways} ({escaped(ends)})" if ends else ways


def _act(shown: Asked | Variables | Compacted | Recalled | Product, *, times: bool, finished: bool) -> str:
    match shown:
        case Asked():
            return _question(shown, times=times, finished=finished)
        case Variables():
            return _variables(shown)
        case Compacted():
            return compacted(shown)
        case Recalled():
            return recalled(shown)
        case Product():
            return product(shown)


def _question(asked: Asked, *, times: bool, finished: bool) -> str:
    lines = [f"**asked** {escaped(acts.question_line(asked, UNICODE, times=times, finished=finished))}"]
    if acts.waits(asked, finished=finished):
        question = asked.question
        lines += [escaped(line) for line in question.text.split("\n") if line.strip()]
        lines += [f"· {escaped(line)}" for line in acts.offered(question)]
        lines += [f"asked by {escaped(acts.asker(question))}"] if acts.asker(question) else []
        lines.append(f"answer {_how_to_answer(asked, times=times)}")
    return "\n>\n".join(f"> {line}" for line in lines)


def _variables(shown: Variables) -> str:
    rows = [[code(row[0], in_table=True), *map(escaped, row[1:])] for row in acts.variable_rows(shown)]
    table = [acts.COLUMNS, ["---"] * len(acts.COLUMNS), *rows]
    parts = [f"**{acts.variables_title(shown)}**", "\n".join(f"| {' | '.join(row)} |" for row in table)]
    note, hint = acts.variables_note(shown), acts.variables_hint(shown)
    parts += [f"⚠ {escaped(note)}"] if note else []
    parts += [f"{code(hint)} undoes it" if hint == acts.UNDO else hint] if hint else []
    return "\n\n".join(parts)


def _plan(items: Sequence[PlanItem]) -> str:
    if not items:
        return ""
    lines = [
        f"- {acts.plan_mark(item, UNICODE)} {escaped(acts.plan_text(item))} ({acts.plan_word(item)})"
        for item in items
    ]
    return "\n".join([f"**{acts.plan_title(items)}**", "", *lines])


def _evidence(transcript: Transcript) -> str:
    shown, answer = proofs.shown(transcript), transcript.text
    if shown is None or not transcript.finished:
        return ""
    parts = [f"**{escaped(proofs.title(shown, answer))}**"]
    flag, rest = proofs.warning(shown, answer), proofs.others(shown, answer)
    parts += [f"⚠ **{escaped(flag)}**"] if flag else []
    lines = []
    for source in shown.cited(answer)[0]:
        lines.append(f"- \\[{source.passage.number}\\] {escaped(proofs.line(source), line_start=False)}")
        url = source.passage.url
        lines[-1] += f" [{escaped(url[:120])}]({_address(url)})" if url.startswith("http") else ""
        told = (proofs.under(source), proofs.excerpt(source))
        lines += [f"  {escaped(one)}" for one in told if one]
    parts += ["\n".join(lines)] if lines else []
    return "\n\n".join([*parts, escaped(rest)] if rest else parts)


def _failure(transcript: Transcript) -> str:
    shown = facts.failure(transcript)
    if shown is None:
        return ""
    lines = [f"> **{escaped(shown.title)}**"]
    lines += [f"> {escaped(shown.cause)}"] if shown.cause else []
    for number, (typed, why) in enumerate(map(typed_and_why, shown.fixes)):
        lines.append(f"> {'Try' if number == 0 else 'or'} {code(typed)} {escaped(why)}".rstrip())
    return "\n>\n".join(lines)


class _Writer:
    """Writes the tokens of the strict parser as Markdown."""

    def __init__(self, tokens: "Sequence[Token]") -> None:
        self._tokens = tokens
        self._at = 0

    def blocks(self, closing: str = "") -> Iterator[str]:
        """The blocks up to the closing token."""
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            self._at += 1
            if token.type == closing:
                return
            in_table = closing in ("th_close", "td_close")
            written = _inline(token.children or [], in_table=True) if in_table else self._written(token)
            if written:
                yield written

    def _written(self, token: "Token") -> str:
        match token.type:
            case "inline":
                return "\n".join(map(acts.quoted, _inline(token.children or []).split("\n")))
            case "fence" | "code_block":
                return fenced(token.content, (token.info.split() or [""])[0])
            case "hr":
                return "---"
            case "table_open":
                return self._table()
            case "bullet_list_open" | "ordered_list_open":
                return self._list(token)
            case _:
                return self._container(token)

    def _container(self, token: "Token") -> str:
        body = "\n\n".join(self.blocks(token.type.replace("open", "close")))
        match token.type:
            case "heading_open":
                return f"{'#' * int(token.tag[1])} {body}"
            case "blockquote_open":
                return _indented(body, "> ", first="> ")
            case _:
                return body

    def _list(self, token: "Token") -> str:
        start = int(token.attrGet("start") or 1) if token.type == "ordered_list_open" else None
        items = list(self._items(token.type.replace("open", "close"), start))
        return ("\n\n" if any("\n\n" in item for item in items) else "\n").join(items)

    def _items(self, closing: str, number: int | None = None) -> Iterator[str]:
        while self._at < len(self._tokens) and self._tokens[self._at].type != closing:
            self._at += 1  # list_item_open
            marker = "- " if number is None else f"{number}. "
            number = None if number is None else number + 1
            body = "\n\n".join(self.blocks("list_item_close"))
            yield _indented(body, " " * len(marker), first=marker)
        self._at += 1

    def _table(self) -> str:
        rows: list[list[str]] = []
        aligns: list[str] = []
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            self._at += 1
            if token.type == "table_close":
                break
            if token.type == "tr_open":
                rows.append([])
            elif token.type in ("th_open", "td_open"):
                if token.type == "th_open":
                    aligns.append(str(token.attrGet("style") or ""))
                rows[-1].append("".join(self.blocks(token.type.replace("open", "close"))))
        rule = [{"text-align:right": "--:", "text-align:center": ":-:"}.get(align, "---") for align in aligns]
        return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], rule, *rows[1:]])


_MARKS = {
    "strong_open": "**",
    "strong_close": "**",
    "em_open": "*",
    "em_close": "*",
    "s_open": "~~",
    "s_close": "~~",
    "softbreak": "\n",
    "hardbreak": "\\\n",
    "link_open": "[",
}


def _inline(tokens: "Sequence[Token]", *, in_table: bool = False) -> str:
    out: list[str] = []
    links: list[str] = []
    for token in tokens:
        match token.type:
            case "text" | "text_special":
                out.append(escaped(token.content, line_start=not out or out[-1].endswith("\n")))
            case "code_inline":
                out.append(code(token.content, in_table=in_table))
            case "math":
                out.append(_formula(token))
            case "link_close":
                out.append(f"]({_address(links.pop())})")
            case "image":
                out.append(escaped(f"[image not loaded: {token.content}, {token.attrGet('src')}]"))
            case _:
                out.append(_MARKS.get(token.type, ""))
                if token.type == "link_open":
                    links.append(str(token.attrGet("href")))
    return "".join(out)


def _formula(token: "Token") -> str:
    body = visible(token.content)
    return f"{token.markup}{body}{token.markup}" if _TAME.fullmatch(body) else code(body)


def _address(url: str) -> str:
    return "<" + visible(url).replace("<", "%3C").replace(">", "%3E").replace("\n", "") + ">"


def _indented(text: str, by: str, *, first: str | None = None) -> str:
    lines = text.split("\n")
    return "\n".join(((first or by) if n == 0 else by) + line for n, line in enumerate(lines)).replace(
        "> \n", ">\n"
    )
