"""Takes secrets out of log records: of their words, and of the tracebacks that travel with them."""

import logging
from collections.abc import Callable


class RedactingFilter(logging.Filter):
    """For the handlers of a log: `handler.addFilter(RedactingFilter(redactor.text))`.

    A record is made whole before it is looked through, for a secret may stand in its arguments or run from
    one into the next. One that cannot be made whole is kept without its arguments.

    Args:
        redact: a text without secrets; asked for each record, so that it may know more each time.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._redact = redact
        self._formatter = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record pass, without secrets."""
        try:
            words = record.getMessage()
        except (TypeError, ValueError, KeyError):
            words = str(record.msg)
        record.msg, record.args = self._redact(words), None
        if record.exc_info and not record.exc_text:
            record.exc_text = self._formatter.formatException(record.exc_info)
        if record.exc_text:
            record.exc_text, record.exc_info = self._redact(record.exc_text), None
        if record.stack_info:
            record.stack_info = self._redact(record.stack_info)
        return True
