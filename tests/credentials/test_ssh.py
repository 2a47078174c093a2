"""Commands over SSH against asyncssh's own server, which speaks the real protocol in this process."""

import asyncio
import base64
import contextlib
import gc
import io
import logging
import tracemalloc

import asyncssh
import pytest

from loom_nb.credentials.remote import Unfiltered
from loom_nb.credentials.ssh import Limits, Ssh
from loom_nb.credentials.ssh_login import HostKey
from loom_nb.errors import CredentialError, HostKeyRefused, LoomError, ToolError
from loom_nb.redaction.forms import forms
from tests.credentials.ssh_servers import PASSWORD, Goes, Refuses, facts, lives, password, private_key, shells


@pytest.fixture
async def server():
    async with shells() as made:
        yield made


@contextlib.asynccontextmanager
async def opened(**given):
    made = Ssh(**given)
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def ssh():
    async with opened() as made:
        yield made


async def run(ssh, server, command, *, seconds=10.0, binding=None, secret=None, **given):
    kind = "ssh_private_key" if secret is not None and secret.type == "ssh_private_key" else "password"
    told = facts(binding or server.bound(), of_type=kind)
    return await ssh.call(told, secret or password(), command, seconds=seconds, **given)


# -- what is told of a command -----------------------------------------------------------------------


async def test_output_errors_and_exit_code_are_told_apart(ssh, server):
    ran = await run(ssh, server, "echo out; echo err >&2; exit 3")
    assert (ran.ended, ran.code, ran.out, ran.err) == ("exit", 3, "out\n", "err\n")


async def test_the_signal_that_ended_a_command_is_told(ssh, server):
    ran = await run(ssh, server, "kill -9 $$")
    assert (ran.ended, ran.code, ran.signal) == ("signal", None, "KILL")


async def test_a_command_has_no_input_to_wait_for(ssh, server):
    ran = await run(ssh, server, "cat; read line; echo $?")
    assert (ran.ended, ran.out) == ("exit", "1\n")


async def test_what_is_no_text_is_replaced(ssh, server):
    ran = await run(ssh, server, r"printf 'a\377b\303'")
    assert (ran.out, ran.out_bytes) == ("a\ufffdb\ufffd", 4)


async def test_fifty_megabytes_leave_the_beginning_the_end_and_their_number(server):
    async with opened(limits=Limits(output=10_000)) as ssh:
        command = "echo first; head -c 50000000 /dev/zero | tr '\\0' x; echo last"
        ran = await run(ssh, server, command, seconds=60)
    assert ran.out_bytes == 50_000_011
    assert ran.out.startswith("first\nxxx")
    assert ran.out.endswith("xxxlast\n")
    assert "49,990,011 of 50,000,011 bytes left out" in ran.out


async def test_a_long_output_is_never_held_whole(server):
    async with opened(limits=Limits(output=10_000)) as ssh:
        await run(ssh, server, "true")
        gc.collect()
        tracemalloc.start()
        ran = await run(ssh, server, "head -c 20000000 /dev/zero", seconds=60)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert ran.out_bytes == 20_000_000
    assert most < 8_000_000  # the windows of both sides of the connection, and what is kept


async def test_neither_variables_nor_a_terminal_nor_an_agent_go_along(ssh, server, monkeypatch):
    monkeypatch.setenv("LC_SECRET", "x")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nowhere/agent")
    ran = await run(ssh, server, "test -t 0 || test -t 1 || echo none")
    assert ran.out == "none\n"
    assert server.environments == [{}]


async def test_a_command_may_be_sent_as_it_is(ssh, server):
    ran = await run(ssh, server, "echo plain", raw=True)
    assert (ran.out, server.commands) == ("plain\n", ["echo plain"])


# -- time --------------------------------------------------------------------------------------------


async def test_a_command_that_takes_too_long_is_ended_with_all_that_it_started(ssh, server, tmp_path):
    sign = tmp_path / "pids"
    for seconds in (0.3, 3.0, 30.0):  # more time where it was ended before it had begun
        ran = await run(ssh, server, f"sleep 60 & echo $$ $! > {sign}; echo said; sleep 61", seconds=seconds)
        assert ran.ended == "timeout"
        if ran.out:
            break
    assert ran.out == "said\n"
    for pid in sign.read_text().split():
        assert not lives(pid)


async def test_a_call_that_is_cancelled_ends_its_command(ssh, server, tmp_path):
    sign = tmp_path / "pid"
    running = asyncio.ensure_future(run(ssh, server, f"echo $$ > {sign}; sleep 60"))
    while not (sign.exists() and sign.read_text().strip()):
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.wait(ssh._background)
    assert not lives(sign.read_text().strip())


async def test_a_server_that_dies_in_the_middle_is_told_as_not_known(ssh, server):
    running = asyncio.ensure_future(run(ssh, server, "echo begun; sleep 60"))
    while not server.started:
        await asyncio.sleep(0.01)
    server.hang_up()
    assert (await running).ended == "lost"
    assert (await run(ssh, server, "echo again")).out == "again\n"  # over a new connection
    assert len(server.logins) == 2


@pytest.mark.parametrize(
    ("session", "told"),
    [
        (Refuses, "did not start the command\n.*takes no commands from this user"),
        (Goes, "broke off as the command was sent\n.*whether it was started is not known"),
    ],
)
async def test_that_a_command_was_not_started_is_said_only_where_it_is_known(ssh, session, told):
    async with shells(session=session) as server:
        with pytest.raises(ToolError, match=told):
            await run(ssh, server, "echo said")
        assert len(server.logins) == 1  # it was not tried again


async def test_a_host_that_does_not_answer_is_given_up(ssh):
    async def silent(reader, writer):
        await reader.read()
        writer.close()

    quiet = await asyncio.start_server(silent, "127.0.0.1", 0)
    try:
        port = quiet.sockets[0].getsockname()[1]
        async with opened(limits=Limits(connect=0.2)) as hasty, shells() as server:
            binding = server.bound()
            told = facts(
                type(binding)(hosts=(f"localhost:{port}",), user="deploy", host_keys=binding.host_keys)
            )
            with pytest.raises(ToolError, match=r"did not answer within 0.2 s"):
                await hasty.call(told, password(), "id", seconds=5)
    finally:
        quiet.close()
        await quiet.wait_closed()


async def test_a_host_that_is_not_there_is_told_in_plain_words(ssh, server):
    server.acceptor.close()
    await server.acceptor.wait_closed()
    with pytest.raises(ToolError, match="cannot be reached"):
        await run(ssh, server, "id")


# -- who the server is -------------------------------------------------------------------------------


async def test_a_server_that_nobody_vouches_for_is_refused_and_its_key_is_shown(ssh, server):
    binding = type(server.bound())(hosts=(f"localhost:{server.port}",), user="deploy")
    with pytest.raises(HostKeyRefused) as refused:
        await run(ssh, server, "id", binding=binding)
    words = str(refused.value)
    assert f"nobody vouches for the key of localhost:{server.port}" in words
    assert f"ssh-ed25519 {server.fingerprint}" in words
    assert f"%loom key bind prod.db --host-key {server.fingerprint}" in words
    assert not server.logins  # not even the name of the user was sent


async def test_a_changed_key_is_refused_and_both_are_shown(ssh, server):
    other = asyncssh.generate_private_key("ssh-ed25519")
    for pin in (other.get_fingerprint("sha256"), HostKey.of(other).line):
        with pytest.raises(HostKeyRefused) as refused:
            await run(ssh, server, "id", binding=server.bound(pin))
        words = str(refused.value)
        assert "shows another key than the one that is pinned for prod.db" in words
        assert server.fingerprint in words
        assert other.get_fingerprint("sha256") in words
    assert not server.logins


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp521", "ssh-rsa"])
async def test_a_server_is_known_by_its_whole_key_or_by_its_fingerprint(ssh, kind):
    key = asyncssh.generate_private_key(kind)
    async with shells(host_key=key) as server:
        for pin in (server.fingerprint, HostKey.of(key).line):
            assert (await run(ssh, server, "echo in", binding=server.bound(pin))).out == "in\n"


async def test_known_hosts_vouches_only_where_the_binding_says_so(server, tmp_path):
    file = tmp_path / "known_hosts"
    key = HostKey.of(server.host_key)
    file.write_text(f"[localhost]:{server.port} {key.line}\n")
    async with opened(known_hosts=file) as ssh:
        leave = server.bound(known_hosts=True)
        assert (await run(ssh, server, "echo in", binding=leave)).out == "in\n"
        with pytest.raises(HostKeyRefused, match="nobody vouches"):
            await run(ssh, server, "id", binding=type(leave)(hosts=leave.hosts, user="deploy"))
        other = HostKey.of(asyncssh.generate_private_key("ssh-ed25519"))
        file.write_text(f"[localhost]:{server.port} {other.line}\n")
        ssh.forget("prod.db")
        with pytest.raises(HostKeyRefused, match=r"another key than the one that is in ~/.ssh/known_hosts"):
            await run(ssh, server, "id", binding=leave)
        file.write_text(f"@revoked * {key.line}\n[localhost]:{server.port} {key.line}\n")
        with pytest.raises(HostKeyRefused, match="was revoked"):
            await run(ssh, server, "id", binding=leave)
        file.unlink()
        with pytest.raises(HostKeyRefused, match="nobody vouches"):
            await run(ssh, server, "id", binding=leave)
        file.write_bytes(b"\xff\xfe not a file of keys")
        with pytest.raises(HostKeyRefused):
            await run(ssh, server, "id", binding=leave)


async def test_a_pin_is_stronger_than_known_hosts(server, tmp_path):
    file = tmp_path / "known_hosts"
    file.write_text(f"[localhost]:{server.port} {HostKey.of(server.host_key).line}\n")
    pin = asyncssh.generate_private_key("ssh-ed25519").get_fingerprint("sha256")
    async with opened(known_hosts=file) as ssh:
        with pytest.raises(HostKeyRefused, match="pinned for prod.db"):
            await run(ssh, server, "id", binding=server.bound(pin, known_hosts=True))


# -- logging in --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384"])
@pytest.mark.parametrize(
    ("form", "passphrase"),
    [("openssh", ""), ("pkcs8-pem", ""), ("pkcs8-pem", "Canary phrase")],
    ids=["openssh", "pkcs8", "pkcs8 with a passphrase"],
)
async def test_keys_of_every_kind_log_in(ssh, kind, form, passphrase):
    key = asyncssh.generate_private_key(kind)
    async with shells(authorized=key) as server:
        ran = await run(ssh, server, "echo in", secret=private_key(key, passphrase, form))
    assert ran.out == "in\n"


async def test_a_wrong_password_and_a_wrong_key_are_told_without_their_values(server):
    key, other = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    async with opened() as ssh, shells(authorized=key) as by_key:
        for where, secret in ((server, password("Canary-wrong-1")), (by_key, private_key(other))):
            with pytest.raises(CredentialError, match="does not let deploy in with prod.db") as refused:
                await run(ssh, where, "id", secret=secret)
            assert not leaks(secret, str(refused.value))
            assert refused.value.__cause__ is refused.value.__context__ is None


async def test_a_key_whose_passphrase_is_wrong_is_told_without_its_values(ssh, server):
    key = asyncssh.generate_private_key("ssh-ed25519")
    good = private_key(key, "Canary phrase")
    for phrase in ("", "another"):
        secret = type(good)(good.type, {"key_pem": good.reveal("key_pem"), "passphrase": phrase})
        with pytest.raises(CredentialError, match="the key of prod.db cannot be opened") as refused:
            await run(ssh, server, "id", secret=secret)
        assert not leaks(secret, str(refused.value))
    assert not server.logins


def leaks(secret, *texts):
    """Which forms of its hidden values stand in a text."""
    found = {form for value in secret.hidden() for form in forms(value) if len(form) > 7}
    found |= {line.encode() for value in secret.hidden() for line in value.splitlines()[1:-1]}
    return [form for form in found for text in texts if form in text.encode()]


async def test_nothing_of_a_secret_comes_into_logs_results_errors_or_their_frames(caplog, server):
    """The library is as loud as it gets, down to whole packets, and what we catch is searched with its frames."""
    key = asyncssh.generate_private_key("ssh-rsa")
    caplog.set_level(logging.DEBUG)
    stream = io.StringIO()
    loud = logging.StreamHandler(stream)
    logging.getLogger().addHandler(loud)
    asyncssh.set_debug_level(3)
    texts = []
    try:
        async with opened() as ssh, shells(authorized=key) as by_key:
            for where, secret in ((server, password()), (by_key, private_key(key, "Canary phrase"))):
                texts.append(str(await run(ssh, where, "echo in", secret=secret)))
                for binding in (server.bound("SHA256:" + "A" * 43), where.bound(user="nobody")):
                    with pytest.raises(LoomError) as refused:
                        await run(ssh, where, "id", binding=binding, secret=secret)
                    texts += [repr(refused.value), str(refused.value), frames_of(refused.value)]
            texts += [repr(ssh), repr(ssh.links), *map(repr, ssh.links.of(""))]
    finally:
        logging.getLogger().removeHandler(loud)
    texts += [caplog.text, stream.getvalue()]
    assert not leaks(password(), *texts)
    assert not leaks(private_key(key, "Canary phrase"), *texts)


def frames_of(error):
    """What a traceback with its locals shows, as rich and notebooks do."""
    shown, trace = [], error.__traceback__
    while trace is not None:
        if "loom_nb/credentials" in trace.tb_frame.f_code.co_filename:
            shown += [repr(value) for value in trace.tb_frame.f_locals.values()]
        trace = trace.tb_next
    return "\n".join(shown)


async def test_what_a_server_says_when_it_hangs_up_goes_through_the_filter(ssh):
    class Masked(Unfiltered):
        def feed(self, data):
            return data.replace(PASSWORD.encode(), b"(prod.db)")

    class Rude(asyncssh.SSHServer):
        def connection_made(self, conn):
            self.connection = conn

        def password_auth_supported(self):
            return True

        def validate_password(self, username, password):
            raise asyncssh.DisconnectError(2, f"you said {password}\x1b[31m\nreally")

    key = asyncssh.generate_private_key("ssh-ed25519")
    acceptor = await asyncssh.listen("127.0.0.1", 0, server_host_keys=[key], server_factory=Rude)
    try:
        async with shells(host_key=key) as server, opened(filters=Masked) as masked:
            binding = type(server.bound())(
                hosts=(f"localhost:{acceptor.get_port()}",), user="deploy", host_keys=(server.fingerprint,)
            )
            with pytest.raises(LoomError) as refused:
                await masked.call(facts(binding), password(), "id", seconds=5)
        assert PASSWORD not in str(refused.value)
        assert "it says: you said (prod.db) [31m really" in str(refused.value)
    finally:
        acceptor.close()
        await acceptor.wait_closed()


# -- connections that are kept -----------------------------------------------------------------------


async def test_a_connection_is_kept_for_the_next_command_and_closed_when_none_comes(server):
    async with opened(limits=Limits(kept=0.1)) as ssh:
        for _ in range(5):
            await run(ssh, server, "true")
        assert (len(server.logins), len(ssh.links)) == (1, 1)
        while server.connections:
            await asyncio.sleep(0.02)
        assert not len(ssh.links)


async def test_a_secret_that_was_changed_does_not_use_the_old_connection(ssh, server):
    await ssh.call(facts(server.bound()), password(), "true", seconds=5)
    with pytest.raises(CredentialError):
        await ssh.call(facts(server.bound(), version=2), password("Canary-other"), "true", seconds=5)
    assert len(server.logins) == 2


async def test_to_forget_a_secret_closes_its_connections_at_once(ssh, server):
    running = asyncio.ensure_future(run(ssh, server, "sleep 60"))
    while not server.started:
        await asyncio.sleep(0.01)
    ssh.forget("another")
    assert len(ssh.links) == 1
    ssh.forget("prod.db")
    assert (await running).ended == "lost"
    assert not len(ssh.links)


async def test_twenty_commands_at_once_share_few_connections(ssh, server):
    ran = await asyncio.gather(*(run(ssh, server, f"sleep 0.2; echo {n}", seconds=90) for n in range(20)))
    assert [one.out for one in ran] == [f"{n}\n" for n in range(20)]
    assert len(server.logins) <= 3  # eight over each


async def test_fingerprints_in_a_result_are_those_that_openssh_prints():
    line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHEChAn4zG1XcCfWmHHAhvhZ3cYHcHWBGWpVZ2SJmjR"
    key = HostKey.of(asyncssh.import_public_key(line))
    import hashlib

    digest = hashlib.sha256(base64.b64decode(line.split()[1])).digest()
    assert key.fingerprint == "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
    assert key.line == line
