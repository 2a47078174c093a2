"""No request reaches an address that is not public, by whatever spelling, name or redirect."""

import asyncio
import json
import random
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from loom_nb.capabilities import http, web
from loom_nb.errors import ToolError
from loom_nb.network.addresses import why_not_public
from loom_nb.network.fetch import Client, Guard
from tests import cost
from tests.capabilities.sites import Dialled, resolver, serving

CASES = Path(__file__).parent / "cases"
PORT = ":8080"
"""Stands in the tables for the port of the trap."""


def table(name):
    return [json.loads(line)["arguments"]["url"] for line in (CASES / name).read_text("utf-8").splitlines()]


HOSTILE = table("urls.jsonl")
ORDINARY = table("ordinary_urls.jsonl")


@dataclass
class Trap:
    """Listens on the loopback, over IPv4 and where there is one over IPv6; counts who comes."""

    port: int
    visitors: int = 0
    names_asked: int = 0

    async def resolve(self, host, port):
        self.names_asked += 1
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [address[0] for *_, address in found]


@asynccontextmanager
async def trapped():
    async def serve(reader, writer):
        trap.visitors += 1
        await reader.read(1000)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nsecret")
        writer.close()

    first = await asyncio.start_server(serve, "127.0.0.1", 0)
    trap = Trap(first.sockets[0].getsockname()[1])
    async with first:
        try:
            second = await asyncio.start_server(serve, "::1", trap.port)
        except OSError:  # no IPv6 on this machine
            yield trap
            return
        async with second:
            yield trap


def roads(resolve, dial=None):
    """Both tools, each as a function of a URL that sends a request and gives what a model would read."""

    async def fetched(url):
        guard = Guard("web", "web_fetch", resolve=resolve)
        return (await web.fetch(Client(guard, 3.0, web.MAX_BYTES, dial), url)).text

    async def got(url):
        guard = Guard("http", "http_request", resolve=resolve)
        client = Client(guard, 3.0, http.MAX_BYTES, dial)
        first, *_ = await http.request(client, http.made(guard, "GET", url))
        return first.text

    async def posted(url):
        guard = Guard("http", "http_request", resolve=resolve)
        client = Client(guard, 3.0, http.MAX_BYTES, dial)
        first, *_ = await http.request(client, http.made(guard, "POST", url, json={"a": 1}))
        return first.text

    return fetched, got, posted


async def test_no_hostile_url_opens_a_socket():
    assert len(HOSTILE) >= 120
    let_through = []
    async with trapped() as trap:
        for road in roads(trap.resolve):
            for url in HOSTILE:
                try:
                    await road(url.replace(PORT, f":{trap.port}"))
                except ToolError:
                    continue
                let_through.append((road.__name__, url))

    assert (let_through, trap.visitors, trap.names_asked) == ([], 0, 0)


async def test_the_trap_does_catch_those_who_are_not_guarded():
    """Else the test above would prove nothing: the same spellings, given to the system as they are."""
    spellings = ["127.0.0.1", "127.1", "0", "0x7f000001", "2130706433", "017700000001", "localhost", "0x7f.1"]
    async with trapped() as trap:
        for host in spellings:
            reader, writer = await asyncio.open_connection(host, trap.port, family=socket.AF_INET)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            assert b"secret" in await reader.read()
            writer.close()

        assert trap.visitors == len(spellings)


def test_hostile_urls_are_refused_before_anybody_is_asked():
    for url in HOSTILE:
        for told in (
            web.assessed(Guard("web", "web_fetch"), url),
            http.assessed(Guard("http", "http_request"), "POST", url, body="x"),
        ):
            assert told.refusal, url
            assert told.hosts == (), url


async def test_no_ordinary_url_is_refused():
    assert len(ORDINARY) >= 60
    refused = []
    async with serving() as site:

        async def resolve(host, port):
            return [host] if host.replace(".", "").isdigit() or ":" in host else ["93.184.215.14"]

        for url in ORDINARY:
            if web.assessed(Guard("web", "web_fetch"), url).refusal:
                refused.append(url)
            plain = "http" + url.strip()[4:].removeprefix("s").removeprefix("S")
            path = http.made(Guard("http", "http_request"), "GET", plain).target.path
            site.page(path, "ok", "text/plain")
            for road in roads(resolve, Dialled(site.port)):
                try:
                    assert (await road(plain)).endswith("ok")
                except ToolError:
                    refused.append((road.__name__, url))

    assert refused == []
    assert len(site.asked) == 3 * len(ORDINARY)


NAMES = {
    "loopback.test": ["127.0.0.1"],
    "loopback6.test": ["::1"],
    "any.test": ["0.0.0.0"],
    "private.test": ["10.1.2.3"],
    "shared.test": ["100.64.1.1"],
    "metadata.test": ["169.254.169.254"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "nat64.test": ["64:ff9b::7f00:1"],
    "sixtofour.test": ["2002:7f00:1::"],
    "teredo.test": ["2001:0:7f00:1::"],
    "scoped.test": ["fe80::1%lo"],
    "unique.test": ["fd00:ec2::254"],
    "first.test": ["127.0.0.1", "93.184.215.14"],
    "last.test": ["93.184.215.14", "127.0.0.1"],
    "last6.test": ["93.184.215.14", "::1"],
    "127.0.0.1.nip.test": ["127.0.0.1"],
    "none.test": [],
    "garbage.test": ["not an address"],
    "short.test": ["127.1"],
}


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_that_leads_inside_is_refused(name):
    async with trapped() as trap:
        for road in roads(resolver(**NAMES)):
            with pytest.raises(ToolError, match="not public|not known"):
                await road(f"http://{name}:{trap.port}/")

        assert trap.visitors == 0


async def test_a_name_that_turns_inside_after_it_was_judged_is_not_asked_again():
    """DNS rebinding: each answer differs; the first one is judged, and dialled as it was judged."""
    async with trapped() as trap, serving() as site:
        site.page("/", "ok", "text/plain")
        site.redirect("/again", "/")
        for n in range(2):
            names = resolver(**{"rebind.test": [["93.184.215.14"], ["127.0.0.1"]]})
            dial = Dialled(site.port)
            road = roads(names, dial)[n]

            assert (await road(f"http://rebind.test:{trap.port}/")).endswith("ok")
            assert (names.asked, dial.addresses) == (["rebind.test"], [("93.184.215.14", trap.port)])
            with pytest.raises(ToolError, match="not public"):  # the next request asks, and judges, anew
                await road(f"http://rebind.test:{trap.port}/")

            names = resolver(**{"rebind.test": [["93.184.215.14"], ["127.0.0.1"]]})
            with pytest.raises(ToolError, match="not public"):  # and so does each hop of one request
                await roads(names, dial)[n](f"http://rebind.test:{trap.port}/again")

        assert trap.visitors == 0


REDIRECTS = [
    "http://127.0.0.1:8080/", "//127.0.0.1:8080/", "http://localhost:8080/", "http://2130706433:8080/",
    "http://0x7f.1:8080/", "http://[::1]:8080/", "http://[::ffff:127.0.0.1]:8080/", "http://①②⑦.⓪.⓪.①:8080/",
    "http://loopback.test:8080/", "http://last.test:8080/", "http://metadata.google.internal/",
    "http://169.254.169.254/latest/", "file:///etc/passwd", "gopher://127.0.0.1:8080/", "javascript:alert(1)",
    "http://user:pass@example.org/", "http://example.org@127.0.0.1:8080/", "http://example.org:22/",
    "http://[::1", "http:///127.0.0.1:8080/", "\\\\127.0.0.1:8080/x\thttp://127.0.0.1:8080/", "http:/127.0.0.1:8080/",
]  # fmt: skip


@pytest.mark.parametrize("location", REDIRECTS)
@pytest.mark.parametrize("hops", [1, 3])
async def test_a_redirect_does_not_lead_inside(location, hops):
    async with trapped() as trap, serving() as site:
        for n in range(hops - 1):
            site.redirect(f"/{n}", f"http://public{n}.test/{n + 1}", 302)
        site.redirect(f"/{hops - 1}", location.replace(PORT, f":{trap.port}").encode().decode("latin-1"), 307)
        public = {f"public{n}.test": ["93.184.215.14"] for n in range(hops)}
        dial = Dialled(site.port)
        fetched, got, posted = roads(resolver(**NAMES, **public), dial)

        for road in (fetched, got):
            with pytest.raises(ToolError):
                await road("http://public0.test/0")
        answer = await asyncio.gather(posted("http://public0.test/0"), return_exceptions=True)

        assert trap.visitors == 0
        assert {address for address, _ in dial.addresses} == {"93.184.215.14"}
        assert [one for one in answer if not isinstance(one, ToolError) and "not followed" not in one] == []


@pytest.mark.parametrize("url", ["http://93.184.215.14/", "http://[2606:4700:4700::1111]/"])
async def test_an_address_is_dialled_as_it_stands(url):
    async with serving() as site:
        site.page("/", "ok", "text/plain")
        dial = Dialled(site.port)

        for road in roads(resolver(), dial):
            assert (await road(url)).endswith("ok")
        assert {address for address, _ in dial.addresses} == {urlsplit(url).hostname}


def test_no_mutation_of_a_hostile_url_is_an_address_inside():
    """The system's own reading of numbers is the oracle: what it takes for an address must be public."""
    chance = random.Random(20_240_601)
    guard, passed = Guard("web", "web_fetch"), 0
    marks = "0123456789abcdefx.:%[]@/\\?#-_ \t\u3002\u2460\u200b\uff11"
    for _ in range(20_000):
        letters = list(chance.choice(HOSTILE))
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(letters) + 1)
            letters[place : place + chance.randint(0, 2)] = chance.choices(marks, k=chance.randint(0, 2))
        try:
            target = guard.target("".join(letters))
        except ToolError:
            continue
        passed += 1
        try:
            found = socket.getaddrinfo(target.host, target.port, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            continue  # a name: its addresses are judged when it is dialled
        assert [why_not_public(address[0]) for *_, address in found] == [""] * len(found), target

    assert passed > 300


@pytest.mark.timeout(150)
def test_judging_a_url_takes_few_steps():
    guard = Guard("web", "web_fetch")

    for url in HOSTILE + ORDINARY:
        assert cost.calls(lambda url=url: web.assessed(guard, url)) < 2_000 + 10 * len(url), url[:80]
