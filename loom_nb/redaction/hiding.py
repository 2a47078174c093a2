"""Hides secrets in texts whose places count: stars stand where a secret stood, and nothing moves."""

import re

from loom_nb.redaction.key_forms import key_forms
from loom_nb.redaction.known import KnownSecrets

_NO_BREAK = re.compile(r"[^\n]")


class Hiding:
    """Puts stars over secrets: those that this process knows, and what has the form of one. Any thread.

    Args:
        known: secrets that are known; by default those of the environment.
    """

    def __init__(self, known: KnownSecrets | None = None) -> None:
        self._known = known or KnownSecrets()

    def __call__(self, text: str) -> str:
        """The text without secrets, as long as it was, with the same lines; itself where it holds none."""
        self._known.refresh()
        redactor = self._known.redactor
        spans = [] if redactor is None else redactor.places(text)
        spans += [(one.start, one.end) for one in key_forms(text)]
        if not spans:
            return text
        made, done = [], 0
        for start, end in sorted(spans):
            made += [text[done:start], _NO_BREAK.sub("*", text[max(start, done) : end])]
            done = max(done, end)
        return "".join([*made, text[done:]])
