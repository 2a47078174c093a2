"""One use of a secret as a value: who wants which secret, for what, and what became of it."""

from typing import Literal

import msgspec

AuditKind = Literal["put", "used", "refused", "asked", "rotated", "changed", "revoked", "rekeyed", "damaged"]
"""What a row tells of; "damaged" is never written: it stands for a row that is not as it was written."""


class Use(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who wants which secret, and for what. Nothing of it is secret."""

    scope: str
    """The name of the secret."""
    who: str
    """`tool:http_request`, `model:anthropic`, `person`."""
    notebook: str = ""
    """Which notebook it is for, as the kernel names it; empty in a script."""
    agent: str = ""
    """The name of the agent whose run it is; empty: nobody gave it one."""
    session: str = ""
    run: str = ""
    call: str = ""
    """Id of the tool call."""
    method: str = ""
    """Of the request, in capitals; `SSH` for a command over SSH."""
    scheme: str = ""
    """`https`, `http` or `ssh`."""
    host: str = ""
    """In ASCII and lower case, without a port."""
    port: int = 0
    path: str = ""
    """Without a query; of SSH the command."""
    why: str = ""
    """In the words of whoever asks for it; not to be trusted."""
    approved: str = ""
    """The question that a person answered with yes to this very use; empty: nobody was asked."""


class Ruling(msgspec.Struct, frozen=True):
    """What a policy says of a use."""

    decision: Literal["allow", "ask", "deny"]
    reason: str
    """In words for a person: names scope, host and why; never a value."""


class AuditRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the audit: kept before a secret is used. No row, no use."""

    seq: int
    moment: float
    """Seconds since 1970 (UTC)."""
    kind: AuditKind
    use: Use
    version: int = 0
    """Of the secret."""
    mode: str = ""
    """Of its policy at that time."""
    reason: str = ""
    """Why it was refused; what was changed."""
