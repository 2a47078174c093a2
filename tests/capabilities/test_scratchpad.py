"""The agent's own notes: what it writes there stands, within its bounds."""

import pytest

from loom_nb import Agent, Capability, GovernancePolicy, MemoryStore, Model, Runtime
from loom_nb.capabilities.scratchpad import MAX_NOTES
from loom_nb.events import NotesWritten
from loom_nb.models.scripted import Call


async def wrote(*notes, runtime=None):
    calls = [Call("scratchpad", {"how": how, "text": text}) for how, text in notes]
    agent = Agent(
        Model.scripted([*calls, "done"]),
        capabilities=[Capability.scratchpad()],
        session_store=MemoryStore(),
        runtime=runtime or Runtime(),
    )
    async with agent.session() as session:
        result = await session.run("take notes")
        board = await session.dashboard()
    assert result.status == "completed", result.reason
    return result, board.scratchpad


async def test_notes_are_appended_replaced_cleared_and_read():
    result, stands = await wrote(
        ("append", "one"), ("append", "  two\n"), ("read", ""), ("replace", "three"), ("clear", ""), ("read", ""),
        ("append", "four"),
    )  # fmt: skip

    assert stands == "four"
    assert [use.result for use in result.tools] == [
        "3 of 1,200 characters are used",
        "7 of 1,200 characters are used",
        "one\ntwo",
        "5 of 1,200 characters are used",
        "the scratchpad is empty",
        "the scratchpad is empty",
        "4 of 1,200 characters are used",
    ]
    kept = [entry.event for entry in result.events if isinstance(entry.event, NotesWritten)]
    assert kept == [
        NotesWritten("one"), NotesWritten("two"), NotesWritten("three", "replace"), NotesWritten(how="clear"),
        NotesWritten("four"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("how", "text", "said"),
    [
        ("append", "x" * MAX_NOTES, "replace all notes by what still matters"),
        ("replace", "x" * (MAX_NOTES + 1), "holds 1,200 characters"),
        ("append", "  ", "what is there to append?"),
        ("clear", "this", "nothing goes with clear"),
        ("burn", "", "how"),
    ],
)
async def test_what_cannot_be_noted_is_refused_and_the_notes_stand(how, text, said):
    result, stands = await wrote(("append", "one"), (how, text))

    assert stands == "one"
    assert said in result.tools[-1].result
    assert result.tools[-1].outcome in ("error", "invalid")


async def test_it_only_looks_so_that_nobody_is_asked_in_any_mode():
    (tool,) = (await Capability.scratchpad().open()).tools

    assert tool.read_only
    assert tool.effects == frozenset({"reads"})
    for mode in ("read-only", "ask", "edits"):
        _, stands = await wrote(("append", "one"), runtime=Runtime(governance=GovernancePolicy(mode=mode)))
        assert stands == "one"


async def test_a_log_of_notes_reads_back():
    from loom_nb.events import event_from_json, event_to_json

    for event in (NotesWritten("a", "replace"), NotesWritten()):
        assert event_from_json(event_to_json(event)) == event
