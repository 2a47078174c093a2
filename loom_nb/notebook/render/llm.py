"""A transcript as the next model reads it: short, complete in its facts, without ornament."""

import re
from collections.abc import Iterator

from loom_nb.notebook.render import acts, compactions, facts, products, recollections
from loom_nb.notebook.render import evidence as proofs
from loom_nb.notebook.render.facts import ASCII
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

ARGUMENTS = 2_000
RESULT_LINES = 40
RESULT_CHARS = 1_000
PROMPT_CHARS = 2_000

_OURS = re.compile(
    r"^(?=\s*\[(?:tool|user|asked|receipt|verdict|preview|printed|question|plan|variables|warning|info|retry"
    r"|used|artifact|evidence|recalled|context compacted|cut off|not yours|effect|sandbox|mode)\b)",
    re.MULTILINE | re.IGNORECASE,
)


def llm(transcript: Transcript) -> str:
    """The whole transcript; thinking is left out, since it helps nobody but its author."""
    parts = [_block(block, finished=transcript.finished) for block in transcript.blocks]
    parts.append(_plan(transcript))
    parts.append(_evidence(transcript))
    shown = facts.failure(transcript)
    if shown is not None:
        parts.append(f"[{shown.title}{f': {shown.cause}' if shown.cause else ''}]")
    parts.append(f"[{' | '.join(facts.footer_items(transcript, ASCII, times=False))}]")
    return "\n".join(part for part in parts if part) + "\n"


def _block(block: Block, *, finished: bool) -> str:
    match block:
        case Words():
            told = str(block.text).strip()
            told = block.evidence.flagged(told) if block.evidence is not None else told
            return quoted(told) + ("\n[cut off]" if block.partial else "")
        case Thinking():
            return ""
        case Card():
            return _card(block, finished=finished)
        case Notice():
            return f"[{block.level}: {facts.one_line(block.text)}]"
        case Retry():
            return f"[retry: {facts.retry_line(block, times=False)}]"
        case Attached():
            return f"[{facts.picture_line(block.picture)}]"
        case Prompt():
            used = facts.used_items(block)
            text = block.text if len(block.text) <= PROMPT_CHARS else block.text[:PROMPT_CHARS] + "…"
            return f"[user] {quoted(text.strip())}" + (f"\n[used: {'; '.join(used)}]" if used else "")
        case Asked() | Variables() | Compacted() | Recalled() | Product():
            return _act(block, finished=finished)


def _compacted(shown: Compacted) -> str:
    """That it happened and to what: what the items hold is what the model was not to read."""
    names = ", ".join(item.item for item in shown.items[: compactions.ITEMS])
    rest = f" {compactions.rest(shown)}" if compactions.rest(shown) else ""
    told = f"[{compactions.title(shown, ASCII).lower()}: {names}{rest}; undo: {compactions.undo(shown)}]"
    return f"{told}\n{quoted(shown.handoff.strip())}" if shown.handoff else told


def _recalled(shown: Recalled) -> str:
    """Which notes, and why: their words are data that the model of the run was shown, not this reader."""
    told = "; ".join(
        f"{note_id} {facts.one_line(words)} ({why})"
        for note_id, words, why in recollections.rows(shown, ASCII)
    )
    return f"[{recollections.title(shown, ASCII)}: {visible(told)}]"


def _product(shown: Product) -> str:
    lines = [f"[{products.title(shown, ASCII)}; {products.hint(shown)}]"]
    left = products.undrawn(shown)
    if shown.table is not None:
        head, rows = products.rows(shown.table)
        lines += [quoted("\t".join(row)) for row in (head, *rows)]
        left = products.left(shown.table)
    elif shown.text:
        words, left = products.text(shown)
        lines.append(quoted(words))
    return "\n".join([*lines, f"[{left}]"] if left else lines)


def _card(card: Card, *, finished: bool) -> str:
    word = facts.outcome_word(card, finished=finished) or "ok"
    head, left = facts.result_head(card, lines=RESULT_LINES, chars=RESULT_CHARS)
    lines = [f"[tool {facts.name(card)} {facts.arguments_line(card, ARGUMENTS)} -> {word}]"]
    lines += _governed(card, finished=finished)
    lines += [quoted(head)] if head else []
    lines += [f"[{facts.picture_line(picture)}]" for picture in card.pictures]
    notes = "; ".join(note for note in (left, facts.chars_note(card)) if note)
    lines += [f"[{notes}]"] if notes else []
    return "\n".join(lines)


def _governed(card: Card, *, finished: bool) -> Iterator[str]:
    if facts.verdict(card) and acts.verdict_counts(card):
        yield f"[verdict: {facts.verdict(card)}]"
    for aspect in acts.aspects(card):
        yield f"[{acts.label(aspect)}: {'; '.join(aspect.lines)}]"
    waiting = None if finished else card.waiting
    approval = acts.preview_of(card)
    if approval is not None and waiting is not None:
        yield f"[preview: {acts.preview_title(approval)}]\n{quoted(approval.preview[:RESULT_CHARS])}"
    for line in acts.receipts(card, ASCII, times=False, finished=finished):
        yield f"[receipt: {line}]"
    if waiting is not None:
        yield f"[question {facts.one_line(waiting.question.id)}: waiting for the user]"
    tail, _ = ("", False) if card.closed or finished else acts.output_tail(card.output)
    if tail:
        yield f"[printed so far]\n{quoted(tail)}"


def _act(shown: Asked | Variables | Compacted | Recalled | Product, *, finished: bool) -> str:
    match shown:
        case Asked():
            return _question(shown, finished=finished)
        case Variables():
            return _variables(shown)
        case Compacted():
            return _compacted(shown)
        case Recalled():
            return _recalled(shown)
        case Product():
            return _product(shown)


def _question(asked: Asked, *, finished: bool) -> str:
    return f"[question {acts.question_line(asked, ASCII, finished=finished)}]"


def _variables(shown: Variables) -> str:
    rows = "; ".join(
        f"{name} {change}: {before} -> {after}" for name, change, before, after in acts.variable_rows(shown)
    )
    note = acts.variables_note(shown)
    told = f"[{acts.variables_title(shown)}: {rows}]" + (f"\n[{note}]" if note else "")
    return told + ("\n[they were rolled back later]" if shown.undone else "")


def _plan(transcript: Transcript) -> str:
    items = [
        f"{acts.plan_mark(item, ASCII)} {acts.plan_text(item)} ({acts.plan_word(item)})"
        for item in transcript.plan
    ]
    return "\n".join([f"[{acts.plan_title(transcript.plan)}]", *items]) if items else ""


def _evidence(transcript: Transcript) -> str:
    """Where the answer says that it is from; the passages themselves stand in results."""
    shown, answer = proofs.shown(transcript), transcript.text
    if shown is None or not transcript.finished:
        return ""
    lines = [f"[evidence {one.passage.number}: {proofs.line(one)}]" for one in shown.cited(answer)[0]]
    flag = proofs.warning(shown, answer)
    return "\n".join([*lines, f"[evidence: {flag}]"] if flag else lines)


def quoted(text: str) -> str:
    """Foreign text; a line in it that looks like one of our brackets is marked as quoted."""
    return _OURS.sub("> ", visible(text))
