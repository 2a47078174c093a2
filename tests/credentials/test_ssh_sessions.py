"""Shells over SSH that keep their state: which output belongs to which command, and when one has ended."""

import asyncio
import contextlib
import shutil

import pytest

from loom_nb.credentials import ssh_sessions
from loom_nb.credentials.remote import Unfiltered
from loom_nb.credentials.ssh import Limits, Ssh
from loom_nb.credentials.ssh_sessions import Sessions
from loom_nb.errors import ToolError
from tests.credentials.ssh_servers import facts, lives, password, shells

SHELLS = [
    pytest.param("exec bash --noprofile --norc --noediting -i", id="bash"),
    pytest.param("ENV= exec dash -i", id="dash"),
    pytest.param(
        "exec busybox sh -i",
        id="busybox",
        marks=pytest.mark.skipif(not shutil.which("busybox"), reason="no busybox here"),
    ),
]


class Talk:
    """One session and its server."""

    def __init__(self, server, ssh, sessions):
        self.server, self.ssh, self.sessions = server, ssh, sessions
        self.facts = facts(server.bound())
        self.name = ""

    async def say(self, command, seconds=10.0, name=None):
        name = self.name if name is None else name
        ran = await self.sessions.send(name, self.facts, password(), command, seconds=seconds)
        self.name = ran.session
        return ran


@contextlib.asynccontextmanager
async def talking(**limits):
    async with shells() as server:
        ssh = Ssh(limits=Limits(**limits))
        sessions = Sessions(ssh)
        try:
            yield Talk(server, ssh, sessions)
        finally:
            await sessions.close()
            await ssh.close()


@pytest.fixture(params=SHELLS)
async def talk(request, monkeypatch):
    monkeypatch.setattr(ssh_sessions, "SHELL", request.param)  # the choice between them is the server's
    async with talking(grace=3.0) as made:
        yield made


async def test_folders_variables_and_functions_stay(talk):
    await talk.say("cd /tmp; X='a b'; f() { echo f of $1; }")
    ran = await talk.say('pwd; echo "$X"; f 1')
    assert (ran.out, ran.err, ran.code) == ("/tmp\na b\nf of 1\n", "", 0)


async def test_streams_are_told_apart_and_belong_to_their_command(talk):
    for n in range(30):
        ran = await talk.say(f"echo out {n}; echo err {n} >&2; (exit {n})")
        assert (ran.out, ran.err, ran.code, ran.late) == (f"out {n}\n", f"err {n}\n", n, "")


async def test_output_without_a_newline_ends_where_it_ends(talk):
    assert (await talk.say("printf 'no newline'")).out == "no newline"
    assert (await talk.say("printf 'err' >&2")).err == "err"
    assert (await talk.say("true")).out == ""


async def test_what_looks_like_a_mark_is_output(talk):
    ran = await talk.say(r"printf '\036%s 0\n' 0123456789abcdef0123456789abcdef; printf '\036'")
    assert ran.out == "\x1e0123456789abcdef0123456789abcdef 0\n\x1e"


async def test_a_shell_that_shows_what_it_reads_does_not_show_the_mark(talk):
    await talk.say("set -xv")
    for _ in range(3):
        ran = await talk.say("echo hi")
        assert (ran.out, ran.code) == ("hi\n", 0)
    await talk.say("set +xv")
    assert (await talk.say("echo quiet")).err == ""


async def test_half_a_command_is_an_error_and_swallows_nothing(talk):
    for half in ("if true; then", "echo 'open", "cat <<EOF\nline", "(", "echo )"):
        ran = await talk.say(half)
        assert ran.session, half
    assert (await talk.say("echo next")).out == "next\n"


async def test_quotes_lines_and_odd_characters_arrive_as_they_are(talk):
    ran = await talk.say("""for w in 'it'"'"'s' "a\\"b" '$X' '!x' 'é\\n'; do\nprintf '%s|' "$w"\ndone""")
    assert ran.out == "it's|a\"b|$X|!x|é\\n|"


async def test_a_command_that_wants_input_finds_none(talk):
    ran = await talk.say("read line; echo read $?; cat; echo cat $?")
    assert ran.out == "read 1\ncat 0\n"


async def test_what_a_command_does_to_its_streams_ends_with_it(talk):
    await talk.say("exec >/dev/null 2>&1 8>&- 9>&-; echo lost")
    ran = await talk.say("echo here; echo there >&2")
    assert (ran.out, ran.err) == ("here\n", "there\n")


async def test_functions_and_aliases_do_not_come_between(talk):
    await talk.say("printf() { echo shadow; }; alias printf=echo eval=echo command=echo")
    ran = await talk.say("echo still")
    assert (ran.ended, ran.out) == ("exit", "still\n")


async def test_a_shell_that_was_bent_until_it_tells_nothing_is_ended_and_that_is_told(talk):
    ran = await talk.say("command() { :; }", seconds=0.3)
    assert (ran.ended, ran.session) == ("timeout", "")


@pytest.mark.parametrize(
    ("command", "code", "signal"),
    [("exit 4", 4, ""), ("exec sh -c 'exit 5'", 5, ""), ("kill -KILL $$", None, "KILL")],
)
async def test_the_end_of_the_shell_is_told_and_the_next_one_is_new(talk, command, code, signal):
    await talk.say("X=old")
    ran = await talk.say(command)
    assert (ran.code, ran.signal, ran.session) == (code, signal, "")
    assert (await talk.say("echo [$X]")).out == "[]\n"


async def test_what_is_left_in_the_background_is_heard_with_the_next_command(talk, tmp_path):
    gate = tmp_path / "gate"
    ran = await talk.say(f"(until [ -e {gate} ]; do sleep 0.05; done; echo late) & echo begun")
    assert ran.out == "begun\n"
    gate.touch()
    heard = ""
    while "late" not in heard:
        ran = await talk.say("sleep 0.05")
        heard += ran.late + ran.out


async def test_a_command_that_takes_too_long_is_given_up_whole_and_the_session_goes_on(talk, tmp_path):
    sign = tmp_path / "sign"
    await talk.say("X=kept")
    ran = await talk.say(f"echo begun; sleep 60; touch {sign}", seconds=0.3)
    assert (ran.ended, ran.code, ran.out) == ("timeout", None, "begun\n")
    assert ran.session
    assert (await talk.say("echo $X")).out == "kept\n"
    assert not sign.exists()  # what stood behind the step that was interrupted did not run
    assert (await talk.say("while :; do sleep 0.1; done", seconds=0.3)).session
    assert (await talk.say("echo $X")).out == "kept\n"


@pytest.mark.parametrize("size", [1, 7, 1_000])
async def test_a_mark_that_comes_late_stands_in_no_output(size):
    ear = ssh_sessions._ShellEar(Unfiltered)
    session = ssh_sessions.Session(Ssh(), None, ear)
    for mark in ("first", "second"):
        _, before = session._begin(mark)
        before.interrupted = True
    _, running = session._begin("third")
    said = b"\x1esecond 130\nkept\x1e\n\x1esecond 130\n\x1ethird 0\n"
    for at in range(0, len(said), size):
        ear.hear(said[at : at + size], error=False)
    ear.hear(b"\x1ethird 0\n", error=True)
    assert running.done.is_set()
    running.end()
    assert (running.out.text, running.number) == ("kept\x1e\n", 0)


async def test_a_command_that_does_not_let_itself_be_interrupted_takes_the_session_with_it(talk):
    await talk.say("X=lost; trap '' INT")
    ran = await talk.say("sleep 60", seconds=0.3)
    assert (ran.ended, ran.session) == ("timeout", "")
    assert (await talk.say("echo [$X]")).out == "[]\n"


async def test_a_command_that_is_cancelled_is_interrupted_and_the_session_goes_on(talk, tmp_path):
    sign = tmp_path / "sign"
    await talk.say("X=kept")
    name = talk.name
    running = asyncio.ensure_future(talk.say(f"touch {sign}; sleep 60"))
    while not sign.exists():
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    ran = await talk.say("echo $X", name=name)
    assert (ran.out, ran.code) == ("kept\n", 0)


async def test_much_output_is_kept_in_bounds_and_the_end_is_still_found(talk):
    ran = await talk.say("head -c 5000000 /dev/zero | tr '\\0' x; exit_code() { return 7; }; exit_code", 30)
    assert (ran.out_bytes, ran.code) == (5_000_000, 7)
    assert len(ran.out) < 210_000


async def test_one_command_after_the_other_however_they_come(talk):
    await talk.say("n=0")
    name = talk.name
    ran = await asyncio.gather(*(talk.say("n=$((n+1)); echo $n", name=name) for _ in range(10)))
    assert sorted(int(one.out) for one in ran) == list(range(1, 11))


# -- sessions ----------------------------------------------------------------------------------------


async def test_sessions_know_nothing_of_each_other():
    async with talking() as talk:
        first = (await talk.say("X=1")).session
        second = (await talk.say("X=2", name="")).session
        assert (await talk.say("echo $X", name=first)).out == "1\n"
        assert (await talk.say("echo $X", name=second)).out == "2\n"


async def test_there_are_only_so_many_sessions():
    async with talking(sessions=3) as talk:
        for _ in range(3):
            await talk.say("true", name="")
        with pytest.raises(ToolError, match="3 sessions are open, which is the most"):
            await talk.say("true", name="")
        await talk.sessions.end(talk.name)
        assert (await talk.say("true", name="")).session


async def test_a_session_that_nobody_uses_is_closed():
    async with talking(session=0.2, kept=0.1) as talk:
        await talk.say("true")
        name = talk.name
        while talk.server.connections:
            await asyncio.sleep(0.02)
        with pytest.raises(ToolError, match="nothing was run: this session has ended"):
            await talk.say("true", name=name)


async def test_a_session_does_not_outlive_a_change_of_its_secret():
    async with talking() as talk:
        await talk.say("X=1")
        name = talk.name
        talk.facts = facts(talk.server.bound(), version=2)
        with pytest.raises(ToolError, match="this session has ended"):
            await talk.say("echo $X", name=name)
        assert name not in talk.sessions


async def test_a_session_whose_server_dies_is_told_as_lost():
    async with talking() as talk:
        await talk.say("true")
        running = asyncio.ensure_future(talk.say("sleep 60"))
        await asyncio.sleep(0)
        talk.server.hang_up()
        ran = await running
        assert (ran.ended, ran.session) == ("lost", "")


async def test_what_is_no_shell_is_no_session(monkeypatch):
    monkeypatch.setattr(ssh_sessions, "SHELL", "exec cat")
    async with talking() as talk:
        await talk.ssh.call(talk.facts, password(), "true", seconds=10)
        talk.ssh.limits = Limits(connect=1.0)  # the connection stands; so long is waited for a shell
        with pytest.raises(ToolError, match="what answers over there is no shell"):
            await talk.say("true")
        assert talk.sessions.ssh.links.of("")[0].used == 0


async def test_the_log_in_shell_of_the_server_chooses_bash_where_there_is_one():
    async with talking() as talk:
        ran = await talk.say("echo ${BASH_VERSION:+bash}; echo ${HISTFILE-none}")
        assert ran.out == ("bash\nnone\n" if shutil.which("bash") else "\nnone\n")


async def test_to_close_ends_the_shell_and_what_it_left_in_the_background(tmp_path):
    sign = tmp_path / "pids"
    async with talking() as talk:
        await talk.say(f"sleep 60 & echo $$ $! > {sign}")
        await talk.sessions.end(talk.name)
        for pid in sign.read_text().split():
            while lives(pid):
                await asyncio.sleep(0.02)
