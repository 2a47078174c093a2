"""Every error that loom_nb raises, one tree.

::

    LoomError                     code, cause and fixes; one short block in a notebook
    ├── SetupError                the user can mend it: it says what to change
    │   ├── LoomUsageError        a cell, a flag or an argument is mistyped
    │   ├── LoomKeyError          no API key for a vendor
    │   │   ├── KeyLocked         there is one, and the store of secrets is locked
    │   │   ├── KeyNotGranted     there is one, and this notebook may not use it
    │   │   └── NobodyToAsk       a person would have to say something, and there is none
    │   └── NotBuiltError         announced, but not part of this version
    ├── AnswerRefused             an answer does not fit its question, or there is no such question
    ├── BorderError               JSON from outside breaks the rules of the border
    ├── ToolError                 a tool could not do it; the model reads the text and may mend it
    │   └── Unanswered            a person was asked and did not answer, or nobody can be asked
    ├── ModelError                the call of a language model failed; `fault` says how
    ├── EmbeddingError            vectors that a model made of texts cannot be used
    ├── LoomContextError          the request does not fit
    ├── CredentialError           a secret cannot be used
    │   ├── ScopeNotFound         none is kept under this name
    │   ├── SecretsLocked         the master key is missing, or is another
    │   ├── SecretDamaged         a sealed record was changed
    │   ├── HostKeyRefused        an SSH server is not, or is no longer, the one that was pinned
    │   └── CredentialDenied      a policy or a list of who may use it refuses
    ├── Unreadable                a document of the knowledge cannot be read; the others are
    ├── StoreError                the log could not be read or written
    │   ├── SessionBusy           another process writes this session
    │   ├── LeaseLost             the right to write this session has passed to another process
    │   ├── SessionDeleted        it was deleted, and that was not undone
    │   └── StoreDamaged          a row does not match its hash
    ├── ReplayDrift               a recorded run and this one differ
    └── RunFailed                 a run that did not complete, raised on request; `status` says how
        ├── RunStopped            a person or a caller stopped it
        ├── RunLimited            a limit of turns, tokens, time or cost was reached
        └── RunDenied             a rule refused what the run needed
"""

from collections.abc import Iterable
from typing import Literal

Fault = Literal[
    "auth",
    "billing",
    "rate_limit",
    "overloaded",
    "server_error",
    "timeout",
    "connection",
    "context_overflow",
    "payload_too_large",
    "model_not_found",
    "format",
    "content_filter",
    "cut_stream",
    "unknown",
]
"""How a model call fails, in one vocabulary for every vendor."""

RunFault = Literal[
    "turns",
    "tokens",
    "cost",
    "timeout",
    "stuck",
    "length",
    "context",
    "denied",
    "key",
    "setup",
    "store",
    "credential",
    "replay",
    "quality",
    "harness",
    "internal",
]
"""What else ends a run. What a person can do about each stands in `remedies`."""

EndFault = Fault | RunFault | Literal[""]
"""The class of an end; empty for a run that completed or was stopped."""

PASSING_FAULTS: frozenset[str] = frozenset(
    {"rate_limit", "overloaded", "server_error", "timeout", "connection", "cut_stream"}
)
"""The faults that may be gone at the next attempt."""


class LoomError(Exception):
    """What went wrong, why, and up to three things to type instead.

    Args:
        title: one line, what went wrong.
        cause: one line, why; may be empty.
        fixes: what to do, each short enough to paste.
    """

    code = "L-GEN-01"

    def __init__(self, title: str, *, cause: str = "", fixes: Iterable[str] = ()) -> None:
        super().__init__(title)
        self.title = title
        self.cause = cause
        self.fixes = tuple(fixes)[:3]

    def __str__(self) -> str:
        lines = [self.title]
        if self.cause:
            lines.append(f"  Cause  {self.cause}")
        lines += [f"  {'Fix   ' if n == 0 else '   or '} {fix}" for n, fix in enumerate(self.fixes)]
        return "\n".join(lines)

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback (see ``%loom traceback`` for the whole)."""
        return [f"{type(self).__name__}: {self}", f"  Code   {self.code}"]


class SetupError(LoomError):
    """The user can mend it."""

    code = "L-SETUP-01"


class LoomUsageError(SetupError):
    """A cell, a flag or an argument is mistyped."""

    code = "L-USE-01"


class LoomKeyError(SetupError):
    """No API key for a vendor."""

    code = "L-KEY-01"


class KeyLocked(LoomKeyError):
    """There is a key, and the store that keeps it is locked."""

    code = "L-KEY-02"


class KeyNotGranted(LoomKeyError):
    """There is a key, and this notebook, or this model, may not use it."""

    code = "L-KEY-03"


class NobodyToAsk(LoomKeyError):
    """A person would have to type or allow something, and there is none: a program runs this notebook."""

    code = "L-KEY-04"


class NotBuiltError(SetupError):
    """Announced, but not part of this version: refused rather than ignored."""

    code = "L-SETUP-02"


class AnswerRefused(LoomError):
    """An answer does not fit its question, comes too late, or there is no such question."""

    code = "L-ASK-01"


class BorderError(LoomError, ValueError):
    """JSON from outside breaks the rules of the border."""

    code = "L-JSON-01"


class ToolError(LoomError):
    """Raised by a tool: the text goes to the model, which may try again."""

    code = "L-TOOL-01"


class Unanswered(ToolError):
    """A person was asked and did not answer in time, or nobody can be asked here."""

    code = "L-ASK-02"


class ModelError(LoomError):
    """The call of a language model failed.

    Args:
        title: what the vendor said, without secrets.
        fault: which kind of failure.
        status: the HTTP status, where there was one.
        retry_after: seconds the vendor asks to wait, where it does.
        request_id: the vendor's id of the request, for its support.
        final: the vendor says that trying again is useless, whatever the fault.
        cause: one more line of why.
        fixes: what to do.
    """

    code = "L-MODEL-01"

    def __init__(
        self,
        title: str,
        *,
        fault: Fault,
        status: int | None = None,
        retry_after: float | None = None,
        request_id: str = "",
        final: bool = False,
        cause: str = "",
        fixes: Iterable[str] = (),
    ) -> None:
        super().__init__(title, cause=cause, fixes=fixes)
        self.fault: Fault = fault
        self.status = status
        self.retry_after = retry_after
        self.request_id = request_id
        self.passing = fault in PASSING_FAULTS and not final


class EmbeddingError(LoomError):
    """Vectors that a model made of texts cannot be used: wrong count, wrong dimension, no numbers."""

    code = "L-EMBED-01"


class LoomContextError(LoomError):
    """The request does not fit the model's window."""

    code = "L-CTX-01"


class CredentialError(LoomError):
    """A secret cannot be used. No message of this family holds a value."""

    code = "L-CRED-01"


class ScopeNotFound(CredentialError):
    """No secret is kept under this name."""

    code = "L-CRED-02"


class SecretsLocked(CredentialError):
    """The master key is missing, or it is another than the one that sealed the store."""

    code = "L-CRED-03"


class SecretDamaged(CredentialError):
    """A sealed record was changed, cut short, or sealed by another key."""

    code = "L-CRED-04"


class CredentialDenied(CredentialError):
    """A policy, or the list of who may use it, refuses this use."""

    code = "L-CRED-05"


class HostKeyRefused(CredentialError):
    """An SSH server shows a key that nobody vouched for, or another than the one that is pinned."""

    code = "L-CRED-06"


class StoreError(LoomError):
    """The log could not be read or written."""

    code = "L-STORE-01"


class SessionBusy(StoreError):
    """Another process writes this session."""

    code = "L-STORE-02"


class LeaseLost(StoreError):
    """The right to write this session has passed to another process."""

    code = "L-STORE-03"


class StoreDamaged(StoreError):
    """A row does not match its hash."""

    code = "L-STORE-04"


class SessionDeleted(StoreError):
    """The session was deleted: until that is undone nobody writes it."""

    code = "L-STORE-05"


class Unreadable(LoomError):
    """A document of the knowledge cannot be read: damaged, encrypted, or without words."""

    code = "L-KNOW-01"


class ReplayDrift(LoomError):
    """A recorded run and this one differ."""

    code = "L-REPLAY-01"


class RunFailed(LoomError):
    """A run that did not complete. `status`, `reason` and `fault` are those of its RunFinished event."""

    code = "L-RUN-01"
    status = "failed"

    def __init__(
        self, title: str, *, reason: str = "", fault: EndFault = "", fixes: Iterable[str] = ()
    ) -> None:
        super().__init__(title, cause=reason, fixes=fixes)
        self.reason = reason
        self.fault: EndFault = fault


class RunStopped(RunFailed):
    """A person or a caller stopped the run."""

    code = "L-RUN-02"
    status = "stopped"


class RunLimited(RunFailed):
    """A limit of turns, tokens, time or cost was reached."""

    code = "L-RUN-03"
    status = "limit"


class RunDenied(RunFailed):
    """A rule refused what the run needed."""

    code = "L-RUN-04"
    status = "denied"
