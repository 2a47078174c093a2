"""Requests with a secret in them: they go where it is bound to, and what comes back is without it."""

import asyncio
import base64
import contextlib
import gzip
import json
import os
import re
import signal
import sys
from urllib.parse import quote

import pytest

from loom_nb.credentials.broker import Broker, Exchange, ExchangeBroke
from loom_nb.credentials.policies import Binding, CredentialPolicy
from loom_nb.credentials.uses import Use
from loom_nb.errors import CredentialDenied, CredentialError, ScopeNotFound, SecretsLocked, ToolError
from tests.capabilities.sites import self_signed, serving

CANARY = "sk-canary-93f1b2c7d8e64a50"
AUTONOMOUS = CredentialPolicy(mode="autonomous")


@pytest.fixture(params=[True, False], ids=["process", "thread"])
def broker(request, tmp_path):
    made = Broker(tmp_path / "secrets", master="file", apart=request.param)
    yield made
    made.stop()


@pytest.fixture
async def site():
    async with serving() as site:
        site.echo = lambda path="/echo", status=200, **headers: site.answers.__setitem__(
            path, (status, headers, _echo(site))
        )
        yield site


def _echo(site):
    async def body(writer):
        writer.write(site.asked[-1].encode("latin-1") + site.bodies[-1])

    return body


async def keep(
    broker, site, scope="git", secret_type="api_key", fields=None, policy=AUTONOMOUS, grants=(), **binding
):
    given = {"hosts": (f"127.0.0.1:{site.port}",), "plain": True} | binding
    await asyncio.to_thread(
        broker.put, scope, secret_type, fields or {"value": CANARY},
        binding=Binding(**given), policy=policy, grants=grants,
    )  # fmt: skip


async def send(broker, url, method="GET", body=b"", headers=(), scope="git", use=None, **given):
    use = {"scope": scope, "who": "tool:http_request"} | (use or {})
    asked = Exchange(Use(**use), method, url, tuple(headers), **given)
    async with await broker.exchange(asked, body) as answer:
        return answer.head, await answer.body(), answer.whole


async def test_the_secret_is_put_in_by_the_broker_and_taken_out_of_what_comes_back(broker, site):
    site.echo(**{"X-Echo": f"you sent {CANARY}", "Set-Cookie": f"a={CANARY}"})
    await keep(broker, site)
    head, body, whole = await send(broker, site.url("/echo"), "POST", b"hello", [("accept", "text/plain")])
    assert site.sent(0, "authorization") == f"Bearer {CANARY}"
    assert site.sent(0, "accept") == "text/plain"
    assert site.sent(0, "host") == f"127.0.0.1:{site.port}"
    assert (head.status, head.scope, head.mode, whole) == (200, "git", "autonomous", True)
    assert b"hello" in body
    assert b"authorization: Bearer [secret git]" in body.replace(b"Authorization", b"authorization")
    assert dict(head.headers)["x-echo"] == "you sent [secret git]"
    assert CANARY not in repr(head)
    assert CANARY.encode() not in body


@pytest.mark.parametrize(
    "encode",
    [
        str,
        quote,
        lambda one: base64.b64encode(one.encode()).decode(),
        lambda one: base64.b64encode(b"x" + one.encode()).decode(),
        lambda one: one.encode().hex(),
        lambda one: json.dumps({"a": json.dumps(one)}),
    ],
    ids=["plain", "url", "base64", "base64 shifted", "hex", "json twice"],
)
async def test_encodings_of_it_are_taken_out_too(broker, site, encode):
    value = 'pass/word "quoted" ü&é 93f1b2c7'
    told = encode(value).encode()
    site.page("/", b"<<" + told + b">>")
    await keep(broker, site, "login", "basic_auth", {"username": "ada", "password": value})
    _, body, _ = await send(broker, site.url(), scope="login")
    assert told not in body
    assert b"[secret login]" in body


async def test_a_secret_that_comes_in_pieces_is_taken_out(broker, site):
    async def drip(writer):
        for byte in b"begin " + CANARY.encode() + b" end":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    site.answers["/"] = (200, {}, drip)
    await keep(broker, site)
    assert (await send(broker, site.url()))[1] == b"begin [secret git] end"


async def test_a_secret_that_a_limit_cuts_is_not_told_in_part(broker, site):
    site.page("/", "12345678" + CANARY + "tail")
    await keep(broker, site)
    for most in range(1, 30):
        _, body, whole = await send(broker, site.url(), max_bytes=most)
        assert body == b"12345678[secret git]tail"[:most]
        assert whole is (most >= 24)


async def test_what_comes_packed_is_unpacked_first(broker, site):
    site.page("/", gzip.compress(f"a {CANARY} b".encode() * 1_000), **{"Content-Encoding": "gzip"})
    site.page("/broken", gzip.compress(b"x" * 1_000)[:-30], **{"Content-Encoding": "gzip"})
    site.page("/br", b"???", **{"Content-Encoding": "br"})
    await keep(broker, site)
    head, body, _ = await send(broker, site.url())
    assert body == b"a [secret git] b" * 1_000
    assert "content-encoding" not in dict(head.headers)
    assert site.sent(0, "accept-encoding") == "identity"
    with pytest.raises(ToolError, match="cut short"):
        await send(broker, site.url("/broken"))
    with pytest.raises(ToolError, match="not asked for: 'br'"):
        await send(broker, site.url("/br"))


async def test_a_bomb_stops_at_the_limit(broker, site):
    site.page("/", gzip.compress(b"0" * 50_000_000), **{"Content-Encoding": "gzip"})
    await keep(broker, site)
    _, body, whole = await send(broker, site.url(), max_bytes=100_000)
    assert (len(body), whole) == (100_000, False)


async def test_a_body_arrives_as_it_is_sent(broker, site):
    """What the server says is here before it has said all."""
    go_on = asyncio.Event()

    async def slowly(writer):
        writer.write(b"data: one\n\n")
        await writer.drain()
        await go_on.wait()
        writer.write(b"data: two\n\n")

    site.answers["/"] = (200, {}, slowly)
    await keep(broker, site)
    asked = Exchange(Use(scope="git", who="model:x"), "GET", site.url())
    async with await broker.exchange(asked) as answer:
        chunks = answer.chunks()
        assert await anext(chunks) == b"data: one\n\n"
        assert answer.whole is None
        go_on.set()
        assert await anext(chunks) == b"data: two\n\n"
        with pytest.raises(StopAsyncIteration):
            await anext(chunks)
        assert answer.whole is True


async def test_large_bodies_go_both_ways(broker, site):
    site.page("/", os.urandom(3_000_000), kind="application/octet-stream")
    await keep(broker, site)
    sent = os.urandom(5_000_000)
    _, body, _ = await send(broker, site.url(), "PUT", sent)
    assert site.bodies[0] == sent
    assert body == site.answers["/"][2]


async def test_a_body_that_is_too_large_is_told(broker, site):
    await keep(broker, site)
    with pytest.raises(CredentialError, match="too large"):
        await send(broker, site.url(), "PUT", bytes(70 * 2**20))
    assert site.asked == []


async def test_who_stops_reading_ends_the_request(broker, site):
    ended = asyncio.Event()

    async def forever(writer):
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x" * 10_000)
                await writer.drain()
                await asyncio.sleep(0)
        ended.set()

    site.answers["/"] = (200, {}, forever)
    await keep(broker, site)
    asked = Exchange(Use(scope="git", who="tool:x"), "GET", site.url())
    async with await broker.exchange(asked) as answer:
        await anext(answer.chunks())
    await asyncio.wait_for(ended.wait(), 20)


async def test_cancelling_ends_a_request_that_waits_for_its_answer(broker, site):
    came, ended = asyncio.Event(), asyncio.Event()

    async def never(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        came.set()
        await reader.read()
        ended.set()
        writer.close()

    async with await asyncio.start_server(never, "127.0.0.1", 0) as server:
        site.port = server.sockets[0].getsockname()[1]
        await keep(broker, site)
        task = asyncio.create_task(send(broker, site.url()))
        await came.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(ended.wait(), 20)


# -- where it may go -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "method", "why"),
    [
        ("http://localhost:{port}/", "GET", "bound to 127.0.0.1:[0-9]+, not to localhost"),
        ("http://127.0.0.1:1/", "GET", "bound to 127.0.0.1:[0-9]+, not to 127.0.0.1:1"),
        ("http://169.254.169.254/latest", "GET", "plain HTTP"),
        ("https://metadata.google.internal/", "GET", "bound to"),
        ("http://user@127.0.0.1:{port}/", "GET", "user name"),
        ("http://127.0.0.1:{port}/other", "GET", "bound to paths below /echo"),
        ("http://127.0.0.1:{port}/echo/../other", "GET", "bound to paths|climbs|/echo"),
        ("http://127.0.0.1:{port}/echo%2f..%2fother", "GET", "bound to paths"),
        ("http://127.0.0.1:{port}/echo", "DELETE", "bound to GET, POST, not to DELETE"),
        ("http://127.0.0.1:{port}/echo", "TRACE", "no method that a secret goes with"),
        ("http://127.0.0.1:{port}/echo", "get", "no method that a secret goes with"),
        ("https://api.example.com/echo", "GET", "bound to 127.0.0.1"),
        ("ftp://127.0.0.1/", "GET", "only http and https"),
        ("http://127.1:{port}/echo", "GET", "odd spelling"),
    ],
)
async def test_it_goes_nowhere_else(broker, site, url, method, why):
    site.echo()
    await keep(broker, site, methods=("GET", "POST"), paths=("/echo",))
    with pytest.raises((CredentialDenied, ToolError)) as told:
        await send(broker, url.format(port=site.port), method)
    assert re.search(why, str(told.value)), told.value
    assert site.asked == []


async def test_a_secret_without_a_host_goes_nowhere(broker, site):
    await keep(broker, site, hosts=())
    with pytest.raises((CredentialDenied, ToolError)):
        await send(broker, site.url())
    assert site.asked == []


async def test_plain_http_needs_leave(broker, site):
    await keep(broker, site, plain=False)
    with pytest.raises(CredentialDenied, match="may not be used") as told:
        await send(broker, site.url())
    assert "plain HTTP" in told.value.cause
    assert site.asked == []


async def test_a_method_cannot_be_taken_for_another(broker, site):
    site.echo()
    await keep(broker, site, methods=("POST",))
    with pytest.raises(CredentialDenied, match="bound to POST"):
        await send(broker, site.url("/echo"), "POST", headers=[("X-HTTP-Method-Override", "DELETE")])
    assert site.asked == []


async def test_who_asks_cannot_say_another_host_in_a_header(broker, site):
    site.echo()
    await keep(broker, site)
    given = [
        ("Host", "evil.example"),
        ("X-Forwarded-Host", "evil.example"),
        ("Content-Length", "1"),
        ("a", "b"),
    ]
    await send(broker, site.url("/echo"), headers=given)
    assert site.sent(0, "host") == f"127.0.0.1:{site.port}"
    assert site.sent(0, "x-forwarded-host") is None
    assert site.sent(0, "a") == "b"


@pytest.mark.parametrize("bad", ["a\r\nx: y", "a\nb", "\0", "é\u0394"])
async def test_a_header_cannot_smuggle_another(broker, site, bad):
    site.echo()
    await keep(broker, site)
    with pytest.raises((ToolError, CredentialError)):
        await send(broker, site.url("/echo"), headers=[("x-note", bad)])
    assert all("x: y" not in one for one in site.asked)


async def test_grants_say_who(broker, site):
    site.echo()
    await keep(broker, site, grants=("model:anthropic",))
    with pytest.raises(CredentialDenied, match="may not be used"):
        await send(broker, site.url("/echo"))
    assert (await send(broker, site.url("/echo"), use={"who": "model:anthropic"}))[0].status == 200


async def test_without_a_policy_a_person_has_said_yes(broker, site):
    site.echo()
    await keep(broker, site, policy=None)
    with pytest.raises(CredentialDenied, match="without a person's yes"):
        await send(broker, site.url("/echo"))
    assert (await send(broker, site.url("/echo"), use={"approved": "q1"}))[0].mode == "notify_before"
    ruling = await broker.ruling(
        Use(
            scope="git",
            who="tool:http_request",
            method="GET",
            scheme="http",
            host="127.0.0.1",
            port=site.port,
            path="/",
        )
    )
    assert ruling.decision == "ask"


async def test_one_shot_is_once(broker, site):
    site.echo()
    await keep(broker, site, policy=CredentialPolicy(mode="one_shot"))
    outcomes = await asyncio.gather(
        *(send(broker, site.url("/echo")) for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(one, tuple) for one in outcomes) == 1
    assert {type(one) for one in outcomes} == {tuple, CredentialDenied}


async def test_every_use_and_refusal_is_written_down(broker, site):
    site.echo()
    await keep(broker, site)
    await send(
        broker, site.url("/echo"), use={"why": "to see", "call": "c1", "host": "elsewhere", "path": "/lie"}
    )
    await asyncio.to_thread(broker.change, "git", binding=Binding(hosts=("api.example.com",)))
    with pytest.raises(CredentialDenied):
        await send(broker, site.url("/echo"))
    rows = await asyncio.to_thread(broker.log, "git")
    assert [row.kind for row in rows] == ["put", "used", "changed", "refused"]
    used = next(row for row in rows if row.kind == "used")
    assert (used.use.host, used.use.port, used.use.path, used.use.method, used.use.why) == (
        "127.0.0.1", site.port, "/echo", "GET", "to see",
    )  # fmt: skip
    assert CANARY not in repr(rows)


async def test_a_lost_or_locked_secret_is_told(broker, site):
    with pytest.raises(ScopeNotFound):
        await send(broker, site.url())
    await keep(broker, site)
    await asyncio.to_thread(broker.stop)
    (broker.home / "master.key").unlink()
    with pytest.raises(SecretsLocked):
        await send(broker, site.url())
    assert site.asked == []


# -- redirects -----------------------------------------------------------------------------------------------


async def test_a_redirect_within_the_origin_is_followed_and_signed(broker, site):
    site.redirect("/old", "/echo")
    site.echo()
    await keep(broker, site)
    head, body, _ = await send(broker, site.url("/old"))
    assert head.url == site.url("/echo")
    assert b"[secret git]" in body
    assert site.methods == ["GET /old", "GET /echo"]
    rows = [(row.kind, row.use.path) for row in broker.log("git")][-2:]
    assert rows == [("used", "/old"), ("used", "/echo")]


async def test_a_redirect_to_another_origin_is_told_and_not_followed(broker, site):
    async with serving() as other:
        other.page("/", "stolen")
        await keep(broker, site, hosts=(f"127.0.0.1:{site.port}", f"127.0.0.1:{other.port}"))
        site.redirect("/", f"{other.url('/')}?leak={CANARY}")
        head, body, _ = await send(broker, site.url())
        assert (head.status, body) == (302, b"")
        assert dict(head.headers)["location"] == f"{other.url('/')}?leak=[secret git]"
        assert other.asked == []


async def test_a_redirect_out_of_the_binding_is_not_followed(broker, site):
    site.redirect("/echo", "/other")
    site.echo("/other")
    await keep(broker, site, paths=("/echo",))
    head, _, _ = await send(broker, site.url("/echo"))
    assert head.status == 302
    assert site.methods == ["GET /echo"]


async def test_redirects_without_end_end(broker, site):
    site.redirect("/", "/")
    await keep(broker, site)
    head, _, _ = await send(broker, site.url(), redirects=2)
    assert head.status == 302
    assert len(site.asked) == 3


async def test_a_redirect_of_one_use_is_one_use(broker, site):
    site.redirect("/old", "/echo")
    site.echo()
    await keep(broker, site, policy=CredentialPolicy(mode="one_shot"))
    assert (await send(broker, site.url("/old")))[0].status == 200
    with pytest.raises(CredentialDenied):
        await send(broker, site.url("/echo"))


# -- ways to put it in ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("apply", "seen"),
    [
        ("header:X-API-Key", "X-API-Key: {}"),
        ("header:Authorization=Token {value}", "authorization: Token {}"),
        ("query:key", "GET /echo?a=1&key={} "),
        ("path:/bot{value}", "GET /bot{}/echo?a=1 "),
    ],
)
async def test_an_api_key_goes_where_its_binding_says(broker, site, apply, seen):
    for path in ("/echo?a=1", f"/echo?a=1&key={CANARY}", f"/bot{CANARY}/echo?a=1"):
        site.echo(path)
    await keep(broker, site, apply=apply)
    head, body, _ = await send(broker, site.url("/echo?a=1"))
    assert seen.format(CANARY).lower() in site.asked[0].lower()
    assert head.status == 200
    assert head.url == site.url("/echo?a=1")
    assert CANARY.encode() not in body


async def test_a_login_and_a_token(broker, site):
    site.echo()
    await keep(broker, site, "login", "basic_auth", {"username": "ada", "password": "pass-93f1b2c7"})
    await keep(broker, site, "token", "bearer_token", {"token": CANARY})
    _, body, _ = await send(broker, site.url("/echo"), scope="login")
    pair = base64.b64encode(b"ada:pass-93f1b2c7").decode()
    assert site.sent(0, "authorization") == f"Basic {pair}"
    assert pair.encode() not in body
    await send(broker, site.url("/echo"), scope="token")
    assert site.sent(1, "authorization") == f"Bearer {CANARY}"


async def test_a_token_is_asked_for_once_and_anew_when_it_is_refused(broker, site):
    tokens = []

    async def token(writer):
        tokens.append(f"token-{len(tokens)}-93f1b2c7d8e6")
        writer.write(
            json.dumps({"access_token": tokens[-1], "token_type": "bearer", "expires_in": 3600}).encode()
        )

    site.answers["/token"] = (200, {"Content-Type": "application/json"}, token)
    site.echo()
    fields = {"client_id": "me", "client_secret": CANARY, "token_url": site.url("/token")}
    await keep(broker, site, "api", "oauth2_client_credentials", fields)
    answers = await asyncio.gather(*(send(broker, site.url("/echo"), scope="api") for _ in range(5)))
    assert len(tokens) == 1
    assert all(tokens[0].encode() not in body for _, body, _ in answers)
    site.echo("/refuses", 401)
    head, body, _ = await send(broker, site.url("/refuses"), scope="api")
    assert (head.status, len(tokens)) == (401, 2)
    assert tokens[1].encode() not in body


# -- what goes wrong -----------------------------------------------------------------------------------------


async def test_a_server_that_is_not_there_is_told(broker, site):
    await keep(broker, site, hosts=("127.0.0.1:9",))
    with pytest.raises(ExchangeBroke) as told:
        await send(broker, "http://127.0.0.1:9/")
    assert told.value.broke == "connect"


async def test_a_server_that_breaks_off_is_told(broker, site):
    async def cut(writer):
        writer.write(b"100\r\nbegin")
        await writer.drain()
        writer.transport.abort()

    site.answers["/"] = (200, {"Transfer-Encoding": "chunked"}, cut)
    await keep(broker, site)
    asked = Exchange(Use(scope="git", who="tool:x"), "POST", site.url())
    async with await broker.exchange(asked) as answer:
        with pytest.raises(ExchangeBroke) as told:
            await answer.body()
    assert told.value.broke in ("network", "protocol")
    assert told.value.cause == "the request may have been carried out all the same"
    assert answer.whole is False


async def test_what_is_no_http_is_told(broker, site):
    async def noise(reader, writer):
        writer.write(b"SSH-2.0-no\r\n" + CANARY.encode() + b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(noise, "127.0.0.1", 0) as server:
        site.port = server.sockets[0].getsockname()[1]
        await keep(broker, site)
        with pytest.raises(ExchangeBroke) as told:
            await send(broker, site.url())
    assert CANARY not in str(told.value)


async def test_a_silent_server_is_given_up(broker, site):
    async def silent(writer):
        await asyncio.sleep(3600)

    site.answers["/"] = (200, {}, silent)
    await keep(broker, site)
    with pytest.raises(ExchangeBroke) as told:
        await send(broker, site.url(), silence=0.2)
    assert told.value.broke == "timeout"
    with pytest.raises(ExchangeBroke, match="no whole answer within 0.3 seconds"):
        await send(broker, site.url(), seconds=0.3)


async def test_a_certificate_of_nobody_is_refused(broker, site, tmp_path):
    context = self_signed("localhost", tmp_path)

    async def never(reader, writer):
        raise AssertionError("it was asked")

    async with await asyncio.start_server(never, "127.0.0.1", 0, ssl=context) as server:
        site.port = server.sockets[0].getsockname()[1]
        await keep(broker, site, hosts=(f"localhost:{site.port}",))
        with pytest.raises(ExchangeBroke, match="certificate") as told:
            await send(broker, f"https://localhost:{site.port}/")
    assert told.value.broke == "connect"


async def test_an_error_holds_no_value(broker, site):
    """A server that answers with what it was sent where HTTP has its own words."""

    async def echo(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        writer.write(b"HTTP/1.1 " + head[-3] + b"\r\nbad header " + CANARY.encode() + b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        site.port = server.sockets[0].getsockname()[1]
        await keep(broker, site)
        with pytest.raises(ToolError) as told:
            await send(broker, site.url())
    assert CANARY not in str(told.value) + repr(told.value.__dict__)
    log = broker.home / "broker.log"
    assert not log.exists() or CANARY not in log.read_text()


async def test_killed_in_the_middle_of_an_answer_it_says_so(tmp_path, site):
    go_on = asyncio.Event()

    async def slowly(writer):
        writer.write(b"one")
        await writer.drain()
        await go_on.wait()

    site.answers["/"] = (200, {}, slowly)
    broker = Broker(tmp_path / "secrets", master="file", apart=True)
    await keep(broker, site)
    async with await broker.exchange(Exchange(Use(scope="git", who="x"), "GET", site.url())) as answer:
        chunks = answer.chunks()
        assert await anext(chunks) == b"one"
        os.kill(broker.pid, signal.SIGKILL)
        with pytest.raises(CredentialError, match="ended in the middle"):
            await anext(chunks)
    go_on.set()
    while broker.pid is not None:
        await asyncio.sleep(0.01)
    assert await broker.redact(f"a {CANARY} b") == "a [secret git] b"  # also what the one before it used
    await keep(broker, site, "other", fields={"value": "sk-other-5c1b2c7d8e64a50"})
    site.page("/told", f"a {CANARY} b")
    os.kill(broker.pid, signal.SIGKILL)
    while broker.pid is not None:
        await asyncio.sleep(0.01)
    assert (await send(broker, site.url("/told"), scope="other"))[1] == b"a [secret git] b"
    broker.stop()


# -- texts ---------------------------------------------------------------------------------------------------


async def test_texts_are_cleaned_of_what_was_used(broker, site):
    site.echo()
    await keep(broker, site)
    await keep(broker, site, "unused", fields={"value": "sk-unused-5c1b2c7d8e64a50"})
    assert await broker.redact(CANARY) == CANARY  # nobody has used it
    await send(broker, site.url("/echo"))
    text = f"a {CANARY} b {base64.b64encode(CANARY.encode()).decode()} c"
    assert await broker.redact(text) == "a [secret git] b [secret git] c"


async def test_stored_secrets_are_found_in_texts(broker, site):
    await keep(broker, site)
    await keep(broker, site, "other", fields={"value": "sk-other-5c1b2c7d8e64a50"})
    texts = ["nothing", f"x={CANARY}", f"{CANARY.encode().hex()} sk-other-5c1b2c7d8e64a50"]
    assert await asyncio.to_thread(broker.find, texts) == [(1, "git"), (2, "git"), (2, "other")]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_use_leaves_no_value_in_the_kernel(tmp_path, site):
    if os.getuid() != 0:
        pytest.skip("reads the memory of another process")
    from tests.credentials.broker.test_broker import memory

    site.echo()
    first = Broker(tmp_path / "secrets", master="file", apart=True)
    await keep(first, site)
    script = (
        "import asyncio, sys; from pathlib import Path\n"
        "from loom_nb.credentials.broker import Broker, Exchange\n"
        "from loom_nb.credentials.uses import Use\n"
        "async def main():\n"
        "    broker = Broker(Path(sys.argv[1]), master='file', apart=True)\n"
        "    asked = Exchange(Use(scope='git', who='tool:x'), 'GET', sys.argv[2])\n"
        "    async with await broker.exchange(asked) as answer: body = await answer.body()\n"
        "    print(len(body), flush=True); input(); broker.stop()\n"
        "asyncio.run(main())\n"
    )
    kernel = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(tmp_path / "secrets"), site.url("/echo"),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert int(await kernel.stdout.readline()) > 0
    assert CANARY in site.asked[0]
    assert CANARY.encode() not in memory(kernel.pid)
    await kernel.communicate(b"\n")
    first.stop()
