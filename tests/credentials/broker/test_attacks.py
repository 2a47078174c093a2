"""Ways around the binding, the policy and the audit of a secret, as somebody hostile would try them."""

import asyncio
import contextlib
import json

import pytest

from loom_nb.credentials.broker import Broker, ExchangeBroke
from loom_nb.credentials.policies import CredentialPolicy
from loom_nb.errors import CredentialDenied, CredentialError, SecretsLocked, ToolError
from tests.capabilities.sites import serving
from tests.credentials.broker.test_exchange import CANARY, keep, send


@pytest.fixture
def broker(tmp_path):
    made = Broker(tmp_path / "secrets", master="file")
    yield made
    made.stop()


@pytest.fixture
async def site():
    async with serving() as site:
        yield site


async def test_a_secret_that_was_sent_is_looked_for_though_no_answer_came(broker, site):
    async def silent(reader, writer):
        site.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await keep(broker, site, hosts=(f"127.0.0.1:{port}",))
        with pytest.raises(ExchangeBroke):
            await send(broker, f"http://127.0.0.1:{port}/")
    assert CANARY in site.asked[0]  # whoever has it now may tell it elsewhere
    assert broker.in_use
    assert await broker.redact(f"they say {CANARY}") == "they say [secret git]"


@pytest.mark.parametrize(
    "name", ["X-Original-URL", "x-rewrite-url", "X_Original_URL", "X-Forwarded-Uri", "X-Forwarded-Prefix"]
)
async def test_a_path_cannot_be_taken_for_another(broker, site, name):
    site.page("/repos/mine", "here")
    await keep(broker, site, paths=("/repos/",))
    with pytest.raises(CredentialDenied, match="one path for another"):
        await send(broker, site.url("/repos/mine"), headers=[(name, "/admin")])
    assert site.asked == []


@pytest.mark.parametrize(
    ("url", "method", "headers"),
    [
        ("/repos/x", "TRACE", []),
        ("/repos/x", "POST", [("X-HTTP-Method-Override", "DELETE")]),
        ("/repos/x", "POST", [("X_HTTP_Method_Override", "DELETE")]),
        ("/repos/x", "GET", [("X-Original-URL", "/admin")]),
        ("//ada@127.0.0.1/repos/x", "GET", []),
    ],
)
async def test_what_is_refused_for_its_form_is_written_down_too(broker, site, url, method, headers):
    await keep(broker, site, paths=("/repos/",), methods=("GET", "POST"))
    where = f"http:{url}" if url.startswith("//") else site.url(url)
    with pytest.raises((CredentialDenied, ToolError)):
        await send(broker, where, method, headers=headers)
    assert site.asked == []
    last = (await asyncio.to_thread(broker.log, "git"))[-1]
    assert (last.kind, last.use.who, last.use.method) == ("refused", "tool:http_request", method)
    assert last.reason


@contextlib.asynccontextmanager
async def turning(answer):
    """A server whose answers are written by a function of the head of the request."""
    heads = []

    async def serve(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            heads.append(head)
            status, more, body = await answer(head)
            told = f"HTTP/1.1 {status} X\r\n{more}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(told.encode() + body)
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], heads


@pytest.mark.parametrize("how", ["revoke", "rotate", "grant"])
async def test_what_is_taken_back_on_the_way_follows_no_redirect(broker, site, how):
    def take_back():
        if how == "revoke":
            broker.revoke("git")
        elif how == "rotate":
            broker.rotate("git", {"value": f"{CANARY}-new"})
        else:
            broker.change("git", grants=("tool:other",))

    async def answer(head):
        if head.startswith("GET /one"):
            await asyncio.to_thread(take_back)
            return 307, "Location: /two\r\n", b""
        return 200, "", b"ok"

    async with turning(answer) as (port, heads):
        await keep(broker, site, hosts=(f"127.0.0.1:{port}",))
        with pytest.raises(CredentialError):
            await send(broker, f"http://127.0.0.1:{port}/one")
        assert len(heads) == 1


async def test_a_revoked_client_asks_for_no_other_token(broker, site):
    async def answer(head):
        if head.startswith("POST /token"):
            return 200, "", json.dumps({"access_token": "token-0123456789", "expires_in": 3600}).encode()
        await asyncio.to_thread(broker.revoke, "git")
        return 401, "", b""

    async with turning(answer) as (port, heads):
        fields = {
            "client_id": "ada", "client_secret": CANARY, "token_url": f"http://127.0.0.1:{port}/token",
        }  # fmt: skip
        await keep(broker, site, secret_type="oauth2_client_credentials", fields=fields,
                   hosts=(f"127.0.0.1:{port}",))  # fmt: skip
        with pytest.raises(CredentialError):
            await send(broker, f"http://127.0.0.1:{port}/x")
        assert [head.split()[1] for head in heads] == ["/token", "/x"]


async def test_a_lifetime_beyond_all_numbers_is_none(broker, site):
    async def answer(head):
        if head.startswith("POST /token"):
            return 200, "", b'{"access_token": "token-0123456789", "expires_in": 1' + b"0" * 400 + b"}"
        return 200, "", b"ok"

    async with turning(answer) as (port, _):
        fields = {
            "client_id": "ada", "client_secret": CANARY, "token_url": f"http://127.0.0.1:{port}/token",
        }  # fmt: skip
        await keep(broker, site, secret_type="oauth2_client_credentials", fields=fields,
                   hosts=(f"127.0.0.1:{port}",))  # fmt: skip
        assert (await send(broker, f"http://127.0.0.1:{port}/x"))[1] == b"ok"


@pytest.mark.parametrize(
    ("method", "status", "followed"),
    [
        ("DELETE", 307, False),
        ("POST", 308, False),
        ("PUT", 302, False),
        ("POST", 303, True),
        ("GET", 302, True),
    ],
)
async def test_a_yes_is_for_one_request_and_no_other_that_writes(broker, site, method, status, followed):
    site.redirect("/one", "/everything", status)
    site.page("/everything", "all of it")
    await keep(broker, site, policy=CredentialPolicy())
    head, _, _ = await send(broker, site.url("/one"), method, b"" if method == "GET" else b"x",
                            use={"approved": "a1"})  # fmt: skip
    assert (head.status, len(site.asked)) == ((200, 2) if followed else (status, 1))


async def test_what_cannot_be_looked_for_is_withheld(tmp_path, site):
    broker = Broker(tmp_path / "locked", master="passphrase")
    try:
        await asyncio.to_thread(broker.unlock, "correct horse battery")
        site.page("/", "ok")
        await keep(broker, site)
        await send(broker, site.url())
        await asyncio.to_thread(broker.stop)  # as if it had died: the next one is locked
        with pytest.raises(SecretsLocked, match="looked for"):
            await broker.redact(f"they say {CANARY}")
        await asyncio.to_thread(broker.unlock, "correct horse battery")
        assert await broker.redact(f"they say {CANARY}") == "they say [secret git]"
    finally:
        broker.stop()
