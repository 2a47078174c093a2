"""Answers and broken wires become one vocabulary of errors."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest

from loom_nb.models import faults

CALLED = faults.Called("vendor", "model-1", ("sk-secret-123456",))


def openai(message: str = "", kind: str = "", code: str = "") -> dict:
    return {"error": {"message": message, "type": kind or None, "param": None, "code": code or None}}


@pytest.mark.parametrize(
    ("status", "body", "fault", "passing"),
    [
        (400, openai("Unknown parameter", "invalid_request_error"), "format", False),
        (400, openai("too long", code="context_length_exceeded"), "context_overflow", False),
        (400, openai("This model's maximum context length is 8192 tokens."), "context_overflow", False),
        (400, {"message": "input length and `max_tokens` exceed context limit"}, "context_overflow", False),
        (
            400,
            [{"error": {"code": 400, "message": "The input token count (9) exceeds"}}],
            "context_overflow",
            False,
        ),
        (429, openai("Request too large: the tokens must be reduced"), "context_overflow", False),
        (400, openai("The response was filtered", code="content_filter"), "content_filter", False),
        (400, {"error": {"innererror": {"code": "ResponsibleAIPolicyViolation"}}}, "content_filter", False),
        (400, openai("data may be unsafe", code="data_inspection_failed"), "content_filter", False),
        (402, openai("Insufficient Balance"), "billing", False),
        (429, openai("You exceeded your current quota", code="insufficient_quota"), "billing", False),
        (429, openai("Rate limit reached", code="rate_limit_exceeded"), "rate_limit", True),
        (429, [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "x"}}], "rate_limit", True),
        (401, "Unauthorized", "auth", False),
        (403, {"error": {"type": "permission_error", "message": "no"}}, "auth", False),
        (403, {"error": {"type": "billing_error", "message": "no"}}, "billing", False),
        (404, {"error": 'model "x" not found, try pulling it first'}, "model_not_found", False),
        (404, "404 page not found", "model_not_found", False),
        (408, None, "timeout", True),
        (409, None, "server_error", True),
        (413, "<html>too large</html>", "payload_too_large", False),
        (422, {"detail": [{"msg": "field required"}]}, "format", False),
        (500, openai("context window bug", "server_error"), "server_error", True),
        (502, "<html>Bad gateway</html>", "server_error", True),
        (503, openai("Slow down"), "overloaded", True),
        (504, None, "timeout", True),
        (529, {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, "overloaded", True),
        (418, "teapot", "format", False),
        (302, "", "unknown", False),
    ],
)
def test_an_http_answer_has_one_fault(status: int, body: object, fault: str, passing: bool):
    error = faults.from_status(CALLED, status, body, {})

    assert (error.fault, error.passing, error.status) == (fault, passing, status)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, "overloaded"),
        ({"type": "error", "error": {"type": "api_error", "message": "x"}}, "server_error"),
        ({"type": "error", "code": "rate_limit_exceeded", "message": "x"}, "rate_limit"),
        ({"response": {"error": {"code": "server_error", "message": "x"}}}, "server_error"),
        ({"error": {"message": "prompt is too long"}}, "context_overflow"),
        ("strange", "unknown"),
        (None, "unknown"),
    ],
)
def test_an_error_inside_a_stream_has_one_fault(body: object, fault: str):
    assert faults.from_body(CALLED, body).fault == fault


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_seconds(headers: dict, seconds: float | None):
    assert faults.from_status(CALLED, 429, None, headers).retry_after == seconds


def test_retry_after_may_be_a_date():
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)

    waited = faults.from_status(CALLED, 429, None, {"Retry-After": date}).retry_after

    assert waited == pytest.approx(60, abs=5)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"error": {"type": "rate_limit_error", "message": "You reached your monthly spend limit"}}, {}),
        (
            {
                "error": {
                    "type": "rate_limit_error",
                    "details": {"error_code": "enforced_spend_limit_reached"},
                }
            },
            {},
        ),
        ({"error": {"type": "rate_limit_error", "message": "x"}}, {"X-Should-Retry": "false"}),
    ],
)
def test_a_limit_of_money_does_not_pass_by_waiting(body: dict, headers: dict):
    error = faults.from_status(CALLED, 429, body, headers)

    assert (error.fault, error.passing) == ("rate_limit", False)


@pytest.mark.parametrize(
    "text",
    [
        "key sk-secret-123456 is wrong",
        "Incorrect API key provided: sk-proj-abcdefgh12345678",
        "Incorrect API key provided: sk-abcd********************wxyz",
        "Authorization: Bearer abcdefghijklmnop was refused",
        "AIzaSyA1234567890abcdefghijklmnopqrstu is wrong",
    ],
)
def test_no_key_is_ever_repeated(text: str):
    error = faults.from_status(CALLED, 401, openai(text), {"x-request-id": "req sk-secret-123456"})

    shown = str(error) + error.title + repr(error)
    assert "[key]" in error.title
    assert not any(word in shown for word in ("secret", "abcdefgh", "wxyz", "AIzaSy"))
    assert "sk-secret" not in repr(CALLED)


def test_ordinary_words_are_left_alone():
    text = "task-oriented desk-bound risk-management is fine"

    assert faults.redact(text) == text


def test_a_long_or_dirty_text_is_made_fit_for_a_line():
    error = faults.from_status(CALLED, 500, openai("a\0b\ud800\n\n  c " + "x" * 5000), {})

    assert error.title.startswith("vendor answered 500: a\u2400b\ufffd c xxx")
    assert len(error.title) < 700


@pytest.mark.parametrize(
    ("error", "streaming", "fault"),
    [
        (httpx2.ConnectError("refused"), False, "connection"),
        (httpx2.ReadTimeout("slow"), False, "timeout"),
        (httpx2.ReadTimeout("slow"), True, "timeout"),
        (httpx2.RemoteProtocolError("peer closed"), True, "cut_stream"),
        (httpx2.ReadError(""), True, "cut_stream"),
        (httpx2.UnsupportedProtocol("no scheme"), False, "format"),
        (ConnectionResetError(), False, "connection"),
    ],
)
def test_a_broken_wire_has_one_fault(error: Exception, streaming: bool, fault: str):
    assert faults.from_transport(CALLED, error, streaming=streaming).fault == fault


def test_what_lies_behind_an_sdks_error_counts():
    try:
        try:
            raise httpx2.ConnectTimeout("handshake")
        except httpx2.ConnectTimeout as cause:
            raise RuntimeError("Connection error.") from cause
    except RuntimeError as error:
        told = faults.from_transport(CALLED, error)

    assert told.fault == "timeout"
    assert "handshake" in told.title


def test_garbage_is_shown_in_short_and_may_pass():
    error = faults.garbage(CALLED, b'data: {"oops\xff' + b"x" * 1000)

    assert (error.fault, error.passing) == ("cut_stream", True)
    assert "oops" in error.title
    assert len(error.title) < 200


def test_the_id_of_a_request_is_kept_without_secrets_in_one_short_line():
    headers = {"x-request-id": "req_1 sk-secret-123456\n\u2028 " + "x" * 5000}

    error = faults.from_status(CALLED, 500, None, headers)

    assert error.request_id.startswith("req_1 [key] xxx")
    assert len(error.request_id) <= faults.MAX_ID_CHARS + 1
    assert error.cause == f"fault server_error, request {error.request_id}"


def test_half_a_key_at_the_end_of_what_is_shown_is_not_shown():
    error = faults.garbage(CALLED, b"x" * 70 + b" sk-secret-123456")

    assert "sk-s" not in str(error)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("at http://me:pw@h:1/v1?key=k#f now", "at http://h:1/v1 now"),
        (
            "see https://vendor.example/docs. Is it so? me@x",
            "see https://vendor.example/docs. Is it so? me@x",
        ),
        ("<a href='https://h/x?a=b'>", "<a href='https://h/x'>"),
    ],
)
def test_addresses_that_a_vendor_repeats_lose_login_and_query(text: str, told: str):
    assert faults.redact(text) == told


def test_what_lies_in_a_group_of_errors_counts():
    group = ExceptionGroup("unhandled errors in a TaskGroup", [OSError("a"), httpx2.ConnectTimeout("slow")])

    told = faults.from_transport(CALLED, group)

    assert told.fault == "timeout"
    assert told.title == "vendor did not answer in time: slow"


def test_a_group_of_groups_is_told_by_what_is_in_it():
    group = ExceptionGroup("outer", [ExceptionGroup("inner", [OSError("no route to host")])])

    assert faults.from_transport(CALLED, group).title == "no connection to vendor: no route to host"
