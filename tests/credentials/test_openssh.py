"""Commands over SSH against OpenSSH's own server, as it stands on machines."""

import asyncio

import asyncssh
import pytest

from loom_nb.credentials.policies import Binding
from loom_nb.credentials.ssh import Limits, Ssh
from loom_nb.credentials.ssh_sessions import Sessions
from loom_nb.errors import CredentialError, HostKeyRefused
from tests.credentials.ssh_servers import SSHD, facts, lives, openssh, password, private_key

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SSHD is None, reason="no sshd here: apt-get install openssh-server"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with openssh(tmp_path_factory.mktemp("sshd")) as made:
        yield made


@pytest.fixture
async def ssh():
    made = Ssh(limits=Limits(grace=2.0))
    yield made
    await made.close()


async def run(ssh, server, command, *, seconds=20.0, kind="ed25519", **given):
    told = facts(server.bound(kind), of_type="ssh_private_key")
    return await ssh.call(told, server.secret, command, seconds=seconds, **given)


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
async def test_a_pinned_fingerprint_of_any_of_its_keys_is_found(ssh, server, kind):
    ran = await run(ssh, server, "echo out; echo err >&2; exit 3", kind=kind)
    assert (ran.ended, ran.code, ran.out, ran.err) == ("exit", 3, "out\n", "err\n")


async def test_another_key_than_the_pinned_one_is_refused(ssh, server):
    binding = Binding(
        hosts=(f"127.0.0.1:{server.port}",), user=server.user, host_keys=("SHA256:" + "A" * 43,)
    )
    with pytest.raises(HostKeyRefused) as refused:
        await ssh.call(facts(binding, of_type="ssh_private_key"), server.secret, "id", seconds=5)
    assert server.fingerprints["ed25519"] in str(refused.value)


async def test_another_key_of_ours_and_a_password_are_refused_by_the_server(ssh, server):
    other = private_key(asyncssh.generate_private_key("ssh-ed25519"))
    for secret in (other, password("Canary-wrong")):
        told = facts(server.bound(), of_type=secret.type)
        with pytest.raises(CredentialError, match=f"does not let {server.user} in"):
            await ssh.call(told, secret, "id", seconds=5)


async def test_nothing_of_this_machine_goes_along(ssh, server, monkeypatch):
    monkeypatch.setenv("LC_LOOM_CANARY", "x")  # the server takes every variable
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nowhere/agent")
    ran = await run(ssh, server, "env; test -t 0 || echo no terminal")
    assert "no terminal" in ran.out
    assert not any(name in ran.out for name in ("LOOM", "SSH_AUTH_SOCK", "DISPLAY", "SSH_TTY"))


async def test_fifty_megabytes_are_told_in_bounds(ssh, server):
    ran = await run(ssh, server, "head -c 50000000 /dev/zero | tr '\\0' x", seconds=60)
    assert (ran.ended, ran.out_bytes) == ("exit", 50_000_000)
    assert len(ran.out) < 210_000


async def test_the_signal_that_ended_a_command_is_told(ssh, server):
    assert (await run(ssh, server, "kill -9 $$")).signal == "KILL"


@pytest.mark.parametrize("how", ["timeout", "cancel"])
async def test_a_command_that_is_given_up_is_gone_over_there(ssh, server, tmp_path, how):
    sign = tmp_path / "pids"
    command = f"sleep 600 & echo $$ $! > {sign}; sleep 601 | sleep 602"
    if how == "timeout":
        assert (await run(ssh, server, command, seconds=0.5)).ended == "timeout"
    else:
        running = asyncio.ensure_future(run(ssh, server, command))
        while not (sign.exists() and sign.read_text().strip()):
            await asyncio.sleep(0.02)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await asyncio.wait(ssh._background)
    for pid in sign.read_text().split():
        assert not lives(pid)


async def test_what_a_command_leaves_in_the_background_does_not_hold_it(ssh, server, tmp_path):
    sign = tmp_path / "pid"
    ran = await run(ssh, server, f"sleep 30 & echo $! > {sign}; echo begun")
    assert (ran.ended, ran.code, ran.out, ran.held) == ("exit", 0, "begun\n", True)
    await run(ssh, server, f"kill $(cat {sign})")


async def test_twenty_commands_and_sessions_at_once(ssh, server):
    ran = await asyncio.gather(*(run(ssh, server, f"sleep 0.2; echo {n}", seconds=90) for n in range(20)))
    assert [one.out for one in ran] == [f"{n}\n" for n in range(20)]
    sessions = Sessions(ssh)
    told = facts(server.bound(), of_type="ssh_private_key")
    said = await asyncio.gather(
        *(sessions.send("", told, server.secret, f"n={n}", seconds=20) for n in range(16))
    )
    ran = await asyncio.gather(
        *(sessions.send(one.session, told, server.secret, "echo $n", seconds=20) for one in said)
    )
    assert [one.out for one in ran] == [f"{n}\n" for n in range(16)]
    await sessions.close()


async def test_a_session_is_interrupted_whole_and_goes_on(ssh, server, tmp_path):
    sessions, sign = Sessions(ssh), tmp_path / "sign"
    told = facts(server.bound(), of_type="ssh_private_key")

    async def say(name, command, seconds=10.0):
        return await sessions.send(name, told, server.secret, command, seconds=seconds)

    name = (await say("", "X=kept; cd /tmp")).session
    ran = await say(name, f"sleep 600; touch {sign}", seconds=0.5)
    assert (ran.ended, ran.session) == ("timeout", name)
    ran = await say(name, "echo $X; pwd")
    assert ran.out == "kept\n/tmp\n"
    assert not sign.exists()
    assert (await say(name, "exit 7")).code == 7
    await sessions.close()


async def test_a_server_that_dies_in_the_middle_is_told_as_not_known(tmp_path, ssh):
    with openssh(tmp_path) as server:
        running = asyncio.ensure_future(run(ssh, server, "echo $PPID; kill -9 $PPID; sleep 60"))
        assert (await running).ended in ("lost", "signal")
        assert (await run(ssh, server, "echo again")).out == "again\n"
