"""Two runs side by side: folded from their logs, whatever is in them."""

from hypothesis import given
from hypothesis import strategies as st

from loom_nb import Agent, Model, tool
from loom_nb.events import LogEntry, RunStarted, TurnFinished
from loom_nb.messages import Usage
from loom_nb.models.scripted import Call
from loom_nb.runtime.difference import CalledTool, CallPair, Chunk, compared, difference, paired, side_of


@tool(effects={"reads"})
def look(place: str, deep: int = 1) -> str:
    """Looks."""
    return f"{place} at {deep}"


async def results(*scripts):
    agent = Agent(Model.scripted([step for script in scripts for step in script[1]]), tools=[look])
    async with agent.session() as session:
        return [await session.run(prompt) for prompt, _ in scripts]


async def test_the_same_run_twice_has_no_difference():
    one, other = await results(*[("go", [Call("look", {"place": "x"}), "found it"])] * 2)

    told = one.diff(other)

    assert told.differs == ()
    assert repr(told) == "<r1 and r2: the same>"
    assert [pair.difference for pair in told.calls] == [""]
    assert (told.left.turns, told.left.answer) == (2, "found it")


async def test_what_is_other_is_told_by_name():
    one, other = await results(
        (
            "go there",
            [Call("look", {"place": "x", "deep": 1}), Call("look", {"place": "y"}), "found three of it"],
        ),
        ("go here", [Call("look", {"place": "x", "deep": 2}), "found two of it"]),
    )

    told = difference(one.events, other)

    assert told.differs == ("prompt", "calls", "answer")
    assert told.prompt == (Chunk("same", "go "), Chunk("gone", "there"), Chunk("new", "here"))
    assert told.answer == (
        Chunk("same", "found "),
        Chunk("gone", "three"),
        Chunk("new", "two"),
        Chunk("same", " of it"),
    )
    assert [pair.difference for pair in told.calls] == ["arguments", "only left"]


async def test_a_refused_call_is_told_with_what_it_was_to_be():
    one, other = await results(
        ("go", [Call("look", {"place": "x"}), "done"]), ("go", [Call("look", {"plaice": "x"}), "done"])
    )

    (pair,) = one.diff(other).calls

    assert pair.difference == "arguments"
    assert pair.right == CalledTool("look", {"plaice": "x"}, "invalid", pair.right.result)


async def test_what_each_took_and_how_it_ended_is_part_of_it():
    one, other = await results(("go", ["x"]), ("go", []))

    told = one.diff(other)

    assert (told.left.status, told.right.status) == ("completed", "failed")
    assert "status" in told.differs
    assert told.left.usage == one.usage
    assert told.right.cost == other.cost


def test_calls_that_are_alike_stand_beside_each_other():
    def call(place, name="look"):
        return CalledTool(name, {"place": place}, "ok", place)

    pairs = list(paired([call("a"), call("b"), call("c")], [call("a"), call("x", "seek"), call("c")]))

    assert pairs == [
        CallPair(call("a"), call("a")),
        CallPair(call("b"), None),
        CallPair(None, call("x", "seek")),
        CallPair(call("c"), call("c")),
    ]


def test_a_change_of_several_words_is_one_change():
    assert compared("the big red house", "the old wooden house") == (
        Chunk("same", "the "),
        Chunk("gone", "big red"),
        Chunk("new", "old wooden"),
        Chunk("same", " house"),
    )


@given(st.text("ab \n", max_size=60), st.text("ab \n", max_size=60))
def test_each_text_is_whole_in_its_comparison(left, right):
    chunks = compared(left, right)

    assert "".join(one.text for one in chunks if one.kind != "new") == left
    assert "".join(one.text for one in chunks if one.kind != "gone") == right
    assert all(one.text for one in chunks)


def test_long_texts_are_compared_line_by_line():
    lines = [f"line {n} of many" for n in range(3_000)]
    other = [*lines[:1_500], "another line", *lines[1_501:]]

    changed = [one for one in compared("\n".join(lines), "\n".join(other)) if one.kind != "same"]

    assert sum(len(one.text) for one in changed) < 60


def test_a_run_without_an_end_is_told_by_what_its_model_calls_took():
    entries = [
        LogEntry("s", 1, "r1", 10.0, RunStarted("m", "hi")),
        LogEntry("s", 2, "r1", 12.0, TurnFinished(1, Usage(10, 5), "tool_calls", "big", cost=0.5)),
        LogEntry("s", 3, "r1", 13.5, TurnFinished(2, Usage(20, 7), "tool_calls", cost=0.25)),
    ]

    side = side_of(entries, "running")

    assert (side.status, side.turns, side.usage) == ("running", 2, Usage(30, 12))
    assert (side.cost, side.seconds, side.answered) == (0.75, 3.5, "big")
    assert side_of(entries).status == "interrupted"
    unpriced = LogEntry("s", 4, "r1", 14.0, TurnFinished(3, Usage(1, 1), "end"))
    assert side_of([*entries, unpriced]).cost is None
