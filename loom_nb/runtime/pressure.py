"""Before a model call: whether the request fits, and what is left out where it does not."""

import dataclasses
import sys
from collections.abc import Callable, Sequence

import msgspec

from loom_nb.errors import LoomContextError, ModelError, RunLimited
from loom_nb.events import ContextCompacted, Noticed
from loom_nb.messages import MODEL, Conversation, DataPart, Message, Origin, TextPart, Usage
from loom_nb.protocols import Generation, LanguageModel, Reply, Request, Running
from loom_nb.runtime.active_skills import bodies_of_skills
from loom_nb.runtime.calls import tell
from loom_nb.runtime.compaction import ContextProtocol, Step, calls_in_words, make_room
from loom_nb.runtime.context import View, item_name, last_instruction, words_of
from loom_nb.runtime.continuity import ContinuityPolicy
from loom_nb.runtime.harness import begins_again
from loom_nb.runtime.recall import recall_tool
from loom_nb.runtime.spending import plays
from loom_nb.runtime.stage import Stage, pay
from loom_nb.runtime.working import draw
from loom_nb.tokens import estimate, estimate_message, room_in

UNSEEN = 6_000
"""Tokens: a smaller request fits whatever model it is; its window is not looked up."""
TIGHT = 0.9
"""The pressure at which all turns but the last may be shortened."""


async def fit(stage: Stage, tokens: int) -> int:
    """Make room where the next request would be too large; gives its tokens.

    Args:
        stage: of the run.
        tokens: of the request, with all that stands before the conversation.

    Raises:
        LoomContextError: what is never left out is too large by itself.
    """
    budget = _budget(stage)
    if budget is None:
        stage.room = sys.maxsize  # only the vendor knows: ask no more in this run
        return tokens
    stage.budget = budget
    stage.room = _first(stage, budget)
    if stage.head() >= budget:
        raise _full(stage, budget)
    protocol = stage.runtime.context
    target = int(budget * protocol.target)
    pressure = tokens / budget
    steps = [step for step in protocol.ladder if step.at <= pressure]
    if steps:
        tokens = await _shrink(stage, steps, budget, tokens, target, f"pressure {pressure:.0%}")
    if tokens > budget * TIGHT:  # the last turns are too much by themselves
        told = f"pressure {tokens / budget:.0%} of the last turns alone"
        tokens = await _shrink(stage, protocol.ladder, budget, tokens, target, told, keep=1)
    return tokens


async def overflowed(stage: Stage) -> bool:
    """The vendor refused the request as too large: show less. Whether there was anything to leave out."""
    head, tokens = stage.head(), stage.size(stage.request)
    sent = max(tokens, stage.view.tokens + stage.meter.working + head)
    stage.meter.limit = min(sent, stage.meter.limit or sent)
    stage.room = 0
    before = tokens
    for keep in (stage.runtime.context.keep_turns, 1):
        ladder = stage.runtime.context.ladder
        tokens = await _shrink(stage, ladder, before, tokens, before // 2, "the vendor's limit", keep)
        if tokens <= before * 3 // 4:
            break
    return tokens < before


async def compact_now(stage: Stage, tokens: int) -> int:
    """Show less because a person wants it, all turns but the last; gives the tokens."""
    ladder = stage.runtime.context.ladder
    return await _shrink(stage, ladder, max(tokens, 1), tokens, tokens // 2, "asked for", keep=1)


async def _shrink(
    stage: Stage, steps: Sequence[Step], budget: int, tokens: int, target: int, reason: str, keep: int = 0
) -> int:
    """Take these steps, tell of them, and send what is left; gives the tokens."""
    protocol = stage.runtime.context
    if keep:
        protocol = dataclasses.replace(protocol, keep_turns=keep)

    policy = stage.runtime.continuity
    written: list[Usage] = []

    async def summarise(text: str) -> str:
        request = stage.request
        reply, played = await handoff(stage.model, request.generation, policy, budget, text, request.run)
        pay(stage, reply, aside=True, played=played)
        written.append(reply.usage)
        return reply.message.text.strip()

    situation = protocol.situation(stage.view, budget, summarise if policy.sections else None)
    situation = dataclasses.replace(
        situation, stays=situation.stays | _critiques(stage.view) | bodies_of_skills(stage.view, budget)
    )
    for step in steps:
        try:
            taken = await make_room(situation, [step], tokens, target, reason)
        except (ModelError, RunLimited) as error:  # the milder steps have done what they could
            stage.say(Noticed(f"the context was not summarised: {error.title}", "warning"))
            continue
        except Exception as error:  # noqa: BLE001  the border: a strategy may be anybody's, the run goes on
            told = f"{step.compaction.name} failed: {type(error).__name__}: {error}"
            stage.say(Noticed(f"the context was not compacted: {told}", "warning"))
            continue
        for one in taken:
            compacted = one
            if one.handoff and written:
                compacted = msgspec.structs.replace(one, usage=sum(written, Usage()))
                stage.view.compactions = {**stage.view.compactions, one.id: compacted}
                written.clear()
            stage.request.tools = stage.kit.offer(recall_tool(stage.view))
            tokens = compacted.tokens_after + await tell_compacted(stage, compacted)
    if written:
        unused = calls_in_words(len(written), sum(written, Usage()))
        stage.say(Noticed(f"{unused}: it freed too little and is not used"))
    return tokens


def _critiques(view: View) -> frozenset[int]:
    """Messages with which attempts of this run began: no step may tell them in other words."""
    messages = view.conversation.messages
    begun = range(last_instruction(messages) + 1, len(messages))
    return frozenset(number for number in begun if begins_again(messages[number]))


async def tell_compacted(stage: Stage, compacted: ContextCompacted) -> int:
    """Send what is left from now on, and say so; the view has taken it.

    Gives how many tokens more the dashboard has, which tells of it.
    """
    stage.request.conversation = stage.view.shown
    stage.meter.shrunk(compacted.tokens_before - compacted.tokens_after)
    stage.say(compacted)
    before = stage.meter.working
    draw(stage)
    if stage.hooks.given:
        await tell(
            stage, "on_context_compact", strategy=compacted.strategy, reason=compacted.reason,
            before=compacted.tokens_before, after=compacted.tokens_after,
        )  # fmt: skip
        if compacted.handoff:
            await tell(stage, "context_renewed", handoff=compacted.handoff)
    return stage.meter.working - before


async def handoff(
    model: LanguageModel,
    generation: Generation,
    policy: ContinuityPolicy,
    budget: int,
    text: str,
    run: Running | None = None,
) -> tuple[Reply, bool]:
    """A model's notes on the work so far, by which somebody goes on with it; whether they are a recording's.

    Raises:
        ModelError: the call failed, or nothing was written.
    """
    most = max(200, min(policy.max_tokens, budget // 8))
    told = Message(
        "user", (TextPart("Write the handoff.", Origin("system")), DataPart("conversation", text, MODEL))
    )
    request = Request(
        policy.prompt,
        Conversation([told]),
        (),
        dataclasses.replace(generation, max_output_tokens=most),
        run=run,
    )
    played = plays(model, request)
    reply = await model.reply(request, lambda _: None)
    if not reply.message.text.strip():
        raise ModelError("the model wrote an empty handoff", fault="format")
    return reply, played


def _budget(stage: Stage) -> int | None:
    answer = stage.request.generation.max_output_tokens
    return budget_of(stage.runtime.context, stage.reference.window, answer, stage.meter.limit)


def budget_of(
    protocol: ContextProtocol, window: Callable[[], int | None], answer: int | None, limit: int | None
) -> int | None:
    """Tokens that a request may have, where that is known.

    Args:
        protocol: may set it.
        window: tokens that the model can take; the first look may take a while.
        answer: tokens of the answer at most, where there is a limit.
        limit: tokens of a request that the vendor has refused as too large.
    """
    if protocol.budget is not None:
        return protocol.budget
    most = window()
    if most is not None:
        most = room_in(most, answer)
    return min(most or limit, limit) if limit is not None else most


def _first(stage: Stage, budget: int) -> int:
    return int(budget * min((step.at for step in stage.runtime.context.ladder), default=1.0))


def _full(stage: Stage, budget: int) -> LoomContextError:
    """Instructions and tools alone leave no room."""
    request = stage.request
    items = [("the instructions", estimate(request.system))]
    items += [(f"the tool {one.name}", one.tokens) for one in request.tools]
    items += [
        (f"{item_name(number)}: {' '.join(words_of(message).split())[:40]}", estimate_message(message))
        for number, message in enumerate(stage.view.conversation.messages)
    ]
    largest = sorted(items, key=lambda item: -item[1])[:5]
    return LoomContextError(
        f"instructions and tools take {request.head_tokens:,} tokens of a budget of {budget:,}",
        cause="the largest: " + "; ".join(f"{name} {tokens:,}" for name, tokens in largest),
        fixes=["fewer tools, shorter instructions, or a larger Runtime(context=ContextProtocol(budget=…))"],
    )
