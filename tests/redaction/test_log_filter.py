"""No record of a log holds a known secret."""

import io
import logging

from loom_nb.redaction.log_filter import RedactingFilter
from loom_nb.redaction.redactor import Redactor

SECRET = "hunter2/hunter2"


def logged(*said, error: BaseException | None = None) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter(Redactor({"db": SECRET}).text))
    raised = (type(error), error, error.__traceback__) if error is not None else None
    handler.handle(logging.LogRecord("test", logging.WARNING, __file__, 1, said[0], said[1:], raised))
    return stream.getvalue()


def test_words_and_arguments_are_redacted_also_where_they_meet():
    assert logged("key %s at %d", SECRET, 3) == "key [secret db] at 3\n"
    assert logged("key %s%s", SECRET[:5], SECRET[5:]) == "key [secret db]\n"
    assert logged("%s", {"a": SECRET.encode().hex()}) == "{'a': '[secret db]'}\n"


def test_a_record_that_does_not_fit_its_arguments_is_kept():
    assert logged(f"100 % {SECRET} %d", "x") == "100 % [secret db] %d\n"


def test_tracebacks_are_redacted_with_their_causes():
    try:
        try:
            raise ValueError(f"no {SECRET}")
        except ValueError as first:
            raise RuntimeError(f"also {SECRET}") from first
    except RuntimeError as error:
        told = logged("it failed", error=error)

    assert "RuntimeError: also [secret db]" in told
    assert "ValueError: no [secret db]" in told
    assert SECRET not in told
