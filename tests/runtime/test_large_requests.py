"""A request that is large all of a sudden is asked about, and what is chosen is what happens."""

import pytest

from loom_nb import (
    Agent,
    Answer,
    ContextProtocol,
    MemoryStore,
    Model,
    Preflight,
    Runtime,
    RuntimeTask,
    SessionConfig,
    SpendingCaps,
    SqliteStore,
    tool,
)
from loom_nb.errors import LoomUsageError
from loom_nb.events import (
    ContextCompacted,
    ContextMarked,
    Noticed,
    QuestionAnswered,
    QuestionAsked,
    TurnStarted,
)
from loom_nb.messages import DataPart, Origin
from loom_nb.models.scripted import Call
from loom_nb.runtime.compaction import LADDER, tried
from loom_nb.runtime.large_requests import heavy, thousands, without_part
from loom_nb.testing.clock import ManualClock

LONG = "station reading 17.4 " * 8_000
SMALL = Preflight(2_000)


@tool(read_only=True, max_chars=1_000_000)
def read_file(path: str) -> str:
    return LONG[:20_000] if path.startswith("short") else LONG


def agent(*replies, store=None, preflight=SMALL, **options) -> Agent:
    return Agent(
        Model.scripted(replies),
        tools=[read_file],
        session_store=store or MemoryStore(),
        runtime=Runtime(preflight=preflight, **options),
    )


async def chosen(spec, *choices, task="read it", session=None):
    """Run with a person who chooses these, one after the other."""
    session = session or spec.session()
    left = list(choices)
    leave = session.attend()
    run = session.start(task)

    def sink(event):
        if isinstance(event, QuestionAsked):
            session.send(Answer(event.question.id, left.pop(0)))

    run.subscribe(sink)
    result = await run
    leave()
    assert not left, "not asked so often"
    return session, result


def of(result, *kinds):
    return [entry.event for entry in result.events if isinstance(entry.event, kinds)]


READ = Call("read_file", {"path": "long.csv"})


async def test_what_makes_it_large_is_told_with_what_can_be_done():
    _, result = await chosen(agent(READ, "done"), "send")
    (question,) = [one.question for one in of(result, QuestionAsked)]

    assert result.status == "completed"
    assert question.title == "This will send about 42k tokens"
    assert question.text == "The largest in it:\nm3 output of read_file: 42k"
    assert [option.value for option in question.options] == ["send", "leave", "head", "compact", "stop"]
    assert [option.label for option in question.options][1:3] == ["Leave m3 out", "Only the head of m3"]
    assert question.default == "stop"


async def test_what_is_left_out_is_hidden_and_can_be_brought_back():
    saw = []
    spec = agent(READ, lambda messages: saw.extend(messages) or "done")
    session, result = await chosen(spec, "leave")

    assert result.status == "completed"
    assert of(result, ContextMarked) == [ContextMarked(2, "hidden")]
    assert saw[-1].parts[0].text == "[left out by the person]"
    assert [one.tokens for one in of(result, TurnStarted)][-1] < 200
    await session.mark(2, None)
    assert LONG in str(session.view.shown.messages[2].parts[0].text)


async def test_of_a_head_the_rest_can_be_recalled_and_it_is_undone_like_any_compaction():
    saw = []
    spec = agent(READ, lambda messages: saw.extend(messages) or "done")
    session, result = await chosen(spec, "head")

    (compacted,) = of(result, ContextCompacted)
    assert (compacted.strategy, compacted.reason) == ("head", "asked for")
    assert len(saw[-1].parts[0].text) < 2_400
    assert 'recall("m3")' in saw[-1].parts[0].text
    before = list(session.conversation)
    await session.undo_compaction()
    assert list(session.view.shown) == before


async def test_data_that_came_with_the_prompt_can_be_left_out_but_not_the_prompt():
    saw = []
    spec = agent(lambda messages: saw.extend(messages) or "done")
    given = (DataPart("table", LONG, Origin("user")), DataPart("other", "little", Origin("user")))
    session, result = await chosen(spec, "leave", task=RuntimeTask("what is in it?", attachments=given))
    assert result.status == "completed"
    first, *rest = saw[0].parts
    assert first.text == "what is in it?"
    assert [part.text for part in rest if isinstance(part, DataPart)] == [
        "[left out by the person]",
        "little",
    ]
    assert [one.strategy for one in of(result, ContextCompacted)] == ["leave out"]
    await session.undo_compaction()
    assert LONG in session.view.shown.messages[0].parts[1].text


async def test_a_long_prompt_of_the_person_alone_is_not_offered_to_be_left_out():
    _, result = await chosen(agent("done"), "send", task="word " * 20_000)
    (question,) = [one.question for one in of(result, QuestionAsked)]
    assert [option.value for option in question.options] == ["send", "compact", "stop"]
    assert question.text == ""


async def test_of_several_results_only_the_large_one_is_left_out():
    saw = []
    both = [Call("read_file", {"path": "short"}, "a"), Call("read_file", {"path": "long"}, "b")]
    spec = agent(both, lambda messages: saw.extend(messages) or "done", preflight=Preflight(10_000))
    _, result = await chosen(spec, "leave")
    assert result.status == "completed"
    assert [len(part.text) for part in saw[-1].parts] == [20_000, len("[left out by the person]")]


@tool(read_only=True, max_chars=1_000_000)
def tell(word: str, times: int) -> str:
    return f"{word} " * times


@tool(read_only=True, max_chars=400)
def tell_cut(word: str, times: int) -> str:
    if word == "TORN":
        raise ValueError(f"{word} " * times)
    return f"{word} " * times


BOTH = [
    Call("tell", {"word": "FIRST", "times": 9_000}, "a"),
    Call("tell", {"word": "OTHER", "times": 8_000}, "b"),
]


def telling(*replies, **options) -> Agent:
    return Agent(
        Model.scripted(replies),
        tools=[tell, tell_cut],
        session_store=MemoryStore(),
        runtime=Runtime(preflight=SMALL, **options),
    )


async def test_of_two_large_results_each_is_named_and_shortened_by_itself():
    saw = []
    spec = telling(BOTH, lambda messages: saw.extend(messages) or "done")
    _, result = await chosen(spec, "head", "send")
    first, second = [one.question for one in of(result, QuestionAsked)]
    assert first.text.startswith("The largest in it:\nm3.1 output of tell: 14k\nm3.2 output of tell: 12k")
    assert [option.label for option in first.options][1:3] == ["Leave m3.1 out", "Only the head of m3.1"]
    assert second.options[1].label == "Leave m3.2 out"
    assert [len(part.text) < 2_400 for part in saw[-1].parts] == [True, False]


async def test_a_part_that_is_left_out_is_given_back_by_no_tool_and_told_by_no_list():
    search, item = Call("recall", {"query": "FIRST FIRST"}), Call("recall", {"item": "m3"})
    saw = []
    spec = telling(BOTH, search, item, lambda messages: saw.extend(messages) or "done", "so")
    session, result = await chosen(spec, "leave", "send")
    assert result.status == "completed", result.reason
    found, read = [part.text for message in saw if message.role == "tool" for part in message.parts][2:]
    assert "FIRST FIRST FIRST" not in found + read and "OTHER OTHER" in read
    assert session.view.withholds_result("a") and not session.view.withholds_result("b")

    await session.run("and now?")
    (taken,) = await session.compact("collapse")
    listed = str(taken.changes[0].messages)
    assert "OTHER OTHER" in listed and "FIRST FIRST FIRST" not in listed
    await session.undo_compaction(taken.id)
    await session.undo_compaction()
    assert not session.view.withholds_result("a")


async def test_the_dashboard_tells_nothing_of_a_part_that_is_left_out():
    both = [
        Call("read_file", {"path": "p"}, "a"),
        Call("tell", {"word": "OTHER", "times": 9_000}, "b"),
        Call("tell_cut", {"word": "TORN", "times": 40}, "c"),
    ]
    spec = Agent(
        Model.scripted([both, "done"]),
        tools=[tell, tell_cut, read_file],
        session_store=MemoryStore(),
        runtime=Runtime(preflight=SMALL),
    )
    session, result = await chosen(spec, "leave", "send")
    assert result.status == "completed", result.reason
    board = await session.dashboard()
    assert [one.tool for one in board.evidence] == ["tell"]
    assert [one.tool for one in board.errors] == ["tell_cut"]
    items = session.view.items()
    torn = next(one for one in heavy(items, 0, 1) if (one.number, one.part) == (2, 2))
    left, _ = tried(session.view, "leave out", (without_part(items, torn),), 9, "")
    session.view.take(left)
    assert (await session.dashboard()).errors == ()


async def test_a_compaction_that_frees_nothing_is_said_and_not_offered_again():
    _, result = await chosen(agent(READ, "done"), "compact", "send")
    first, second = [one.question for one in of(result, QuestionAsked)]
    assert "compact" in [option.value for option in first.options]
    assert "compact" not in [option.value for option in second.options]
    assert [one.text for one in of(result, Noticed)] == [
        "Nothing could be shortened: the request is as large as before."
    ]


async def test_a_compaction_first_is_one_that_can_be_undone():
    calls = [Call("read_file", {"path": f"short{n}"}) for n in range(4)]
    mild = ContextProtocol(ladder=LADDER[:3])
    spec = agent(*calls, READ, "done", preflight=Preflight(30_000), context=mild)
    session, result = await chosen(spec, "compact", "send")
    assert result.status == "completed", result.reason
    assert of(result, ContextCompacted)[0].reason == "asked for"
    while session.view.compactions:
        await session.undo_compaction()
    assert list(session.view.shown) == list(session.conversation)


async def test_who_stops_has_sent_nothing():
    spec = agent(READ, "never")
    session, result = await chosen(spec, "stop")
    assert (result.status, result.fault, result.turns) == ("stopped", "", 1)
    assert result.reason == "you chose to stop: a request of about 42k tokens was not sent"
    assert spec.model.script.leftover == ("never",)
    assert (
        await session.run("go on", agent=agent("fine", preflight=Preflight.never()))
    ).status == "completed"


async def test_who_does_not_answer_in_time_has_sent_nothing():
    clock = ManualClock()
    spec = agent(READ, "never")
    session = spec.session()
    session._clock = session._asking._clock = clock
    leave = session.attend()
    result = await session.run("read it")
    leave()
    assert result.status == "stopped"
    assert result.reason.startswith("nobody answered within 10 min")
    assert [one.how for one in of(result, QuestionAnswered)] == ["timeout"]
    assert clock.slept == [600.0]


async def test_where_nobody_can_be_asked_it_is_sent_and_said():
    result = await agent(READ, "done").run("read it")
    assert result.status == "completed"
    assert [one.text for one in of(result, Noticed)] == [
        "The next request is large, about 42k tokens; the largest: m3 output of read_file (42k). Nobody was asked."
    ]
    assert of(result, QuestionAsked) == []


async def test_an_autonomous_run_asks_nobody_also_where_somebody_is():
    spec = Agent(
        Model.scripted([READ, "done"]),
        tools=[read_file],
        session_store=MemoryStore(),
        runtime=Runtime.autonomous(),
    )
    _, result = await chosen(spec)
    assert result.status == "completed"
    assert "Nobody was asked" in of(result, Noticed)[0].text


async def test_a_cap_forbids_what_nobody_was_asked_about():
    result = await agent(READ, "never", caps=SpendingCaps(run="20k")).run("read it")
    assert (result.status, result.fault, result.turns) == ("limit", "tokens", 1)


async def test_it_is_asked_about_once_until_it_has_doubled_again():
    calls = [Call("read_file", {"path": f"short{n}"}) for n in range(10)]
    _, result = await chosen(agent(*calls, "done"), "send")
    assert result.status == "completed"
    sizes = [one.tokens for one in of(result, TurnStarted)]
    assert sizes[1] > 5_000  # from nothing: asked about; from there on each is less than twice the one before
    assert sizes[-1] > 45_000


async def test_after_a_restart_the_size_of_the_last_request_is_known(tmp_path):
    store = SqliteStore(tmp_path / "loom.db")
    first = agent(READ, "done", store=store).session(SessionConfig("s"))
    await chosen(None, "send", session=first)
    await first.close()
    again = agent("more", store=store).session(SessionConfig("s"))
    _, result = await chosen(None, session=again, task="go on")  # large, but it was before
    assert result.status == "completed"
    await again.close()


async def test_a_recorded_answer_is_not_asked_about(tmp_path):
    tape = tmp_path / "tape.json"
    for mode, choices in (("auto", ["send"]), ("auto", []), ("strict", [])):
        model = Model.cassette(tape, Model.scripted([READ, "done"]), mode)
        spec = Agent(model, tools=[read_file], session_store=MemoryStore(), runtime=Runtime(preflight=SMALL))
        _, result = await chosen(spec, *choices)
        assert result.output == "done"


async def test_what_a_request_costs_is_told_and_counts_where_it_is_known():
    class Dear:
        name = "scripted:dear"
        script = Model.scripted([READ, "done"])

        def open(self):
            return self.script.open()

        def window(self):
            return None

        def cost(self, usage, answered=""):
            return usage.input_tokens * 1e-4 + usage.output_tokens * 1e-3

    spec = agent(preflight=Preflight(None, cost=0.80))
    object.__setattr__(spec, "model", Dear())
    _, result = await chosen(spec, "stop")
    (question,) = [one.question for one in of(result, QuestionAsked)]
    assert question.title == "This will send about 42k tokens (≈ $4.20)"


async def test_below_the_threshold_nothing_is_looked_at():
    spec = agent(*[Call("read_file", {"path": "short"})] * 3, "done", preflight=Preflight(200_000))
    _, result = await chosen(spec)
    assert result.status == "completed"
    assert of(result, Noticed, QuestionAsked) == []


async def test_long_instructions_are_asked_about_before_they_are_sent_the_first_time():
    spec = Agent(
        Model.scripted(["done"]),
        instructions="rule " * 60_000,
        session_store=MemoryStore(),
        runtime=Runtime(preflight=SMALL),
    )
    _, result = await chosen(spec, "stop")
    (question,) = [one.question for one in of(result, QuestionAsked)]
    assert (result.status, of(result, TurnStarted)) == ("stopped", [])
    assert question.title == "This will send about 75k tokens"
    assert question.text == "The largest in it:\ninstructions and tools: 75k"
    _, result = await chosen(spec, "send")
    (sent,) = of(result, TurnStarted)
    assert sent.tokens == result.usage.input_tokens


async def test_a_pin_does_not_make_a_session_that_was_opened_again_ask_of_its_size_again(tmp_path):
    store = SqliteStore(tmp_path / "loom.db")
    first = agent(READ, "done", store=store)
    session, _ = await chosen(first, "send")
    await session.mark(1, "pinned")
    await session.close()
    again = agent("done", store=store).session(SessionConfig(session.id))
    _, result = await chosen(None, task="and?", session=again)
    assert result.status == "completed" and of(result, QuestionAsked) == []
    await again.close()
    store.close()


async def test_room_is_still_made_where_a_budget_of_the_context_is_small():
    calls = [Call("read_file", {"path": f"short{n}"}) for n in range(6)]
    spec = agent(
        *calls, "done", context=ContextProtocol(budget=12_000), preflight=Preflight(2_000, ask=False)
    )
    result = await spec.run("read them")
    assert result.status == "completed"
    assert of(result, ContextCompacted)
    assert all(one.tokens <= 12_000 for one in of(result, TurnStarted))


def test_it_says_in_words_what_it_does():
    assert Preflight().describe() == (
        "a request of 30,000 tokens or $0.50 that is 2 times the one before; "
        "without an answer in 10 min it is not sent"
    )
    assert Preflight(answer_within=0.2).describe().endswith("without an answer in 0.2 s it is not sent")
    assert Preflight(answer_within=90).describe().endswith("without an answer in 1.5 min it is not sent")
    assert Preflight(ask=False).describe().startswith("nobody: ")
    assert Runtime().describe()["asked before it is sent"] == Preflight().describe()
    for wrong in ({"above": 0}, {"cost": -1.0}, {"times": 1.0}, {"answer_within": 0}):
        with pytest.raises(LoomUsageError):
            Preflight(**wrong)
    assert [thousands(n) for n in (999, 1_000, 41_499)] == ["999", "1k", "41k"]
