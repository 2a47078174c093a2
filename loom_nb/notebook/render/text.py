"""A transcript as plain text: all of it, at most 100 columns wide, good in a terminal and in a diff."""

import re

from loom_nb.notebook.render import facts
from loom_nb.notebook.render.facts import Glyphs
from loom_nb.notebook.render.segments import Segment, Splitter
from loom_nb.notebook.render.strict_markdown import visible
from loom_nb.notebook.transcript import (
    Attached,
    Block,
    Card,
    Notice,
    Prompt,
    Retry,
    Thinking,
    Transcript,
    Words,
)

WIDTH = 100
RESULT_LINES = 12
RESULT_CHARS = 1_500

_VERBATIM = re.compile(r"\s*\||(?: {4}|\t)")


def block(shown: Block, marks: Glyphs, *, times: bool = False, finished: bool = True) -> str:
    """One block, without a newline at its end. Words are told by `words`, segment by segment."""
    match shown:
        case Words():
            return words(Segment(str(shown.text)))
        case Thinking():
            return thinking(shown, marks)
        case Card():
            return card(shown, marks, times=times, finished=finished)
        case Notice():
            mark = marks.warning if shown.level == "warning" else marks.note
            return wrapped(f"({mark}) {visible(shown.text)}", hanging="    ")
        case Retry():
            return wrapped(f"({marks.again}) retry: {facts.retry_line(shown, times=times)}", hanging="    ")
        case Attached():
            return wrapped(f"[{facts.picture_line(shown.picture)}]")
        case Prompt():
            return prompt(shown, marks)


def words(segment: Segment) -> str:
    """The model's words: Markdown as it was written, long lines folded."""
    out: list[str] = []
    reader = Splitter()  # where code begins and ends is told by who cuts the text, so that both agree
    reader.feed(segment.opening)
    for line in visible(segment.source).rstrip().split("\n"):
        within = reader.in_fence
        reader.feed(line + "\n")
        if not line.strip():
            out += [""] if within or (out and out[-1]) else []
        elif within or _VERBATIM.match(line):
            out.append(folded(line))
        else:
            out.append(wrapped(line))
    return "\n".join(out)


def gap_after(segment: Segment) -> str:
    """What stands between a segment and the next one of the same text."""
    return "\n\n" if segment.source.endswith("\n\n") or segment.source[-2:].isspace() else "\n"


def thinking(shown: Thinking, marks: Glyphs) -> str:
    """The reasoning, indented."""
    text = str(shown.text).strip()
    left = len(text) - facts.THINKING_SHOWN
    lines = [wrapped("  " + line, hanging="  ") for line in visible(text[: facts.THINKING_SHOWN]).split("\n")]
    if left > 0:
        lines.append(f"  {marks.cut} {left:,} more characters")
    return "\n".join(["thinking:", *lines])


def card(shown: Card, marks: Glyphs, *, times: bool, finished: bool) -> str:
    """A tool call: what it was, how it ended, its arguments, the head of its result."""
    word = facts.outcome_word(shown, finished=finished)
    title = f"{facts.icon(shown, marks)} {visible(shown.name)}"
    title += f" [{facts.effects(shown)}]" if shown.effects else ""
    title += f" {word}" if word else ""
    title += f" ({facts.seconds(shown.seconds)})" if times and shown.seconds else ""
    room = WIDTH - facts.columns(title) - len(marks.arrow) - 4
    gist = facts.result_gist(shown, max(20, room)) if shown.closed else ""
    lines = [_ours(f"{title} {marks.arrow} {gist}" if gist else title, marks)]
    if shown.passed != {}:
        lines.append("    arguments " + facts.arguments_line(shown, WIDTH - 14, marks))
    if facts.verdict(shown):
        lines.append("    verdict   " + facts.verdict(shown))
    head, left = facts.result_head(shown, lines=RESULT_LINES, chars=RESULT_CHARS)
    if "\n" in head or left or gist != head.strip():
        lines += [("    " + line).rstrip() for line in head.split("\n") if head]
    lines += [f"    [{facts.picture_line(picture)}]" for picture in shown.pictures]
    lines += [f"    {marks.cut} {left}"] if left else []
    lines += [f"    {facts.chars_note(shown)}"] if shown.chars else []
    return "\n".join(folded(line, hanging="      ") for line in lines)


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
