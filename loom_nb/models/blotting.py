"""Takes the values of secret environment variables out of data that is going to be kept in a file."""

import base64
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from loom_nb.events import CallDelta, Delta, TextDelta, ThinkingDelta

MIN_CHARS = 8
"""A shorter value is no secret worth the name, and would blot out ordinary words."""
_MARKS = ("KEY", "TOKEN", "SECRET", "PASSW", "CREDENTIAL")


class Blotter:
    """Replaces each secret by `[secret NAME]`.

    Found are a secret as it is, with any of its characters escaped as in a JSON text within a text or
    as in an address (`%2F`), as hexadecimal digits, and as base64, also amid other data ("user:secret").

    Not found is what is no environment variable or has fewer than 8 characters, a part of a secret, and
    a secret in any other form: reversed, hashed, compressed, encoded twice, base64 over several lines.
    Before a recording is given away, somebody has to read it.

    Args:
        environment: variables named like secrets, and addresses that hold a password, count.
        key_names: more variables that count, whatever they are called.
    """

    def __init__(self, environment: Mapping[str, str], key_names: Collection[str] = ()) -> None:
        names: dict[str, str] = {}
        for name, value in environment.items():
            secret = value.strip() if name in key_names else _secret(name, value.strip())
            if len(secret) >= MIN_CHARS:
                names.setdefault(secret, name)
        # a secret that holds another one goes first
        self._names = [names[secret] for secret in sorted(names, key=len, reverse=True)]
        patterns = [f"({_pattern(secret)})" for secret in sorted(names, key=len, reverse=True)]
        self._secrets = re.compile("|".join(patterns)) if patterns else None

    def text(self, text: str) -> str:
        """A text without secrets."""
        if self._secrets is None:
            return text
        return self._secrets.sub(lambda found: f"[secret {self._names[(found.lastindex or 1) - 1]}]", text)

    def blot(self, value: Any) -> Any:
        """Plain data without secrets."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.blot(name): self.blot(inner) for name, inner in value.items()}
            case list() | tuple():
                return [self.blot(inner) for inner in value]
        return value

    def blot_deltas(self, deltas: Iterable[Delta]) -> list[Delta]:
        """The deltas without secrets; where one runs through several of them, these become a single delta."""
        said: dict[tuple[str, str], str] = {}
        deltas = list(deltas)
        for delta in deltas:
            said[_channel(delta)] = said.get(_channel(delta), "") + _words(delta)
        hidden = {channel: text for channel, whole in said.items() if (text := self.text(whole)) != whole}
        kept: list[Delta] = []
        told: set[tuple[str, str]] = set()
        for delta in deltas:
            channel = _channel(delta)
            if channel not in hidden:
                kept.append(delta)
            elif channel not in told:
                told.add(channel)
                kept.append(_saying(delta, hidden[channel]))
        return kept


def _secret(name: str, value: str) -> str:
    if any(mark in name.upper() for mark in _MARKS):
        return value
    try:
        return unquote(urlsplit(value).password or "") if "@" in value and "://" in value else ""
    except ValueError:
        return ""


def _pattern(secret: str) -> str:
    """Matches a secret in each of its forms."""
    data = secret.encode("utf-8", "replace")
    spelt = "".join(f"(?:{'|'.join(_spellings(char))})" for char in secret)
    return "|".join((spelt, f"(?i:{data.hex()})", *_in_base64(data)))


def _in_base64(data: bytes) -> Iterator[str]:
    """Matches data in base64, at each of the three places that it may have in a group of three bytes."""
    for before in range(3):
        whole = base64.b64encode(bytes(before) + data).decode().rstrip("=")
        head = (0, 2, 3)[before]  # the characters in front of it tell of the bytes before, too
        rest = -1 if (before + len(data)) % 3 else len(whole)  # and the last one of those behind
        inner, last = (
            "".join(_BASE64.get(char, char) for char in part) for part in (whole[head:rest], whole[rest:])
        )
        yield f"{inner}(?:{last}(?:=|%3[Dd]){{0,2}})?"


_BASE64 = {"+": r"(?:\+|-|%2[Bb])", "/": r"(?:/|_|\\/|%2[Ff])"}
"""How the two characters of base64 that are no letters or digits may stand, also within an address."""


def _spellings(char: str) -> list[str]:
    code = char.encode("utf-16-be", "surrogatepass").hex()
    units = [code[n : n + 4] for n in range(0, len(code), 4)]
    spellings = {re.escape(char), re.escape(json.dumps(char)[1:-1])}
    spellings.add("".join(rf"\\u(?i:{unit})" for unit in units))
    if char == "/":
        spellings.add(r"\\/")
    octets = char.encode("utf-8", "replace")
    spellings.add("".join(rf"%(?i:{octet:02x})" for octet in octets))
    if char == " ":
        spellings.add(r"\+")
    return sorted(spellings, key=len, reverse=True)


def _channel(delta: Delta) -> tuple[str, str]:
    return delta.type, delta.call_id if isinstance(delta, CallDelta) else ""


def _words(delta: Delta) -> str:
    return delta.arguments if isinstance(delta, CallDelta) else delta.text


def _saying(delta: Delta, text: str) -> Delta:
    match delta:
        case CallDelta():
            return msgspec.structs.replace(delta, arguments=text)
        case ThinkingDelta():
            return ThinkingDelta(text)
        case TextDelta():
            return TextDelta(text)
