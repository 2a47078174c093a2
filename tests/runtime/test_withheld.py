"""What a person keeps from the model is told by nothing that was written of it before."""

import msgspec
import pytest

from loom_nb import Agent, Capability, ContextProtocol, MemoryStore, Model, Runtime, SessionConfig
from loom_nb.events import ContextCompacted
from loom_nb.messages import Conversation, Message, TextPart, user
from loom_nb.models.scripted import Call
from loom_nb.runtime.compaction import Auto, Collapse, Snip, Step
from loom_nb.runtime.context import View, words_of

ALL_OF_IT = Runtime(context=ContextProtocol(ladder=(Step(0.9, Auto()),)))
HANDOFF = "HANDOFF: the code is SECRET42"


def sent(session) -> str:
    return "\n".join(words_of(message) for message in session.view.shown)


async def handed_over(*replies, store=None):
    """A conversation of four runs, of which the third tells a secret, and a handoff over two ranges."""
    said = ["a " * 200, "b " * 200, "the code is SECRET42 " + "c " * 200, "d"]
    agent = Agent(
        Model.scripted([*said, HANDOFF, *replies]), session_store=store or MemoryStore(), runtime=ALL_OF_IT
    )
    session = agent.session()
    for prompt in ("first " * 50, "second " * 50, "third " * 50, "fourth"):
        await session.run(prompt)
    await session.mark(2, "pinned")
    (compacted,) = await session.compact("auto")
    assert [(one.first, one.last) for one in compacted.changes] == [(0, 1), (3, 4)]
    assert HANDOFF in sent(session)
    return session, compacted


@pytest.mark.parametrize("how", ["hidden", "left out"])
async def test_a_handoff_is_withdrawn_when_anything_it_tells_of_is_withheld_later(how):
    session, _ = await handed_over()
    if how == "hidden":
        await session.mark(5, "hidden")
    else:
        left = await session.leave_out("r3")
    assert "SECRET42" not in sent(session)
    if how == "hidden":
        await session.mark(5, None)
    else:
        await session.undo_compaction(left.id)
    assert HANDOFF in sent(session)


async def test_a_handoff_of_an_older_log_tells_of_all_up_to_its_end():
    session, compacted = await handed_over()
    old = msgspec.structs.replace(compacted, tells=())
    view = View(session.conversation)
    view.take(old)
    assert any(HANDOFF in words_of(one) for one in view.shown)
    await session.mark(2, "hidden")
    view.take(*(one.event for one in session.events() if type(one.event).__name__ == "ContextMarked"))
    assert not any(HANDOFF in words_of(one) for one in view.shown)


async def test_a_list_is_withdrawn_when_the_message_is_hidden_that_wrote_the_plan_it_tells():
    replies = ["a " * 200, "b " * 200, Call("write_plan", {"steps": [{"text": "PLANSECRET"}]}), "ok"]
    agent = Agent(
        Model.scripted(replies),
        capabilities=[Capability.plan()],
        session_store=MemoryStore(),
        runtime=Runtime(context=ContextProtocol(ladder=(Step(0.6, Snip(60, 30, 10)), Step(0.8, Collapse())))),
    )
    session = agent.session()
    for prompt in ("first " * 50, "second " * 50, "plan it"):
        await session.run(prompt)
    (compacted,) = await session.compact("collapse")
    assert compacted.changes[0].last < session.view.planned
    assert "PLANSECRET" in words_of(session.view.shown.messages[0])
    await session.mark_all((session.view.planned, session.view.planned + 1), "hidden")
    assert "PLANSECRET" not in sent(session)


async def test_a_handoff_is_not_put_in_force_again_with_what_was_hidden_in_the_meantime():
    session, compacted = await handed_over()
    await session.mark(5, "hidden")
    await session.undo_compaction(compacted.id)
    assert await session.compact_again(compacted.id, compacted.changes) is None
    assert "SECRET42" not in sent(session)
    await session.mark(5, None)
    assert await session.compact_again(compacted.id, compacted.changes) is not None
    assert HANDOFF in sent(session)
    await session.mark(5, "hidden")
    assert "SECRET42" not in sent(session)


async def test_what_tells_of_a_handoff_goes_with_it():
    session, _ = await handed_over("more", "HANDOFF again: SECRET42", "no")
    await session.mark(2, None)
    await session.run("fifth " * 200)
    (second,) = await session.compact("auto")
    assert "HANDOFF again" in sent(session) and second.tells == ((0, 8),)
    await session.mark(5, "hidden")
    assert "SECRET42" not in sent(session)


async def test_another_process_withdraws_it_too():
    store = MemoryStore()
    session, _ = await handed_over(store=store)
    await session.mark(5, "hidden")
    name, words = session.id, sent(session)
    await session.close()
    async with Agent(Model.scripted([]), session_store=store).session(SessionConfig(name)) as again:
        await again.ledger()
        assert sent(again) == words


def test_an_event_of_an_older_log_reads_as_telling_nothing_beside_its_own():
    now = ContextCompacted("c1", "snip", "r", (), 1, 1, tells=((0, 3),))
    old = msgspec.to_builtins(now)
    del old["tells"]
    assert msgspec.convert(old, ContextCompacted).tells == ()


def test_a_compaction_counts_by_its_id_also_where_those_before_it_are_not_in_the_log():
    view = View(Conversation([user("a"), Message("assistant", (TextPart("b"),)), user("c")]))
    view.take(ContextCompacted("c4", "snip", "r", (), 1, 1))
    assert view.numbers == 4
