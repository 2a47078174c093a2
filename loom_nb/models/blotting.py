"""Takes the values of secret environment variables out of data that is going to be kept in a file."""

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from loom_nb.events import CallDelta, Delta, TextDelta, ThinkingDelta
from loom_nb.redaction.known import environment_secrets
from loom_nb.redaction.redactor import Redactor


class Blotter:
    """Replaces each secret by `[secret NAME]`, in whichever form a `Redactor` finds it.

    Not found is what is no environment variable or has fewer than 8 bytes. Before a recording is given
    away, somebody has to read it.

    Args:
        environment: variables named like secrets, and addresses that hold a password, count.
        key_names: more variables that count, whatever they are called.
    """

    def __init__(self, environment: Mapping[str, str], key_names: Collection[str] = ()) -> None:
        self._redactor = _redactor_of(tuple(environment_secrets(environment, key_names).items()))

    def text(self, text: str) -> str:
        """A text without secrets."""
        return self._redactor.text(text)

    def blot(self, value: Any) -> Any:
        """Plain data without secrets."""
        return self._redactor.plain(value)

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


@lru_cache(16)
def _redactor_of(secrets: tuple[tuple[str, tuple[str, ...]], ...]) -> Redactor:
    """What takes these out: made once, for an environment is the same at each request."""
    return Redactor(dict(secrets))


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
