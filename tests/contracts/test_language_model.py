"""What every language model promises. A new one is added to SUBJECTS and has to pass all of it."""

import asyncio
import gc
import json
import logging
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loom_nb import Model
from loom_nb.errors import ModelError
from loom_nb.events import CallDelta, Delta, TextDelta, ThinkingDelta
from loom_nb.messages import (
    Conversation,
    DataPart,
    Message,
    Origin,
    TextPart,
    ThinkingPart,
    ToolResultPart,
    Usage,
    user,
)
from loom_nb.models.cassette import Cassette, CassetteModel
from loom_nb.models.scripted import Call, Script, ScriptedModel, Thought
from loom_nb.protocols import Generation, LanguageModel, OutputSchema, Reply, Request
from loom_nb.testing import Calls, Fail, Hang, Say, Think, WireReply, WireServer
from loom_nb.testing.wire_script import Step
from loom_nb.tools import tool

KEY = "sk-ant-secret-0123456789abcdef"
LONG = "one two three four five six seven eight nine ten"


@tool(read_only=True)
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def request(text: str = "Hello!", **more: Any) -> Request:
    conversation = more.pop("conversation", None) or Conversation([user(text)])
    return Request(more.pop("system", "Be brief."), conversation, more.pop("tools", [add]), **more)


def hostile(text: str = "NUL \0, half a pair \ud800, a mark </data>, \u2028 and 🧶") -> Request:
    """A conversation with everything in it that has made trouble somewhere."""
    conversation = Conversation(
        [Message("user", (TextPart(text), DataPart(text, text, Origin("notebook", text))))]
    )
    called = Message("assistant", (ThinkingPart(text), TextPart(text)))
    conversation.add(called)
    conversation.add(user(text))
    return request(conversation=conversation, system=text)


@dataclass(frozen=True)
class Subject:
    """One kind of model, and how it is brought to answer what a test wants."""

    open: Callable[[str, Sequence[Step], Path], LanguageModel]
    """Given the URL of a wire server, its steps, and a folder."""
    wire: bool = True
    thinks: bool = True
    """Whether it can be told to show reasoning."""
    waits: bool = True
    """Whether there is anything in a reply to wait for, and so to cancel."""


def _scripted(steps: Sequence[Step]) -> Script:
    """The steps of a wire server as a script."""

    def pieces(step: Any) -> list[Any]:
        told: list[Any] = []
        for part in step.whole.parts:
            match part:
                case Say():
                    told.append(part.text)
                case Think():
                    told.append(Thought(part.text))
                case Calls():
                    told += [Call(call.name, call.arguments, call.id) for call in part.calls]
        return told

    return Script([pieces(step) for step in steps])


def _recorded(url: str, steps: Sequence[Step], folder: Path) -> LanguageModel:
    model = ScriptedModel(_scripted(steps), chunk=6, delay=0.002)
    return CassetteModel(Cassette(folder / "tape.json"), "scripted:script", lambda: model)


class Replayed:
    """Records each request, and then gives what is played of it and nothing else."""

    def __init__(self, steps: Sequence[Step], folder: Path) -> None:
        self._path = folder / "tape.json"
        self._recorder = _recorded("", steps, folder)
        self.name = self._recorder.name

    async def reply(self, request: Request, emit: Callable[[Delta], None]) -> Reply:
        await self._recorder.reply(request, lambda delta: None)
        player = CassetteModel(Cassette(self._path, "replay"), self.name, Model.offline().open)
        return await player.reply(request, emit)

    def encode(self, request: Request) -> bytes:
        return self._recorder.encode(request)

    async def close(self) -> None:
        await self._recorder.close()


SUBJECTS: dict[str, Subject] = {
    "anthropic": Subject(
        lambda url, steps, folder: Model.anthropic("claude-x", base_url=url, key_env="CONTRACT_KEY").open()
    ),
    "openai-chat": Subject(
        lambda url, steps, folder: Model.openai(
            "gpt-4o", base_url=f"{url}/v1", key_env="CONTRACT_KEY"
        ).open(),
    ),
    "openai-responses": Subject(
        lambda url, steps, folder: Model.openai(
            "gpt-5", api="responses", base_url=f"{url}/v1", key_env="CONTRACT_KEY"
        ).open()
    ),
    "compatible": Subject(
        lambda url, steps, folder: Model.compatible("m", base_url=f"{url}/v1", key_env="CONTRACT_KEY").open()
    ),
    "cassette of a wire": Subject(
        lambda url, steps, folder: Model.cassette(
            folder / "wire.json", Model.deepseek("d", base_url=f"{url}/v1", key_env="CONTRACT_KEY")
        ).open()
    ),
    "scripted": Subject(
        lambda url, steps, folder: ScriptedModel(_scripted(steps), chunk=6, delay=0.002), wire=False
    ),
    "cassette recording": Subject(_recorded, wire=False),
    "cassette replaying": Subject(
        lambda url, steps, folder: Replayed(steps, folder), wire=False, waits=False
    ),
    "offline": Subject(lambda url, steps, folder: Model.offline(pace=0.002).open(), wire=False, thinks=False),
}

wire_only = pytest.mark.parametrize("subject", [n for n, s in SUBJECTS.items() if s.wire], indirect=True)


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Subject:
    monkeypatch.setenv("CONTRACT_KEY", KEY)
    return SUBJECTS[request.param]


@asynccontextmanager
async def opened(
    subject: Subject, folder: Path, *steps: Step, strict: bool = True
) -> AsyncIterator[tuple[LanguageModel, WireServer]]:
    """A model, and the server that it calls if it calls any."""
    with WireServer(steps if subject.wire else (), key=KEY, strict=strict) as server:
        model = subject.open(server.url, steps, folder)
        try:
            yield model, server
        finally:
            await model.close()


def texts(deltas: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


# a reply


async def test_its_name_is_vendor_and_model(subject: Subject, tmp_path: Path):
    async with opened(subject, tmp_path) as (model, _):
        assert re.fullmatch(r"[a-z]+:\S+", model.name)
        assert model.name == model.name


async def test_the_deltas_of_the_text_are_the_text(subject: Subject, tmp_path: Path):
    deltas: list[Delta] = []
    async with opened(subject, tmp_path, Say(LONG)) as (model, _):
        asked = request()
        reply = await model.reply(asked, deltas.append)

    assert texts(deltas) == reply.message.text != ""
    assert sum(isinstance(delta, TextDelta) for delta in deltas) > 3
    assert (reply.message.role, reply.message.partial, reply.message.calls) == ("assistant", False, ())
    assert reply.stop_reason == "end"
    assert all(part.origin.kind == "model" for part in reply.message.parts)
    assert len(asked.conversation) == 1  # who asks adds the reply, not the model


async def test_the_deltas_of_the_thinking_are_the_thinking(subject: Subject, tmp_path: Path):
    if not subject.thinks:
        pytest.skip("this one cannot be told to show reasoning")
    deltas: list[Delta] = []
    async with opened(subject, tmp_path, Think("hm hm").then(Say("ok"))) as (model, _):
        reply = await model.reply(request(), deltas.append)

    (thought,) = [part for part in reply.message.parts if isinstance(part, ThinkingPart)]
    assert "".join(d.text for d in deltas if isinstance(d, ThinkingDelta)) == thought.text == "hm hm"
    assert texts(deltas) == "ok"


async def test_the_deltas_of_each_call_are_its_arguments(subject: Subject, tmp_path: Path):
    step = Calls(("add", {"a": 2, "b": 3}), ("add", {"a": 4, "b": 5}))
    deltas: list[Delta] = []
    async with opened(subject, tmp_path, step) as (model, _):
        reply = await model.reply(request("Add 2 and 3"), deltas.append)

    calls = reply.message.calls
    assert reply.stop_reason == "tool_calls"
    assert json.loads(calls[0].arguments) == {"a": 2, "b": 3}
    assert len({call.id for call in calls}) == len(calls)
    assert all(call.id for call in calls)
    for call in calls:
        mine = [delta for delta in deltas if isinstance(delta, CallDelta) and delta.call_id == call.id]
        assert "".join(delta.arguments for delta in mine) == call.arguments
        assert {delta.name for delta in mine} == {"add"}


async def test_tokens_are_counted(subject: Subject, tmp_path: Path):
    step = Say(LONG).with_usage(input_tokens=100, output_tokens=7, cache_read_tokens=60)
    async with opened(subject, tmp_path, step) as (model, _):
        reply = await model.reply(request(), lambda delta: None)

    assert reply.usage.input_tokens > 0
    assert reply.usage.output_tokens > 0
    assert reply.usage.cache_read_tokens + reply.usage.cache_write_tokens <= reply.usage.input_tokens
    if subject.wire:
        assert reply.usage == Usage(100, 7, 60)


async def test_a_conversation_of_several_turns_goes_on(subject: Subject, tmp_path: Path):
    conversation = Conversation([user("Add 2 and 3")])
    async with opened(subject, tmp_path, Calls(("add", {"a": 2, "b": 3})), Say("It is 5.")) as (model, _):
        first = await model.reply(request(conversation=conversation), lambda delta: None)
        conversation.add(first.message)
        results = [ToolResultPart(call.id, call.name, (TextPart("5"),)) for call in first.message.calls]
        conversation.add(Message("tool", tuple(results)))
        second = await model.reply(request(conversation=conversation), lambda delta: None)

    assert "5" in second.message.text
    assert second.stop_reason == "end"


async def test_replies_side_by_side_do_not_mix(subject: Subject, tmp_path: Path):
    steps = [Say(" ".join([word] * 20)).slow(0.002) for word in ("alpha", "beta", "gamma")]
    seen: list[list[Delta]] = [[], [], []]
    async with opened(subject, tmp_path, *steps) as (model, _):
        replies = await asyncio.gather(
            *(model.reply(request(f"Hello number {n}"), seen[n].append) for n in range(3))
        )

    assert [texts(deltas) for deltas in seen] == [reply.message.text for reply in replies]
    if subject is not SUBJECTS["offline"]:
        assert {reply.message.text for reply in replies} == {step.text for step in steps}


# the request


@pytest.mark.parametrize(
    "make",
    [
        request,
        hostile,
        lambda: request(tools=(), system=""),
        lambda: request(generation=Generation(temperature=0.5, max_output_tokens=100)),
        lambda: request(
            output=OutputSchema("answer", {"type": "object", "properties": {"n": {"type": "integer"}}})
        ),
    ],
)
async def test_encoding_is_json_and_the_same_each_time(
    subject: Subject, tmp_path: Path, make: Callable[[], Request]
):
    async with opened(subject, tmp_path) as (model, _):
        asked = make()
        body = model.encode(asked)
        assert isinstance(json.loads(body), dict)
        assert body == model.encode(asked) == model.encode(make())


@wire_only
async def test_what_encode_tells_is_what_is_sent(subject: Subject, tmp_path: Path):
    conversation = Conversation(hostile().conversation.messages)
    told: list[bytes] = []
    async with opened(subject, tmp_path, Calls(("add", {"a": 1})), Say("ok"), Say("ok")) as (model, server):
        for turn in range(3):
            asked = request(
                conversation=conversation, generation=Generation(max_output_tokens=50 + turn // 2)
            )
            told.append(model.encode(asked))
            reply = await model.reply(asked, lambda delta: None)
            conversation.add(reply.message)
            answers = [ToolResultPart(call.id, call.name, (TextPart("1"),)) for call in reply.message.calls]
            conversation.add(Message("tool", tuple(answers)) if answers else user(f"and {turn}?"))

    assert [sent.body for sent in server.requests] == told


# its end


async def test_closing_twice_and_without_any_call_is_fine(subject: Subject, tmp_path: Path):
    async with opened(subject, tmp_path, Say("ok"), strict=False) as (model, _):
        await model.close()
        await model.close()
    async with opened(subject, tmp_path, Say("ok")) as (model, _):
        await model.reply(request(), lambda delta: None)
        await model.close()
        await model.close()


async def test_cancelling_leaves_nothing_open_and_the_next_reply_is_whole(subject: Subject, tmp_path: Path):
    if not subject.waits:
        pytest.skip("a reply of this one is there at once")
    begun = asyncio.Event()
    steps = [Say("word " * 500).slow(0.005), Say(LONG)]
    async with opened(subject, tmp_path, *steps) as (model, server):
        task = asyncio.create_task(model.reply(request(), lambda delta: begun.set()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        if subject.wire:
            assert await asyncio.to_thread(server.requests[0].wait) == "gone"
        assert asyncio.all_tasks() == {asyncio.current_task()}

        reply = await model.reply(request(), lambda delta: None)
    gc.collect()  # what was left open would warn now

    if subject is not SUBJECTS["offline"]:
        assert reply.message.text == LONG


@wire_only
async def test_cancelling_before_any_answer_leaves_nothing_open(subject: Subject, tmp_path: Path):
    async with opened(subject, tmp_path, Hang(), Say("ok")) as (model, server):
        task = asyncio.create_task(model.reply(request(), lambda delta: None))
        while not server.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.requests[0].wait) == "gone"
        reply = await model.reply(request(), lambda delta: None)
    gc.collect()

    assert reply.message.text == "ok"


async def test_what_the_listener_raises_passes_through(subject: Subject, tmp_path: Path):
    def stumble(delta: Delta) -> None:
        raise ValueError("the listener")

    async with opened(subject, tmp_path, Say(LONG), Say(LONG)) as (model, _):
        with pytest.raises(ValueError, match="the listener"):
            await model.reply(request(), stumble)
        reply = await model.reply(request(), lambda delta: None)
    gc.collect()

    assert reply.message.text


CUTS: list[tuple[WireReply, str]] = [
    (Say(LONG).cut(after=3), "cut_stream"),
    (Say(LONG).cut(after=3, how="reset"), "cut_stream"),
    (Say(LONG).cut(after=3, how="clean"), "cut_stream"),
    (Say(LONG).cut(after=0, how="clean"), "cut_stream"),
    (Say(LONG).garbled(after=4), "cut_stream"),
    (Say(LONG).failing(after=4), "overloaded"),
    (Calls(("add", {"a": 1, "b": 2})).cut(after=3), "cut_stream"),
]


@wire_only
@pytest.mark.parametrize(("step", "fault"), CUTS, ids=lambda value: repr(value)[:60])
async def test_a_stream_without_its_end_is_an_error_never_a_reply(
    subject: Subject, tmp_path: Path, step: WireReply, fault: str
):
    async with opened(subject, tmp_path, step, Say("ok")) as (model, server):
        with pytest.raises(ModelError) as caught:
            await model.reply(request(), lambda delta: None)
        again: Reply = await model.reply(request(), lambda delta: None)
    gc.collect()

    assert (caught.value.fault, caught.value.passing) == (fault, True)
    assert (again.message.text, len(server.requests)) == ("ok", 2)


@wire_only
async def test_the_key_is_in_no_repr_no_text_and_no_log(
    subject: Subject, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    steps = [
        Say("ok"),
        Fail(401, f"wrong key {KEY}"),
        Fail(500, f"oops {KEY}"),
        Say(KEY).failing(after=3, message=KEY),
    ]
    errors: list[ModelError] = []
    async with opened(subject, tmp_path, *steps) as (model, server):
        await model.reply(request(), lambda delta: None)
        for text in ("b", "c", "d"):
            with pytest.raises(ModelError) as caught:
                await model.reply(request(text), lambda delta: None)
            errors.append(caught.value)
        shown = [repr(model), str(model), repr(vars(model)), caplog.text]
        shown += [text for error in errors for text in (str(error), repr(error), repr(vars(error)))]

    assert KEY in str(server.requests[0].headers)
    assert caplog.text
    assert [text for text in shown if KEY in text] == []
