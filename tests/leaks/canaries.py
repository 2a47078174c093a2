"""Canaries: secrets of each type that nobody keeps, and a scanner that finds every form of every one.

The forms are written down here a second time, apart from those that loom_nb looks for: what it forgets, the
scanner still finds. Values are new in each process, so no source, cache or history holds one by chance;
`LOOM_LEAK_SEED` brings the values of another run back.
"""

import base64
import contextlib
import gzip
import html
import json
import os
import random
import string
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote_to_bytes

from ahocorasick_rs import BytesAhoCorasick

SEED = os.environ.get("LOOM_LEAK_SEED") or os.urandom(8).hex()
PIECE = 12
"""Characters of a piece of a secret that count as a leak: a half that came in another chunk."""
_SIGNS = '/+=%"\\<>&'
_LETTERS = string.ascii_letters + string.digits


class Fields(Mapping[str, str]):
    """The fields of a secret, for whoever takes them; its repr holds none, so a frame of a test leaks none."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._look = lambda: dict(fields)

    def __getitem__(self, name: str) -> str:
        return self._look()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._look())

    def __len__(self) -> int:
        return len(self._look())

    def __repr__(self) -> str:
        return "<fields>"


@dataclass(frozen=True, repr=False)
class Canary:
    """One secret.

    Args:
        type: as the store names it.
        fields: all that is kept.
        hidden: what nobody may see, by a name: parts of fields, and what can be made of them.
    """

    type: str
    fields: Fields
    hidden: Fields

    @property
    def scope(self) -> str:
        """The name under which it is kept."""
        return f"canary.{self.type}"

    @property
    def value(self) -> str:
        """The first of what nobody may see."""
        return next(iter(self.hidden.values()))

    def __repr__(self) -> str:
        return f"<canary {self.type}>"


def text(more: str = "", *, length: int = 44, chance: random.Random | None = None) -> str:
    """A random value in which every sign that some encoding changes stands, one behind each few letters."""
    chance = chance or random.Random()
    signs = [*_SIGNS, *more]
    chance.shuffle(signs)
    made = ""
    while len(made) < length or signs:
        made += "".join(chance.choices(_LETTERS, k=3)) + (signs.pop() if signs else "")
    return made + "".join(chance.choices(_LETTERS, k=4))


def _ssh_key() -> tuple[str, dict[str, str]]:
    """A key of SSH in PEM, and what of it is secret: the last line, the 32 bytes themselves."""
    from cryptography.hazmat.primitives import serialization as forms_of_keys
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        forms_of_keys.Encoding.PEM, forms_of_keys.PrivateFormat.PKCS8, forms_of_keys.NoEncryption()
    ).decode()
    # the first 16 bytes are the same in every key of this kind
    return pem, {"key_pem": pem.splitlines()[1][22:], "seed": key.private_bytes_raw().hex()}


def canaries(seed: str = SEED, *, token_url: str = "https://token.example/oauth") -> tuple[Canary, ...]:
    """One of each type. The same seed gives the same values, but for the key of SSH."""
    chance = random.Random(seed)

    def made(more: str = "") -> str:
        return text(more, chance=chance)

    def plain(length: int) -> str:
        return "".join(chance.choices(_LETTERS + "/+", k=length))

    pem, of_pem = _ssh_key()
    everything: dict[str, tuple[dict[str, str], dict[str, str]]] = {}

    def canary(of: str, hidden: Mapping[str, str], also: Mapping[str, str] = {}, **shown: str) -> None:
        everything[of] = ({**shown, **hidden}, {**hidden, **also})

    canary("password", {"value": made("é ' :#")})
    canary("api_key", {"value": made("'-_.:~")})
    canary("basic_auth", {"password": made("é :@")}, username="ada")
    pair = everything["basic_auth"][0]
    everything["basic_auth"][1]["pair"] = f"ada:{pair['password']}"
    canary("bearer_token", {"token": made("-._~")})
    canary("oauth2_client_credentials", {"client_secret": made("é ")}, client_id="app", token_url=token_url)
    canary("aws_sigv4", {"secret_access_key": plain(40), "session_token": plain(120)},
           access_key_id="AKIA" + "".join(chance.choices(string.ascii_uppercase, k=16)), region="eu-north-1",
           service="s3")  # fmt: skip
    canary("jwt_signing_key", {"private_key_pem": made("é ")}, algorithm="HS256", issuer="me")
    shown, hidden = {"key_pem": pem, "passphrase": made("é ")}, of_pem
    everything["ssh_private_key"] = (shown, {**hidden, "passphrase": shown["passphrase"]})
    return tuple(Canary(of, Fields(fields), Fields(hidden)) for of, (fields, hidden) in everything.items())


# -- forms -------------------------------------------------------------------------------------------------


def forms(value: str) -> dict[str, set[bytes]]:
    """Every form of a value that counts as the value, by name."""
    data = value.encode()
    found: dict[str, set[bytes]] = {
        "plain": {data},
        "latin-1": {value.encode("latin-1", "ignore")},
        "utf-16": {value.encode("utf-16-le"), value.encode("utf-16-be")},
        "utf-32": {value.encode("utf-32-le")},
        "url upper": {quote(value, safe="").encode(), quote(value).encode(), quote(value, safe="/:=+").encode()},
        "url plus": {quote_plus(value).encode(), value.replace(" ", "+").encode()},
        "url of every byte": {"".join(f"%{byte:02X}" for byte in data).encode()},
        "hex lower": {data.hex().encode(), data.hex(" ").encode(), data.hex(":").encode()},
        "hex upper": {data.hex().upper().encode()},
        "json": {json.dumps(value, ensure_ascii=False)[1:-1].encode()},
        "json ascii": {json.dumps(value)[1:-1].encode(), json.dumps(value)[1:-1].replace("/", "\\/").encode()},
        "json of json": {json.dumps(json.dumps(value)[1:-1])[1:-1].encode()},
        "repr": {repr(value)[1:-1].encode(), repr(data)[2:-1].encode(), ascii(value)[1:-1].encode()},
        "html": {html.escape(value).encode(), html.escape(value, quote=False).encode()},
        "html numbers": {"".join(f"&#{ord(c)};" for c in value).encode(),
                         "".join(f"&#x{ord(c):x};" for c in value).encode()},
        "pieces": {value[at : at + PIECE].encode() for at in range(len(value) - PIECE + 1)},
    }  # fmt: skip
    found["url lower"] = {_lower(form) for form in (*found["url upper"], *found["url of every byte"])}
    for ahead in range(3):
        coded = {_inner(data, ahead), _inner(value.encode("latin-1", "ignore"), ahead)}
        found[f"base64 at {ahead}"] = coded
        found[f"base64url at {ahead}"] = {one.translate(bytes.maketrans(b"+/", b"-_")) for one in coded}
    return {name: {one for one in some if len(one) >= PIECE} for name, some in found.items()}


def _lower(form: bytes) -> bytes:
    """The digits of %XX in lower case."""
    first, *rest = form.split(b"%")
    return b"%".join([first, *(one[:2].lower() + one[2:] for one in rest)])


def _inner(data: bytes, ahead: int) -> bytes:
    """Its base64 behind so many other bytes of a group: what hangs on neither neighbour."""
    coded = base64.b64encode(b"\0" * ahead + data)
    first = -(-8 * ahead // 6)
    last = (ahead + len(data)) * 8 // 6
    return coded[first:last]


# -- looking -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hit:
    """A form of a secret that was found."""

    whose: str
    """Type and field."""
    form: str
    view: str
    """How the data had to be read."""
    around: str
    """The text around it, without it."""

    def __str__(self) -> str:
        return f"{self.whose} as {self.form} ({self.view}): {self.around}"


class Scanner:
    """Finds every form of some texts.

    Args:
        named: the texts by name.
    """

    def __init__(self, named: Mapping[str, str]) -> None:
        self.forms = 0
        """How many patterns are looked for."""
        told: dict[bytes, tuple[str, str]] = {}
        for name, value in named.items():
            for form, patterns in forms(value).items():
                for pattern in patterns:
                    told.setdefault(pattern, (name, form))
                    # as it stands where every backslash was dropped
                    told.setdefault(pattern.replace(b"\\", b""), (name, form))
        told = {pattern: one for pattern, one in told.items() if len(pattern) >= PIECE}
        self._patterns = list(told)
        self._names = [told[one] for one in self._patterns]
        self._find = BytesAhoCorasick(self._patterns).find_matches_as_indexes
        self.forms = len(self._patterns)

    @classmethod
    def of(cls, some: Iterable[Canary], **more: str) -> "Scanner":
        """For canaries, and for other texts by name."""
        return cls({f"{one.type}.{name}": value for one in some for name, value in one.hidden.items()} | more)

    def scan(self, data: bytes, *, deep: bool = True) -> list[Hit]:
        """What is in some bytes, also when their escapes are read, or they are unpacked.

        Args:
            data: to look through.
            deep: whether to read escapes and unpack; not for the memory of a process.
        """
        hits: dict[tuple[str, str], Hit] = {}
        for view, read in views(data) if deep else [("as it is", data)]:
            for number, start, end in self._find(read, overlapping=True):
                whose, form = self._names[number]
                if (whose, form) not in hits:
                    around = read[max(0, start - 60) : start] + b"[...]" + read[end : end + 40]
                    hits[whose, form] = Hit(whose, form, view, repr(around))
        return list(hits.values())

    def scan_files(self, *places: Path, deep: bool = True) -> list[Hit]:
        """What is in files and in all below folders, names included."""
        return [
            hit
            for path, data in files(*places)
            for hit in self.scan(os.fsencode(path) + b"\n" + data, deep=deep)
        ]


def files(*places: Path) -> Iterator[tuple[Path, bytes]]:
    """The files of some places with all that is in them; a file that is gone meanwhile is passed over."""
    for place in places:
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            try:
                if path.is_file() and not path.is_symlink():
                    yield path, path.read_bytes()
            except FileNotFoundError:
                continue


def views(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Some bytes as they are, with their escapes read, and what is packed in them."""
    yield "as it is", data
    yield "lines joined", data.replace(b"\r\n", b"").replace(b"\n", b"")
    if b"\\" in data:
        yield "without backslashes", data.replace(b"\\", b"")
        yield "without backslashes, escapes read", _unescaped(data)
    if b"%" in data:
        once = unquote_to_bytes(data)
        yield "percents read", once
        yield "percents read twice", unquote_to_bytes(once)
        yield "percents and pluses read", unquote_to_bytes(data.replace(b"+", b" "))
    if b"&" in data:
        yield (
            "entities read",
            html.unescape(data.decode("utf-8", "surrogateescape")).encode("utf-8", "replace"),
        )
    yield from _unpacked(data)


def _unescaped(data: bytes) -> bytes:
    decoded = data.decode("utf-8", "replace")
    for _ in range(2):
        parts = decoded.split("\\u")
        decoded = parts[0] + "".join(
            chr(int(one[:4], 16)) + one[4:]
            if len(one) >= 4 and all(c in string.hexdigits for c in one[:4])
            else one
            for one in parts[1:]
        )
    return decoded.replace("\\", "").encode("utf-8", "replace")


def _unpacked(data: bytes) -> Iterator[tuple[str, bytes]]:
    at = data.find(b"\x1f\x8b\x08")
    while at >= 0:
        with contextlib.suppress(zlib.error):
            yield "unpacked gzip", zlib.decompressobj(31).decompress(data[at:])
        at = data.find(b"\x1f\x8b\x08", at + 1)
    if data.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(BytesIO(data)) as archive:
            for one in archive.namelist():
                yield f"{one} of an archive", archive.read(one)


def packed(data: bytes) -> bytes:
    """As gzip, for tests of the scanner."""
    return gzip.compress(data)
