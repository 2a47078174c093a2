"""Real servers on the loopback, and names as a name server would tell them."""

import asyncio
import datetime as dt
import re
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpcore2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from loom_nb.network.fetch import resolve_host

HTML = "text/html; charset=utf-8"


@dataclass
class Site:
    """A real HTTP server on the loopback: answers by path, and keeps what it was asked."""

    port: int = 0
    answers: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)
    bodies: list = field(default_factory=list)
    connections: int = 0
    serving: set = field(default_factory=set)
    """The tasks of the connections that are open."""

    async def serve(self, reader, writer):
        self.connections += 1
        self.serving.add(asyncio.current_task())
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.asked.append(head)
            sent = re.search(r"(?i)\r\ncontent-length: (\d+)", head)
            self.bodies.append(await reader.readexactly(int(sent[1])) if sent else b"")
            status, headers, body = self.answers.get(head.split()[1], (404, {}, b"not here"))
            lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items())]
            if "Content-Length" not in headers and not callable(body):
                lines.append(f"Content-Length: {len(body)}")
            if head.startswith("HEAD "):
                body = b""
            writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1"))
            if callable(body):
                await body(writer)
            else:
                writer.write(body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.serving.discard(asyncio.current_task())
            writer.close()

    async def end(self):
        """End the connections, also those whose page is never finished: a server waits for them to close."""
        for task in (left := list(self.serving)):
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def page(self, path, body, kind=HTML, status=200, **headers):
        data = body.encode() if isinstance(body, str) else body
        self.answers[path] = (status, {"Content-Type": kind, **headers} if kind else headers, data)

    def redirect(self, path, location, status=302):
        self.answers[path] = (status, {"Location": location}, b"")

    @property
    def methods(self):
        """What was asked for: method and path of each request."""
        return [" ".join(head.split()[:2]) for head in self.asked]

    def sent(self, number, name):
        """A header of one request, or None."""
        found = re.search(rf"(?i)\r\n{re.escape(name)}: ([^\r]*)", self.asked[number])
        return found and found[1]

    def url(self, path="/"):
        return f"http://127.0.0.1:{self.port}{path}"


@asynccontextmanager
async def serving():
    """A site that is being served."""
    site = Site()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    site.port = server.sockets[0].getsockname()[1]
    async with server:
        try:
            yield site
        finally:
            await site.end()


@dataclass
class Dialled(httpcore2.AsyncNetworkBackend):
    """Keeps the addresses that are dialled; leads each of them to a real server of the test."""

    port: int
    addresses: list = field(default_factory=list)

    async def connect_tcp(self, host, port, *args, **kwargs):
        self.addresses.append((host, port))
        return await httpcore2.AnyIOBackend().connect_tcp("127.0.0.1", self.port, *args, **kwargs)


def resolver(**names):
    """Names as a name server would tell them; what is not listed is asked of the system."""
    asked = []

    async def resolve(host, port):
        asked.append(host)
        if host in names:
            answer = names[host]
            return (
                answer[min(asked.count(host), len(answer)) - 1]
                if answer and isinstance(answer[0], list)
                else answer
            )
        return await resolve_host(host, port)

    resolve.asked = asked
    return resolve


def self_signed(name, folder):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(pem, plain, serialization.NoEncryption()) + certificate.public_bytes(pem)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
