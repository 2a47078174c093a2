"""Cassettes: what is recorded, how it is found again, and what is never written."""

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from loom_nb import Agent, MemoryStore, Model, RunResult, Runtime, SpendingCaps
from loom_nb.errors import LoomUsageError, ModelError, ReplayDrift
from loom_nb.events import CallDelta, Delta, TextDelta, ThinkingDelta
from loom_nb.messages import Conversation, ImagePart, Message, Part, user
from loom_nb.models.blotting import Blotter
from loom_nb.models.cassette import Cassette, CassetteModel, Mode
from loom_nb.models.scripted import Call, Thought
from loom_nb.protocols import Generation, OutputSchema, Reply, Request
from loom_nb.testing import Say, WireServer
from loom_nb.tools import tool

SECRET = 'pa"ss\\wörd/🔑-1234'


@tool(read_only=True)
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def request(text: str = "hi", *parts: Part, **more: Any) -> Request:
    return Request(more.pop("system", "Be brief."), Conversation([user(text, *parts)]), **more)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "tape.json"


async def ask(model: Model, asked: Request | None = None) -> tuple[Reply, list[Delta]]:
    """One call with a client of its own."""
    opened, deltas = model.open(), list[Delta]()
    try:
        return await opened.reply(asked or request(), deltas.append), deltas
    finally:
        await opened.close()


async def say(model: Model, *texts: str) -> list[str]:
    return [(await ask(model, request(text)))[0].message.text for text in texts]


def model(path: Path, mode: Mode, *replies: Any, chunk: int = 0) -> Model:
    return Model.cassette(path, Model.scripted(replies, chunk=chunk), mode)


# playing


async def test_what_is_recorded_is_played_with_its_deltas_and_without_asking(path: Path):
    told = [Thought("hm"), "Hello to you", Call("add", {"a": 1})]
    recorded = await ask(model(path, "record", told, chunk=5))

    played = await ask(model(path, "replay"))

    assert played == recorded
    assert [type(delta) for delta in played[1]] == [ThinkingDelta, *[TextDelta] * 3, CallDelta]


async def test_auto_asks_once_for_each_request(path: Path):
    first = model(path, "auto", "one", "two")
    assert await say(first, "a", "b", "a", "b") == ["one", "two", "one", "two"]
    first.options["model"].script.assert_used()

    again = model(path, "auto", "three")
    assert await say(again, "b", "c", "a") == ["two", "three", "one"]
    assert len(Cassette(path).interactions) == 3


async def test_record_asks_always_and_begins_the_file_anew(path: Path):
    await say(model(path, "record", "old", "old too"), "a", "b")

    recording = model(path, "record", "one", "two")
    assert await say(recording, "a", "a") == ["one", "two"]  # each with a client of its own

    assert await say(model(path, "replay"), "a", "a") == ["one", "two"]
    with pytest.raises(ReplayDrift):
        await say(model(path, "replay"), "b")


async def test_a_recording_that_never_begins_leaves_the_file_alone(path: Path):
    await say(model(path, "record", "old"), "a")

    with pytest.raises(ModelError):
        await say(model(path, "record", ModelError("busy", fault="overloaded")), "a")

    assert await say(model(path, "replay"), "a") == ["old"]


async def test_the_same_request_twice_plays_both_replies_and_then_the_last_again(path: Path):
    await say(model(path, "record", "one", "two"), "a", "a")

    assert await say(model(path, "replay"), "a", "a", "a") == ["one", "two", "two"]


async def test_replay_takes_requests_in_any_order_and_strict_does_not(path: Path):
    await say(model(path, "record", "one", "two", "three"), "a", "b", "c")

    assert await say(model(path, "replay"), "c", "a", "b") == ["three", "one", "two"]
    strict = model(path, "strict")
    assert await say(strict, "a", "b") == ["one", "two"]
    with pytest.raises(ReplayDrift, match=r"request 3 is not in the recording tape\.json"):
        await say(strict, "a")
    assert await say(strict, "c") == ["three"]
    with pytest.raises(ReplayDrift, match="all 3 recorded requests were played, this is one more"):
        await say(strict, "c")


@pytest.mark.parametrize("mode", ["replay", "strict"])
async def test_without_a_file_there_is_nothing_to_play(path: Path, mode: Mode):
    with pytest.raises(ReplayDrift, match=r"tape\.json holds no recording") as caught:
        await say(model(path, mode), "a")

    assert not path.parent.exists()
    assert any('mode="record"' in fix for fix in caught.value.fixes)


async def test_a_failed_call_is_not_recorded(path: Path):
    busy = ModelError("busy", fault="overloaded")
    retried = model(path, "auto", busy, "fine")
    with pytest.raises(ModelError, match="busy"):
        await say(retried, "a")

    assert await say(retried, "a") == ["fine"]
    assert len(Cassette(path).interactions) == 1


async def test_a_whole_run_with_tools_is_played_without_its_model(path: Path):
    def agent(recorded: Model) -> Agent:
        return Agent(recorded, tools=[add], session_store=MemoryStore())

    replies = [Call("add", {"a": 1, "b": 2}), "It is 3."]
    first = await agent(model(path, "record", *replies)).run("1+2?")
    second = await agent(model(path, "strict")).run("1+2?")

    assert (first.output, first.status) == ("It is 3.", "completed")
    assert (second.messages, second.usage, second.status) == (first.messages, first.usage, "completed")


def capped(recorded: Model, most: str) -> Agent:
    return Agent(recorded, session_store=MemoryStore(), runtime=Runtime(caps=SpendingCaps(run=most)))


@pytest.mark.parametrize("mode", ["auto", "strict", "replay"])
async def test_an_answer_that_a_cap_broke_off_is_played_as_far_as_it_came(path: Path, mode: Mode):
    async def runs(recorded: Model) -> list[RunResult]:
        async with capped(recorded, "1k").session() as session:
            return [await session.run("long"), await session.run("more", agent=capped(recorded, "9k"))]

    first = await runs(model(path, "record", "word " * 4_000, "on it goes", chunk=50))
    again = await runs(model(path, mode))

    assert [one.status for one in first] == ["limit", "completed"]
    for one, other in zip(first, again, strict=True):
        assert (other.status, other.reason, other.fault) == (one.status, one.reason, one.fault)
        assert other.messages == one.messages


async def test_with_a_higher_cap_auto_asks_anew(path: Path):
    await capped(model(path, "record", "word " * 4_000, chunk=50), "1k").run("long")

    result = await capped(model(path, "auto", "short"), "9k").run("long")

    assert (result.status, result.output) == ("completed", "short")


async def test_a_request_that_a_cap_did_not_cover_is_refused_again_where_an_answer_followed(path: Path):
    async def refused(recorded: Model, *, then: bool) -> list[str]:
        async with capped(recorded, "1 tok").session() as session:
            results = [await session.run("hi")]
            if then:
                results.append(await session.run("hi?", agent=capped(recorded, "9k")))
        return [one.status for one in results]

    await refused(model(path, "auto"), then=False)
    await refused(model(path, "auto"), then=False)
    assert len(Cassette(path).interactions) == 1  # asked anew, and refused again
    assert await refused(model(path, "auto", "yes"), then=True) == ["limit", "completed"]
    assert await refused(model(path, "strict"), then=True) == ["limit", "completed"]
    assert len(Cassette(path).interactions) == 2


def slowly(path: Path, *replies: str) -> Model:
    return Model.cassette(path, Model.scripted(replies, chunk=50, delay=0.001), "auto")


async def stop_in_the_middle(recorded: Model, *, then: str = "") -> list[RunResult]:
    async with Agent(recorded, session_store=MemoryStore()).session() as session:
        run = session.start("long")
        async for event in run.events():
            if isinstance(event, TextDelta):
                run.stop("stopped by you")
        results = [await run.wait()]
        if then:
            results.append(await session.run(then))
    return results


async def test_an_answer_that_a_person_stopped_is_played_so_where_an_answer_followed(path: Path):
    first = await stop_in_the_middle(slowly(path, "word " * 4_000, "on it goes"), then="go on")
    async with Agent(model(path, "auto"), session_store=MemoryStore()).session() as session:
        again = [await session.run("long"), await session.run("go on")]

    assert [one.status for one in first] == ["stopped", "completed"]
    for one, other in zip(first, again, strict=True):
        assert (other.status, other.reason) == (one.status, one.reason)
        assert other.messages == one.messages


async def test_an_answer_that_was_stopped_last_of_all_is_asked_for_anew(path: Path):
    await stop_in_the_middle(slowly(path, "word " * 4_000))

    again = await Agent(model(path, "auto", "whole"), session_store=MemoryStore()).run("long")

    assert (again.status, again.output) == ("completed", "whole")
    assert [one.broken for one in Cassette(path).interactions] == [None]


async def test_drift_ends_a_run_as_failed(path: Path):
    result = await Agent(model(path, "replay"), session_store=MemoryStore()).run("hi")

    assert result.status == "failed"
    with pytest.raises(ReplayDrift):
        result.raise_for_status()


async def test_a_real_client_is_neither_loaded_nor_asked_for_a_key_at_replay(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MY_KEY", "sk-ant-0123456789")
    with WireServer([Say("ok")], key="sk-ant-0123456789") as server:
        real = Model.anthropic("claude-x", base_url=server.url, key_env="MY_KEY")
        await say(Model.cassette(path, real), "a")
        monkeypatch.delenv("MY_KEY")

        assert await say(Model.cassette(path, real, "replay"), "a") == ["ok"]
        assert await say(Model.cassette(path, "anthropic:claude-x", "replay"), "a") == ["ok"]

    assert len(server.requests) == 1


# what makes two requests the same


def variants() -> dict[str, Callable[[], Request]]:
    png = b"\x89PNG\r\n" * 1000
    return {
        "text": lambda: request("ho"),
        "system": lambda: request(system="Be long."),
        "tools": lambda: request(tools=[add]),
        "image": lambda: request("hi", ImagePart(png)),
        "other image": lambda: request("hi", ImagePart(png[:-1] + b"!")),
        "temperature": lambda: request(generation=Generation(temperature=0.0)),
        "stop": lambda: request(generation=Generation(stop=("x",))),
        "schema": lambda: request(output=OutputSchema("a", {"type": "object"})),
    }


async def test_whatever_the_model_sees_makes_another_request(path: Path):
    asked = [request, *variants().values()]
    recording = model(path, "record", *[f"reply {n}" for n in range(len(asked))])
    for make in asked:
        await ask(recording, make())

    played = [(await ask(model(path, "replay"), make()))[0].message.text for make in asked]

    assert played == [f"reply {n}" for n in range(len(asked))]
    assert path.stat().st_size < 20_000  # images by their hash


async def test_options_of_the_model_are_part_of_the_request(path: Path):
    def with_options(**options: Any) -> Model:
        return Model.cassette(path, Model.ollama("m", options=options), "replay")

    plain = CassetteModel(Cassette(path), "ollama:m", Model.scripted(["plain"]).open)
    await plain.reply(request(), lambda delta: None)

    assert await say(with_options(), "hi") == ["plain"]
    with pytest.raises(ReplayDrift, match="service_tier: flex"):
        await say(with_options(service_tier="flex"), "hi")


async def test_texts_that_no_json_can_carry_are_recorded_cleaned(path: Path):
    await say(model(path, "record", "ok"), "a\ud800b\0")

    assert await say(model(path, "replay"), "a\ud800b\0") == ["ok"]


# drift


async def test_drift_shows_the_words_that_changed_and_little_else(path: Path):
    words = " ".join(f"word{n}" for n in range(2000))
    await ask(
        model(path, "record", "ok"), request(words, system="line one\nline two\nline three", tools=[add])
    )

    changed = words.replace("word1234 ", "sword1234 ")
    with pytest.raises(ReplayDrift) as caught:
        await ask(model(path, "replay"), request(changed, system="line one\nline 2\nline three", tools=[add]))

    shown = str(caught.value).splitlines()
    changes = [line for line in shown if line.startswith(("+", "-"))]
    assert any("sword1234" in line for line in changes)
    assert "-    | line two" in changes
    assert "+    | line 2" in changes
    assert len(shown) < 40
    assert max(map(len, shown)) < 200


async def test_drift_that_changes_everything_is_cut_short(path: Path):
    await ask(model(path, "record", "ok"), request("\n".join(map(str, range(1000)))))

    with pytest.raises(ReplayDrift, match=r"… \d+ more lines") as caught:
        await ask(model(path, "replay"), request("\n".join(map(str, range(1000, 2000)))))

    assert len(str(caught.value).splitlines()) < 60


async def test_drift_is_shown_against_the_request_that_was_expected(path: Path):
    await say(model(path, "record", "1", "2"), "first", "second")
    strict = model(path, "strict")
    await say(strict, "first")

    with pytest.raises(ReplayDrift) as caught:
        await say(strict, "third")

    assert "second" in str(caught.value)
    assert "first" not in str(caught.value)


# secrets


def write_out(path: Path) -> str:
    """The file, and every text within it unescaped as often as may be."""
    texts = [path.read_text()]
    todo: list[Any] = [json.loads(texts[0])]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            todo += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            todo += value
        elif isinstance(value, str):
            texts.append(value)
            try:
                inner = json.loads(value)
            except ValueError:
                continue
            if not isinstance(inner, int | float):
                todo.append(inner)
    return "\n".join(texts)


async def record(path: Path, asked: Request, *replies: Any, chunk: int = 0, **environment: str) -> Reply:
    cassette = CassetteModel(
        Cassette(path, "record"),
        "scripted:script",
        Model.scripted(replies, chunk=chunk).open,
        environment=environment,
    )
    return await cassette.reply(asked, lambda delta: None)


@pytest.mark.parametrize("name", ["MY_API_KEY", "github_token", "DB_PASSWORD", "CLIENT_SECRET"])
@pytest.mark.parametrize("secret", [SECRET, "sk-ant-0123456789", "  padded-value-1 "])
async def test_a_secret_is_nowhere_in_the_file(path: Path, name: str, secret: str):
    asked = request(f"log in with {secret}", system=f"The password is {secret}.")
    escaped = json.dumps({"password": secret})
    everywhere = "".join(f"\\u{ord(char):04x}" if ord(char) < 65536 else char for char in secret)
    replies = [
        Thought(f"use {secret}"),
        f"I use {secret}!",
        Call("login", {"password": secret}),
        Call("login", escaped),
        Call("login", '{"p": "' + everywhere + '"}'),
    ]
    live = await record(path, asked, replies, **{name: secret})

    assert secret in live.message.text  # the caller gets what the model said
    assert secret.strip() not in write_out(path)
    assert write_out(path).count(f"[secret {name}]") >= 10


async def test_the_key_of_the_model_is_a_secret_whatever_its_variable_is_called(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MY_GATE", "gate-0123456789")
    with WireServer([Say("it is gate-0123456789")], key="gate-0123456789") as server:
        real = Model.compatible("m", base_url=f"{server.url}/v1", key_env=("OTHER_GATE", "MY_GATE"))
        await say(Model.cassette(path, real), "my key is gate-0123456789")

    assert "gate-0123456789" not in write_out(path)
    assert write_out(path).count("[secret MY_GATE]") >= 3


def forms(secret: str, before: str, after: str) -> list[str]:
    """A secret amid other words, in the forms in which a tool may show it."""
    data = f"{before}{secret}{after}".encode()
    texts = [base64.b64encode(data), base64.urlsafe_b64encode(data)]
    coded = [text.decode() for text in texts]
    return [
        *coded,
        *(text.rstrip("=") for text in coded),
        *(quote(text, safe="") for text in coded),
        *(json.dumps(text).replace("/", r"\/") for text in coded),
        data.hex(),
        data.hex().upper(),
        quote(before + secret + after),
        quote(before + secret + after, safe=""),
        quote_plus(before + secret + after).replace("%2F", "%2f"),
    ]


@pytest.mark.parametrize("secret", [SECRET, "sk-ant-0123456789", "two words?>", "ÿþûúÿþûú?>"])
@pytest.mark.parametrize("before", ["", "u", "us", "use", "user:"])
@pytest.mark.parametrize("after", ["", "x", "xy", "@h/x"])
def test_a_secret_is_found_in_base64_in_hexadecimal_and_in_addresses(secret: str, before: str, after: str):
    blotter = Blotter({"A_KEY": secret})

    for text in forms(secret, before, after):
        told = blotter.text(f"it is {text} there")
        assert told.count("[secret A_KEY]") == 1, text
        # at its edges base64 mixes a secret with its neighbours: these few characters may stay
        assert len(told) <= len("it is [secret A_KEY] there") + len(quote(before + after, safe="")) * 2 + 8


def test_a_secret_in_base64_at_the_end_leaves_nothing():
    blotter = Blotter({"A_KEY": "sk-ant-0123456789"})

    assert blotter.text(base64.b64encode(b"sk-ant-0123456789").decode()) == "[secret A_KEY]"


def test_other_data_in_base64_and_hexadecimal_stays():
    blotter = Blotter({"A_KEY": "sk-ant-0123456789"})
    other = base64.b64encode(bytes(range(256))).decode() + " " + bytes(range(256)).hex()

    assert blotter.text(other) == other


@pytest.mark.parametrize("chunk", [1, 3, 7])
async def test_a_secret_that_runs_over_several_deltas_is_not_written(path: Path, chunk: int):
    await record(path, request(), ["before " + SECRET + " after"], chunk=chunk, MY_KEY=SECRET)

    (kept,) = Cassette(path).interactions
    assert (
        "".join(delta.text for delta in kept.deltas if isinstance(delta, TextDelta))
        == kept.reply.message.text
    )
    assert kept.reply.message.text == "before [secret MY_KEY] after"


async def test_a_secret_may_change_between_recording_and_replay(path: Path):
    def cassette(mode: Mode, secret: str) -> CassetteModel:
        return CassetteModel(
            Cassette(path, mode), "m", Model.scripted(["ok"]).open, environment={"A_TOKEN": secret}
        )

    for mode, secret in (("record", "first-token-1"), ("replay", "other-token-2")):
        reply = await cassette(mode, secret).reply(request(f"use {secret}"), lambda delta: None)  # type: ignore[arg-type]
        assert reply.message.text == "ok"


async def test_the_drift_that_is_shown_holds_no_secret(path: Path):
    await record(path, request("log in"), "ok", A_TOKEN=SECRET)
    cassette = CassetteModel(Cassette(path, "replay"), "scripted:script", Model.offline().open, environment={"A_TOKEN": SECRET})  # fmt: skip

    with pytest.raises(ReplayDrift) as caught:
        await cassette.reply(request(f"log in with {SECRET}"), lambda delta: None)

    assert SECRET not in str(caught.value)
    assert "[secret A_TOKEN]" in str(caught.value)


def test_a_password_within_an_address_is_a_secret_and_ordinary_values_are_not():
    blotter = Blotter(
        {
            "DATABASE_URL": "postgres://me:hunter2hunter2@db.example/x",
            "SHORT_KEY": "abc",
            "HOME": "/home/somebody",
            "CODED_URL": "https://me:p%40ss-word@db.example",
            "BAD": "http://[@x",
        }
    )

    told = "abc /home/somebody http://[@x hunter2hunter2"
    assert blotter.text(told) == "abc /home/somebody http://[@x [secret DATABASE_URL]"
    assert blotter.text("p@ss-word p%40ss-word") == "[secret CODED_URL] [secret CODED_URL]"


def test_a_secret_within_another_does_not_leave_the_rest_of_it():
    blotter = Blotter({"A_KEY": "12345678", "B_KEY": "abc-12345678-xyz"})

    assert blotter.text("abc-12345678-xyz and 12345678") == "[secret B_KEY] and [secret A_KEY]"


@pytest.mark.parametrize(
    "deltas",
    [
        [TextDelta("one "), TextDelta("two")],
        [CallDelta("1", "a", '{"x":'), CallDelta("2", "a", "{}"), CallDelta("1", "a", "1}")],
    ],
)
def test_deltas_without_a_secret_stay_as_they_came(deltas: Sequence[Delta]):
    assert Blotter({"A_KEY": "12345678"}).blot_deltas(deltas) == deltas


# the file


def test_opening_touches_no_file(tmp_path: Path):
    Model.cassette(tmp_path / "none" / "tape.json", "openai:gpt-4o", "record").open()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "tape.json: "),
        (b"not json", "tape.json: "),
        (b"\xff\xfe", "tape.json: "),
        (b"[]", "an object is expected"),
        (b"{}", "it holds no recording"),
        (b'{"loom_cassette": 99, "other": 1}', "it has version 99, not 1"),
        (b'{"loom_cassette": 1, "interactions": [{"key": 5}]}', "Expected `str`, got `int`"),
        (b'{"loom_cassette": 1, "loom_cassette": 1, "interactions": []}', "loom_cassette"),
    ],
)
@pytest.mark.parametrize("mode", ["auto", "replay", "strict"])
async def test_a_file_that_is_no_cassette_is_refused_and_left_alone(
    path: Path, content: bytes, cause: str, mode: Mode
):
    path.parent.mkdir()
    path.write_bytes(content)

    with pytest.raises(LoomUsageError, match=r"tape\.json is not a cassette that can be read") as caught:
        await say(model(path, mode, "ok"), "a")

    assert cause in caught.value.cause
    assert path.read_bytes() == content


async def test_a_recording_may_begin_over_a_file_that_is_no_cassette(path: Path):
    path.parent.mkdir()
    path.write_text("not json")

    await say(model(path, "record", "ok"), "a")

    assert await say(model(path, "replay"), "a") == ["ok"]


async def test_a_folder_in_place_of_the_file_is_told(path: Path):
    path.mkdir(parents=True)

    with pytest.raises(LoomUsageError, match="can be read") as caught:
        await say(model(path, "auto", "ok"), "a")

    assert "directory" in caught.value.cause.lower()


async def test_the_file_is_the_same_in_every_process_and_reads_well(path: Path, tmp_path: Path):
    await say(model(path, "record", "ok"), "a")
    other = tmp_path / "other.json"
    await say(model(other, "record", "ok"), "a")

    assert path.read_bytes() == other.read_bytes()
    assert path.read_text().startswith('{\n "interactions": [\n')


def test_two_processes_record_into_one_file_and_lose_nothing(path: Path):
    code = """
import asyncio, sys
from loom_nb import Model
from loom_nb.messages import Conversation, user
from loom_nb.protocols import Request

async def main(path, who):
    opened = Model.cassette(path, Model.scripted([f"{who} {n}" for n in range(20)])).open()
    for n in range(20):
        await opened.reply(Request("", Conversation([user(f"{who} asks {n}")])), lambda delta: None)

asyncio.run(main(*sys.argv[1:]))
"""
    started = [subprocess.Popen([sys.executable, "-c", code, path, who]) for who in ("anna", "ben")]
    assert [process.wait(60) for process in started] == [0, 0]

    told = {one.reply.message.text for one in Cassette(path).interactions}
    assert told == {f"{who} {n}" for who in ("anna", "ben") for n in range(20)}
    assert [left.name for left in path.parent.iterdir()] == ["tape.json"]


def test_an_unknown_mode_is_refused_at_once(path: Path):
    with pytest.raises(LoomUsageError, match="a cassette has no mode 'fast'"):
        Model.cassette(path, "openai:gpt-4o", "fast")  # type: ignore[arg-type]


async def test_it_says_what_it_is_and_sends_what_the_model_would(path: Path):
    opened = Model.cassette(path, "openai:gpt-4o", "replay").open()

    assert (opened.name, repr(opened)) == (
        "openai:gpt-4o",
        "<CassetteModel openai:gpt-4o from tape.json, replay>",
    )
    assert opened.encode(request()) == Model.openai("gpt-4o").open().encode(request())
    assert Model.cassette(path, "openai:gpt-4o").name == "cassette:openai:gpt-4o"
    assert isinstance(request().conversation.messages[0], Message)
    await opened.close()
    await opened.close()
