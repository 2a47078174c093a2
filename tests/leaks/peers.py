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
from typing import Any
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


SHOWN_HEADERS = (
    "ETag", "Link", "X-Request-Id", "Content-Disposition", "Set-Cookie", "X-Echo", "Retry-After", "Sunset", "Allow",
    "X-RateLimit-Key",
)  # fmt: skip
CHARSETS = ("utf-16", "utf-16-be", "utf-32", "iso-8859-1")
_JSON = {"Content-Type": "application/json"}
_PACKED: Mapping[str, tuple[dict[str, str], Callable[[bytes], bytes]]] = {
    "gzip": ({"Content-Encoding": "gzip"}, gzip.compress),
    "deflate": ({"Content-Encoding": "deflate"}, zlib.compress),
    "binary": ({"Content-Type": "application/octet-stream"}, b"\0\1\2".__add__),
    "pdf": ({"Content-Type": "application/pdf"}, b"%PDF-1.4\n".__add__),
    "image": ({"Content-Type": "image/png"}, b"\x89PNG\r\n\x1a\n".__add__),
}


def _text(charset: str) -> dict[str, str]:
    return {"Content-Type": f"text/plain; charset={charset}"}


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
            self._send(b"\n".join([marker, *(WRITTEN[way](one) for one in values)]))
        elif way in CHARSETS:
            self._send(plain.decode("utf-8", "replace").encode(way, "replace"), _text(way))
        elif way in _PACKED:
            kind, pack = _PACKED[way]
            self._send(pack(plain), kind)
        else:
            told = {"marker": self.site.marker, "nested": [{"headers": head, "values": values}]}
            getattr(self, f"_{way.replace('-', '_')}", self._send)(plain, values=values, told=told)

    def _token(self, plain: bytes, **_: Any) -> None:
        given = {"access_token": self.site.access_token, "token_type": "Bearer", "expires_in": 3600}
        self._send(json.dumps(given).encode(), _JSON)

    def _token_refused(self, plain: bytes, values: list[str], **_: Any) -> None:
        why = " ".join([self.site.marker, *values])
        self._send(json.dumps({"error": "invalid_client", "error_description": why}).encode(), _JSON, 401)

    def _by_byte(self, plain: bytes, **_: Any) -> None:
        self._chunks(plain, 1, {})

    def _by_byte_gzip(self, plain: bytes, **_: Any) -> None:
        self._chunks(gzip.compress(plain), 1, {"Content-Encoding": "gzip"})

    def _halves(self, plain: bytes, **_: Any) -> None:
        self._chunks(plain, 13, {})

    def _error_500(self, plain: bytes, values: list[str], **_: Any) -> None:
        self._send(plain, {"X-Request-Id": self._one(values)}, 500)

    def _error_404(self, plain: bytes, **_: Any) -> None:
        self._send(plain, {}, 404)

    def _error_401(self, plain: bytes, values: list[str], **_: Any) -> None:
        self._send(plain, {"WWW-Authenticate": f'Bearer realm="{self._one(values)}"'}, 401)

    def _headers(self, plain: bytes, values: list[str], **_: Any) -> None:
        one, coded = self._one(values), base64.b64encode("".join(values).encode()).decode()
        more = {"Content-Location": f"/{quote(one)}", "Deprecation": coded}
        self._send(self.site.marker.encode(), {**dict.fromkeys(SHOWN_HEADERS, one), **more})

    def _reason(self, plain: bytes, values: list[str], **_: Any) -> None:
        self.send_response_only(200, f"OK {self._one(values)}")
        self._rest(self.site.marker.encode(), {})

    def _content_type(self, plain: bytes, values: list[str], **_: Any) -> None:
        self._send(plain, _text(quote(self._one(values))))

    def _redirect_out(self, plain: bytes, values: list[str], **_: Any) -> None:
        self._redirected(plain, f"{self.site.elsewhere}/e/plain", values)

    def _redirect_in(self, plain: bytes, values: list[str], **_: Any) -> None:
        self._redirected(plain, f"{self.site.url}/e/plain", values)

    def _redirect_loop(self, plain: bytes, values: list[str], **_: Any) -> None:
        self._redirected(plain, f"{self.site.url}/e/redirect-loop", values)

    def _redirected(self, plain: bytes, to: str, values: list[str]) -> None:
        asked = "".join(f"&key{n}={quote(one)}" for n, one in enumerate(values))
        self._send(plain, {"Location": f"{to}?from={self.site.marker}{asked}"}, 302)

    def _json_body(self, plain: bytes, values: list[str], told: dict[str, Any]) -> None:
        self._send(json.dumps({**told, **dict.fromkeys(values, 1)}).encode(), _JSON)

    def _page(self, plain: bytes, values: list[str], **_: Any) -> None:
        rows = [
            f"<tr><td>{html.escape(one)}</td><td><a href='/{quote(one)}'>x</a></td></tr>" for one in values
        ]
        rest = f"<!-- {html.escape(plain.decode('utf-8', 'replace'))} -->"
        page = f"<html><body><h1>{self.site.marker}</h1><table>{''.join(rows)}</table>{rest}</body></html>"
        self._send(page.encode(), {"Content-Type": "text/html; charset=utf-8"})

    def _events(self, plain: bytes, values: list[str], **_: Any) -> None:
        some = [json.dumps({"it": one}) for one in [self.site.marker, *values]]
        self._send(
            "".join(f"data: {one}\n\n" for one in some).encode(), {"Content-Type": "text/event-stream"}
        )

    def _long(self, plain: bytes, values: list[str], **_: Any) -> None:
        rest = b"\n".join(one.encode() for one in values * 40)
        self._send(self.site.marker.encode() + b" " + b"word " * 799_980 + rest)

    def _broken(self, plain: bytes, **_: Any) -> None:
        self.send_response_only(200)
        self.send_header("Content-Length", str(len(plain) + 999))
        self.end_headers()
        self.wfile.write(plain)

    @staticmethod
    def _one(values: list[str]) -> str:
        """The first value that may stand in a header."""
        return (values or [""])[-1].encode("latin-1", "replace").decode("latin-1").replace("\n", " ")

    def _send(self, body: bytes, headers: Mapping[str, str] = {}, status: int = 200, **_: Any) -> None:
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
