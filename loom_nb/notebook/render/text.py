"""A transcript as plain text: all of it, at most 100 columns wide, good in a terminal and in a diff."""

import re
from collections.abc import Iterator, Sequence

from loom_nb.events import PlanItem
from loom_nb.notebook.cited import Evidence
from loom_nb.notebook.render import acts, compactions, facts, products, recollections
from loom_nb.notebook.render import evidence as proofs
from loom_nb.notebook.render.facts import Glyphs
from loom_nb.notebook.render.segments import Segment, Splitter
from loom_nb.notebook.render.strict_markdown import visible
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

WIDTH = 100
RESULT_LINES = 12
RESULT_CHARS = 1_500
PREVIEW_LINES = 200
PREVIEW_LINES_LATER = 12
"""Lines of a preview that are shown while a person is asked, and afterwards."""

_VERBATIM = re.compile(r"\s*\||(?: {4}|\t)")


def block(shown: Block, marks: Glyphs, *, times: bool = False, finished: bool = True) -> str:
    """One block, without a newline at its end. Words are told by `words`, segment by segment."""
    match shown:
        case Words():
            return words(Segment(str(shown.text)), shown.evidence)
        case Thinking():
            return thinking(shown, marks)
        case Card():
            return card(shown, marks, times=times, finished=finished)
        case Notice():
            mark = marks.warning if shown.level == "warning" else marks.note
            told = "\n      ".join(visible(shown.text).split("\n"))
            return wrapped(f"({mark}) {told}", hanging="      ")
        case Retry():
            return wrapped(f"({marks.again}) retry: {facts.retry_line(shown, times=times)}", hanging="      ")
        case Attached():
            return wrapped(f"[{facts.picture_line(shown.picture)}]")
        case Prompt():
            return prompt(shown, marks)
        case Asked() | Variables() | Compacted() | Recalled() | Product():
            return act(shown, marks, times=times, finished=finished)


def words(segment: Segment, evidence: Evidence | None = None) -> str:
    """The model's words: Markdown as it was written, long lines folded."""
    if evidence is not None:
        segment = Segment(_flagged(segment, evidence), segment.opening)
    out: list[str] = []
    reader = Splitter()  # where code begins and ends is told by who cuts the text, so that both agree
    reader.feed(segment.opening)
    for written in visible(segment.source).rstrip().split("\n"):
        within = reader.in_fence
        line = written if within else acts.quoted(written)
        reader.feed(written + "\n")
        if not line.strip():
            out += [""] if within or (out and out[-1]) else []
        elif within or _VERBATIM.match(line):
            out.append(folded(line))
        else:
            out += _tame(wrapped(line).split("\n"))
    return "\n".join(out)


def _flagged(segment: Segment, evidence: Evidence) -> str:
    """With a word behind each citation of nothing. It may continue a block of code, or a table."""
    whole = evidence.flagged(segment.opening + segment.source)
    return whole[len(segment.opening) :] if whole.startswith(segment.opening) else segment.source


def evidence(transcript: Transcript, marks: Glyphs) -> str:
    """The passages that the answer cites, by their numbers; empty where there is nothing to tell."""
    shown, answer = proofs.shown(transcript), transcript.text
    if shown is None:
        return ""
    lines = [_ours(proofs.title(shown, answer), marks)]
    if proofs.warning(shown, answer):
        lines.append(wrapped(f"  ({marks.warning}) {proofs.warning(shown, answer)}", hanging="      "))
    for source in shown.cited(answer)[0]:
        told = proofs.line(source).replace("·", marks.dot)
        lines.append(wrapped(f"  [{source.passage.number}] {told}", hanging="      "))
        for under in (proofs.under(source), proofs.excerpt(source)):
            lines += [wrapped(f"      {_ours(under, marks)}", hanging="      ")] if under else []
    rest = proofs.others(shown, answer)
    lines += [wrapped(f"  {_ours(rest, marks)}", hanging="    ")] if rest else []
    return "\n".join(lines)


def _tame(lines: list[str]) -> Iterator[str]:
    """Wrapped words, of which a line that happens to look like one of ours is marked as quoted too."""
    first, *others = lines
    yield first
    for line in others:
        if acts.quoted(line) == line:
            yield line
        else:
            yield from _tame(wrapped(acts.quoted(line)).split("\n"))


def gap_after(segment: Segment) -> str:
    """What stands between a segment and the next one of the same text."""
    return "\n\n" if segment.source.endswith("\n\n") or segment.source[-2:].isspace() else "\n"


def thinking(shown: Thinking, marks: Glyphs) -> str:
    """The reasoning, indented."""
    text = str(shown.text).strip()
    left = len(text) - facts.THINKING_SHOWN
    told = visible(text[: facts.THINKING_SHOWN]).split("\n")
    lines = [wrapped("  " + acts.quoted(line), hanging="  ") for line in told]
    if left > 0:
        lines.append(f"  {marks.cut} {left:,} more characters")
    return "\n".join(["thinking:", *lines])


def card(shown: Card, marks: Glyphs, *, times: bool, finished: bool) -> str:
    """A tool call: what it was, how it ended, its arguments, the head of its result."""
    word = facts.outcome_word(shown, finished=finished)
    title = f"{facts.icon(shown, marks)} {facts.name(shown)}"
    title += f" [{facts.effects(shown)}]" if shown.effects else ""
    title += f" {word}" if word else ""
    title += (
        f" ({facts.one_line(waiting.question.id)})" if (waiting := shown.waiting) and not finished else ""
    )
    title += f" ({facts.seconds(shown.seconds)})" if times and shown.seconds else ""
    room = WIDTH - facts.columns(title) - len(marks.arrow) - 4
    gist = facts.result_gist(shown, max(20, room)) if shown.closed else ""
    lines = [_ours(f"{title} {marks.arrow} {gist}" if gist else title, marks)]
    if shown.passed != {}:
        lines.append("    arguments " + facts.arguments_line(shown, WIDTH - 14, marks))
    lines += _governed(shown, marks, times=times, finished=finished)
    head, left = facts.result_head(shown, lines=RESULT_LINES, chars=RESULT_CHARS)
    if "\n" in head or left or gist != head.strip():
        lines += [acts.quoted("    " + line).rstrip() for line in head.split("\n") if head]
    lines += [f"    [{facts.picture_line(picture)}]" for picture in shown.pictures]
    lines += [f"    {marks.cut} {left}"] if left else []
    lines += [f"    {facts.chars_note(shown)}"] if shown.chars else []
    lines += _printed(shown, marks) if not shown.closed and not finished else []
    return "\n".join(folded(line, hanging="      ") for line in lines)


def _governed(shown: Card, marks: Glyphs, *, times: bool, finished: bool) -> Iterator[str]:
    """What the governance said, what a person was asked, and what came of it."""
    if facts.verdict(shown) and acts.verdict_counts(shown):
        yield "    verdict   " + facts.verdict(shown)
    for aspect in acts.aspects(shown):
        mark = f"({marks.warning}) " if aspect.warning else ""
        for line in aspect.lines:
            yield f"    {acts.label(aspect):9} {mark}{' '.join(line.split())}"
    waiting = None if finished else shown.waiting
    approval = acts.preview_of(shown)
    if approval is not None:
        yield "    preview   " + acts.preview_title(approval)
        lines = visible(approval.preview.rstrip("\n")).split("\n")
        limit = PREVIEW_LINES if waiting else PREVIEW_LINES_LATER
        yield from ("    | " + line for line in lines[:limit])
        if len(lines) > limit:
            yield f"    {marks.cut} {len(lines) - limit:,} more lines"
    for line in acts.receipts(shown, marks, times=times, finished=finished):
        yield "    receipt   " + line
    if waiting is not None:
        yield "    answer    " + _how_to_answer(waiting, times=times)


def _how_to_answer(asked: Asked, *, times: bool) -> str:
    ways = "  or  ".join(acts.how_to_answer(asked))
    ends = acts.until(asked, times=times)
    return f"{ways}  ({ends})" if ends else ways


def _printed(shown: Card, marks: Glyphs) -> Iterator[str]:
    """What a tool that is still running has printed."""
    tail, more = acts.output_tail(shown.output)
    if tail:
        yield "    printed" + (f"   {marks.cut}" if more else "")
        yield from ("    | " + line for line in tail.split("\n"))


def act(
    shown: Asked | Variables | Compacted | Recalled | Product, marks: Glyphs, *, times: bool, finished: bool
) -> str:
    """What was asked of a person, what became of the variables, or what is left out from here on."""
    match shown:
        case Asked():
            return question(shown, marks, times=times, finished=finished)
        case Variables():
            return variables(shown)
        case Compacted():
            return compacted(shown, marks)
        case Recalled():
            return recalled(shown, marks)
        case Product():
            return product(shown, marks)


def question(shown: Asked, marks: Glyphs, *, times: bool, finished: bool) -> str:
    """A question that is not about a call, and its answer."""
    told = _ours(acts.question_line(shown, marks, times=times, finished=finished), marks)
    lines = [wrapped(f"{marks.ask} {told}", hanging="      ")]
    if acts.waits(shown, finished=finished):
        asked = shown.question
        lines += [wrapped(f"    asked by {acts.asker(asked)}", hanging="    ")] if acts.asker(asked) else []
        lines += [
            folded("    | " + line, hanging="    | ") for line in visible(asked.text).split("\n") if line
        ]
        lines += [wrapped(f"    - {line}", hanging="      ") for line in acts.offered(asked)]
        lines.append(f"    answer    {_how_to_answer(shown, times=times)}")
    return "\n".join(lines)


def product(shown: Product, marks: Glyphs) -> str:
    """An artifact: what it is, its first rows or lines, and how to get it."""
    lines = [wrapped(products.title(shown, marks), hanging="      ")]
    left = products.undrawn(shown)
    if shown.table is not None:
        lines += table(*products.rows(shown.table))
        left = products.left(shown.table)
    elif shown.text:
        head, left = products.text(shown)
        lines += [folded(f"  | {line}".rstrip(), hanging="  | ") for line in head.split("\n")]
    lines += [f"  {marks.cut} {left}"] if left else []
    lines.append(wrapped(f"  {products.hint(shown)} or {products.ways(shown)}", hanging="      "))
    return "\n".join(_ours(line, marks) if not line.startswith("  |") else line for line in lines)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table whose rows begin with their labels; columns for which there is no room are left out."""
    grid = [head, *rows]
    wide = [min(24, max(facts.columns(row[n]) for row in grid)) for n in range(len(head))]
    most, room = 0, WIDTH - 4
    while most < len(wide) and room >= wide[most]:
        room -= wide[most] + 2
        most += 1
    lines = []
    for row in grid:
        cells = [facts.clipped(cell, wide[n]) for n, cell in enumerate(row[:most])]
        shown = "  ".join(cell + " " * (wide[n] - facts.columns(cell)) for n, cell in enumerate(cells))
        lines.append(f"  | {shown}".rstrip())
    return [*lines, f"  | {len(head) - most:,} columns do not fit here"] if most < len(head) else lines


def plan(items: Sequence[PlanItem], marks: Glyphs) -> str:
    """The agent's plan; empty where there is none."""
    if not items:
        return ""
    lines = [
        wrapped(
            f"  {acts.plan_mark(item, marks)} {_ours(acts.plan_text(item), marks)} ({acts.plan_word(item)})",
            hanging="      ",
        )
        for item in items
    ]
    return "\n".join([acts.plan_title(items), *lines])


def variables(shown: Variables) -> str:
    """What happened to the variables of the notebook, as a table."""
    rows = [acts.COLUMNS, *acts.variable_rows(shown)]
    wide = [min(28, max(facts.columns(row[n]) for row in rows)) for n in range(3)]
    lines = [acts.variables_title(shown)]
    for row in rows:
        cells = [cell + " " * (wide[n] - facts.columns(cell)) for n, cell in enumerate(row[:3])]
        lines.append(folded(f"  {'  '.join([*cells, row[3]])}".rstrip(), hanging="      "))
    note, hint = acts.variables_note(shown), acts.variables_hint(shown)
    lines += [wrapped(f"  {note}", hanging="      ")] if note else []
    lines += [f"  {hint} undoes it" if hint == acts.UNDO else f"  {hint}"] if hint else []
    return "\n".join(lines)


def compacted(shown: Compacted, marks: Glyphs) -> str:
    """A compaction: what was sent and what is sent now, side by side, and how to undo it."""
    lines = [wrapped(compactions.title(shown, marks), hanging="      ")]
    if shown.handoff:
        lines.append(f"  {compactions.WROTE}:")
        lines += [
            folded(f"  | {line}".rstrip(), hanging="  | ")
            for line in visible(shown.handoff).strip().split("\n")
        ]
    lines += _beside("", *compactions.COLUMNS[1:])
    for item, was, now in compactions.pairs(shown):
        lines.append(f"  {item.item}  {compactions.tokens(item, marks)}")
        lines += _beside("", was, now)
    told = (compactions.rest(shown), compactions.cost(shown, marks))
    lines += [f"  {one}" for one in told if one]
    ways = [way for way in (compactions.undo(shown), compactions.undo_one(shown)) if way]
    lines += [f"  undo: {'  or one item: '.join(ways)}"] if ways else []
    return "\n".join(_ours(line, marks) if not line.startswith("  |") else line for line in lines)


def recalled(shown: Recalled, marks: Glyphs) -> str:
    """Notes that were shown to the model: what each says and why it was recalled."""
    lines = [wrapped(f"({marks.note}) {recollections.title(shown, marks)}", hanging="      ")]
    for note_id, words, why in recollections.rows(shown, marks):
        lines.append(wrapped(f"      {visible(note_id)}  {visible(words)}", hanging="        "))
        lines.append(wrapped(f"        {visible(why)}", hanging="          "))
    return "\n".join(lines)


SIDE, BESIDE_LINES = 46, 7
"""Columns and lines of each side where two texts stand side by side."""


def _beside(lead: str, left: str, right: str) -> list[str]:
    one, other = _column(left), _column(right)
    rows = range(max(len(one), len(other)))
    return [
        f"  {lead}{_padded(one[n] if n < len(one) else '')} | {other[n] if n < len(other) else ''}".rstrip()
        for n in rows
    ]


def _column(text: str) -> list[str]:
    """The beginning of a text in a column, and its end where that says more."""
    lines = [piece for line in text.expandtabs(2).split("\n") if line.strip() for piece in _narrow(line)]
    if len(lines) <= BESIDE_LINES:
        return lines
    return [*lines[: BESIDE_LINES - 1], f"… {len(lines) - BESIDE_LINES + 1:,} more lines"]


def _narrow(line: str) -> list[str]:
    pieces, current, wide = [], "", 0
    for char in line:
        width = 1 if char.isascii() else facts.columns(char)
        if wide + width > SIDE:
            pieces.append(current)
            current, wide = "", 0
        current, wide = current + char, wide + width
    return [*pieces, current]


def _padded(text: str) -> str:
    return text + " " * (SIDE - facts.columns(text))


def prompt(shown: Prompt, marks: Glyphs) -> str:
    """What the user said."""
    lines = visible(shown.text).rstrip("\n").split("\n")
    return "\n".join(
        wrapped(("you: " if n == 0 else "     ") + line, hanging="     ") for n, line in enumerate(lines)
    )


def used(shown: Prompt | None, marks: Glyphs) -> str:
    """What travelled with the prompt; empty where nothing did."""
    items = facts.used_items(shown)
    return wrapped(f"used: {f' {marks.dot} '.join(items)}", hanging="      ") if items else ""


def failure(transcript: Transcript) -> str:
    """Why the run did not complete; empty for one that did."""
    shown = facts.failure(transcript)
    if shown is None:
        return ""
    lines = [shown.title]
    if shown.cause:
        lines.append(wrapped(f"  Cause  {shown.cause}", hanging="         "))
    lines += [f"  {'Fix   ' if n == 0 else '   or '} {fix}" for n, fix in enumerate(shown.fixes)]
    return "\n".join(lines)


def footer(transcript: Transcript, marks: Glyphs, *, times: bool = False) -> str:
    """The last line."""
    return wrapped(f" {marks.dot} ".join(facts.footer_items(transcript, marks, times=times)))


def wrapped(text: str, *, hanging: str | None = None) -> str:
    """Lines of at most `WIDTH` columns, broken at spaces; the indentation is kept."""
    out = []
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip())][:40] if hanging is None else hanging
        out.append(_wrapped_line(line, indent))
    return "\n".join(out)


def _wrapped_line(line: str, indent: str) -> str:
    if facts.columns(line) <= WIDTH:
        return line
    lines, current = [], ""
    for word in re.findall(r"\s*\S+", line):
        if current and facts.columns(current) + facts.columns(word) > WIDTH:
            lines.append(current)
            current = indent + word.lstrip()
        else:
            current += word
        if facts.columns(current) > WIDTH:
            *full, current = folded(current, hanging=indent).split("\n")
            lines += full
    return "\n".join([*lines, current])


def folded(line: str, *, hanging: str = "") -> str:
    """Lines of at most `WIDTH` columns, broken anywhere: for code."""
    if facts.columns(line) <= WIDTH:
        return line
    lines: list[str] = []
    start, width, room = 0, 0, WIDTH
    for index, char in enumerate(line):
        wide = 1 if char.isascii() else facts.columns(char)
        if width + wide > room:
            lines.append((hanging if lines else "") + line[start:index])
            start, width, room = index, 0, WIDTH - len(hanging)
        width += wide
    return "\n".join([*lines, (hanging if lines else "") + line[start:]])


def _ours(line: str, marks: Glyphs) -> str:
    return line.replace("…", marks.cut)
