"""What a wire server is told to answer: frozen values, joined with `then` and changed by small methods.

::

    Say("Hello")                                        a text, word by word
    Think("hm").then(Say("Let me see"), Calls(("add", {"a": 1, "b": 2})))
    Say("Hello").with_usage(input_tokens=100, cache_read_tokens=80).stopping("length")
    Say("a long text", deltas=200).slow(0.05)           one delta every 50 ms
    Say("a long text").cut(after=3)                     the connection closes in mid stream
    Say("ok").garbled(after=2)                          bytes that are no JSON
    Say("ok").failing(after=2)                          an error told after 200
    Fail(429, retry_after=2)                            an HTTP error in the vendor's own shape
    Drop(), Hang()                                      no answer at all
    lambda request: Say(request.json["model"])          an answer that depends on the request
"""

import itertools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from loom_nb.checks import check, checked, several, shown, text, whole
from loom_nb.errors import LoomUsageError
from loom_nb.messages import Usage

if TYPE_CHECKING:
    from loom_nb.testing.wire import WireRequest

CutHow = Literal["close", "reset", "clean", "hang"]
"""How a stream is cut: the connection is closed, or reset; or the HTTP answer ends properly but its
last events are missing; or nothing more comes and the connection stays open."""


_TEXT = text(such_as='"Hello"')
_NAME = text(filled=True, such_as='"add"')
_DELTAS = whole(1, such_as="3")
_WORDS = {"text": _TEXT, "deltas": whole(1, optional=True, such_as="3")}


class _Answer:
    """The methods that every piece of an answer and a whole answer share; each gives a WireReply."""

    __slots__ = ()

    @property
    def whole(self) -> "WireReply":
        """It as a whole answer."""
        raise NotImplementedError

    def then(self, *more: "ReplyPart") -> "WireReply":
        """This, and then more parts in the same answer."""
        reply = self.whole
        return replace(reply, parts=(*reply.parts, *more))

    def with_usage(self, **tokens: int) -> "WireReply":
        """Count these tokens, by the fields of `loom_nb.messages.Usage`."""
        return replace(self.whole, usage=Usage(**tokens))

    def stopping(self, reason: str) -> "WireReply":
        """End for this reason: one of our StopReasons, or a vendor's own word, sent as it is."""
        return replace(self.whole, stop=reason)

    def slow(self, seconds: float) -> "WireReply":
        """Wait before each event. With 0 each event is still a write of its own."""
        return replace(self.whole, pace=seconds)

    def late(self, seconds: float) -> "WireReply":
        """Wait before the first byte of the answer."""
        return replace(self.whole, latency=seconds)

    def cut(self, *, after: int, how: CutHow = "close") -> "WireReply":
        """Send only the first `after` events."""
        return replace(self.whole, cut_after=after, cut_how=how)

    def garbled(self, *, after: int, data: bytes = b'data: {"type": "oops\xff\xfe\n\n') -> "WireReply":
        """Put raw bytes between the events, behind the first `after` of them."""
        return replace(self.whole, inserted=(after, data))

    def failing(
        self, *, after: int, kind: str = "overloaded_error", message: str = "Overloaded"
    ) -> "WireReply":
        """Behind the first `after` events, tell an error as the vendor does within a stream, and end."""
        return replace(self.whole, failure=(after, kind, message))


@dataclass(frozen=True, slots=True)
class Say(_Answer):
    """Words, in `deltas` pieces, or word by word where no number is given."""

    text: str
    deltas: int | None = None

    def __post_init__(self) -> None:
        check(self, _WORDS)

    @property
    def pieces(self) -> list[str]:
        """The text in its deltas."""
        return _words(self.text) if self.deltas is None else _split(self.text, self.deltas)

    @property
    def whole(self) -> "WireReply":
        """It as a whole answer."""
        return WireReply((self,))


@dataclass(frozen=True, slots=True)
class Think(_Answer):
    """Reasoning that is shown. With `redacted`, opaque data comes in its place."""

    text: str
    signature: str = "c2lnbmF0dXJl"
    redacted: str = ""
    deltas: int | None = None

    def __post_init__(self) -> None:
        check(self, {**_WORDS, "signature": _TEXT, "redacted": _TEXT})

    @property
    def pieces(self) -> list[str]:
        """The text in its deltas."""
        return _words(self.text) if self.deltas is None else _split(self.text, self.deltas)

    @property
    def whole(self) -> "WireReply":
        """It as a whole answer."""
        return WireReply((self,))


@dataclass(frozen=True, slots=True, init=False)
class WireCall:
    """One tool call. `arguments` is JSON text, sent as it is, also where it is broken.

    Args:
        name: of the tool.
        arguments: a mapping becomes its JSON.
        id: empty: the server makes a new one.
        fragments: deltas in which the arguments come.

    Raises:
        LoomUsageError: the arguments are neither, or hold what JSON has not.
    """

    name: str
    arguments: str

    id: str
    fragments: int

    def __init__(
        self,
        name: str,
        arguments: Mapping[str, Any] | str,
        id: str = "",  # noqa: A002  the word of the vendors
        fragments: int = 3,
    ) -> None:
        object.__setattr__(self, "name", checked("WireCall", "name", name, _NAME))
        object.__setattr__(self, "arguments", _as_json(name, arguments))
        object.__setattr__(self, "id", checked("WireCall", "id", id, _TEXT))
        object.__setattr__(self, "fragments", checked("WireCall", "fragments", fragments, _DELTAS))

    @property
    def pieces(self) -> list[str]:
        """The arguments in their deltas."""
        return _split(self.arguments, self.fragments)


@dataclass(frozen=True, slots=True, init=False)
class Calls(_Answer):
    """Tool calls side by side: ``Calls(("add", {"a": 1}), ("add", '{"a": 2'), WireCall(…))``.

    Arguments are a mapping, or JSON text that is sent as it is.
    """

    calls: tuple[WireCall, ...]

    def __init__(self, *calls: "WireCall | tuple[str, Mapping[str, Any] | str]") -> None:
        object.__setattr__(self, "calls", tuple(_call(call) for call in calls))

    @property
    def whole(self) -> "WireReply":
        """It as a whole answer."""
        return WireReply((self,))


ReplyPart: TypeAlias = Say | Think | Calls

_PARTS = several((Say, Think, Calls), "Say(…), Think(…) and Calls(…)", such_as='(Say("Hello"),)')


@dataclass(frozen=True, slots=True)
class WireReply(_Answer):
    """One whole answer of a model: its parts, and what goes wrong on the way."""

    parts: tuple[ReplyPart, ...]
    usage: Usage | None = None
    stop: str = ""
    """Empty: "tool_calls" when there are calls, else "end"."""
    pace: float | None = None
    latency: float = 0.0
    cut_after: int | None = None
    cut_how: CutHow = "close"
    inserted: tuple[int, bytes] | None = None
    failure: tuple[int, str, str] | None = None

    def __post_init__(self) -> None:
        check(self, {"parts": _PARTS})

    @property
    def calls(self) -> tuple[WireCall, ...]:
        """The tool calls of all parts."""
        return tuple(call for part in self.parts if isinstance(part, Calls) for call in part.calls)

    @property
    def text(self) -> str:
        """The words of all parts."""
        return "".join(part.text for part in self.parts if isinstance(part, Say))

    @property
    def stop_reason(self) -> str:
        """Why it ends."""
        return self.stop or ("tool_calls" if self.calls else "end")

    @property
    def tokens(self) -> Usage:
        """What it counts: as told, or a fixed input and four characters for each output token."""
        if self.usage is not None:
            return self.usage
        written = len(self.text) + sum(len(call.arguments) for call in self.calls)
        return Usage(input_tokens=10, output_tokens=max(1, written // 4))

    @property
    def whole(self) -> "WireReply":
        """It as a whole answer."""
        return self


@dataclass(frozen=True, slots=True)
class Fail:
    """An HTTP error, in the shape of the vendor that is asked."""

    status: int
    message: str = ""
    kind: str = ""
    """The vendor's word for it; empty: the usual one for the status."""
    retry_after: float | str | None = None
    """Seconds, or a date, for the Retry-After header."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Sent in place of the vendor's shape: the page of a proxy, for example."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Any answer, byte for byte."""

    body: bytes
    status: int = 200
    content_type: str = "text/event-stream"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the connection without an answer."""


@dataclass(frozen=True, slots=True)
class Hang:
    """Take the request and never answer, until the client goes or the server closes."""


Fixed: TypeAlias = ReplyPart | WireReply | Fail | Raw | Drop | Hang
Step: TypeAlias = Fixed | Callable[["WireRequest"], Fixed]


def _call(call: "WireCall | tuple[str, Mapping[str, Any] | str]") -> WireCall:
    match call:
        case WireCall():
            return call
        case (name, arguments):
            return WireCall(name, arguments)
    raise LoomUsageError(
        f"Calls({shown(call)})",
        cause="a call is a name with its arguments",
        fixes=['Calls(("add", {"a": 1, "b": 2}))', "Calls(WireCall(…))"],
    )


def _as_json(name: str, arguments: Any) -> str:
    if isinstance(arguments, str):
        return arguments
    wrong = "arguments are a mapping, or JSON text"
    if isinstance(arguments, Mapping):
        try:
            return json.dumps(dict(arguments), allow_nan=False)
        except (TypeError, ValueError) as error:
            wrong = str(error)
    raise LoomUsageError(
        f"WireCall({shown(name)}, {shown(arguments)})",
        cause=wrong,
        fixes=['WireCall("add", {"a": 1, "b": 2})'],
    )


def checked_step(step: Any) -> Any:
    """A step of a script, or what a function of one gave.

    Raises:
        LoomUsageError: it is none.
    """
    if isinstance(step, _Answer | Fail | Raw | Drop | Hang) or callable(step):
        return step
    said = f"Say({step[:40]!r})" if isinstance(step, str) else 'Say("Hello")'
    raise LoomUsageError(
        f"{shown(step)} is no step of a wire server's script",
        cause="a step is an answer (Say, Think, Calls), Fail, Raw, Drop, Hang, or a function of the request",
        fixes=[said],
    )


def _words(text: str) -> list[str]:
    return re.findall(r"\S+\s*|\s+", text)


def _split(text: str, count: int) -> list[str]:
    """`text` in `count` pieces of about one length, or fewer where it is short."""
    count = max(1, min(count, len(text)))
    ends = [len(text) * n // count for n in range(count + 1)]
    return [text[a:b] for a, b in itertools.pairwise(ends)]
