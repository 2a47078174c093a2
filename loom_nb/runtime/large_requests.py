"""Before a request that is large all of a sudden: a person is told what makes it so, and chooses.

What is left out is left out by the same facts as everywhere, and can be undone. Where nobody can be
asked it is sent, and said so; what may be spent is the business of the caps.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from loom_nb.errors import RunStopped
from loom_nb.events import Change, ContextMarked, Noticed
from loom_nb.messages import (
    DataPart,
    FilePart,
    ImagePart,
    Message,
    Part,
    TextPart,
    ToolResultPart,
    Usage,
)
from loom_nb.questions import Option, Question
from loom_nb.runtime.compaction import Situation, Snip, tried
from loom_nb.runtime.context import LEFT_PART, Shown, View, item_name, last_instruction, without_words
from loom_nb.runtime.preflight import Preflight
from loom_nb.runtime.pressure import compact_now, fit, tell_compacted
from loom_nb.runtime.recall import recall_tool
from loom_nb.runtime.spending import at_most, plays
from loom_nb.runtime.stage import Stage
from loom_nb.runtime.working import draw
from loom_nb.settings import money, waiting_time
from loom_nb.tokens import estimate_message, estimate_part

HEADING = "instructions and tools"
TOLD = 3
"""Items that are named."""
LEAST = 0.1
"""Of a request: a smaller item is not what makes it large."""
HEAD = Snip(chars=2_400, head=1_600, tail=400, name="head")


async def ready(stage: Stage, tokens: int) -> int:
    """Make room for the next request, and ask about it where it is unexpectedly large; gives its tokens.

    Raises:
        LoomContextError: what is never left out is too large by itself.
        RunStopped: a person does not want it sent, or did not answer.
    """
    policy, idle = stage.runtime.preflight, False
    while True:
        tokens = await fit(stage, tokens)
        whole, before = stage.size(stage.request), stage.meter.sent
        large = _large(stage, policy, whole)
        if whole < large or whole < before * policy.times or plays(stage.model, stage.request):
            break
        chosen = await _chosen(stage, policy, whole, compacts=not idle)
        if not chosen:
            break
        draw(stage)
        tokens = stage.size(stage.request)
        idle = chosen == "compact" and stage.size(stage.request) >= whole
        if idle:
            stage.say(Noticed("Nothing could be shortened: the request is as large as before.", "warning"))
    stage.room = min(stage.room, max(large, int(max(before, whole) * policy.times)))
    return tokens


def _large(stage: Stage, policy: Preflight, tokens: int) -> int:
    """Tokens from which on a request is large."""
    large = sys.maxsize if policy.above is None else policy.above
    if policy.cost is not None:
        cost = at_most(stage.reference, Usage(input_tokens=tokens))
        if cost:
            large = min(large, int(tokens * policy.cost / cost))
    return max(large, 1)


# -- what makes it large ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heavy:
    """A part of a message that weighs much of a request."""

    number: int
    """Of the message, counted from 0."""
    part: int
    tokens: int
    words: str
    """What it is: `output of read_file`."""
    alone: bool
    """Whether it is all that its message says, so that the message can be hidden."""
    has_head: bool
    """Whether its beginning and its end can stand for it."""
    of: int = 1
    """Parts of its message."""

    @property
    def name(self) -> str:
        """How it is typed: `m7`; `m7.2` where only a part of a message is meant."""
        return self.message if self.of == 1 or self.alone else f"{self.message}.{self.part + 1}"

    @property
    def message(self) -> str:
        """How its message is typed."""
        return item_name(self.number)

    def __str__(self) -> str:
        return f"{self.name} {self.words} ({thousands(self.tokens)})"


def heavy(items: Sequence[Shown], instruction: int, tokens: int) -> list[Heavy]:
    """The parts that weigh most of a request of so many tokens and can be left out, heaviest first.

    Args:
        items: what is sent.
        instruction: the number of the latest instruction, whose words stay.
        tokens: of the request.
    """
    found = [
        one
        for item in items
        if item.first == item.last
        for one in _parts(item, is_instruction=item.first == instruction)
        if one.tokens >= tokens * LEAST
    ]
    return sorted(found, key=lambda one: -one.tokens)


def _parts(item: Shown, *, is_instruction: bool) -> Iterator[Heavy]:
    whole = estimate_message(item.message)
    several = sum(bool(_words(part, item.message)) for part in item.message.parts) > 1
    for place, part in enumerate(item.message.parts):
        words = _words(part, item.message)
        if not words or (is_instruction and isinstance(part, TextPart)):
            continue
        tokens = estimate_part(part)
        alone = not is_instruction and not several and tokens >= whole * 0.9
        has_head = isinstance(part, DataPart | ToolResultPart) and len(part.text) > HEAD.chars
        yield Heavy(item.first, place, tokens, words, alone, has_head, len(item.message.parts))


def _words(part: Part, message: Message) -> str:
    match part:
        case ToolResultPart():
            return f"output of {part.name}"
        case DataPart():
            return f"data {part.name}"
        case ImagePart() | FilePart():
            return part.name or part.media_type
        case TextPart():
            return "answer" if message.role == "assistant" else "prompt"
        case _:
            return ""


def thousands(tokens: int) -> str:
    """`41k`; whole below a thousand."""
    return f"{tokens / 1_000:.0f}k" if tokens >= 1_000 else str(tokens)


# -- asking ----------------------------------------------------------------------------------------------


async def _chosen(stage: Stage, policy: Preflight, tokens: int, *, compacts: bool) -> str:
    """Ask, and do what is chosen; gives it, or nothing where the request is to be sent as it is."""
    view = stage.view
    parts = heavy(view.items(), last_instruction(view.conversation.messages), tokens)
    cost = at_most(stage.reference, Usage(input_tokens=tokens))
    told = f"about {thousands(tokens)} tokens{f' (≈ {money(cost)})' if cost else ''}"
    weighs = [(one.tokens, str(one), f"{one.name} {one.words}: {thousands(one.tokens)}") for one in parts]
    head = stage.head()
    if head >= tokens * LEAST:
        weighs.append((head, f"{HEADING} ({thousands(head)})", f"{HEADING}: {thousands(head)}"))
    weighs = sorted(weighs, key=lambda one: -one[0])[:TOLD]
    largest = f"; the largest: {', '.join(words for _, words, _ in weighs)}" if weighs else ""
    if not policy.ask or not (stage.asking.attended or stage.governance.unattended == "wait"):
        stage.say(Noticed(f"The next request is large, {told}{largest}. Nobody was asked.", "warning"))
        return ""
    expires = stage.clock.now() + policy.answer_within
    lines = [line for _, _, line in weighs]
    question = question_of(told, parts, lines, expires, compacts=compacts)
    reply = await stage.asking.ask(question, stage.say, stage.commit, wait=True)
    match reply.value:
        case "send":
            return ""
        case "leave":
            await _leave_out(stage, parts[0])
        case "head":
            await _head_only(stage, parts[0])
        case "compact":
            await compact_now(stage, stage.meter.weigh())
        case _:
            raise _not_sent(reply.how == "timeout", told, policy)
    return str(reply.value)


def question_of(
    told: str, parts: Sequence[Heavy], lines: Sequence[str], expires: float, *, compacts: bool
) -> Question:
    """What a person is asked of a large request.

    Args:
        told: its size, and what it costs.
        parts: what weighs most of it and can be left out, heaviest first.
        lines: what weighs most of it, in words.
        expires: when nobody has answered, it is not sent.
        compacts: whether earlier turns may become shorter.
    """
    options = [Option("send", "Send it")]
    if parts:
        one = parts[0]
        back = f"%loom context unhide {one.message}" if one.alone else "%loom compact undo"
        options.append(
            Option("leave", f"Leave {one.name} out", f"{thousands(one.tokens)} less; {back} brings it back")
        )
        if one.has_head:
            kept = (
                f"{HEAD.head:,} characters of it and the last {HEAD.tail:,}; %loom compact undo takes it back"
            )
            options.append(Option("head", f"Only the head of {one.name}", kept))
    if compacts:
        shorter = "earlier turns become shorter; %loom compact undo takes it back"
        options.append(Option("compact", "Compact first", shorter))
    options.append(Option("stop", "Stop", "nothing is sent"))
    largest = "\n".join(lines)
    return Question(
        "",
        "choice",
        f"This will send {told}",
        text=f"The largest in it:\n{largest}" if lines else "",
        options=tuple(options),
        default="stop",
        expires=expires,
        asked_by="budget",
    )


def _not_sent(late: bool, told: str, policy: Preflight) -> RunStopped:
    why = f"nobody answered within {waiting_time(policy.answer_within)}" if late else "you chose to stop"
    return RunStopped("the request was not sent", reason=f"{why}: a request of {told} was not sent")


# -- leaving out -----------------------------------------------------------------------------------------


async def _leave_out(stage: Stage, one: Heavy) -> None:
    if not one.alone:
        await _change(stage, LEFT_PART, [without_part(stage.view.items(), one)])
        return
    view, fact = stage.view, ContextMarked(one.number, "hidden")
    before = view.tokens
    view.take(fact)
    stage.request.conversation = view.shown
    stage.meter.shrunk(before - view.tokens)
    stage.say(fact)


def without_part(items: Sequence[Shown], one: Heavy) -> Change:
    """The message of a part with a note in the place of the part."""
    message = _shown(items, one)
    parts = (
        *message.parts[: one.part],
        without_words(message.parts[one.part]),
        *message.parts[one.part + 1 :],
    )
    return Change(one.number, one.number, (msgspec.structs.replace(message, parts=parts),))


def head_of_part(view: View, one: Heavy, budget: int) -> list[Change]:
    """The message of a part with the beginning and the end of that part alone in its place."""
    message = _shown(view.items(), one)
    others = frozenset(range(one.number))
    return [
        Change(one.number, one.number, (msgspec.structs.replace(message, parts=parts),))
        for cut in HEAD.compact(Situation(view, one.number + 1, others, budget))
        for parts in [
            (*message.parts[: one.part], cut.messages[0].parts[one.part], *message.parts[one.part + 1 :])
        ]
    ]


def _shown(items: Sequence[Shown], one: Heavy) -> Message:
    return next(item.message for item in items if item.first == item.last == one.number)


async def _head_only(stage: Stage, one: Heavy) -> None:
    await _change(stage, "head", head_of_part(stage.view, one, stage.budget))


async def _change(stage: Stage, strategy: str, changes: Sequence[Change]) -> None:
    compacted, _ = tried(stage.view, strategy, tuple(changes), stage.meter.weigh(), "asked for")
    stage.view.take(compacted)
    stage.request.tools = stage.kit.offer(recall_tool(stage.view))
    await tell_compacted(stage, compacted)
