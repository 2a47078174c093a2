"""Takes the values of secret environment variables out of data that is going to be kept in a file."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from loom_nb.events import CallDelta, Delta, TextDelta, ThinkingDelta

MIN_CHARS = 8
"""A shorter value is no secret worth the name, and would blot out ordinary words."""
_MARKS = ("KEY", "TOKEN", "SECRET", "PASSW", "CREDENTIAL")


class Blotter:
    """Replaces each secret by `[secret NAME]`, also where it is escaped in a JSON text within a text.

    Args:
        environment: variables that are named like secrets, and addresses that hold a password, count.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        names: dict[str, str] = {}
        for name, value in environment.items():
            secret = _secret(name, value.strip())
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
        return urlsplit(value).password or "" if "@" in value and "://" in value else ""
    except ValueError:
        return ""


def _pattern(secret: str) -> str:
    """Matches a secret as it is, and as JSON may escape each of its characters."""
    return "".join(f"(?:{'|'.join(_spellings(char))})" for char in secret)


def _spellings(char: str) -> list[str]:
    code = char.encode("utf-16-be", "surrogatepass").hex()
    units = [code[n : n + 4] for n in range(0, len(code), 4)]
    spellings = {re.escape(char), re.escape(json.dumps(char)[1:-1])}
    spellings.add("".join(rf"\\u(?i:{unit})" for unit in units))
    if char == "/":
        spellings.add(r"\\/")
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
