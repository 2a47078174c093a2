"""What every surface says, said once: the words for an outcome, a footer, an error.

The surfaces differ in their marks; the facts they state come from here.
"""

import json
import unicodedata
from dataclasses import dataclass
from typing import Any

from loom_nb.border import parse
from loom_nb.errors import BorderError
from loom_nb.notebook.render.strict_markdown import visible
from loom_nb.notebook.transcript import Card, Picture, Prompt, Retry, Transcript, Used
from loom_nb.remedies import remedies
from loom_nb.runtime.artifacts import size_in_words
from loom_nb.runtime.compaction import calls_in_words
from loom_nb.settings import money
from loom_nb.wording import counted, percent

MODE_ALL = "mode all: nothing is asked"
"""The badge of a run in which whatever no rule denies runs unasked."""
REPLAYED = "replayed from recording"
"""The badge of a run for which nothing was sent."""
THINKING_SHOWN = 20_000
"""Characters of one stretch of thinking that are shown; the record has all."""


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The marks of a surface; the ASCII ones for terminals that know no others."""

    tick: str = "✓"
    cross: str = "✗"
    halt: str = "■"
    wait: str = "…"
    arrow: str = "→"
    dot: str = "·"
    cut: str = "…"
    note: str = "i"
    warning: str = "!"
    again: str = "↻"
    about: str = "~"
    ask: str = "?"
    todo: str = "☐"
    active: str = "◐"
    done: str = "☑"
    dropped: str = "☒"


UNICODE = Glyphs()
ASCII = Glyphs(
    *("ok", "x", "#", "...", "->", "|", "...", "i", "!", "again", "~", "?"), *("[ ]", "[>]", "[x]", "[-]")
)


def glyphs(ascii: bool) -> Glyphs:  # noqa: A002  the name of the option
    """The marks for this surface."""
    return ASCII if ascii else UNICODE


_WORDS = {
    "ok": "",
    "error": "failed",
    "invalid": "invalid arguments",
    "unknown_tool": "unknown tool",
    "denied": "denied",
    "timeout": "timed out",
    "stopped": "stopped",
    "lost": "outcome unknown",
}


def icon(card: Card, marks: Glyphs) -> str:
    """The mark of a call's outcome; the word of `outcome_word` says the same."""
    if not card.closed:
        return marks.wait
    if card.outcome == "ok":
        return marks.tick
    return marks.halt if card.outcome in ("denied", "stopped") else marks.cross


def outcome_word(card: Card, *, finished: bool = False) -> str:
    """How a call ended, or how far it is; empty for one that simply worked."""
    if card.closed:
        return _WORDS[card.outcome]
    if finished:
        return "no result"
    if card.started:
        return "running"
    if card.decision == "ask" or card.waiting is not None:
        return "waiting for you"
    if card.asked and card.decision == "deny":
        return "denied"
    return "called" if card.kept else "being written"


def effects(card: Card) -> str:
    """What the call does to the world: "reads", "writes, network"."""
    return one_line(", ".join(card.effects))


def verdict(card: Card) -> str:
    """What the governance said, where it was not simply yes."""
    if card.decision in ("", "allow"):
        return ""
    words = {"deny": "denied", "ask": "asked"}.get(card.decision, card.decision)
    by = f" by {card.by}" if card.by else ""
    return one_line(f"{words}{by}: {card.reason}" if card.reason else f"{words}{by}")


def arguments_line(card: Card, width: int, marks: Glyphs = UNICODE) -> str:
    """The arguments as one line of JSON; where they do not fit, their head, length and hash."""
    passed = card.passed
    text = visible(str(card.arguments) if passed is None else _spaced(passed)).replace("\n", "⏎")
    if len(text) <= width:
        return text
    note = f"{marks.cut} ({len(text):,} characters, sha256:{card.sha256[:16]})"
    return text[: max(0, width - len(note))] + note


def arguments_block(card: Card) -> str:
    """The arguments, each on its line, a long text as it is; what is no JSON object as it was written."""
    passed = card.passed
    if passed is None:
        return str(card.arguments)
    return "\n".join(_argument(key, value) for key, value in passed.items())


def _argument(name: str, value: Any) -> str:
    if isinstance(value, str) and "\n" in value.strip():
        return f"{name}: |\n" + "\n".join(f"    {line}" for line in value.split("\n"))
    return f"{name}: {_spaced(value)}"


def arguments_gist(card: Card, width: int = 60) -> str:
    """The arguments as a reader skims them: ``name="df", rows=5``."""
    passed = card.passed
    if passed is None:
        written = " ".join(str(card.arguments)[-4 * width :].split())
        return visible(written if len(written) <= width else "…" + written[-width:])
    pairs = (f"{key}={_spaced(value)}" for key, value in passed.items())
    return clipped(", ".join(pairs), width)


def result_gist(card: Card, width: int = 80) -> str:
    """The result in one line."""
    text = card.result.strip()
    if not text:
        return ", ".join(picture_line(picture) for picture in card.pictures) or (
            "" if not card.closed else "nothing"
        )
    whole = _counted(text)
    if whole:
        return whole
    first, _, more = text.partition("\n")
    lines = more.count("\n") + 1 if more else 0
    tail = f" (+{counted(lines, 'line')})" if lines else ""
    return clipped(first, max(20, width - len(tail))) + tail


def _counted(text: str) -> str:
    """A JSON result by its size: "3 items"; empty for anything else."""
    if text[0] not in "[{" or len(text) > 20_000:
        return ""
    try:
        value = parse(text)
    except BorderError:
        return ""
    if isinstance(value, list):
        return counted(len(value), "item")
    names = ", ".join(list(value)[:4]) + (", …" if len(value) > 4 else "")
    return clipped(f"{{{names}}}", 60)


def result_head(card: Card, *, lines: int, chars: int) -> tuple[str, str]:
    """The beginning of a result, and a note of what is left out."""
    text = visible(card.result.rstrip())
    head = "\n".join(text.split("\n", lines)[:lines])[:chars]
    left = len(text) - len(head)
    return head, f"{left:,} more characters" if left > 1 else ""


def chars_note(card: Card) -> str:
    """What the model was not given of a long result."""
    if not card.chars:
        return ""
    return f"shown {len(card.result):,} of {card.chars:,} characters; the rest can be read with read_result"


def picture_line(picture: Picture) -> str:
    """An image or a file in words."""
    name = f"{picture.name}, " if picture.name else ""
    return one_line(f"{name}{picture.media_type}, {size_in_words(len(picture.data))}")


def used_items(prompt: Prompt | None) -> list[str]:
    """What travelled with the prompt, each value in words."""
    if prompt is None:
        return []
    from loom_nb.notebook.render import attachments

    pictures = [attachments.line(picture) for picture in prompt.attachments]
    return [used_item(used) for used in prompt.used] + pictures


def used_item(used: Used) -> str:
    """``df (DataFrame 1,204 x 8, ~312 tok)``."""
    inner = f"{used.summary}, ~{used.tokens:,} tok" if used.summary else f"~{used.tokens:,} tok"
    return one_line(f"{used.name} ({inner})")


def retry_line(retry: Retry, *, times: bool) -> str:
    """``rate_limit: 429, waiting 2 s, attempt 2``; the wait is random and so only told with times."""
    message = one_line(retry.message) or retry.fault
    wait = f"waiting {seconds(retry.delay)}, " if times else ""
    return f"{message}, {wait}attempt {retry.attempt}"


def model_label(transcript: Transcript) -> str:
    """Who answers, as a reader is told."""
    return "demo" if transcript.demo else one_line(transcript.model or transcript.answered)


def tokens_item(transcript: Transcript, marks: Glyphs) -> str:
    """``412→96 tok``."""
    usage = transcript.usage
    return f"{usage.input_tokens:,}{marks.arrow}{usage.output_tokens:,} tok"


def footer_items(transcript: Transcript, marks: Glyphs, *, times: bool) -> list[str]:
    """The last line of a transcript. A completed run does not say so; every other does."""
    items: list[str] = [] if transcript.status == "completed" else [transcript.status]
    items += [model_label(transcript)] if model_label(transcript) else []
    items += [replayed(transcript)] if replayed(transcript) else []
    items += [counted(transcript.turns, "step")] if transcript.turns else []
    items += [tokens_item(transcript, marks)] if transcript.usage.total_tokens else []
    calls, written = transcript.compacting
    items += [calls_in_words(calls, written, marks.arrow)] if calls else []
    items += [cached(transcript)] if transcript.usage.cache_read_tokens else []
    if transcript.cost is not None:
        items.append(money(transcript.cost) + recorded_cost(transcript))
    if pressure(transcript):
        items.append(f"context {pressure(transcript)}")
    if transcript.mode == "all":
        items.append(MODE_ALL)
    if times and transcript.seconds:
        items.append(seconds(transcript.seconds))
    if times and transcript.run:
        items.append(one_line(transcript.run))
    return items


def replayed(transcript: Transcript) -> str:
    """The badge of a run whose answers came from a recording; empty for any other."""
    played = transcript.played
    return REPLAYED if played.whole else f"{counted(played.calls, 'call')} {REPLAYED}" if played.calls else ""


def recorded_cost(transcript: Transcript) -> str:
    """`` (recorded: $0.02)``: what the played answers had cost; empty where that is nothing or not known."""
    return f" (recorded: {money(transcript.played.cost)})" if transcript.played.cost else ""


def cached(transcript: Transcript) -> str:
    """``cached 80 %``: how much of what was sent the vendor had kept from before."""
    usage = transcript.usage
    return f"cached {percent(usage.cache_read_tokens / max(usage.input_tokens, 1))}"


def pressure(transcript: Transcript) -> str:
    """``38 %``: how much of its budget the context takes; empty where the budget is not known."""
    if not transcript.budget or not transcript.context:
        return ""
    return percent(transcript.context / transcript.budget)


def activity(transcript: Transcript) -> str:
    """What is going on in a run that has not ended."""
    if transcript.status == "waiting" or not transcript.current:
        return "waiting for the model"
    if transcript.waiting:
        return one_line(f"waiting for you: {', '.join(asked.question.id for asked in transcript.waiting)}")
    last = transcript.current[-1]
    running = [card.name for card in transcript.cards[-8:] if card.started and not card.closed]
    if running:
        return one_line(f"running {', '.join(running)}")
    return {
        "Words": "writing",
        "Thinking": "thinking",
        "Card": "calling",
        "Retry": "waiting to try again",
    }.get(type(last).__name__, "waiting for the model")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run did not complete, and what to do."""

    title: str
    cause: str
    fixes: tuple[str, ...]


_TITLES = {
    "stopped": "Stopped",
    "limit": "A limit was reached",
    "denied": "Not allowed",
    "failed": "The run failed",
    "interrupted": "The run was interrupted",
}


def failure(transcript: Transcript) -> Failure | None:
    """Why a finished run did not complete; None for one that did, and where an error tells it."""
    if not transcript.finished or transcript.status == "completed" or transcript.raises:
        return None
    status, fault = transcript.status, transcript.fault
    fixes = transcript.fixes or remedies(status, fault)
    title = _TITLES[status] + (f" ({fault})" if fault and status != "stopped" else "")
    return Failure(one_line(title), one_line(transcript.reason), tuple(map(visible, fixes)))


def seconds(value: float) -> str:
    """``20 ms``, ``0.3 s``, ``12 s``, ``3 min 5 s``."""
    if value < 0.0995:
        return f"{max(1, round(value * 1000))} ms"
    if value < 9.95:
        return f"{value:.1f}".removesuffix(".0") + " s"
    whole = round(value)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"


def one_line(text: str) -> str:
    """Foreign text where only one line of it belongs: it begins no line of its own."""
    return visible(" ".join(text.split()))


def name(card: Card) -> str:
    """The name of the tool."""
    return one_line(card.name)


def clipped(text: str, width: int) -> str:
    """One visible line of at most `width` characters."""
    line = visible(" ".join(text[: 8 * width].split()))
    return line if len(line) <= width else line[: width - 1] + "…"


def columns(text: str) -> int:
    """How wide `text` is in a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def _spaced(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
