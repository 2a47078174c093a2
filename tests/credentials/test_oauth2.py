"""Tokens of OAuth 2, from a real server: one request, kept until it ends, forgotten at once."""

import asyncio
import base64
import http.client
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from loom_nb.credentials.oauth2 import EARLY_SECONDS, OAuth2Tokens
from loom_nb.credentials.policies import Binding, SecretFacts
from loom_nb.credentials.secrets import secret
from loom_nb.errors import CredentialError

CLIENT, CANARY = "me & you", "loomcanary/+=%0Zq7 ö"


class TokenServer:
    """A token server as in RFC 6749, section 4.4, that can be told to go wrong."""

    def __init__(self):
        self.asked: list[dict] = []
        self.answer = None
        self.lasts: object = 3_600
        self.gate = threading.Event()
        self.gate.set()

    def reply(self, headers, form):
        self.asked.append(form)
        self.gate.wait(60)
        if self.answer is not None:
            return self.answer
        user, _, password = (
            base64.b64decode(headers["authorization"].removeprefix("Basic ")).decode().partition(":")
        )
        if (user, password) != ("me+%26+you", urlencode({"": CANARY})[1:]):
            return 401, {"error": "invalid_client", "error_description": f"{user}:{password}"}
        if form.get("grant_type") != ["client_credentials"]:
            return 400, {"error": "unsupported_grant_type"}
        return 200, {
            "access_token": f"token-{len(self.asked)}",
            "token_type": "bearer",
            "expires_in": self.lasts,
        }

    @contextmanager
    def listening(self):
        reply = self.reply

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                status, document = reply(self.headers, parse_qs(body))
                data = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}/token"
            finally:
                self.gate.set()
                server.shutdown()
                thread.join()


async def post(url, form, headers):
    """Over a real connection."""

    def over_the_wire():
        to = urlsplit(url)
        connection = http.client.HTTPConnection(to.hostname, to.port, timeout=60)
        try:
            kind = {"content-type": "application/x-www-form-urlencoded"}
            connection.request("POST", to.path, urlencode(form), {**headers, **kind})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    status, data = await asyncio.to_thread(over_the_wire)
    try:
        return status, json.loads(data)
    except ValueError:
        return status, None


class Clock:
    at = 1_000_000.0

    def __call__(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tokens(clock):
    return OAuth2Tokens(post, clock)


@pytest.fixture
def server():
    return TokenServer()


@pytest.fixture
def url(server):
    with server.listening() as address:
        yield address


def client(url, **more):
    return secret(
        "oauth2_client_credentials", {"client_id": CLIENT, "client_secret": CANARY, "token_url": url, **more}
    )


def facts(version=1, plain=True, scope="s"):
    binding = Binding(hosts=("api.example.com",), plain=plain)
    return SecretFacts(
        scope=scope,
        type="oauth2_client_credentials",
        version=version,
        created=0.0,
        updated=0.0,
        binding=binding,
    )


async def test_two_hundred_who_want_a_token_at_once_make_one_request(tokens, server, url):
    server.gate.clear()
    callers = [
        asyncio.create_task(tokens.bearer(client(url, scopes=["a", "b"]), facts())) for _ in range(200)
    ]
    while not server.asked:
        await asyncio.sleep(0)
    server.gate.set()
    got = {material.headers["authorization"] for material in await asyncio.gather(*callers)}
    assert got == {"Bearer token-1"}
    assert server.asked == [{"grant_type": ["client_credentials"], "scope": ["a b"]}]
    assert tokens.hidden() == ("token-1",)


async def told(tokens, url, **given):
    return (await tokens.bearer(client(url), facts(**given))).headers["authorization"]


async def test_a_token_is_used_until_shortly_before_it_ends(tokens, server, url, clock):
    assert await told(tokens, url) == "Bearer token-1"
    clock.at += 3_600 - EARLY_SECONDS - 1
    assert await told(tokens, url) == "Bearer token-1"
    clock.at += 1
    assert await told(tokens, url) == "Bearer token-2"
    assert tokens.hidden() == ("token-1", "token-2")  # an old one is still not for anybody's eyes


@pytest.mark.parametrize(
    ("lasts", "good"), [(20, 17), ("40", 35), (None, 3_569), ("soon", 3_569), (-5, 3_569), (1e300, 3_569)]
)
async def test_how_long_a_token_lasts_is_what_its_server_says_or_an_hour(
    tokens, server, url, clock, lasts, good
):
    server.lasts = lasts
    await told(tokens, url)
    clock.at += good
    assert await told(tokens, url) == "Bearer token-1"
    clock.at += 1
    assert await told(tokens, url) == "Bearer token-2"


async def test_another_version_asks_anew_and_what_is_revoked_is_forgotten(tokens, server, url):
    assert await told(tokens, url) == "Bearer token-1"
    assert await told(tokens, url, version=2) == "Bearer token-2"
    assert await told(tokens, url, version=2) == "Bearer token-2"
    tokens.forget("s")
    assert await told(tokens, url, version=2) == "Bearer token-3"
    tokens.refused(facts(version=2))
    assert await told(tokens, url, version=2) == "Bearer token-4"


async def test_a_token_that_comes_after_its_secret_was_revoked_is_not_used(tokens, server, url):
    server.gate.clear()
    waiting = asyncio.create_task(tokens.bearer(client(url), facts()))
    while not server.asked:
        await asyncio.sleep(0)
    tokens.forget("s")
    server.gate.set()
    with pytest.raises(CredentialError, match="revoked or rotated meanwhile"):
        await waiting


async def test_who_gives_up_does_not_stop_those_who_wait_with_him(tokens, server, url):
    server.gate.clear()
    first, second = (asyncio.create_task(tokens.bearer(client(url), facts())) for _ in range(2))
    while not server.asked:
        await asyncio.sleep(0)
    first.cancel()
    server.gate.set()
    assert (await second).headers["authorization"] == "Bearer token-1"
    assert len(server.asked) == 1


WRONG = [
    ((401, {"error": "invalid_client", "error_description": CANARY}), "status 401, invalid_client"),
    ((400, {"error": CANARY}), "status 400$"),
    ((500, CANARY.encode()), "status 500$"),
    ((302, {}), "status 302$"),
    ((200, CANARY.encode()), "answered with no token"),
    ((200, {"access_token": ""}), "answered with no token"),
    ((200, {"access_token": f"{CANARY}\r\nX: 1"}), "answered with no token"),
    ((200, {"access_token": ["x"]}), "answered with no token"),
    ((200, {"access_token": "x" * 70_000}), "answered with no token"),
    ((200, {"access_token": "x", "token_type": CANARY}), "no bearer token"),
    ((200, [CANARY]), "answered with no token"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "told_"), WRONG)
async def test_what_a_token_server_says_is_never_repeated(tokens, server, url, answer, told_):
    server.answer = answer
    with pytest.raises(CredentialError, match=told_) as refused:
        await tokens.bearer(client(url), facts())
    assert "canary" not in str(refused.value) + repr(refused.value.__context__)
    server.answer = None
    assert await told(tokens, url) == "Bearer token-2"


async def test_a_refusal_is_told_to_all_who_wait_after_one_request(tokens, server, url):
    server.answer = (401, {"error": "invalid_client"})
    server.gate.clear()
    callers = [asyncio.create_task(tokens.bearer(client(url), facts())) for _ in range(50)]
    while not server.asked:
        await asyncio.sleep(0)
    server.gate.set()
    errors = await asyncio.gather(*callers, return_exceptions=True)
    assert {type(error) for error in errors} == {CredentialError}
    assert len(server.asked) == 1


async def test_a_token_server_is_not_asked_in_clear_unless_it_is_here_and_that_is_allowed(
    tokens, server, url
):
    with pytest.raises(CredentialError, match="not asked in clear"):
        await tokens.bearer(client(url), facts(plain=False))
    assert server.asked == []
