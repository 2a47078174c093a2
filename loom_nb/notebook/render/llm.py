"""A transcript as the next model reads it: short, complete in its facts, without ornament."""

from loom_nb.notebook.render import facts
from loom_nb.notebook.render.facts import ASCII
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

ARGUMENTS = 2_000
RESULT_LINES = 40
RESULT_CHARS = 1_000
PROMPT_CHARS = 2_000


def llm(transcript: Transcript) -> str:
    """The whole transcript; thinking is left out, since it helps nobody but its author."""
    parts = [_block(block, finished=transcript.finished) for block in transcript.blocks]
    shown = facts.failure(transcript)
    if shown is not None:
        parts.append(f"[{shown.title}{f': {shown.cause}' if shown.cause else ''}]")
    parts.append(f"[{' | '.join(facts.footer_items(transcript, ASCII, times=False))}]")
    return "\n".join(part for part in parts if part) + "\n"


def _block(block: Block, *, finished: bool) -> str:
    match block:
        case Words():
            return str(block.text).strip() + ("\n[cut off]" if block.partial else "")
        case Thinking():
            return ""
        case Card():
            return _card(block, finished=finished)
        case Notice():
            return f"[{block.level}: {block.text}]"
        case Retry():
            return f"[retry: {facts.retry_line(block, times=False)}]"
        case Attached():
            return f"[{facts.picture_line(block.picture)}]"
        case Prompt():
            used = facts.used_items(block)
            text = block.text if len(block.text) <= PROMPT_CHARS else block.text[:PROMPT_CHARS] + "…"
            return f"[user] {text.strip()}" + (f"\n[used: {'; '.join(used)}]" if used else "")


def _card(card: Card, *, finished: bool) -> str:
    word = facts.outcome_word(card, finished=finished) or "ok"
    head, left = facts.result_head(card, lines=RESULT_LINES, chars=RESULT_CHARS)
    lines = [f"[tool {card.name} {facts.arguments_line(card, ARGUMENTS)} -> {word}]"]
    lines += [facts.verdict(card)] if facts.verdict(card) else []
    lines += [head] if head else []
    lines += [f"[{facts.picture_line(picture)}]" for picture in card.pictures]
    notes = "; ".join(note for note in (left, facts.chars_note(card)) if note)
    lines += [f"[{notes}]"] if notes else []
    return "\n".join(lines)
