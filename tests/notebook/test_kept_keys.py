"""A real kernel that uses secrets: cells answer, requests hold them, and the kernel never does."""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from loom_nb.credentials.broker import Broker
from loom_nb.credentials.policies import Binding, CredentialPolicy
from loom_nb.testing.wire import WireServer
from loom_nb.testing.wire_script import Calls, Say
from tests.notebook.kernels import kernel

KEY = "sk-canary-93f1b2c7d8e64a50"
TOKEN = "tok-canary-5c1b2c7d8e64a507"


@pytest.fixture
def secrets(tmp_path):
    made = Broker(tmp_path / "secrets", master="file")
    yield made
    made.stop()


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was sent."""

    def do_GET(self):
        data = str(self.headers).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def echo():
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def keep(secrets, scope, value, url, **binding):
    host = url.removeprefix("http://").partition("/")[0]
    secrets.put(
        scope, "api_key", {"value": value}, binding=Binding(hosts=(host,), plain=True, **binding),
        policy=CredentialPolicy(mode="autonomous"),
    )  # fmt: skip


def memory(pid):
    """All that a process has in its writable memory, and what it was started with."""
    parts = [Path(f"/proc/{pid}/environ").read_bytes(), Path(f"/proc/{pid}/cmdline").read_bytes()]
    with Path(f"/proc/{pid}/mem").open("rb") as file:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            where, rights = line.split()[:2]
            if rights.startswith("rw"):
                start, end = (int(one, 16) for one in where.split("-"))
                file.seek(start)
                parts.append(file.read(end - start))
    return b"".join(parts)


AGENT = """
from loom_nb import Agent, Capability, Model
agent = Agent(
    Model.anthropic("claude-test", base_url={url!r}),
    capabilities=[Capability.http(credentials=["items"])],
)
result = await agent.run("look at the items")
print(result.status, "|", result.output)
"""


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="reads the memory of a process")
def test_a_kernel_uses_secrets_that_it_never_has(tmp_path, secrets, echo):
    def used(request):
        """The model's second turn: it repeats what the tool gave it."""
        return Say("I saw: " + json.dumps(request.json["messages"][-1])[:2_000])

    call = Calls(("http_request", {"url": f"{echo}/items", "credential": "items"}))
    with WireServer([Say("one"), call, used]) as server:
        keep(secrets, "anthropic", KEY, server.url, apply="header:x-api-key")
        keep(secrets, "items", TOKEN, echo)
        with kernel(tmp_path, ANTHROPIC_BASE_URL=server.url) as kern:
            kern.said("%load_ext loom_nb")
            first = kern.run("%%loom -m anthropic:claude-test\nhello")
            assert first.status == "ok", first.error
            assert "one" in first.text
            told = kern.said(AGENT.format(url=server.url))
            assert told.startswith("completed"), told
            assert "Bearer [secret items]" in told
            pid = kern.manager.provisioner.process.pid
            found = memory(pid)
            assert b"claude-test" in found  # it was looked at
            assert KEY.encode() not in found
            assert TOKEN.encode() not in found
            assert KEY not in first.text + told
        assert [request.headers["x-api-key"] for request in server.requests] == [KEY] * 3
    for file in tmp_path.rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert KEY.encode() not in data, file
            assert TOKEN.encode() not in data, file
