"""The broker: a process of its own that keeps secrets, gives none back, and may die at any moment."""

import asyncio
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from loom_nb.credentials.broker import Broker, frames
from loom_nb.credentials.policies import Binding, CredentialPolicy
from loom_nb.errors import CredentialError, LoomUsageError, ScopeNotFound, SecretsLocked, StoreDamaged

CANARY = "sk-canary-93f1b2c7d8e64a50"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
FORKS = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
"""From 3.12 on Python warns of what these tests are about."""


@pytest.fixture(params=[True, False], ids=["process", "thread"])
def broker(request, tmp_path):
    made = Broker(tmp_path / "secrets", master="file", apart=request.param)
    yield made
    made.stop()


@pytest.fixture
def apart(tmp_path):
    made = Broker(tmp_path / "secrets", master="file", apart=True)
    yield made
    made.stop()


def gone(pid):
    """Wait until a process is no more."""
    for _ in range(1_000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        with suppress(OSError):  # it may be gone between the two; the next look says so
            if ") Z " in Path(f"/proc/{pid}/stat").read_text():
                return
        time.sleep(0.01)
    raise AssertionError(f"{pid} is still there")


def test_it_keeps_lists_changes_rotates_and_forgets(broker):
    binding = Binding(hosts=("api.github.com",))
    put = broker.put(
        "github.read", "api_key", {"value": CANARY}, binding=binding, grants=["tool:http"], note="n"
    )
    assert (put.scope, put.version, put.binding, put.grants, put.note) == (
        "github.read", 1, binding, ("tool:http",), "n",
    )  # fmt: skip
    assert broker.facts("github.read") == put
    assert broker.rotate("github.read", {"value": CANARY + "2"}).version == 2
    changed = broker.change("github.read", policy=CredentialPolicy(mode="autonomous"), grants=())
    assert (changed.policy.mode, changed.grants, changed.note) == ("autonomous", (), "n")
    assert [one.scope for one in broker.list()] == ["github.read"]
    assert broker.list("gitlab") == ()
    assert broker.damaged() == ()
    assert broker.rekey() == 1
    assert broker.revoke("github.read") is True
    assert broker.revoke("github.read") is False
    assert broker.list() == ()


def test_it_says_where_secrets_are_opened(tmp_path):
    assert Broker(tmp_path, apart=True).tier == "broker process"
    assert Broker(tmp_path, apart=False).tier == "this process"


def test_errors_are_those_of_the_store(broker):
    with pytest.raises(ScopeNotFound, match="no secret is kept as 'nope'") as told:
        broker.facts("nope")
    assert told.value.fixes == ("%loom key",)
    broker.put("a", "api_key", {"value": CANARY})
    with pytest.raises(LoomUsageError, match="there is a secret a already"):
        broker.put("a", "api_key", {"value": CANARY})
    with pytest.raises(LoomUsageError, match="a scope is a name"):
        broker.put("", "api_key", {"value": CANARY})
    with pytest.raises(CredentialError, match="lone surrogate"):
        broker.facts("\ud800")


def test_a_changed_audit_is_told(broker):
    broker.put("a", "api_key", {"value": CANARY})
    assert broker.check_log() == 1
    with closing(sqlite3.connect(broker.home / "secrets.db")) as db, db:
        db.execute("UPDATE audit SET row = CAST(replace(CAST(row AS TEXT), 'put', 'pet') AS BLOB)")
    with pytest.raises(StoreDamaged, match="1"):
        broker.check_log()
    assert broker.list()


def test_an_error_about_a_value_does_not_hold_it(broker):
    def locals_of(error):
        trace = error.__traceback__
        while trace:
            yield repr(trace.tb_frame.f_locals)
            trace = trace.tb_next

    bad = {"value": CANARY + "\n\x01"}
    for attempt in (lambda f: broker.put("a", "api_key", f), lambda f: broker.put("a", "bearer_token", f)):
        fields = dict(bad)
        with pytest.raises(LoomUsageError) as told:
            attempt(fields)
        ours = list(locals_of(told.value))[2:]  # behind this test and its lambda
        assert ours
        assert CANARY not in str(told.value)
        assert not any(CANARY in one for one in ours)


def test_nothing_starts_before_the_first_use(tmp_path):
    broker = Broker(tmp_path / "secrets")
    assert broker.pid is None
    assert not (tmp_path / "secrets").exists()


def test_a_passphrase_opens_what_it_began(broker, tmp_path):
    broker.stop()
    home = tmp_path / "other"
    apart = broker.tier == "broker process"
    first = Broker(home, apart=apart)
    first.unlock("correct horse battery")
    first.put("a", "api_key", {"value": CANARY})
    first.lock()
    with pytest.raises(SecretsLocked, match="locked by a passphrase") as told:
        first.rotate("a", {"value": CANARY})
    assert told.value.fixes == ("%loom key unlock",)
    with pytest.raises(SecretsLocked):
        first.unlock("another horse battery")
    first.stop()
    second = Broker(home, apart=apart)
    assert [one.scope for one in second.list()] == ["a"]  # facts need no key
    second.unlock("correct horse battery")
    assert second.damaged() == ()
    second.stop()


def test_a_passphrase_is_refused_where_something_else_opens(broker):
    broker.put("a", "api_key", {"value": CANARY})
    with pytest.raises(LoomUsageError, match="opened by the key file"):
        broker.unlock("correct horse battery")


def test_the_key_of_the_environment_opens_what_it_began(tmp_path, monkeypatch):
    from loom_nb.credentials.sealing import SealingKey

    home = tmp_path / "secrets"
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    monkeypatch.setenv("LOOM_SECRET_KEY", SealingKey.fresh().to_text())
    first = Broker(home, apart=True)
    first.put("a", "api_key", {"value": CANARY})
    first.stop()
    monkeypatch.delenv("LOOM_SECRET_KEY")
    second = Broker(home, apart=True)
    with pytest.raises(SecretsLocked, match="LOOM_SECRET_KEY is not set"):
        second.rekey()
    second.stop()


def test_without_a_keychain_and_a_key_a_file_is_made_for_this_user_only(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    monkeypatch.delenv("LOOM_SECRET_KEY", raising=False)
    broker = Broker(tmp_path / "secrets", apart=True)
    broker.put("a", "api_key", {"value": CANARY})
    broker.stop()
    assert (tmp_path / "secrets" / "master.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "secrets" / "opened-by").read_text() == "file\n"


def test_many_threads_ask_at_once(broker):
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: broker.put(f"s{n}", "api_key", {"value": CANARY}), range(64)))
        found = list(pool.map(lambda n: broker.facts(f"s{n}").scope, range(64)))
    assert found == [f"s{n}" for n in range(64)]


def test_it_is_started_once_for_threads_that_come_together(apart):
    barrier = threading.Barrier(8)

    def ask(_):
        barrier.wait()
        apart.list()
        return apart.pid

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1


def test_it_is_asked_from_several_event_loops(broker):
    async def ask():
        async with broker.opened() as (reader, writer):
            writer.write(frames.packed(frames.JSON, b'{"op":"List"}'))
            return await frames.read(reader)

    def loop(_):
        return asyncio.run(ask())

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(loop, range(8))) == [(frames.JSON, b'{"was":"Done","value":[]}')] * 8


def test_what_is_no_operation_ends_its_line_and_nothing_else(broker):
    async def send(payload):
        async with broker.opened() as (reader, writer):
            writer.write(payload)
            await reader.read()
            return "ended"

    huge = b"\xff\xff\xff\xffJ"
    for payload in (b'{"op":"Nope"}', b"[]", b"\x00", b'{"op":"Put","scope":1}'):
        assert asyncio.run(send(frames.packed(frames.JSON, payload))) == "ended"
    assert asyncio.run(send(huge)) == "ended"
    assert asyncio.run(send(b"\x00\x00\x00\x01X?")) == "ended"
    assert broker.list() == ()


def test_stop_ends_the_process_and_the_next_use_starts_another(apart):
    apart.put("a", "api_key", {"value": CANARY})
    first = apart.pid
    apart.stop()
    gone(first)
    assert apart.pid is None
    assert apart.facts("a").scope == "a"
    assert apart.pid != first


def test_after_it_was_killed_the_next_use_starts_another(apart):
    apart.put("a", "api_key", {"value": CANARY})
    for _ in range(5):
        pid = apart.pid
        os.kill(pid, signal.SIGKILL)
        gone(pid)
        assert apart.facts("a").version == 1
        assert apart.pid != pid


def test_killed_in_the_middle_it_says_so(apart):
    apart.list()
    pid = apart.pid
    os.kill(pid, signal.SIGSTOP)
    told = []

    def ask():
        with pytest.raises(CredentialError) as error:
            apart.put("a", "api_key", {"value": CANARY})
        told.append(error.value)

    thread = threading.Thread(target=ask)
    thread.start()
    while sys._current_frames()[thread.ident].f_code.co_name != "_exactly":  # it waits for the answer
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    thread.join(20)
    assert told[0].title == "the broker of secrets ended in the middle of this"
    assert CANARY not in str(told[0])
    assert apart.list() == ()


async def test_killed_in_the_middle_an_event_loop_is_told_too(apart):
    async def ask():
        async with apart.opened() as (reader, _):
            os.kill(apart.pid, signal.SIGKILL)
            await frames.read(reader)

    with pytest.raises(CredentialError, match="ended in the middle"):
        await ask()
    assert apart.list() == ()


def test_it_ends_with_the_kernel(tmp_path):
    script = (
        "import os, sys; from pathlib import Path; from loom_nb.credentials.broker import Broker\n"
        "broker = Broker(Path(sys.argv[1]), master='file', apart=True); broker.list()\n"
        "print(broker.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    gone(int(done.stdout))


def test_it_ends_with_the_interpreter(tmp_path):
    script = (
        "import sys; from pathlib import Path; from loom_nb.credentials.broker import Broker\n"
        "broker = Broker(Path(sys.argv[1]), master='file', apart=True); broker.list(); print(broker.pid)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    gone(int(done.stdout))


def _in_child(broker, parents, told):
    broker.list()
    told.put((broker.pid, broker.pid != parents))
    broker.stop()


@FORKS
def test_a_forked_child_has_a_process_of_its_own(apart):
    apart.put("a", "api_key", {"value": CANARY})
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()
    child = context.Process(target=_in_child, args=(apart, apart.pid, told))
    child.start()
    pid, another = told.get()
    child.join(20)
    assert another
    gone(pid)
    assert apart.facts("a").scope == "a"


@FORKS
def test_a_forked_child_does_not_keep_it_alive(apart):
    apart.list()
    pid = apart.pid
    context = multiprocessing.get_context("fork")
    wait = context.Event()
    child = context.Process(target=wait.wait, args=(60,))
    child.start()
    apart.stop()
    gone(pid)
    wait.set()
    child.join(20)


def test_two_kernels_keep_secrets_in_one_store(tmp_path):
    first, second = (Broker(tmp_path / "secrets", master="file", apart=True) for _ in range(2))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: (first, second)[n % 2].put(f"s{n}", "api_key", {"value": CANARY}), range(40)))
    assert first.pid != second.pid
    assert len(first.list()) == len(second.list()) == 40
    assert first.damaged() == second.damaged() == ()
    first.stop()
    second.stop()


@LINUX
def test_the_process_is_closed_to_others(apart):
    apart.put("a", "api_key", {"value": CANARY})
    proc = Path(f"/proc/{apart.pid}")
    core = next(line for line in (proc / "limits").read_text().splitlines() if "core" in line)
    assert core.split()[4:6] == ["0", "0"]
    assert (proc / "environ").stat().st_uid == 0  # of root: it is not dumpable
    assert "NoNewPrivs:\t1" in (proc / "status").read_text()
    assert CANARY.encode() not in (proc / "cmdline").read_bytes()
    if os.getuid() == 0:
        assert CANARY.encode() not in (proc / "environ").read_bytes()
    text = (apart.home / "broker.log").read_text()
    assert "not dumpable" in text
    assert CANARY not in text


@LINUX
def test_others_of_the_same_user_cannot_look_into_it(tmp_path):
    """Also not as root, where root may not look into everything: as in most containers."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("needs setpriv")
    script = (
        "import sys; from pathlib import Path; from loom_nb.credentials.broker import Broker\n"
        "broker = Broker(Path(sys.argv[1]), master='file', apart=True); broker.list()\n"
        "for name in ('environ', 'mem', 'maps', 'stat'):\n"
        "    try: open(f'/proc/{broker.pid}/{name}', 'rb').read(1); print('open')\n"
        "    except PermissionError: print('closed')\n"
    )
    become = (
        [setpriv, "--bounding-set=-sys_ptrace,-sys_admin,-perfmon,-checkpoint_restore"]
        if os.getuid() == 0
        else []
    )
    done = subprocess.run(
        [*become, sys.executable, "-c", script, str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["closed", "closed", "closed", "open"], done.stderr


@LINUX
def test_no_value_is_left_in_the_kernel(tmp_path):
    """A process that only asks holds no value: its memory is read by root."""
    if os.getuid() != 0:
        pytest.skip("reads the memory of another process")
    first = Broker(tmp_path / "secrets", master="file", apart=True)
    first.put("a", "api_key", {"value": CANARY})
    script = (
        "import sys; from pathlib import Path; from loom_nb.credentials.broker import Broker\n"
        "broker = Broker(Path(sys.argv[1]), master='file', apart=True)\n"
        "broker.list(); broker.damaged(); print(broker.facts('a').scope, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "secrets")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as kernel:
        assert kernel.stdout.readline() == b"a\n"
        assert memory(kernel.pid).count(b"loom_nb") > 0
        assert CANARY.encode() not in memory(kernel.pid)
        kernel.communicate(b"\n")
    first.stop()


def memory(pid):
    """All that a process has in its writable memory."""
    data = b""
    with Path(f"/proc/{pid}/mem").open("rb") as file:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            where, rights = line.split()[:2]
            if rights.startswith("rw"):
                start, end = (int(one, 16) for one in where.split("-"))
                file.seek(start)
                data += file.read(end - start)
    return data


def test_modules_of_the_working_directory_are_not_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("msgspec", "logging", "loom_nb", "keyring", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken')")
    broker = Broker(tmp_path / "secrets", master="file", apart=True)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("LD_PRELOAD", "")
    assert broker.list() == ()
    broker.stop()


def test_a_broker_that_cannot_start_says_where_to_look(tmp_path):
    (tmp_path / "file").write_text("")
    broker = Broker(tmp_path / "file" / "secrets", master="file", apart=True)
    with pytest.raises(CredentialError, match="cannot be started"):
        broker.list()


@pytest.mark.skipif(os.name != "posix", reason="folders have modes there")
def test_a_folder_that_others_may_write_is_closed_to_them(tmp_path):
    home = tmp_path / "secrets"
    home.mkdir()
    home.chmod(0o777)
    broker = Broker(home, master="file")
    try:
        broker.put("a", "api_key", {"value": "sk-canary-93f1b2c7"})
    finally:
        broker.stop()
    assert home.stat().st_mode & 0o777 == 0o700
