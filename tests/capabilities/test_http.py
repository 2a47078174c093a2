import asyncio
import gzip
import json
import ssl
from dataclasses import replace

import pytest

from loom_nb.capabilities import http
from loom_nb.capabilities.http import HttpCapability
from loom_nb.errors import LoomUsageError, ToolError
from loom_nb.messages import FilePart, ImagePart, Origin
from loom_nb.network.fetch import Client, Guard
from tests.capabilities.sites import Dialled, Site, resolver, self_signed, serving

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


@pytest.fixture
async def site():
    async with serving() as made:
        yield made


@pytest.fixture
async def other():
    async with serving() as made:
        yield made


def client(*sites, resolve=None, dial=None, seconds=5.0, max_bytes=http.MAX_BYTES, hosts=(), tls=None):
    allow = frozenset(("127.0.0.1", one.port) for one in sites)
    guard = Guard("http", "http_request", allow, hosts, resolve or resolver())
    return Client(guard, seconds, max_bytes, dial, tls)


async def call(made, method, url, **given):
    return await http.request(made, http.made(made.guard, method, url, **given))


async def text(*args, **given):
    part, *_ = await call(*args, **given)
    return part.text


def assess(method="GET", url="https://api.example.org/", *, guard=None, **given):
    return http.assessed(guard or Guard("http", "http_request"), method, url, **given)


async def test_the_tool_sends_a_request_and_gives_status_headers_and_body(site):
    site.page("/items?page=2", '{"a": [1, 2]}', "application/json", ETag='"x1"', Link="</items?page=3>")
    (tool,) = (await HttpCapability(allow=[("127.0.0.1", site.port)]).open()).tools

    given = tool.validate({"method": "get", "url": site.url("/items"), "query": {"page": 2}})
    (part,) = await tool.function(**given)

    assert (tool.name, tool.effects, tool.destructive) == ("http_request", {"writes", "network"}, True)
    assert part.origin == Origin("web", site.url("/items?page=2"))
    head, _, body = part.text.partition("\n\n")
    assert head.splitlines() == [
        f"HTTP 200 OK · application/json · 13 bytes · {site.url('/items?page=2')}",
        'etag: "x1"',
        "link: </items?page=3>",
    ]
    assert json.loads(body) == {"a": [1, 2]}
    assert set(tool.schema["properties"]) == {"method", "url", "headers", "body", "json", "query"}


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "PROPFIND", "QUERY", "TRACE"]
)
async def test_every_method_arrives(site, method):
    site.page("/x", "words", "text/plain")

    told = await text(client(site), method.lower(), site.url("/x"))

    assert site.methods == [f"{method} /x"]
    assert told.startswith("HTTP 200 OK · text/plain · ")
    assert told.endswith("words") == (method != "HEAD")
    assert ("content-length 5" in told) == (method == "HEAD")


@pytest.mark.parametrize(
    ("given", "body", "kind"),
    [
        ({"body": "wörds\n"}, "wörds\n".encode(), "text/plain; charset=utf-8"),
        ({"json": {"a": [1, None, "ü"]}}, '{"a": [1, null, "ü"]}'.encode(), "application/json"),
        ({"json": []}, b"[]", "application/json"),
        ({"json": False}, b"false", "application/json"),
        ({"body": "a=1", "headers": {"content-type": "application/x-www-form-urlencoded"}}, b"a=1", None),
        ({"json": {}, "headers": {"Content-Type": "application/merge-patch+json"}}, b"{}", None),
        ({}, b"", ""),
    ],
)
async def test_the_body_arrives_with_its_type(site, given, body, kind):
    await call(client(site), "POST", site.url(), **given)

    assert site.bodies == [body]
    assert site.sent(0, "Content-Length") == str(len(body))
    if kind is None:
        (kind,) = given["headers"].values()
    assert (site.sent(0, "content-type") or "") == kind


async def test_fields_of_the_query_are_added_to_the_address(site):
    url = site.url("/x?a=1#part")

    await call(client(site), "GET", url, query={"b": "x y&z", "c": [1, 2.5], "d": True})

    assert site.methods == ["GET /x?a=1&b=x+y%26z&c=1&c=2.5&d=true"]
    with pytest.raises(ToolError, match="field a is no text or number"):
        await call(client(site), "GET", url, query={"a": {"b": 1}})


async def test_an_error_of_the_server_is_an_answer(site):
    site.page("/", '{"error": "no such item"}', "application/json", 404, **{"Retry-After": "30"})

    told = await text(client(site), "GET", site.url())

    assert told.startswith("HTTP 404 Not Found · application/json")
    assert "retry-after: 30" in told
    assert "no such item" in told


async def test_cookies_are_neither_kept_nor_shown(site):
    site.answers["/"] = (302, {"Location": "/next", "Set-Cookie": "id=s3cret"}, b"")
    site.page("/next", "ok", "text/plain", **{"Set-Cookie": "id=s3cret"})

    told = await text(client(site), "GET", site.url())

    assert site.sent(1, "Cookie") is None
    assert "s3cret" not in told
    assert "set-cookie: 1, not kept" in told


REDIRECTS = [
    (301, "GET", "GET"), (302, "GET", "GET"), (303, "GET", "GET"), (307, "GET", "GET"), (308, "GET", "GET"),
    (301, "HEAD", "HEAD"), (303, "HEAD", "HEAD"), (301, "POST", "GET"), (302, "POST", "GET"),
    (303, "POST", "GET"), (307, "POST", "POST"), (308, "POST", "POST"), (301, "PUT", "PUT"),
    (302, "PATCH", "PATCH"), (303, "PUT", "GET"), (303, "DELETE", "GET"), (307, "DELETE", "DELETE"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "method", "then"), REDIRECTS)
async def test_a_redirect_keeps_or_drops_method_and_body(site, status, method, then):
    site.redirect("/", "/there", status)
    site.page("/there", "ok", "text/plain")
    sends = method not in ("GET", "HEAD")

    told = await text(client(site), method, site.url(), **({"body": "data"} if sends else {}))

    assert site.methods == [f"{method} /", f"{then} /there"]
    kept = sends and then == method
    assert site.bodies[1] == (b"data" if kept else b"")
    assert (site.sent(1, "Content-Type") is not None) == kept
    assert f"{site.url('/there')} (asked for {site.url()})" in told


SECRETS = {
    "Authorization": "Bearer s3cret",
    "X-Api-Key": "s3cret",
    "Cookie": "a=s3cret",
    "X-Custom": "s3cret",
}


async def test_only_harmless_headers_follow_to_another_origin(site, other):
    site.redirect("/", "/again")
    site.redirect("/again", other.url("/there"), 307)
    other.page("/there", "ok", "text/plain")

    await call(client(site, other), "GET", site.url(), headers={**SECRETS, "Accept-Language": "de"})

    for n in (0, 1):
        assert [site.sent(n, name) for name in SECRETS] == list(SECRETS.values())
    assert [other.sent(0, name) for name in SECRETS] == [None] * 4
    assert "s3cret" not in other.asked[0]
    assert other.sent(0, "Accept-Language") == "de"


@pytest.mark.parametrize(("status", "method"), [(307, "POST"), (308, "PUT"), (302, "DELETE"), (307, "GET")])
async def test_what_was_meant_for_one_origin_is_not_sent_on_to_another(site, other, status, method):
    site.redirect("/", other.url("/there"), status)

    if method == "GET":  # with a body it is no mere look
        with pytest.raises(ToolError, match="another origin"):
            await call(client(site, other), method, site.url(), body="data")
    else:
        told = await text(client(site, other), method, site.url(), body="data")
        assert told.startswith(f"HTTP {status} ")
        assert "the redirect was not followed" in told
        assert f"location: {other.url('/there')}" in told
    assert len(site.asked) == 1
    assert other.asked == []


async def test_a_redirect_that_is_refused_after_something_was_done_tells_that_it_was_done(site):
    site.redirect("/", "http://169.254.169.254/latest/", 303)

    told = await text(client(site), "POST", site.url(), json={})

    assert told.startswith("HTTP 303 See Other")
    assert "not followed: http_request: '169.254.169.254' is refused" in told
    with pytest.raises(ToolError, match="link-local"):
        await call(client(site), "GET", site.url())


async def test_a_redirect_to_where_nobody_answers_tells_that_the_first_request_was_carried_out(site, other):
    site.redirect("/", other.url("/"), 303)
    other.answers["/"] = (200, {"Content-Encoding": "br"}, b"x")
    closed = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = closed.sockets[0].getsockname()[1]
    closed.close()
    await closed.wait_closed()

    told = await text(client(site, other), "POST", site.url())
    assert "not followed: http_request: HTTP 200 OK, but the server packs" in told
    site.redirect("/", f"http://127.0.0.1:{port}/", 303)
    told = await text(client(site, Site(port)), "POST", site.url())
    assert "not followed: http_request: the connection failed" in told
    other.answers["/"] = (200, {"Content-Encoding": "gzip"}, b"x" * 100)
    with pytest.raises(ToolError, match="may have been carried out"):
        await call(client(other), "POST", other.url())


async def test_a_public_page_does_not_lead_to_what_is_allowed_here(site, other):
    site.redirect("/", other.url("/"))
    other.page("/", "private", "text/plain")
    names = resolver(**{"public.test": ["1.1.1.1"]})
    made = client(other, resolve=names, dial=Dialled(site.port))

    with pytest.raises(ToolError, match="this machine"):
        await call(made, "GET", "http://public.test/")
    assert other.asked == []
    assert (await text(client(other), "GET", other.url())).endswith("private")


async def test_six_redirects_are_too_many(site):
    for n in range(10):
        site.redirect(f"/{n}", f"{n + 1}")

    with pytest.raises(ToolError, match="more than 5 redirects"):
        await call(client(site), "GET", site.url("/0"))
    assert len(site.asked) == 6


async def test_a_name_is_told_to_the_server_while_its_judged_address_is_dialled(tmp_path):
    seen, site = [], Site()
    site.page("/", "ok", "text/plain")
    site.redirect("/down", "http://public.test/")
    context = self_signed("public.test", tmp_path)
    context.sni_callback = lambda _, name, __: seen.append(name)
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0, ssl=context)
    trusting = ssl.create_default_context(cafile=tmp_path / "server.pem")
    async with server:
        dial = Dialled(server.sockets[0].getsockname()[1])
        names = resolver(**{"public.test": [["1.1.1.1"], ["127.0.0.1"]], "wrong.test": ["1.1.1.1"]})
        told = await text(client(resolve=names, dial=dial, tls=trusting), "GET", "https://public.test/")

        assert told.startswith("HTTP 200 OK")
        assert (seen, dial.addresses) == (["public.test"], [("1.1.1.1", 443)])
        assert site.sent(0, "Host") == "public.test"
        with pytest.raises(ToolError, match="not public"):  # the second answer of the name server
            await call(client(resolve=names, dial=dial, tls=trusting), "GET", "https://public.test/")
        with pytest.raises(ToolError, match="certificate"):  # valid, but for another name
            await call(client(resolve=names, dial=dial, tls=trusting), "GET", "https://wrong.test/")

        names = resolver(**{"public.test": ["1.1.1.1"]})
        with pytest.raises(ToolError, match="from https to http"):
            await call(client(resolve=names, dial=dial, tls=trusting), "GET", "https://public.test/down")


async def test_the_next_address_is_tried_where_one_does_not_answer(site):
    site.page("/", "ok", "text/plain")

    class Lame(Dialled):
        async def connect_tcp(self, host, *args, **kwargs):
            if host == "1.1.1.1":
                self.addresses.append(host)
                await asyncio.sleep(600)
            return await super().connect_tcp(host, *args, **kwargs)

    dial = Lame(site.port)
    names = resolver(**{"two.test": ["1.1.1.1", "8.8.8.8"]})
    made = replace(client(resolve=names, dial=dial), dial_seconds=2)

    assert (await text(made, "GET", "http://two.test/")).endswith("ok")
    assert dial.addresses == ["1.1.1.1", ("8.8.8.8", 80)]


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"X-A": "1\r\nX-Evil: 1"}, "no header may have"),
        ({"X-A": "1\nX-Evil: 1"}, "no header may have"),
        ({"X-A": "1\0"}, "no header may have"),
        ({"X-A": "ü"}, "no header may have"),
        ({"X-A\r\nX-Evil": "1"}, "no name"),
        ({"X A": "1"}, "no name"),
        ({"X-A:": "1"}, "no name"),
        ({"": "1"}, "no name"),
        ({"Host": "evil.test"}, "not yours"),
        ({"host": "evil.test"}, "not yours"),
        ({"Content-Length": "0"}, "not yours"),
        ({"Transfer-Encoding": "chunked"}, "not yours"),
        ({"Connection": "upgrade"}, "not yours"),
        ({"Upgrade": "websocket"}, "not yours"),
        ({"TE": "trailers"}, "not yours"),
        ({"Proxy-Authorization": "x"}, "not yours"),
        ({"Proxy-Anything": "x"}, "not yours"),
        ({"Expect": "100-continue"}, "not yours"),
        ({"Accept-Encoding": "br"}, "not yours"),
        ({"X-Forwarded-For": "127.0.0.1"}, "not yours"),
        ({"X-A": "1", "x-a": "2"}, "twice"),
        ({"X-A": "a" * 20_000}, "more than 16,384"),
    ],
)
async def test_headers_that_would_say_more_than_one_thing_are_refused(site, headers, why):
    with pytest.raises(ToolError, match=why):
        await call(client(site), "GET", site.url(), headers=headers)
    assert site.connections == 0
    assert why in assess(headers=headers).refusal


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"method": "CONNECT"}, "no method"),
        ({"method": "GET / HTTP/1.1\r\nX: y"}, "no method"),
        ({"method": ""}, "no method"),
        ({"method": "G" * 21}, "no method"),
        ({"method": "POST", "body": "a", "json": {}}, "not both"),
        ({"method": "POST", "json": {"a": float("nan")}}, "no value that JSON"),
        ({"method": "POST", "body": "a" * 8_000_001}, "the limit is 8,000,000"),
    ],
)
async def test_requests_that_cannot_be_sent_are_refused(site, given, why):
    method = given.pop("method")

    with pytest.raises(ToolError, match=why):
        await call(client(site), method, site.url(), **given)
    assert why in assess(method, **given).refusal
    assert site.connections == 0


@pytest.mark.parametrize(
    ("kind", "body", "shown"),
    [
        ("application/json", b'{"a":1.10,"b":12345678901234567890123}', '{\n  "a": 1.10,\n  "b": 12345678901234567890123\n}'),
        ("application/problem+json", b'{"a":\n 1}', '{\n  "a": 1\n}'),
        ("application/json", b"[" + b'"abcdefgh", ' * 3_000 + b"1]", "[" + '"abcdefgh",' * 3_000 + "1]"),
        ("application/json", b"{broken", "{broken"),
        ("application/json", b"[" * 5_000 + b"]" * 5_000, "[" * 5_000 + "]" * 5_000),
        ("text/html", b"<h1>Hi</h1><script>x</script><a href=/y>z</a>", "# Hi\n\n[z]({url}y)"),
        ("text/csv", b"a,b", "a,b"),
        ("", b"plain words", "plain words"),
        ("image/svg+xml", b"<svg/>", "<svg/>"),
        ("application/octet-stream", b"\0\1\2", "(3 bytes that are no text: not shown)"),
        ("application/zip", b"PK\3\4", "(4 bytes that are no text: not shown)"),
        ("", b"\xff\xfe\0", "(3 bytes that are no text: not shown)"),
        ("image/png", b"no image", "(8 bytes that are no image/png: not shown)"),
        ("image/webp", b"RIFF1234WAVE", "(12 bytes that are no image/webp: not shown)"),
        ("application/pdf", b"<html>", "(6 bytes that are no application/pdf: not shown)"),
    ],
)  # fmt: skip
async def test_a_body_is_shown_as_what_it_is(site, kind, body, shown):
    site.page("/", body, kind)

    told = await text(client(site), "GET", site.url())

    assert told.partition("\n\n")[2] == shown.replace("{url}", site.url())


async def test_images_and_pdfs_are_parts_with_their_origin(site):
    site.page("/a/cat%20one.png?x=1", PNG, "image/png")
    site.page("/paper", b"%PDF-1.7 x", "application/pdf")

    _, image = await call(client(site), "GET", site.url("/a/cat%20one.png?x=1"))
    _, paper = await call(client(site), "GET", site.url("/paper"))

    origin = Origin("web", site.url("/a/cat%20one.png?x=1"))
    assert image == ImagePart(PNG, "image/png", origin, "cat one.png")
    assert paper == FilePart(b"%PDF-1.7 x", "application/pdf", "paper", Origin("web", site.url("/paper")))


async def endless(writer):
    while True:
        writer.write(b"words and more\n" * 1000)
        await writer.drain()


async def test_a_body_without_end_is_cut_and_the_cut_is_told(site):
    site.answers["/"] = (200, {"Content-Type": "text/plain"}, endless)
    site.answers["/image"] = (200, {"Content-Type": "image/png"}, endless)

    told = await text(client(site, max_bytes=10_000), "GET", site.url())
    (part,) = await call(client(site, max_bytes=10_000), "GET", site.url("/image"))

    assert "only the first 10,000 bytes" in told.splitlines()[0]
    assert told.endswith("(cut here: only the first 10,000 bytes of the answer were read)")
    assert len(told) < 10_500
    assert part.text.endswith("(image/png: more than 10,000 bytes, not shown)")


async def test_a_gzip_bomb_is_unpacked_up_to_the_limit(site):
    site.page("/", gzip.compress(b"x" * 100_000_000), "text/plain", **{"Content-Encoding": "gzip"})

    told = await text(client(site), "GET", site.url())

    assert "only the first 4,000,000 bytes" in told.splitlines()[0]
    assert len(told) < 4_001_000


async def drip(writer):
    for _ in range(10_000):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_slow_drip_ends_at_the_time_limit(site, method):
    site.answers["/"] = (200, {"Content-Type": "text/plain"}, drip)

    with pytest.raises(ToolError, match=r"no whole answer within 2 seconds") as caught:
        await call(client(site, seconds=2), method, site.url())
    assert ("may have been carried out" in str(caught.value)) == (method == "POST")


RAW = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
    b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhalf",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 4\r\n\r\nhalf",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n",
    b"HTTP/1.1 200 OK\r\nBad Header\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"a" * 1_000_000,
    b"HTTP/1.1 999999 OK\r\n\r\n",
    b"SSH-2.0-OpenSSH_9\r\n",
    b"\0" * 50,
    b"",
]


@pytest.mark.parametrize("answer", RAW, ids=range(len(RAW)))
async def test_a_server_that_breaks_http_is_an_error(answer):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for method in ("GET", "DELETE"):
            with pytest.raises(ToolError, match="proper HTTP|connection failed") as caught:
                await call(client(Site(port)), method, f"http://127.0.0.1:{port}/")
            assert ("may have been carried out" in str(caught.value)) == (method == "DELETE")


async def test_a_request_that_is_given_up_closes_its_connection(site):
    closed = asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        assert await reader.read() == b""  # until the other side is gone
        closed.set()
        writer.close()

    asked = asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        running = asyncio.create_task(call(client(Site(port)), "GET", f"http://127.0.0.1:{port}/"))
        await asked.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await asyncio.wait_for(closed.wait(), 60)


ASSESSED = [
    (("GET",), {}, "reads", False, []),
    (("HEAD",), {}, "reads", False, []),
    (("options",), {}, "reads", False, []),
    (("POST",), {"body": "x" * 2_000}, "writes", False, ["sends 2.0 kB to api.example.org by POST"]),
    (("POST",), {"json": {"a": 1}}, "writes", False, ["sends 8 bytes to api.example.org by POST"]),
    (("PUT",), {}, "writes", False, ["asks api.example.org to act by PUT"]),
    (("PATCH",), {"json": []}, "writes", False, ["sends 2 bytes to api.example.org by PATCH"]),
    (("DELETE",), {}, "writes", True, ["asks api.example.org to act by DELETE", "deletes at api.example.org"]),
    (("TRACE",), {}, "writes", False, ["asks api.example.org to act by TRACE"]),
    (("GET",), {"body": "data"}, "writes", False, ["sends 4 bytes to api.example.org by GET"]),
    (
        ("GET",),
        {"headers": {"X-HTTP-Method-Override": "delete"}},
        "writes",
        True,
        ["asks api.example.org to act by GET", "deletes at api.example.org", "asks api.example.org to take GET for delete"],
    ),
    (("GET",), {"query": {"q": "x" * 1_836}}, "reads", False, ["sends 1,840 characters in the address"]),
    (
        ("GET",),
        {"headers": {"Authorization": "Bearer abc"}},
        "reads",
        False,
        ["sends to api.example.org what looks like a secret: authorization"],
    ),
    (
        ("GET",),
        {"headers": {"X-Note": "sk-" + "a" * 30}},
        "reads",
        False,
        ["sends to api.example.org what looks like a secret: x-note"],
    ),
    (
        ("GET",),
        {"query": {"api_key": "abc"}},
        "reads",
        False,
        ["sends to api.example.org what looks like a secret: in the address"],
    ),
    (
        ("POST", "http://example.org/"),
        {"body": "x"},
        "writes",
        False,
        ["sends 1 byte to example.org by POST", "unencrypted"],
    ),
    (
        ("GET", "https://\u0430pple.example/"),
        {},
        "reads",
        False,
        ["the host is written in other letters: '\u0430pple.example'"],
    ),
    (
        ("GET", "https://" + ".".join(["a" * 50, "b" * 50, "example.org"])),
        {},
        "reads",
        False,
        ["sends 113 characters in the name of the host"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("where", "given", "effect", "destructive", "reasons"), ASSESSED)
def test_what_a_request_would_do_is_told_before_it_is_sent(where, given, effect, destructive, reasons):
    told = assess(*where, **given)

    assert told.effects == {effect, "network"}
    assert told.destructive == destructive
    assert list(told.reasons) == reasons
    assert told.refusal == ""


def test_hosts_are_told_in_ascii():
    assert assess("GET", "https://B\u00fccher.example:8443/x").hosts == ("xn--bcher-kva.example",)
    assert assess("GET", "https://API.Example.org./").hosts == ("api.example.org",)
    assert assess("GET", "https://[2606:4700:4700:0::1111]/").hosts == ("2606:4700:4700::1111",)


def test_the_card_shows_the_request_with_its_secrets_masked():
    headers = {"Authorization": "Bearer abcdefgh", "X-Api-Key": "abcdefgh", "X-Trace": "t1"}

    told = assess(
        "POST", "https://api.example.org/x?token=abcdefgh&page=2", headers=headers, json={"a": "\u00fc"}
    )

    assert told.preview == (
        "POST https://api.example.org/x?token=••• (8 characters)&page=2\n"
        "Authorization: Bearer ••• (8 characters)\nX-Api-Key: ••• (8 characters)\nX-Trace: t1\n"
        'Content-Type: application/json\nUser-Agent: loom-nb\nAccept: */*\n\n{"a": "\u00fc"}'
    )


def test_a_long_body_is_cut_on_the_card():
    told = assess("POST", body="x" * 100_000)

    assert len(told.preview) < 4_300
    assert told.preview.endswith("x\n… 100,000 bytes in all")


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://[::1]/", "file:///etc/passwd", "", "\ud800"])
def test_an_address_that_nobody_may_allow_is_a_refusal(url):
    told = assess("POST", url, body="x")

    assert told.refusal
    assert told.effects == {"writes", "network"}
    assert told.hosts == ()


def test_a_list_of_hosts_refuses_all_others():
    capability = HttpCapability(hosts=["API.example.org", "*.b\u00fccher.example", "example.com."])
    guard = Guard("http", "http_request", hosts=tuple(capability.hosts))

    assert capability.hosts == ("api.example.org", "*.xn--bcher-kva.example", "example.com")
    for host in ("api.example.org", "a.b.b\u00fccher.example", "EXAMPLE.com"):
        assert assess("GET", f"https://{host}/", guard=guard).refusal == ""
    for host in ("example.org", "b\u00fccher.example", "www.example.com", "evilapi.example.org", "8.8.8.8"):
        assert "none of the hosts" in assess("GET", f"https://{host}/", guard=guard).refusal
    both = replace(guard, allow=frozenset({("127.0.0.1", 8000)}))
    assert assess("GET", "http://127.0.0.1:8000/", guard=both).refusal == ""


@pytest.mark.parametrize(
    "given",
    [
        {"allow": "127.0.0.1:80"},
        {"allow": [("a", 0)]},
        {"allow": 3},
        {"hosts": "example.org"},
        {"hosts": [3]},
        {"hosts": ["https://example.org"]},
        {"hosts": ["example.org:443"]},
        {"hosts": ["example.org/path"]},
        {"hosts": ["*"]},
        {"hosts": ["a.*.org"]},
        {"hosts": [""]},
        {"timeout": 0},
        {"timeout": "1"},
        {"timeout": True},
        {"max_bytes": -1},
    ],
)
def test_a_mistyped_description_is_refused(given):
    with pytest.raises(LoomUsageError, match=f"Capability.http: {next(iter(given))}"):
        HttpCapability(**given)


def test_the_description_is_a_value():
    assert HttpCapability() == HttpCapability(allow=[])
    assert hash(HttpCapability(allow=[("LOCALHOST", 1)])) == hash(HttpCapability(allow=[("localhost", 1)]))
    assert HttpCapability().name == "http"
