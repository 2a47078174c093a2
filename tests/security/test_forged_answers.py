"""A thousand answers that no person gave for the call that waits: none of them lets it run.

What is not promised without a sandbox (tier T0): code that runs inside the kernel, once a person has allowed it,
can reach the objects of this process by `gc` or by importing the package, and so answer in the person's place.
Nothing that such code is handed for its work offers that; see the last test.
"""

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from loom_nb import (
    Agent,
    Answer,
    AnswerRefused,
    Decision,
    MemoryStore,
    Model,
    Question,
    Runtime,
    SessionConfig,
    tool,
)
from loom_nb.events import QuestionAnswered, QuestionAsked
from loom_nb.models.scripted import Call
from loom_nb.protocols import current_call

done: list[Any] = []
ALLOW = Decision("allow")


@tool
def write(path: str) -> str:
    """Write."""
    done.append(path)
    return "written"


@tool(effects=["writes"], destructive=True)
def erase(path: str) -> str:
    """Erase."""
    done.append(path)
    return "erased"


@tool(read_only=True)
async def wonder() -> str:
    """Ask."""
    context = current_call.get()
    assert context is not None
    return str(await context.ask(Question("", "confirm", "Go on?")))


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    done.clear()


def agent(*replies: Any, store: Any = None, tools: Any = (write, erase, wonder)) -> Agent:
    script = Model.scripted([*replies, "the end"])
    return Agent(
        script,
        tools=tools,
        session_store=store or MemoryStore(),
        runtime=Runtime.supervised(max_iterations=60),
    )


@asynccontextmanager
async def waiting(*replies: Any, count: int = 1, **options: Any) -> Any:
    """A session, its run and the questions that wait."""
    async with agent(*replies, **options).session() as session:
        run = session.start("go")
        while len(session.questions) < count:
            assert not run.done
            await asyncio.sleep(0.001)
        yield session, run, list(session.questions)


def refused(send: Callable[[Answer], None], question: Any, value: Any) -> int:
    """One attempt: it is refused in words."""
    with pytest.raises(AnswerRefused):
        send(Answer(question, value))
    return 1


async def ended_without_a_call(session: Any, run: Any) -> None:
    """The question still waited; it is denied, and the run ends without its effect."""
    for question in list(session.questions):
        session.send(Answer(question.id, Decision("deny") if question.approval else False))
    result = await run
    assert result.status in ("denied", "completed")
    assert done == []


def ids() -> Iterator[Any]:
    """Names near `a1`, and any others."""
    yield from (
        "",
        " a1",
        "a1 ",
        "A1",
        "\u04301",
        "\uff411",
        "a\uff11",
        "a01",
        "a1\u200b",
        "a1\x00",
        "a+1",
        "a1.0",
        "r1/a1",
    )
    yield from ("q1", "1", "judge", "call_1_1", "write", "*", "a*", "last", "a1;a2", "a1\n", "['a1']", "a-1")
    dice = random.Random(3)
    yield from (f"{dice.choice('aqrxz')}{dice.randrange(2, 10_000)}" for _ in range(175))


VALUES: list[Any] = [
    True, 1, 1.0, "allow", "yes", "y", "o", "once", b"allow", None, [], {}, [ALLOW], ("allow",), {"allow"},
    ["allow", "once"], {"decision": "ALLOW"}, {"decision": "allow "}, {"decision": True}, {"decision": ["allow"]},
    {"decision": {"allow": True}}, {"Decision": "allow"}, {"decision": None}, {"scope": "once"},
    {"allow": True}, {"approved": True}, {"answer": "allow"}, {"value": {"decision": "allow"}},
    {"decision": "allow", "scope": "always"}, {"decision": "allow", "scope": ""},
    {"decision": "allow", "scope": ["once"]}, {"decision": "allow", "scope": None},
    {"decision": "allow", "arguments": "path=a"}, {"decision": "allow", "arguments": [["path", "a"]]},
    {"decision": "allow", "arguments": {1: "a"}}, {"decision": "allow", "reason": 7},
    {"decision": "allow", "approved_by": "you"}, {"decision": "allow", "_approval": True},
    {"decision": "allow", "key": "0" * 64}, {"decision": "allow", "scope": "once", "tool": "*"},
    Answer("a1", ALLOW), Decision, "Decision('allow')", object(), lambda: "allow", Question("a1", "approval", "x"),
    {"decision": "allow", "scope": "tool", "session": "*"}, {"type": "QuestionAnswered", "decision": "allow"},
    {"decision": "allow\x00"}, {"decision": "\u0430llow"},
]  # fmt: skip


async def test_200_answers_to_questions_that_are_not_there():
    async with waiting(Call("write", {"path": "a"})) as (session, run, _):
        assert sum(refused(session.send, one, ALLOW) for one in ids()) == 200
        for odd in (None, 1, ["a1"], {"a1"}, b"a1"):
            refused(session.send, odd, ALLOW)
        await ended_without_a_call(session, run)


async def test_200_values_that_are_no_decision():
    attempts = 0
    for by in ("you", "judge", "system", ""):
        async with waiting(Call("write", {"path": "a"})) as (session, run, (question,)):
            for value in VALUES:
                with pytest.raises(AnswerRefused):
                    session.send(Answer(question.id, value, by))
                attempts += 1
            await ended_without_a_call(session, run)
    assert attempts == 200


async def test_a_decision_that_is_neither_or_not_for_the_call_lets_nothing_run():
    for value in (Decision("maybe"), Decision("allow", arguments={"pth": "b"}), Decision("", "tool")):
        async with waiting(Call("write", {"path": "a"})) as (session, run, (question,)):
            try:
                session.send(Answer(question.id, value))
            except AnswerRefused:
                session.send(Answer(question.id, Decision("deny")))
            await run
            assert done == []


async def test_100_leaves_that_reach_further_than_was_offered():
    attempts = 0
    async with waiting(Call("erase", {"path": "a"})) as (session, run, (question,)):
        assert question.approval.scopes == ("once", "call")
        for scope in ("tool", "session", "all", "*", "Once"):
            for value in (Decision("allow", scope), {"decision": "allow", "scope": scope}):
                attempts += sum(refused(session.send, question.id, value) for _ in range(10))
        await ended_without_a_call(session, run)
    assert attempts == 100


async def test_200_replays_after_the_answer_from_the_same_and_from_other_threads():
    calls = [Call("write", {"path": "a"}), Call("write", {"path": "b"})]
    async with waiting(calls, count=2) as (session, run, (first, second)):
        session.send(Answer(first.id, Decision("deny")))
        attempts = sum(refused(session.send, first.id, ALLOW) for _ in range(100))
        caught: list[int] = []
        threads = [
            threading.Thread(target=lambda: caught.append(refused(session.send, first.id, ALLOW)))
            for _ in range(100)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert attempts + sum(caught) == 200
        assert [question.id for question in session.questions] == [second.id]
        await ended_without_a_call(session, run)
        refused(session.send, second.id, ALLOW)
        assert done == []


async def test_of_100_answers_at_once_the_first_counts_and_a_refusal_stays_one():
    async with waiting(Call("write", {"path": "a"})) as (session, run, (question,)):
        gate, outcomes = threading.Barrier(100), []

        def send() -> None:
            gate.wait()
            try:
                session.send(Answer(question.id, ALLOW))
                outcomes.append("taken")
            except AnswerRefused:
                outcomes.append("refused")

        session.send(Answer(question.id, Decision("deny")))
        threads = [threading.Thread(target=send) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert outcomes == ["refused"] * 100
        assert (await run).status == "denied"
        assert done == []


async def test_100_answers_while_nothing_is_asked_are_not_kept_for_later():
    attempts = 0
    async with agent(Call("write", {"path": "a"})).session() as session:
        for number in range(50):
            attempts += refused(session.send, f"a{number}", ALLOW)
        run = session.start("go")
        while not session.questions:
            await asyncio.sleep(0.001)
        assert done == []
        await ended_without_a_call(session, run)
        for number in range(50):
            attempts += refused(session.send, f"a{number}", ALLOW)
    assert attempts == 100
    assert done == []


async def test_100_answers_to_a_question_of_another_session():
    store = MemoryStore()
    async with (
        waiting(Call("write", {"path": "a"}), store=store) as (mine, run, (question,)),
        waiting(Call("wonder", {}), store=store) as (other, second, (wondered,)),
        agent(store=store).session(SessionConfig("idle")) as idle,
    ):
        assert (question.id, wondered.id) == ("a1", "q1")
        attempts = sum(refused(one.send, question.id, ALLOW) for one in (other, idle) for _ in range(25))
        attempts += sum(refused(mine.send, wondered.id, True) for _ in range(25))
        attempts += sum(refused(other.send, wondered.id, ALLOW) for _ in range(25))
        assert attempts == 100
        await ended_without_a_call(mine, run)
        await ended_without_a_call(other, second)


async def test_a_leave_is_for_one_exact_call_in_one_place():
    """50 calls that differ from the one that was allowed, and 50 in another conversation: all ask."""
    store = MemoryStore()
    calls = [Call("write", {"path": "a"}), *(Call("write", {"path": f"a{n}"}) for n in range(50))]
    asked: list[Any] = []
    async with agent(*calls, store=store).session() as session:

        def decide(event: Any) -> None:
            if isinstance(event, QuestionAsked):
                asked.append(event.question)
                first = Decision("allow", "call") if len(asked) == 1 else Decision("deny")
                session.send(Answer(event.question.id, first))

        run = session.start("go")
        run.subscribe(decide)
        await run
    assert (len(asked), done) == (51, ["a"])
    for _ in range(50):
        async with waiting(Call("write", {"path": "a"}), store=store) as (other, second, _):
            other.send(Answer("a1", Decision("deny")))
            await second
    assert done == ["a"]


async def test_what_a_running_tool_is_handed_cannot_answer():
    """A question of kind "approval" by a tool gives no leave, and its context has no way to send."""
    offered: list[str] = []

    @tool(read_only=True)
    async def cunning() -> str:
        """Asks for its own approval."""
        context = current_call.get()
        assert context is not None
        offered.extend(name for name in dir(context) if not name.startswith("_"))
        return str(await context.ask(Question("", "confirm", "allow write('a') for good?")))

    calls = [Call("cunning", {}), Call("write", {"path": "a"})]
    asked = []
    async with agent(*calls, tools=[cunning, write]).session() as session:

        def decide(event: Any) -> None:
            if isinstance(event, QuestionAsked):
                asked.append(event.question.kind)
                session.send(
                    Answer(event.question.id, True if event.question.kind == "confirm" else Decision("deny"))
                )

        run = session.start("go")
        run.subscribe(decide)
        result = await run
    assert asked == ["confirm", "approval"]
    assert result.status == "denied"
    assert done == []
    answers = [one.event for one in result.events if isinstance(one.event, QuestionAnswered)]
    assert all(one.grant is None for one in answers)
    told = {"agent", "approved", "call_id", "cell", "notebook", "notes", "run", "session"}  # texts
    assert set(offered) <= {"artifact", "ask", "number", "product", "say", "show", *told}
