"""What the broker costs: its start, an exchange against a bare one, a delta that comes through it."""

import asyncio
import os
import sys
import time
from pathlib import Path

import httpx2
import pytest

from loom_nb.credentials.broker import Broker, Exchange
from loom_nb.credentials.policies import Binding, CredentialPolicy
from loom_nb.credentials.uses import Use

pytestmark = [pytest.mark.benchmark, pytest.mark.slow, pytest.mark.timeout(600)]

DELTAS = 2_000
MS, US = 1e3, 1e6
ROWS: list[tuple[str, str]] = []


def told(what, seconds, unit=MS, name="ms"):
    times = sorted(seconds)
    ROWS.append(
        (what, f"{times[0] * unit:.2f} {name} at best, {times[len(times) // 2] * unit:.2f} in the middle")
    )


@pytest.fixture(scope="module", autouse=True)
def table(pytestconfig):
    yield
    text = "\n".join(f"| {what} | {figures} |" for what, figures in ROWS)
    with pytestconfig.pluginmanager.get_plugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{text}")
    if folder := os.environ.get("BENCHMARKS"):
        (Path(folder) / "benchmarks-broker.md").write_text(text)


async def serve(reader, writer):
    """Answers a small page, or a stream of deltas; keeps its connection."""
    line = (
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"word %d"}}\n\n'
    )
    try:
        while True:
            path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
            if path == b"/small":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n" + b"x" * 200)
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                for number in range(DELTAS):
                    piece = line % number
                    writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    await writer.drain()
                    await asyncio.sleep(0)
                writer.write(b"0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


@pytest.fixture
async def base():
    script = (
        "import asyncio, sys; sys.path.insert(0, sys.argv[1]); from test_broker import serve\n"
        "async def main():\n"
        "    server = await asyncio.start_server(serve, '127.0.0.1', 0)\n"
        "    print(server.sockets[0].getsockname()[1], flush=True)\n"
        "    await server.serve_forever()\n"
        "asyncio.run(main())"
    )
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(Path(__file__).parent), stdout=asyncio.subprocess.PIPE
    )
    yield f"http://127.0.0.1:{int(await server.stdout.readline())}"
    server.kill()
    await server.wait()


async def timed(work, rounds):
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        await work()
        times.append(time.perf_counter() - start)
    return times


def test_the_start(tmp_path):
    times = []
    for number in range(7):
        broker = Broker(tmp_path / str(number), master="file", apart=True)
        start = time.perf_counter()
        assert broker.list() == ()
        times.append(time.perf_counter() - start)
        broker.stop()
    told("start to the first answer", times)


async def test_an_exchange_and_a_delta_against_bare_ones(tmp_path, base):
    broker = Broker(tmp_path / "secrets", master="file", apart=True)
    broker.put(
        "k", "api_key", {"value": "sk-canary-93f1b2c7d8e64a50"},
        binding=Binding(hosts=(base.removeprefix("http://"),), plain=True),
        policy=CredentialPolicy(mode="autonomous"),
    )  # fmt: skip
    use = Use(scope="k", who="tool:http_request")

    async def through(path):
        async with await broker.exchange(Exchange(use, "GET", base + path)) as answer:
            return sum([len(chunk) async for chunk in answer.chunks()])

    async def facts():
        broker.facts("k")

    async with httpx2.AsyncClient(trust_env=False) as client:

        async def bare(path):
            async with client.stream("GET", base + path) as answer:
                return sum([len(chunk) async for chunk in answer.aiter_bytes()])

        assert await bare("/stream") == await through("/stream")
        told("a look at the facts", await timed(facts, 200))
        told("a bare GET", await timed(lambda: bare("/small"), 200))
        told("a GET through the broker", await timed(lambda: through("/small"), 200))
        for what, way in (("bare", bare), ("through the broker", through)):
            whole = await timed(lambda way=way: way("/stream"), 7)
            told(f"a delta, {what}", [one / DELTAS for one in whole], US, "µs")
    broker.stop()
