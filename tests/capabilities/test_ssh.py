"""Commands on other machines: an agent, a broker in a process of its own and a real SSH server."""

import asyncio

import pytest

from loom_nb import Agent, Answer, Decision, MemoryStore, Model, Runtime
from loom_nb.capabilities import Capability
from loom_nb.capabilities.ssh import Machines, SshCapability, readable, told
from loom_nb.credentials.broker import Broker
from loom_nb.credentials.policies import CredentialPolicy
from loom_nb.credentials.remote import Ran
from loom_nb.credentials.uses import Use
from loom_nb.errors import CredentialDenied, LoomUsageError, ToolError
from loom_nb.events import CallFinished, QuestionAsked, SecretUsed
from loom_nb.models.scripted import Call
from loom_nb.redaction.forms import forms
from tests.credentials.ssh_servers import PASSWORD, lives, shells

AUTONOMOUS = CredentialPolicy(mode="autonomous")
ALLOW = Decision("allow")


@pytest.fixture
async def server():
    async with shells() as made:
        yield made


@pytest.fixture
async def broker(tmp_path, server):
    made = Broker(tmp_path / "secrets", master="file")
    await asyncio.to_thread(keep, made, server)
    yield made
    await asyncio.to_thread(made.stop)


def keep(broker, server, scope="prod.db", policy=AUTONOMOUS, **given):
    broker.put(scope, "password", {"value": PASSWORD}, binding=server.bound(), policy=policy, **given)


async def play(broker, *calls, answers=(), scopes=("prod.db",), governance=None):
    """A run of these calls; a person gives the answers in order, and denies what is asked beyond them."""
    capability = SshCapability(scopes, broker=broker)
    spec = Agent(
        Model.scripted([*calls, "done"]),
        capabilities=[capability],
        runtime=governance or Runtime.supervised(),
        session_store=MemoryStore(),
    )
    left = list(answers)
    async with spec.session() as session:
        run = session.start("go")

        def answer(event):
            if isinstance(event, QuestionAsked):
                session.send(Answer(event.question.id, left.pop(0) if left else Decision("deny")))

        run.subscribe(answer)
        return await run


def finished(result):
    return [entry.event for entry in result.events if isinstance(entry.event, CallFinished)]


def asked(result):
    return [entry.event.question for entry in result.events if isinstance(entry.event, QuestionAsked)]


async def test_a_command_runs_where_the_secret_leads_and_the_model_reads_how_it_ended(broker, server):
    command = "echo out; echo err >&2; exit 3"
    result = await play(broker, Call("ssh_call", {"scope": "prod.db", "command": command}), answers=[ALLOW])
    (call,) = finished(result)
    assert call.result.text == "out\n--- standard error\nerr\n---\nexit code 3"
    assert (call.outcome, call.result.origin.kind) == ("ok", "tool")
    assert server.logins == ["deploy"]
    (used,) = [entry.event for entry in result.events if isinstance(entry.event, SecretUsed)]
    assert (used.scope, used.who, used.method, used.mode) == ("prod.db", "tool:ssh_call", "SSH", "autonomous")
    assert used.host == f"localhost:{server.port}"


async def test_the_card_names_secret_machine_command_and_why_and_what_the_command_does(broker, server):
    given = {"scope": "prod.db", "command": "rm -rf /var/tmp/x", "why": "free; space"}
    await asyncio.to_thread(broker.change, "prod.db", policy=CredentialPolicy())
    result = await play(broker, Call("ssh_call", given), answers=[ALLOW])
    (question,) = asked(result)
    card = question.approval
    assert (card.preview, card.preview_kind) == ("rm -rf /var/tmp/x", "command")
    assert card.destructive
    assert f"runs a command on deploy@localhost:{server.port} with the secret prod.db" in card.reasons
    assert "deletes files (rm)" in card.reasons
    assert any("ssh_call wants the secret prod.db" in reason for reason in card.reasons)
    assert "the agent says why: free, space" in card.reasons
    assert "tool" not in card.scopes
    last = (await asyncio.to_thread(broker.log))[-1]
    assert (last.kind, last.use.approved, last.use.path) == ("used", question.id, "rm -rf /var/tmp/x")
    assert (last.use.host, last.use.port, last.use.scheme) == ("localhost", server.port, "ssh")


async def test_without_a_persons_yes_nothing_is_sent(broker, server):
    await asyncio.to_thread(broker.change, "prod.db", policy=CredentialPolicy())
    result = await play(broker, Call("ssh_call", {"scope": "prod.db", "command": "id"}))
    assert finished(result)[0].outcome == "denied"
    everything = Runtime.supervised(mode="all")  # the mode that asks nothing does not speak for a secret
    result = await play(
        broker, Call("ssh_call", {"scope": "prod.db", "command": "id"}), governance=everything
    )
    assert (finished(result)[0].outcome, len(asked(result))) == ("denied", 1)
    assert not server.logins


async def test_the_broker_itself_refuses_a_use_that_nobody_allowed(broker, server):
    await asyncio.to_thread(broker.change, "prod.db", policy=CredentialPolicy())
    with pytest.raises(CredentialDenied, match="ask before each use"):
        await broker.ssh_call(Use(scope="prod.db", who="tool:ssh_call"), "id", seconds=5)
    assert not server.logins


async def test_an_agent_names_no_secret_that_it_was_not_granted_and_no_machine(broker, server):
    await asyncio.to_thread(keep, broker, server, "other.db")
    result = await play(
        broker,
        Call("ssh_call", {"scope": "other.db", "command": "id"}),
        Call("ssh_call", {"scope": "prod.db", "command": "id", "host": "evil.example"}),
        answers=[ALLOW, ALLOW],
    )
    first, second = finished(result)
    assert (first.outcome, "granted: prod.db" in first.result.text) == ("denied", True)
    assert second.outcome == "invalid"
    assert not server.logins


async def test_a_use_for_another_machine_than_the_sealed_one_is_no_use(broker, server):
    use = Use(scope="prod.db", who="tool:ssh_call", host="evil.example", port=22, scheme="ssh")
    ran = await broker.ssh_call(use, "echo here", seconds=5)
    assert (ran.out, server.logins) == ("here\n", ["deploy"])
    assert (await asyncio.to_thread(broker.log))[-1].use.host == "localhost"


async def test_a_session_keeps_its_state_and_tells_when_it_is_new_and_when_it_is_over(broker, server):
    def send(command, **more):
        return Call("ssh_session", {"scope": "prod.db", "command": command, **more})

    result = await play(
        broker,
        send("cd /tmp; X=5"),
        send("pwd; echo $X"),
        send("echo $X", session="second"),
        send("exit 4"),
        send("echo [$X]", close=True),
        send("", close=True),
        answers=[ALLOW] * 6,
    )
    texts = [call.result.text for call in finished(result)]
    assert texts[0] == "(a new session main)\n(no output)\nexit code 0"
    assert texts[1] == "/tmp\n5\nexit code 0"
    assert texts[2] == "(a new session second)\n(no output)\nexit code 0"
    assert "exit code 4\n(session main has ended with it" in texts[3]
    assert texts[4].startswith("(a new session main)\n[]\n")
    assert texts[4].endswith("session main is closed")
    assert texts[5] == "there is no session main"


async def test_sessions_end_with_the_run_that_opened_them(broker, server):
    result = await play(
        broker,
        Call("ssh_session", {"scope": "prod.db", "command": "echo $$"}),
        answers=[ALLOW],
    )
    told, pid, code = finished(result)[0].result.text.splitlines()
    assert (told, code) == ("(a new session main)", "exit code 0")
    while lives(pid):
        await asyncio.sleep(0.02)


async def test_a_session_that_nobody_knows_any_more_runs_nothing(broker):
    with pytest.raises(ToolError, match="nothing was run"):
        await broker.ssh_send(
            Use(scope="prod.db", who="tool:ssh_session"), "touch /x", session="f" * 32, seconds=5
        )
    assert [row.kind for row in await asyncio.to_thread(broker.log)] == ["put"]


async def test_what_is_revoked_or_rotated_ends_the_sessions_that_were_opened_with_it(broker, server):
    use = Use(scope="prod.db", who="tool:ssh_session")
    ran = await broker.ssh_send(use, "X=1", seconds=5)
    await asyncio.to_thread(broker.rotate, "prod.db", {"value": PASSWORD})
    with pytest.raises(ToolError, match="this session has ended"):
        await broker.ssh_send(use, "echo $X", session=ran.session, seconds=5)
    assert (await broker.ssh_send(use, "echo again", seconds=5)).out == "again\n"
    running = asyncio.ensure_future(broker.ssh_call(use, "sleep 60", seconds=60))
    while not any("sleep 60" in command for command in server.started):
        await asyncio.sleep(0.01)
    await asyncio.to_thread(broker.revoke, "prod.db")
    assert (await running).ended == "lost"
    await server.left()


async def test_a_run_that_is_stopped_ends_its_command_over_there(broker, server, tmp_path):
    sign = tmp_path / "pid"
    use = Use(scope="prod.db", who="tool:ssh_call")
    running = asyncio.ensure_future(broker.ssh_call(use, f"echo $$ > {sign}; sleep 60", seconds=60))
    while not (sign.exists() and sign.read_text().strip()):
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    while lives(sign.read_text().strip()):
        await asyncio.sleep(0.02)


async def test_a_one_shot_secret_runs_one_command(broker, server):
    await asyncio.to_thread(broker.change, "prod.db", policy=CredentialPolicy(mode="one_shot"))
    use = Use(scope="prod.db", who="tool:ssh_call")
    ran = await asyncio.gather(
        *(broker.ssh_call(use, "echo once", seconds=5) for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(one, Ran) for one in ran) == 1
    assert sum(isinstance(one, CredentialDenied) for one in ran) == 7


async def test_what_a_command_says_of_the_password_is_taken_out_in_every_form(broker, server):
    whole = f"printf %s '{PASSWORD}'"
    words = f"echo '{PASSWORD}'; {whole} | base64; {whole} | od -An -tx1 | tr -d ' \\n'; {whole} | rev"
    use = Use(scope="prod.db", who="tool:ssh_call")
    ran = await broker.ssh_call(use, f"{words}; ({words}) >&2; exit 1", seconds=5)
    kept = await broker.ssh_send(use, words, seconds=5)
    log = "".join(file.read_text() for file in broker.home.glob("*.log*"))
    for text in (ran.out, ran.err, kept.out, str(ran), log):
        assert not any(form in text.encode() for form in forms(PASSWORD))
    assert ran.out.count("prod.db") == 3  # what stands in its place says whose it was
    assert PASSWORD[::-1] in ran.out  # what somebody makes of it is beyond any list


async def test_without_a_broker_process_the_same_is_done_in_a_thread(tmp_path, server):
    broker = Broker(tmp_path / "secrets", master="file", apart=False)
    await asyncio.to_thread(keep, broker, server)
    try:
        use = Use(scope="prod.db", who="tool:ssh_call")
        assert (await broker.ssh_call(use, "echo hi", seconds=5)).out == "hi\n"
        assert (await broker.ssh_send(use, "echo hi", seconds=5)).session
    finally:
        await asyncio.to_thread(broker.stop)
    await server.left()


def test_the_capability_says_what_it_takes():
    assert Capability.ssh(["prod.db"]).scopes == ("prod.db",)
    for wrong in ("prod.db", [], [3]):
        with pytest.raises(LoomUsageError):
            Capability.ssh(wrong)
    with pytest.raises(LoomUsageError):
        Capability.ssh(["prod.db"], timeout=0)
    with pytest.raises(LoomUsageError, match="no field 'hosts'"):
        Capability.ssh(["prod.db"], hosts=["x"])


def test_what_is_no_shell_has_no_sessions(tmp_path):
    broker = Broker(tmp_path)
    assert [one.name for one in Machines(("r",), broker, 5, raw=True).tools()] == ["ssh_call"]
    assert [one.name for one in Machines(("r",), broker, 5, raw=False).tools()] == ["ssh_call", "ssh_session"]
    assert broker.pid is None  # nothing was started for it


@pytest.mark.parametrize(
    ("ran", "text"),
    [
        (Ran(ended="exit", code=0), "(no output)\nexit code 0"),
        (Ran(ended="signal", signal="KILL"), "(no output)\nended by the signal KILL"),
        (
            Ran(ended="timeout", seconds=5.04, held=True),
            "(no output)\ngiven up after 5.0 s, its time limit\n(it may still run there)",
        ),
        (Ran(ended="timeout", seconds=5.04), "(no output)\nended there after 5.0 s, its time limit"),
        (
            Ran(ended="lost", out="x"),
            "x\nthe connection broke: whether the command went on is not known",
        ),
        (
            Ran(ended="exit", code=0, late="old\n", out="new\n"),
            "--- what earlier commands said meanwhile\nold\n---\nnew\nexit code 0",
        ),
        (
            Ran(ended="exit", code=0, held=True),
            "(no output)\nexit code 0\n(something that it started in the background still runs there)",
        ),
    ],
)
def test_what_became_of_a_command_in_words(ran, text):
    assert told(ran) == text


def test_output_that_is_no_text_is_told_and_not_shown():
    assert readable("\x7fELF\0\0\ufffd", 7) == "(7 bytes that are no text: not shown)"
    assert readable("caf\ufffd au lait", 12) == "caf\ufffd au lait"
    assert readable("\x1b[31mred\x1b[0m\r\n10%\r100%\n", 30) == "red\n100%"
