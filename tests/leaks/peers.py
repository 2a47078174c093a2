"""Real servers on the loopback that give back what they are sent, in every way that there is."""

import base64
import contextlib
import gzip
import html
import json
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

Write = Callable[[str], bytes]

WRITTEN: Mapping[str, Write] = {
    "plain": str.encode,
    "latin-1": lambda v: v.encode("latin-1", "replace"),
    "url-upper": lambda v: quote(v, safe="").encode(),
    "url-lower": lambda v: quote(v, safe="").replace("%2F", "%2f").replace("%3D", "%3d").replace("%C3%A9", "%c3%a9").encode(),
    "url-plus": lambda v: quote_plus(v).encode(),
    "url-every-byte": lambda v: "".join(f"%{b:02X}" for b in v.encode()).encode(),
    "url-twice": lambda v: quote(quote(v, safe=""), safe="").encode(),
    "base64": lambda v: base64.b64encode(v.encode()),
    "base64-1": lambda v: base64.b64encode(b"x" + v.encode() + b"yz"),
    "base64-2": lambda v: base64.b64encode(b"xy" + v.encode() + b"z"),
    "base64-lines": lambda v: base64.encodebytes(b"some words before it, " + v.encode() + b" and behind it"),
    "base64url": lambda v: base64.urlsafe_b64encode(b"x" + v.encode()),
    "base64url-2": lambda v: base64.urlsafe_b64encode(b"xy" + v.encode()),
    "hex": lambda v: v.encode().hex().encode(),
    "hex-upper": lambda v: v.encode().hex().upper().encode(),
    "json": lambda v: json.dumps({"it": v}, ensure_ascii=False).encode(),
    "json-ascii": lambda v: json.dumps([v]).replace("/", "\\/").encode(),
    "json-of-json": lambda v: json.dumps({"body": json.dumps({"it": v})}).encode(),
    "html": lambda v: html.escape(v).encode(),
    "html-numbers": lambda v: "".join(f"&#{ord(c)};" for c in v).encode(),
    "html-hex": lambda v: "".join(f"&#x{ord(c):x};" for c in v).encode(),
    "repr": lambda v: repr({"it": v}).encode(),
    "pair": lambda v: base64.b64encode(f"ada:{v}".encode()),
    "twice": lambda v: f"{v}{v}".encode(),
}  # fmt: skip
"""How a value may be written by whoever sends it back."""


def values_in(head: str, headers: Mapping[str, str], path: str, body: bytes) -> list[str]:
    """The secrets in a request, as a server takes them out of it."""
    found = []
    for name, value in headers.items():
        if name.lower() in ("authorization", "x-api-key", "x-amz-security-token"):
            word = value.partition(" ")[2] or value
            found.append(word)
            if value.lower().startswith("basic "):
                pair = base64.b64decode(word).decode()
                found += [pair, pair.partition(":")[2]]
    parts = urlsplit(path)
    found += [value for name, value in parse_qsl(parts.query) if name in ("key", "client_secret")]
    found += [unquote(one[3:]) for one in parts.path.split("/") if one.startswith("bot")]
    text = body.decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        given = json.loads(text)
        found += [given["key"]] if isinstance(given, dict) and "key" in given else []
    found += [value for name, value in parse_qsl(text) if name in ("key", "client_secret")]
    return [one for one in dict.fromkeys(found) if len(one) >= 12]


@dataclass
class Site:
    """A server that echoes. What it was sent is kept, for the proof that a secret did go out."""

    marker: str
    access_token: str
    """What its token server gives out."""
    url: str = ""
    got: list[bytes] = field(default_factory=list)
    elsewhere: str = ""
    """Another origin, to which it redirects."""

    @property
    def host(self) -> str:
        """Host and port."""
        return urlsplit(self.url).netloc


class _Echo(BaseHTTPRequestHandler):
    site: Site
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing on the screen of the tests."""

    def _serve(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        head = f"{self.requestline}\r\n{self.headers.as_string()}"
        self.site.got.append(head.encode("latin-1", "replace") + body)
        values = values_in(head, dict(self.headers.items()), self.path, body)
        # an address with the key in front of the path
        path = urlsplit(self.path).path
        way = path.partition("/e/")[2] or path.strip("/")
        self.close_connection = True
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._answer(way, values, head)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve

    def _answer(self, way: str, values: list[str], head: str) -> None:
        marker = self.site.marker.encode()
        plain = b"\n".join([marker, *(one.encode() for one in values), head.encode("latin-1", "replace")])
        if way in WRITTEN:
            return self._send(b"\n".join([marker, *(WRITTEN[way](one) for one in values)]))
        match way:
            case "token":
                told = {"access_token": self.site.access_token, "token_type": "Bearer", "expires_in": 3600}
                return self._send(json.dumps(told).encode(), {"Content-Type": "application/json"})
            case "token-refused":
                told = {"error": "invalid_client", "error_description": " ".join([self.site.marker, *values])}
                return self._send(json.dumps(told).encode(), {"Content-Type": "application/json"}, 401)
            case "gzip":
                return self._send(gzip.compress(plain), {"Content-Encoding": "gzip"})
            case "deflate":
                return self._send(zlib.compress(plain), {"Content-Encoding": "deflate"})
            case "by-byte" | "by-byte-gzip" | "halves":
                data = gzip.compress(plain) if way.endswith("gzip") else plain
                packing = {"Content-Encoding": "gzip"} if way.endswith("gzip") else {}
                return self._chunks(data, 1 if way != "halves" else 13, packing)
            case "error-500" | "error-401" | "error-404":
                return self._send(plain, {"WWW-Authenticate": f'Bearer realm="{self._one(values)}"'}, int(way[-3:]))
            case "headers":
                one = self._one(values)
                more = {name: one for name in ("ETag", "Link", "X-Request-Id", "Content-Disposition", "Set-Cookie", "X-Echo", "Retry-After", "Sunset", "Allow", "X-RateLimit-Key")}
                coded = base64.b64encode("".join(values).encode()).decode()
                return self._send(marker, {**more, "Content-Location": f"/{quote(one)}", "Deprecation": coded})
            case "reason":
                self.send_response_only(200, f"OK {self._one(values)}")
                return self._rest(marker, {})
            case "content-type":
                return self._send(plain, {"Content-Type": f"text/plain; charset={quote(self._one(values))}"})
            case "redirect-out" | "redirect-in" | "redirect-loop":
                base = {"redirect-out": self.site.elsewhere, "redirect-in": self.site.url}.get(way, self.site.url)
                target = "redirect-loop" if way == "redirect-loop" else "plain"
                asked = "".join(f"&key{n}={quote(one)}" for n, one in enumerate(values))
                return self._send(plain, {"Location": f"{base}/e/{target}?from={self.site.marker}{asked}"}, 302)
            case "json-body":
                told = {"marker": self.site.marker, "nested": [{"headers": head, "values": values}], **{one: 1 for one in values}}
                return self._send(json.dumps(told).encode(), {"Content-Type": "application/json"})
            case "page":
                rows = "".join(f"<tr><td>{html.escape(one)}</td><td><a href='/{quote(one)}'>x</a></td></tr>" for one in values)
                page = f"<html><body><h1>{self.site.marker}</h1><table>{rows}</table><!-- {html.escape(head)} --></body></html>"
                return self._send(page.encode(), {"Content-Type": "text/html; charset=utf-8"})
            case "events":
                data = b"".join(b"data: " + json.dumps({"it": one}).encode() + b"\n\n" for one in [self.site.marker, *values])
                return self._send(data, {"Content-Type": "text/event-stream"})
            case "utf-16" | "utf-16-be" | "utf-32" | "utf-7" | "cp037":
                return self._send(plain.decode("utf-8", "replace").encode(way, "replace"), {"Content-Type": f"text/plain; charset={way}"})
            case "latin-1-text":
                return self._send(plain.decode().encode("latin-1", "replace"), {"Content-Type": "text/plain; charset=iso-8859-1"})
            case "long":
                return self._send(marker + b" " + b"word " * 799_980 + b"\n".join(one.encode() for one in values * 40))
            case "broken":
                self.send_response_only(200)
                self.send_header("Content-Length", str(len(plain) + 999))
                self.end_headers()
                self.wfile.write(plain)
                return None
            case "binary":
                return self._send(b"\0\1\2" + plain, {"Content-Type": "application/octet-stream"})
            case "pdf":
                return self._send(b"%PDF-1.4\n" + plain, {"Content-Type": "application/pdf"})
            case "image":
                return self._send(b"\x89PNG\r\n\x1a\n" + plain, {"Content-Type": "image/png"})
        return self._send(plain)

    @staticmethod
    def _one(values: list[str]) -> str:
        """The first value that may stand in a header."""
        return (values or [""])[-1].encode("latin-1", "replace").decode("latin-1").replace("\n", " ")

    def _send(self, body: bytes, headers: Mapping[str, str] = {}, status: int = 200) -> None:
        self.send_response_only(status)
        self._rest(body, headers)

    def _rest(self, body: bytes, headers: Mapping[str, str]) -> None:
        for name, value in {"Content-Type": "text/plain; charset=utf-8", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _chunks(self, data: bytes, size: int, headers: Mapping[str, str]) -> None:
        self.send_response_only(200)
        for name, value in {"Content-Type": "text/plain; charset=utf-8", **headers}.items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(data), size):
            part = data[start : start + size]
            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


WAYS = (
    *WRITTEN, "gzip", "deflate", "by-byte", "by-byte-gzip", "halves", "error-500", "error-401", "error-404", "headers",
    "reason", "content-type", "redirect-out", "redirect-in", "redirect-loop", "json-body", "page", "events", "latin-1-text",
    "long", "broken", "binary", "pdf", "image",
)  # fmt: skip
"""Everything that it does."""


@contextlib.contextmanager
def serving(marker: str, access_token: str) -> Iterator[tuple[Site, Site]]:
    """A site that echoes, and another origin that does, too."""
    with contextlib.ExitStack() as stack:
        sites = []
        for _ in range(2):
            site = Site(marker, access_token)
            server = ThreadingHTTPServer(("127.0.0.1", 0), type("Echo", (_Echo,), {"site": site}))
            server.daemon_threads = True
            site.url = f"http://127.0.0.1:{server.server_port}"
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            sites.append(site)
        first, second = sites
        first.elsewhere, second.elsewhere = second.url, first.url
        yield first, second
