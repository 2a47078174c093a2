"""What the kernel may ask of the broker, as values; and errors as they cross."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import msgspec

from loom_nb import errors
from loom_nb.credentials.policies import Binding, CredentialPolicy
from loom_nb.credentials.uses import Use
from loom_nb.errors import CredentialError, LoomError, ToolError

Broke: TypeAlias = Literal["", "connect", "connect_timeout", "timeout", "network", "protocol"]


class ExchangeBroke(ToolError):
    """A request could not be sent, or its answer could not be read; `broke` says where."""

    def __init__(self, title: str, *, broke: Broke, cause: str = "") -> None:
        super().__init__(title, cause=cause)
        self.broke = broke


class _Operation(msgspec.Struct, frozen=True, tag=True, tag_field="op", omit_defaults=True):
    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"  # some of them hold a value

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


class Hello(_Operation, frozen=True):
    """The first words on the control line."""

    home: str
    """The folder of the store."""
    master: str = ""
    """Where the master key comes from; empty: as it was, or the first way that there is."""
    handed: str = ""
    """The master key itself, where the environment of the kernel holds it."""
    used: tuple[str, ...] = ()
    """Secrets that an earlier broker of this kernel used: what they are is still taken out of texts."""


class Put(_Operation, frozen=True):
    """Keep a secret."""

    scope: str
    secret: msgspec.Raw
    """As `Secret.to_json` writes it."""
    binding: Binding | None = None
    policy: CredentialPolicy | None = None
    grants: tuple[str, ...] = ()
    note: str = ""


class Rotate(_Operation, frozen=True):
    """Another value in place of one."""

    scope: str
    secret: msgspec.Raw


class Change(_Operation, frozen=True):
    """Other facts for a value."""

    scope: str
    binding: Binding | None = None
    policy: CredentialPolicy | None = None
    grants: tuple[str, ...] | None = None
    note: str | None = None


class Revoke(_Operation, frozen=True):
    """Forget a secret."""

    scope: str


class Facts(_Operation, frozen=True):
    """What may be known of a secret."""

    scope: str


class List(_Operation, frozen=True):
    """The facts of all."""

    prefix: str = ""


class Damaged(_Operation, frozen=True):
    """Which cannot be opened."""


class CheckLog(_Operation, frozen=True):
    """Whether the audit is as it was written."""


class Rekey(_Operation, frozen=True):
    """Seal everything anew."""


class Lock(_Operation, frozen=True):
    """Forget the keys."""


class Unlock(_Operation, frozen=True):
    """Come by the keys."""

    passphrase: str = ""


class Log(_Operation, frozen=True):
    """The audit."""

    scope: str = ""
    limit: int = 100


class Find(_Operation, frozen=True):
    """Where stored secrets stand in texts."""

    texts: tuple[str, ...]


class Rule(_Operation, frozen=True):
    """What a policy says of a use."""

    use: Use


class Redact(_Operation, frozen=True):
    """A text without the secrets that were used."""

    text: str
    kept: bool = False
    """Without all that are kept, too."""


class Exchange(_Operation, frozen=True):
    """A request with a secret in it. Its body follows as data.

    The answer is a `Head`, data, and at its end `Ended` or `Failed`.
    """

    use: Use
    """Who wants it; where it goes is told by the request."""
    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    seconds: float | None = None
    """For all of it."""
    silence: float | None = 60.0
    """Seconds without a byte after which it is given up."""
    connect: float | None = 15.0
    max_bytes: int | None = None
    """Of the body of the answer; what is more is left out."""
    redirects: int = 5
    """How many are followed, within one origin."""


class Head(msgspec.Struct, frozen=True, omit_defaults=True, tag=True, tag_field="was"):
    """How an answer begins."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """Names in lower case."""
    url: str
    """The address that answered, without what the secret put into it."""
    scope: str = ""
    mode: str = ""
    """Of the policy by which the secret was used."""


class Ended(msgspec.Struct, frozen=True, omit_defaults=True, tag=True, tag_field="was"):
    """How an answer ends."""

    whole: bool = True
    """Whether that was all of the body."""


class SshCall(_Operation, frozen=True):
    """One command on another machine. The answer is a `Ran`."""

    use: Use
    """Who wants it; where it goes is told by the secret."""
    command: str
    seconds: float
    raw: bool = False
    """Sent as it is, to what is no shell."""


class SshSend(_Operation, frozen=True):
    """A command in a session on another machine. The answer is a `Ran` that names the session."""

    use: Use
    command: str
    seconds: float
    session: str = ""
    """Empty: a new one."""


class SshClose(_Operation, frozen=True):
    """The end of a session; whether there was one."""

    session: str


Administration: TypeAlias = Put | Rotate | Change | Revoke | Facts | List | Damaged | Rekey | Lock | Unlock
Ssh: TypeAlias = SshCall | SshSend | SshClose
Operation: TypeAlias = Administration | CheckLog | Log | Find | Rule | Redact | Exchange | Ssh


LOOKS = (Facts, List, Damaged, CheckLog, Log, Find, Rule, Redact)
"""Those that change nothing: to ask again is the same as to ask once."""


class Done(msgspec.Struct, frozen=True, tag=True, tag_field="was"):
    """An answer."""

    value: msgspec.Raw


class Failed(msgspec.Struct, frozen=True, tag=True, tag_field="was"):
    """An error in place of an answer."""

    kind: str
    """The name of its class."""
    title: str
    cause: str = ""
    fixes: tuple[str, ...] = ()
    broke: Broke = ""

    @classmethod
    def of(cls, error: LoomError, clean: Callable[[str], str] = str) -> "Failed":
        """An error as it crosses, its words cleaned of what nobody may read."""
        broke = error.broke if isinstance(error, ExchangeBroke) else ""
        fixes = tuple(clean(fix) for fix in error.fixes)
        return cls(type(error).__name__, clean(error.title), clean(error.cause), fixes, broke)

    def error(self) -> LoomError:
        """The error that crossed, of its class."""
        if self.broke:
            return ExchangeBroke(self.title, broke=self.broke, cause=self.cause)
        kind: Any = getattr(errors, self.kind, None)
        plain = isinstance(kind, type) and issubclass(kind, LoomError) and kind.__init__ is LoomError.__init__
        made: LoomError = (kind if plain else CredentialError)(self.title, cause=self.cause, fixes=self.fixes)
        return made
