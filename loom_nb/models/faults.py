"""One vocabulary for what goes wrong between us and a vendor: answers and broken wires become ModelError.

A client catches its own SDK's exceptions and hands over the facts: `from_status` takes an HTTP
answer, `from_body` an error told inside a stream that had begun well, `from_transport` a wire that
broke, `no_client` one that was never made, `cut_stream` a stream without its end, `garbage` bytes
that make no sense. The texts never hold a key, nor the login of an address.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any

from loom_nb.border import clean
from loom_nb.errors import Fault, ModelError
from loom_nb.models.addresses import is_local
from loom_nb.redaction.key_forms import KEY_IN_A_REFUSAL, without_key_forms
from loom_nb.remedies import Known, remedies

MAX_CHARS = 600
"""Characters of a vendor's text that an error repeats."""
MAX_ID_CHARS = 120
"""Characters of a request's id that an error repeats."""


@dataclass(frozen=True, slots=True)
class Called:
    """Whom a client called, and what must not be told of it."""

    vendor: str
    """Who it is, for the text: "anthropic"."""
    model: str = ""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Texts that no error may repeat, the API key above all."""
    address: str = ""
    """Where, as it may be shown; empty where it is the vendor's own."""
    request_id: str = ""
    """The vendor's id of the answer, once its headers have come."""
    variable: str = ""
    """The environment variable that held the key."""


def from_status(called: Called, status: int, body: object, headers: Mapping[str, str]) -> ModelError:
    """The error for an HTTP answer of 400 and above.

    Args:
        called: who answered.
        status: the HTTP status.
        body: what came with it: a parsed body (whole, or only its "error" part) or its text.
        headers: of the answer, any case.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    message, marks = _told(body)
    return _error(
        replace(called, request_id=_request_id(lower, body) or called.request_id),
        f"{called.vendor} answered {status}",
        message,
        _classify(status, marks, message),
        _Details(status, retry_after(lower), _is_final(lower, marks, message)),
    )


def from_body(called: Called, body: object) -> ModelError:
    """The error that a vendor tells inside a stream, after it had answered 200.

    Args:
        called: who told it.
        body: the parsed event, whole or only its "error" part, or its text.
    """
    message, marks = _told(body)
    return _error(
        replace(called, request_id=called.request_id or _request_id({}, body)),
        f"{called.vendor} broke off its answer",
        message,
        _classify(None, marks, message),
        _Details(final=_is_final({}, marks, message)),
    )


def from_transport(called: Called, error: BaseException, *, streaming: bool = False) -> ModelError:
    """The error for a wire that broke: nothing listens, a timeout, a connection lost.

    Args:
        called: who was called.
        error: the SDK's or httpx2's exception; what caused it is looked at too.
        streaming: the answer had begun, so a lost connection is a `cut_stream`.
    """
    import httpx2

    told = _innermost(error)
    for link in _links(error):
        if isinstance(link, httpx2.TimeoutException | TimeoutError):
            return _error(called, f"{called.vendor} did not answer in time", told, "timeout")
        if isinstance(
            link, httpx2.InvalidURL | httpx2.UnsupportedProtocol | OverflowError
        ):  # a port too high
            return _error(
                called,
                f"the address of {called.vendor} or of a proxy is not valid",
                told,
                "format",
                _BAD_ADDRESS,
            )
    if streaming:
        return cut_stream(called, told)
    if any(isinstance(link, ConnectionRefusedError) for link in _links(error, all_contexts=True)):
        return _refused(called)
    return _error(called, f"no connection to {called.vendor}", told, "connection")


def no_client(called: Called, error: Exception) -> ModelError:
    """The error where not even the client could be made: a proxy's address, a file of certificates."""
    fixes = ("check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE", "check the base URL")
    details = _Details(final=True, fixes=fixes)
    told = _innermost(error)
    return _error(called, f"a connection to {called.vendor} cannot be set up", told, "connection", details)


def cut_stream(called: Called, detail: str) -> ModelError:
    """The error for a stream that ended before its end mark; `detail` says what was missing."""
    return _error(called, f"the answer of {called.vendor} broke off", detail, "cut_stream")


def garbage(called: Called, data: bytes | str) -> ModelError:
    """The error for a piece of a stream that is not what the protocol says.

    It counts as a cut stream: the wire is at fault, and the next attempt may go well.
    """
    text = data if isinstance(data, str) else data.decode("utf-8", "backslashreplace")
    shown = redact(text, called.secrets)[:80]  # in this order: half a key is one too
    return cut_stream(called, f"it sent something unreadable: {shown!r}")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the headers (lower-case names) ask to wait, as a number or as a date; else None."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if not value:
            continue
        try:
            seconds = float(value) * scale
        except ValueError:
            seconds = _seconds_until(value)
        if isfinite(seconds):
            return max(0.0, seconds)
    return None


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without secrets, without what looks like an API key, and with bare addresses."""
    for secret in secrets:
        if len(secret) >= 4:
            text = text.replace(secret, "[key]")
    return _QUERY.sub(
        r"\1", _LOGIN.sub("", KEY_IN_A_REFUSAL.sub("[key]", without_key_forms(text, "[key]")[0]))
    )


_LOGIN = re.compile(r"""(?<=://)[^\s/'"<>]*@""")
_QUERY = re.compile(r"""(?<=://)([^\s?#'"<>]+)\?[^\s'"<>)]+""")


@dataclass(frozen=True, slots=True)
class _Details:
    """What only some errors have."""

    status: int | None = None
    retry_after: float | None = None
    final: bool = False
    fixes: tuple[str, ...] = ()
    """Instead of those of the fault."""


_BAD_ADDRESS = _Details(fixes=("check the base URL, and HTTP_PROXY, HTTPS_PROXY and ALL_PROXY",))


def _refused(called: Called) -> ModelError:
    """Nobody listens. On this machine nobody will a second later, unless the reader starts a server."""
    local = is_local(called.address)
    told = f"nobody listens at {called.address}" if local else "the connection was refused"
    start = ("is `ollama serve` running?",) if called.vendor == "ollama" else ()
    if local and not start:
        start = ("start the model server, or correct the base URL",)
    details = _Details(final=local, fixes=(*start, *remedies("failed", "connection")))
    return _error(called, f"no connection to {called.vendor}", told, "connection", details)


def _error(
    called: Called, opening: str, message: str, fault: Fault, details: _Details | None = None
) -> ModelError:
    shown = _line(message, MAX_CHARS, called)
    request_id = _line(called.request_id, MAX_ID_CHARS, called)
    details = details or _Details()
    known = [f"fault {fault}"]
    if details.retry_after:
        known.append(f"it asks to wait {details.retry_after:,g} s")
    if called.model and fault == "model_not_found":
        known.append(f"model {called.model}")
    if request_id:
        known.append(f"request {request_id}")
    return ModelError(
        f"{opening}: {shown}" if shown else opening,
        fault=fault,
        status=details.status,
        retry_after=details.retry_after,
        request_id=request_id,
        final=details.final,
        cause=", ".join(known),
        fixes=details.fixes or _remedies(called, fault, details),
    )


def _remedies(called: Called, fault: Fault, details: _Details) -> tuple[str, ...]:
    """What to type; a good key that may not do this is no bad key."""
    named = "permission" if fault == "auth" and details.status == 403 else fault
    if details.final and fault == "rate_limit":  # a limit of money, or of the month
        named = "billing"
    return remedies("failed", named, Known(called.vendor, called.variable, details.retry_after))


def _line(text: str, size: int, called: Called) -> str:
    """A text of a vendor's in one line, without secrets, cut at `size` characters."""
    line = " ".join(clean(redact(text, called.secrets)).split())
    return line if len(line) <= size else f"{line[:size]}…"


def _told(body: object) -> tuple[str, frozenset[str]]:
    """What a body says in words, and the marks (types and codes) it carries, lower-case."""
    marks: set[str] = set()
    message = ""
    for layer in _layers(body):
        for name in ("type", "code", "error_code", "status"):
            value = layer.get(name)
            if isinstance(value, str):
                marks.add(value.lower())
        for name in ("message", "detail", "error"):
            value = layer.get(name)
            if isinstance(value, str) and value:
                message = value
    if not message and body is not None:
        message = (
            _without_tags(body) if isinstance(body, str) else "" if isinstance(body, dict) else str(body)
        )
    return message, frozenset(marks)


def _layers(body: object) -> Iterator[Mapping[str, Any]]:
    """A body and the "error", "details" and "innererror" inside it, from the outside in."""
    if isinstance(body, list):  # one vendor's compatible endpoint answers with a list of one
        body = body[0] if body else None
    for _ in range(4):
        if not isinstance(body, dict):
            return
        yield body
        for name in ("details", "innererror"):
            if isinstance(body.get(name), dict):
                yield {k: v for k, v in body[name].items() if k in ("code", "error_code")}
        body = body.get("error") or body.get("response")


def _without_tags(text: str) -> str:
    return re.sub(r"<[^<>]*>", " ", text[:4000]) if "<" in text else text


# Marks are exact; phrases are looked for in the message, because vendors of compatible servers
# often send nothing else.
_MARKS: dict[str, Fault] = {
    "authentication_error": "auth",
    "permission_error": "auth",
    "invalid_api_key": "auth",
    "billing_error": "billing",
    "insufficient_quota": "billing",
    "billing_hard_limit_reached": "billing",
    "billing_not_active": "billing",
    "insufficient_balance": "billing",
    "context_length_exceeded": "context_overflow",
    "model_context_window_exceeded": "context_overflow",
    "exceed_context_size_error": "context_overflow",
    "request_too_large": "payload_too_large",
    "request_body_too_large_after_decoding": "payload_too_large",
    "model_not_found": "model_not_found",
    "not_found_error": "model_not_found",
    "content_filter": "content_filter",
    "content_policy_violation": "content_filter",
    "responsibleaipolicyviolation": "content_filter",
    "data_inspection_failed": "content_filter",
    "invalid_prompt": "content_filter",
    "rate_limit_error": "rate_limit",
    "rate_limit_exceeded": "rate_limit",
    "resource_exhausted": "rate_limit",
    "overloaded_error": "overloaded",
    "slow_down": "overloaded",
    "timeout_error": "timeout",
    "api_error": "server_error",
    "server_error": "server_error",
    "internal_error": "server_error",
}

_PHRASES: tuple[tuple[str, Fault], ...] = (
    ("prompt is too long", "context_overflow"),
    ("maximum context length", "context_overflow"),
    ("exceed context limit", "context_overflow"),
    ("exceeds the context", "context_overflow"),
    ("context window", "context_overflow"),
    ("available context size", "context_overflow"),
    ("input token count", "context_overflow"),
    ("range of input length", "context_overflow"),
    ("tokens must be reduced", "context_overflow"),
    ("credit balance", "billing"),
    ("insufficient balance", "billing"),
    ("api usage limits", "billing"),
    ("content filter", "content_filter"),
    ("content management policy", "content_filter"),
    ("content exists risk", "content_filter"),
)

_FINAL_WORDS = (
    "spend limit",
    "spending limit",
    "spend_limit",
    "usage limit",
    "insufficient_quota",
    "monthly limit",
)

_STATUS: dict[int, Fault] = {
    401: "auth",
    402: "billing",
    403: "auth",
    404: "model_not_found",
    408: "timeout",
    409: "server_error",
    413: "payload_too_large",
    429: "rate_limit",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}

# A status alone decides here: whatever the words, these are never about the content of the request.
_PLAIN_STATUS = frozenset({401, 402, 413, 529})


def _classify(status: int | None, marks: frozenset[str], message: str) -> Fault:
    if status in _PLAIN_STATUS:
        return _STATUS[status]
    marked = [_MARKS[mark] for mark in marks if mark in _MARKS]
    for fault in ("billing", "context_overflow", "content_filter", "payload_too_large"):
        if fault in marked:  # these say more than the broad kind beside them
            return fault
    if status is None or status in (400, 403, 413, 422, 429):
        low = message.lower()
        for phrase, fault in _PHRASES:
            if phrase in low:
                return fault
    if status is not None and status in _STATUS:
        return _STATUS[status]
    if marked:
        return min(marked)  # one answer for any order of a set
    return "server_error" if (status or 0) >= 500 else "format" if (status or 0) >= 400 else "unknown"


def _is_final(headers: Mapping[str, str], marks: frozenset[str], message: str) -> bool:
    """Whether trying again is useless: the vendor says so, or a limit of money is reached."""
    if headers.get("x-should-retry", "").lower() == "false":
        return True
    words = f"{message.lower()} {' '.join(marks)}"
    return any(word in words for word in _FINAL_WORDS)


def _request_id(headers: Mapping[str, str], body: object) -> str:
    for name in ("request-id", "x-request-id"):
        if headers.get(name):
            return headers[name]
    told = body.get("request_id") if isinstance(body, dict) else None
    return told if isinstance(told, str) else ""


def _seconds_until(date: str) -> float:
    try:
        when = parsedate_to_datetime(date)
    except ValueError:
        return float("nan")
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return (when - datetime.now(UTC)).total_seconds()


def _links(error: BaseException, *, all_contexts: bool = False) -> Iterator[BaseException]:
    """An exception, what caused it, and all that lies in groups; each once, from the outside in.

    Args:
        error: where to begin.
        all_contexts: look also at what somebody has hidden by `raise … from None`.
    """
    todo, seen = [error], set[int]()
    while todo:
        link = todo.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        hidden = link.__suppress_context__ and not all_contexts
        todo += filter(None, [link.__cause__ or (None if hidden else link.__context__)])
        if isinstance(link, BaseExceptionGroup):
            todo += link.exceptions


def _innermost(error: BaseException) -> str:
    """The words of the innermost cause that says something; a group only counts what is in it."""
    telling = [link for link in _links(error) if str(link) and not isinstance(link, BaseExceptionGroup)]
    return str(telling[-1]) if telling else type(error).__name__
