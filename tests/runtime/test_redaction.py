"""No secret reaches the model, the log, the disk, the screen or a recording, in whichever form a tool says it."""

import asyncio
import base64
import html
import json
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas
import pytest

from loom_nb import Agent, Answer, MemoryStore, Model, Question, SessionConfig, SqliteStore, tool
from loom_nb.agent import known_secrets
from loom_nb.errors import LoomError, ToolError
from loom_nb.events import CallOutput, CallStarted, Noticed, TextDelta
from loom_nb.messages import FilePart, TextPart, to_json
from loom_nb.models.scripted import Call
from loom_nb.notebook.render import html as html_of
from loom_nb.notebook.render import markdown as markdown_of
from loom_nb.notebook.transcript import Transcript
from loom_nb.protocols import current_call
from loom_nb.redaction.known import KnownSecrets, environment_secrets
from loom_nb.redaction.redactor import Redactor
from loom_nb.runtime.artifacts import artifact
from loom_nb.runtime.redacting import Redacting
from loom_nb.runtime.session import Session

CANARY = 'cAn4ry/+=%&"\\<secret> 0'
FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "address": quote,
    "address, all of it": lambda text: quote(text, safe=""),
    "JSON": lambda text: json.dumps({"key": text}),
    "JSON in JSON": lambda text: json.dumps(json.dumps({"key": text})),
    "JSON in an address": lambda text: quote(json.dumps(text)),
    "repr": repr,
    "HTML": html.escape,
    "hexadecimal": lambda text: text.encode().hex(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64, one off": lambda text: base64.b64encode(f"u{text}".encode()).decode(),
    "Basic": lambda text: base64.b64encode(f"me:{text}".encode()).decode(),
    "base64 for addresses": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
}
GITHUB = "ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8"


class Elsewhere:
    """What knows of secrets that this process does not, and is asked over a line."""

    def __init__(self, **secrets: str) -> None:
        self._redactor = Redactor(secrets)
        self.in_use = True
        self.asked: list[str] = []
        self.broken = False

    async def redact(self, text: str) -> str:
        await asyncio.sleep(0)
        self.asked.append(text)
        if self.broken:
            raise LoomError("the broker has ended")
        return self._redactor.text(text)


def holds_canary(data: bytes, secret: str = CANARY) -> bool:
    return Redactor({"canary": secret}).holds(data)


def session_of(model: Model, *tools: Any, store: Any = None, **given: Any) -> Session:
    agent = Agent(model=model, tools=tools)
    return Session(agent, SessionConfig("s"), store or MemoryStore(), **given)


KNOWN = [
    pytest.param(lambda: {"redacting": Redacting(KnownSecrets({"THE_KEY": CANARY}))}, id="this process"),
    pytest.param(lambda: {"redacting": Redacting(others=Elsewhere(THE_KEY=CANARY))}, id="elsewhere"),
]


@pytest.mark.parametrize("known", KNOWN)
@pytest.mark.parametrize("form", FORMS)
async def test_what_a_tool_gives_shows_raises_and_keeps_holds_no_secret(
    form: str, known: Any, tmp_path: Path
):
    said = FORMS[form](CANARY)

    @tool(read_only=True)
    def leak() -> str:
        call = current_call.get()
        assert call is not None
        for place in range(0, len(said), 3):
            call.show(said[place : place + 3])
        return f"it is {said} there"

    @tool(read_only=True)
    def fail() -> str:
        raise ValueError(f"no access with {said}")

    @tool(read_only=True)
    def refuse() -> str:
        raise ToolError(f"refused: {said}")

    requests: list[bytes] = []

    def look(messages: list[Any]) -> str:
        requests.append(to_json(messages))
        return "done"

    model = Model.scripted([[Call("leak"), Call("fail"), Call("refuse")], look])
    shown: list[Any] = []
    store = SqliteStore(tmp_path / "log.db")
    async with session_of(model, leak, fail, refuse, store=store, **known()) as session:
        run = session.start("go")
        run.subscribe(shown.append)
        result = await run
        entries = session.events()
    store.close()

    assert result.status == "completed", result.reason
    assert sorted(use.outcome for use in result.tools) == ["error", "error", "ok"]
    assert all("[secret THE_KEY]" in use.result for use in result.tools)
    live = "".join(event.text for event in shown if isinstance(event, CallOutput))
    assert "[secret THE_KEY]" in live
    transcript = Transcript.of(entries)
    everywhere = {
        "requests": b"".join(requests),
        "screen": live.encode(),
        "log": to_json([entry.event for entry in entries]),
        "disk": b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()),
        "Markdown": markdown_of(transcript, prompt=True).encode(),
        "HTML": html_of(transcript, prompt=True).encode(),
        "result": repr(result).encode() + to_json([use.result for use in result.tools]),
    }
    assert all(everywhere.values())
    assert [name for name, data in everywhere.items() if holds_canary(data)] == []


async def test_how_many_were_taken_out_is_told():
    @tool(read_only=True)
    def leak() -> str:
        return f"{CANARY} and {CANARY}"

    async with session_of(
        Model.scripted([Call("leak"), "ok"]), leak, redacting=Redacting(KnownSecrets({"A_KEY": CANARY}))
    ) as session:
        result = await session.run("go")

    notices = [entry.event.text for entry in result.events if isinstance(entry.event, Noticed)]
    assert notices == ["2 secrets were taken out of the result of leak."]
    assert result.tools[0].result == "[secret A_KEY] and [secret A_KEY]"


async def test_a_result_is_redacted_before_it_is_shortened():
    @tool(read_only=True, max_chars=100)
    def long() -> str:
        return "x" * 60 + CANARY + "y" * 500

    async with session_of(
        Model.scripted([Call("long"), "ok"]), long, redacting=Redacting(KnownSecrets({"A_KEY": CANARY}))
    ) as session:
        await session.run("go")
        data = to_json([entry.event for entry in session.events()])

    assert not holds_canary(data)
    assert b"cAn4ry" not in data


async def test_what_only_looks_like_a_secret_is_taken_out_of_results_and_live_output():
    @tool(read_only=True)
    def settings() -> str:
        call = current_call.get()
        assert call is not None
        for piece in (
            "token ",
            GITHUB[:9],
            GITHUB[9:20],
            GITHUB[20:],
            " and pass",
            "word: hun",
            "ter22\n",
            "more",
        ):
            call.show(piece)
        return f"DB_PASSWORD=hunter2hunter2\nid=550e8400-e29b-41d4-a716-446655440000\n{GITHUB}"

    shown: list[Any] = []
    async with session_of(Model.scripted([Call("settings"), "ok"]), settings) as session:
        run = session.start("go")
        run.subscribe(shown.append)
        result = await run

    assert result.tools[0].result == (
        "DB_PASSWORD=[secret? password]\nid=550e8400-e29b-41d4-a716-446655440000\n[secret? GitHub token]"
    )
    live = "".join(event.text for event in shown if isinstance(event, CallOutput))
    assert live == "token [secret? GitHub token] and password: [secret? password]\nmore"


async def test_live_output_of_a_private_key_is_held_until_it_is_whole():
    lines = [
        "-----BEGIN PRIVATE KEY-----",
        "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC",
        "k3yk3yk3yk3yk3yk3y",
        "-----END PRIVATE KEY-----",
    ]

    @tool(read_only=True)
    def cat() -> str:
        call = current_call.get()
        assert call is not None
        call.show("here: ")
        for line in lines:
            call.show(f"{line}\n")
        call.show("bye\n")
        return "ok"

    shown: list[Any] = []
    async with session_of(Model.scripted([Call("cat"), "ok"]), cat) as session:
        run = session.start("go")
        run.subscribe(shown.append)
        await run

    live = "".join(event.text for event in shown if isinstance(event, CallOutput))
    assert live == "here: [secret? private key]\nbye\n"


async def test_live_output_comes_as_it_is_said():
    times: list[str] = []
    shown: list[str] = []

    @tool(read_only=True)
    async def work() -> str:
        call = current_call.get()
        assert call is not None
        for step in ("10 % \r", "20 % \r", "..."):
            call.show(step)
            times.append("".join(shown))
        return "ok"

    async with session_of(Model.scripted([Call("work"), "ok"]), work) as session:
        run = session.start("go")
        run.subscribe(lambda event: shown.append(event.text) if isinstance(event, CallOutput) else None)
        await run

    assert times == ["10 % \r", "10 % \r20 % \r", "10 % \r20 % \r..."]


@pytest.mark.parametrize("known", KNOWN)
async def test_what_the_model_says_is_redacted_whole_and_as_it_comes(known: Any):
    seen: list[dict[str, Any]] = []

    @tool(read_only=True)
    def take(text: str) -> str:
        seen.append({"text": text})
        return "taken"

    script = [[f"I send {CANARY} now", Call("take", {"text": CANARY})], f"sent {CANARY}."]
    shown: list[Any] = []
    given = known()
    async with session_of(Model.scripted(script, chunk=3), take, **given) as session:
        run = session.start("go")
        run.subscribe(shown.append)
        result = await run
        data = to_json([entry.event for entry in session.events()])

    assert result.output == "sent [secret THE_KEY]."
    assert seen == [{"text": "[secret THE_KEY]"}]
    assert [entry.event.arguments for entry in result.events if isinstance(entry.event, CallStarted)] == seen
    assert not holds_canary(data)
    if given["redacting"].known.redactor is not None:  # what somebody else knows never came near the model
        streamed = "".join(event.text for event in shown if isinstance(event, TextDelta))
        assert streamed == "I send [secret THE_KEY] nowsent [secret THE_KEY]."


async def test_a_known_secret_in_the_prompt_is_taken_out_and_the_user_is_told():
    requests: list[bytes] = []
    script = [lambda messages: requests.append(to_json(messages)) or "ok"]
    async with session_of(
        Model.scripted(script), redacting=Redacting(KnownSecrets({"THE_KEY": CANARY}))
    ) as session:
        request, _ = await session.preview(f"use {CANARY}")
        result = await session.run(f"use {CANARY}")
        data = to_json([entry.event for entry in session.events()])

    assert request.conversation.messages[-1].text == "use [secret THE_KEY]"
    assert not holds_canary(data)
    assert not holds_canary(requests[0])
    notices = [entry.event.text for entry in result.events if isinstance(entry.event, Noticed)]
    assert notices == ["1 secret was taken out of what you sent."]


async def test_what_looks_like_a_secret_in_the_prompt_stays_and_the_user_is_told_of_the_store():
    async with session_of(Model.scripted(["ok"])) as session:
        result = await session.run(f"use {GITHUB}")

    assert result.messages[0].text == f"use {GITHUB}"
    (notice,) = [entry.event.text for entry in result.events if isinstance(entry.event, Noticed)]
    assert "GitHub token" in notice
    assert "%loom key set" in notice
    assert GITHUB not in notice


async def test_an_answer_that_is_secret_is_known_from_then_on(tmp_path: Path):
    store = SqliteStore(tmp_path / "log.db")
    schema = {
        "type": "object",
        "properties": {"user": {"type": "string"}, "pin": {"type": "string", "writeOnly": True}},
    }

    @tool
    async def log_in() -> str:
        call = current_call.get()
        assert call is not None
        word = await call.ask(Question("", "secret", "Password?"))
        form = await call.ask(Question("", "form", "And?", schema=schema))
        return f"logged in with {word}, {form['user']} and {form['pin'].encode().hex()}"

    async with session_of(Model.scripted([Call("log_in"), "ok"]), log_in, store=store) as session:
        session.attend()
        run = session.start("go")
        asked: list[str] = []

        def answer(event: Any) -> None:
            if event.type == "QuestionAsked" and event.question.kind != "approval":
                asked.append(event.question.kind)
                value = (
                    CANARY if event.question.kind == "secret" else {"user": "somebody", "pin": "9876543210"}
                )
                session.send(Answer(event.question.id, value))
            elif event.type == "QuestionAsked":
                session.send(Answer(event.question.id, {"decision": "allow"}))

        run.subscribe(answer)
        result = await run
    store.close()

    assert asked == ["secret", "form"]
    told = result.tools[0].result
    assert told.startswith("logged in with [secret answer q")
    assert "somebody and [secret answer q" in told
    disk = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert not holds_canary(disk)
    assert not holds_canary(disk, "9876543210")


@pytest.mark.parametrize("known", KNOWN)
async def test_questions_and_artifacts_hold_no_secret(known: Any):
    @tool
    async def ask() -> str:
        artifact("notes", f"see {CANARY}")
        artifact("data", {"a": [CANARY]})
        artifact("rows", pandas.DataFrame({"a": [CANARY, "b"], "n": [1, 2]}))
        call = current_call.get()
        assert call is not None
        return str(await call.ask(Question("", "confirm", f"Send {CANARY}?", text=CANARY, default=False)))

    shown: list[Question] = []
    async with session_of(Model.scripted([Call("ask"), "ok"]), ask, **known()) as session:
        session.attend()
        run = session.start("go")

        def answer(event: Any) -> None:
            if event.type == "QuestionAsked":
                shown.extend(session.questions)
                yes = {"decision": "allow"} if event.question.kind == "approval" else True
                session.send(Answer(event.question.id, yes))

        run.subscribe(answer)
        result = await run
        data = to_json([entry.event for entry in session.events()])

    assert result.artifacts["notes"].value() == "see [secret THE_KEY]"
    assert result.artifacts["data"].value() == {"a": ["[secret THE_KEY]"]}
    assert list(result.artifacts["rows"].value()["a"]) == ["[secret THE_KEY]", "b"]
    assert shown[-1].title == "Send [secret THE_KEY]?"
    assert not holds_canary(data)


@pytest.mark.parametrize("known", KNOWN)
async def test_the_end_of_a_run_that_failed_tells_no_secret(known: Any):
    def fail(messages: list[Any]) -> str:
        raise LoomError(f"the server said: bad key {CANARY}", fixes=[f"renew {CANARY}"])

    async with session_of(Model.scripted([fail]), **known()) as session:
        result = await session.run("go")

    assert result.status == "failed"
    assert result.fixes
    assert not holds_canary("\n".join(result.fixes).encode())
    assert result.reason == "the server said: bad key [secret THE_KEY]"


async def test_instructions_hold_no_known_secret():
    agent = Agent(model=Model.scripted(["ok"]), instructions=f"the key is {CANARY}")
    session = Session(
        agent, SessionConfig("s"), MemoryStore(), redacting=Redacting(KnownSecrets({"THE_KEY": CANARY}))
    )
    async with session:
        await session.run("go")
        request, _ = await session.preview("go")

    assert request.system == "the key is [secret THE_KEY]"


async def test_where_nobody_can_say_what_a_text_holds_it_is_withheld():
    elsewhere = Elsewhere(THE_KEY=CANARY)

    @tool(read_only=True)
    def leak() -> str:
        elsewhere.broken = True
        return CANARY

    async with session_of(
        Model.scripted([Call("leak"), "ok"]), leak, redacting=Redacting(others=elsewhere)
    ) as session:
        result = await session.run("go")

    assert result.tools[0].result.startswith("[withheld: ")
    assert "cAn4ry" not in result.tools[0].result


async def test_while_no_secret_was_used_nobody_is_asked():
    elsewhere = Elsewhere(THE_KEY=CANARY)
    elsewhere.in_use = False

    @tool(read_only=True)
    def look() -> str:
        return "nothing"

    async with session_of(
        Model.scripted([Call("look"), "ok"]), look, redacting=Redacting(others=elsewhere)
    ) as session:
        await session.run("go")

    assert elsewhere.asked == []


async def test_a_variable_of_the_environment_is_known_in_the_run_after_it_was_set(
    monkeypatch: pytest.MonkeyPatch,
):
    @tool(read_only=True)
    def env() -> str:
        return "MY_TOKEN=" + "q9w8e7r6t5"

    monkeypatch.setenv("MY_TOKEN", "q9w8e7r6t5")
    agent = Agent(model=Model.scripted([Call("env"), "ok"]), tools=(env,), session_store=MemoryStore())
    async with agent.session() as session:
        result = await session.run("go")

    assert result.tools[0].result == "MY_TOKEN=[secret MY_TOKEN]"
    assert known_secrets() is known_secrets()


def test_of_the_environment_count_names_like_secrets_and_addresses_with_a_password():
    found = environment_secrets(
        {
            "A_KEY": "k3yk3yk3y",
            "A_TOKEN": "short",
            "GOOGLE_APPLICATION_CREDENTIALS": "/home/me/keys/google.json",
            "SECRETS_DIR": "/run/secrets",
            "HOME": "/home/somebody",
            "DATABASE_URL": "postgres://me:hunter2hunter2@db/x",
            "OTHER": "other-value-1",
        },
        key_names=["OTHER"],
    )

    assert found == {
        "A_KEY": ("k3yk3yk3y",),
        "DATABASE_URL": ("hunter2hunter2",),
        "OTHER": ("other-value-1",),
    }


def test_secrets_are_told_from_several_threads_at_once():
    known = KnownSecrets({})
    work = [threading.Thread(target=known.add, args=(f"n{n}", f"value-of-number-{n}")) for n in range(20)]
    for one in work:
        one.start()
    for one in work:
        one.join()

    assert known.redactor is not None
    assert all(known.redactor.text(f"value-of-number-{n}") == f"[secret n{n}]" for n in range(20))


async def test_without_secrets_everything_passes_as_it_is():
    redacting = Redacting()
    event = Noticed("a fact")

    assert redacting.kept(event) is event
    assert redacting.words(CANARY) == CANARY
    assert not redacting.at_work


def test_a_database_of_a_redacted_run_is_whole(tmp_path: Path):
    @tool(read_only=True)
    def leak() -> str:
        return CANARY

    store = SqliteStore(tmp_path / "log.db")
    agent = Agent(model=Model.scripted([Call("leak"), "ok"]), tools=(leak,))

    async def go() -> None:
        async with Session(
            agent, SessionConfig("s"), store, redacting=Redacting(KnownSecrets({"A_KEY": CANARY}))
        ) as session:
            await session.run("go")

    asyncio.run(go())
    first = [entry.event for entry in store.read("s")]
    store.close()
    again = SqliteStore(tmp_path / "log.db")
    assert [entry.event for entry in again.read("s")] == first
    again.close()
    with sqlite3.connect(tmp_path / "log.db") as base:
        assert base.execute("pragma integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("known", KNOWN)
async def test_a_file_of_words_that_a_tool_gives_holds_no_secret(known: Any):
    @tool(read_only=True)
    def file() -> FilePart:
        return FilePart(f"ä\n{CANARY}\n".encode(), "text/plain", "a.txt")

    @tool(read_only=True)
    def large() -> FilePart:
        return FilePart(b"0123456\n" * 700_000 + CANARY.encode(), "text/csv", "b.csv")

    @tool(read_only=True)
    def other() -> FilePart:
        return FilePart(b"\xff\x00\x80 no words", "text/plain", "c.bin")

    calls = [Call("file"), Call("large"), Call("other"), "ok"]
    async with session_of(Model.scripted(calls), file, large, other, **known()) as session:
        await session.run("go")
        given = [
            part.data for entry in session.events() if entry.event.type == "CallFinished"
            for part in entry.event.result.parts
        ]  # fmt: skip

    assert given[0] == "ä\n[secret THE_KEY]\n".encode()
    assert given[1] == b"0123456\n" * 700_000 + b"[secret THE_KEY]"
    assert given[2] == b"\xff\x00\x80 no words"


async def test_a_secret_that_a_tool_put_into_the_environment_is_known_before_its_result_leaves():
    environment: dict[str, str] = {}
    redacting = Redacting(KnownSecrets(environment))
    assert not redacting.suspects((TextPart("nothing is known yet"),))
    environment["SOME_SERVICE_TOKEN"] = "qx7-hu2-93kd-zz41"
    parts = (TextPart("it said qx7-hu2-93kd-zz41"),)
    assert redacting.suspects(parts)
    made, taken = await redacting.result(parts)
    assert (made[0].text, taken) == ("it said [secret SOME_SERVICE_TOKEN]", 1)


async def test_a_run_that_is_stopped_while_its_answer_is_looked_through_keeps_the_answer_and_its_count():
    begun, goes_on = asyncio.Event(), asyncio.Event()

    class Slow(Elsewhere):
        async def redact(self, text: str) -> str:
            if "answer" in text:
                begun.set()
                await goes_on.wait()
            return await super().redact(text)

    slow = Slow(THE_KEY=CANARY)
    async with session_of(
        Model.scripted([f"the answer is {CANARY}"]), redacting=Redacting(others=slow)
    ) as session:
        run = session.start("ask")
        await begun.wait()
        run.stop("enough")
        await asyncio.sleep(0)
        goes_on.set()
        result = await run
    assert result.status == "stopped"
    assert result.messages[-1].text == "the answer is [secret THE_KEY]"
    assert result.usage.output_tokens > 0
