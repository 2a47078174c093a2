"""One vocabulary for what goes wrong between us and a vendor: answers and broken wires become ModelError.

A client catches its own SDK's exceptions and hands over the facts: `from_status` takes an HTTP
answer, `from_body` an error told inside a stream that had begun well, `from_transport` a wire that
broke, `cut_stream` a stream without its end, `garbage` bytes that make no sense. The texts never
hold a key.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any

from loom_nb.border import clean
from loom_nb.errors import Fault, ModelError

MAX_CHARS = 600
"""Characters of a vendor's text that an error repeats."""


@dataclass(frozen=True, slots=True)
class Called:
    """Whom a client called, and what must not be told of it."""

    vendor: str
    """Who it is, for the text: "anthropic"."""
    model: str = ""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Texts that no error may repeat, the API key above all."""
    request_id: str = ""
    """The vendor's id of the answer, once its headers have come."""


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

    told = str(_root(error)) or type(_root(error)).__name__
    for link in _chain(error):
        if isinstance(link, httpx2.TimeoutException | TimeoutError):
            return _error(called, f"{called.vendor} did not answer in time", told, "timeout")
        if isinstance(link, httpx2.InvalidURL | httpx2.UnsupportedProtocol):
            return _error(called, f"the address of {called.vendor} is not valid", told, "format")
    if streaming:
        return cut_stream(called, told)
    return _error(called, f"no connection to {called.vendor}", told, "connection")


def cut_stream(called: Called, detail: str) -> ModelError:
    """The error for a stream that ended before its end mark; `detail` says what was missing."""
    return _error(called, f"the answer of {called.vendor} broke off", detail, "cut_stream")


def garbage(called: Called, data: bytes | str) -> ModelError:
    """The error for a piece of a stream that is not what the protocol says.

    It counts as a cut stream: the wire is at fault, and the next attempt may go well.
    """
    shown = data[:80] if isinstance(data, str) else data[:80].decode("utf-8", "backslashreplace")
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
    """`text` without the secrets and without anything that looks like an API key."""
    for secret in secrets:
        if len(secret) >= 4:
            text = text.replace(secret, "[key]")
    return _KEY_LIKE.sub("[key]", text)


_KEY_LIKE = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|key)-[A-Za-z0-9*_\-]{8,}"  # what most vendors hand out, also half masked
    r"|\bAIza[A-Za-z0-9_\-]{20,}"
    r"|(?i:(?<=bearer )[A-Za-z0-9._~+/\-]{8,}=*)"
)

_FIXES: dict[Fault, tuple[str, ...]] = {
    "auth": ("check the API key", "%loom -m offline  (needs no key)"),
    "billing": ("look at the account's credit and limits at the vendor",),
    "connection": ("check the network, the proxy and the base URL",),
    "model_not_found": ("%loom models", "check the model's name and the base URL"),
    "payload_too_large": ("attach smaller files or images",),
}


@dataclass(frozen=True, slots=True)
class _Details:
    """What only some errors have."""

    status: int | None = None
    retry_after: float | None = None
    final: bool = False


def _error(
    called: Called, opening: str, message: str, fault: Fault, details: _Details | None = None
) -> ModelError:
    told = " ".join(clean(redact(message, called.secrets)).split())
    shown = told if len(told) <= MAX_CHARS else f"{told[:MAX_CHARS]}…"
    known = [f"fault {fault}"]
    if called.model and fault == "model_not_found":
        known.append(f"model {called.model}")
    if called.request_id:
        known.append(f"request {clean(redact(called.request_id, called.secrets))}")
    details = details or _Details()
    return ModelError(
        f"{opening}: {shown}" if shown else opening,
        fault=fault,
        status=details.status,
        retry_after=details.retry_after,
        request_id=called.request_id,
        final=details.final,
        cause=", ".join(known),
        fixes=_FIXES.get(fault, ()),
    )


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


def _chain(error: BaseException) -> Sequence[BaseException]:
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return links


def _root(error: BaseException) -> BaseException:
    """The innermost cause that says something."""
    return next((link for link in reversed(_chain(error)) if str(link)), error)
