"""What the kernel may ask of the broker, as values; and errors as they cross."""

from typing import Any, TypeAlias

import msgspec

from loom_nb import errors
from loom_nb.credentials.policies import Binding, CredentialPolicy
from loom_nb.credentials.uses import Use
from loom_nb.errors import CredentialError, LoomError


class _Operation(msgspec.Struct, frozen=True, tag=True, tag_field="op", omit_defaults=True):
    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"  # some of them hold a value


class Hello(_Operation, frozen=True):
    """The first words on the control line."""

    home: str
    """The folder of the store."""
    master: str = ""
    """Where the master key comes from; empty: as it was, or the first way that there is."""
    handed: str = ""
    """The master key itself, where the environment of the kernel holds it."""


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


Administration: TypeAlias = Put | Rotate | Change | Revoke | Facts | List | Damaged | Rekey | Lock | Unlock
Operation: TypeAlias = Administration | Log | Find | Rule | Redact


LOOKS = (Facts, List, Damaged, Log, Find, Rule, Redact)
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

    @classmethod
    def of(cls, error: LoomError) -> "Failed":
        """An error as it crosses."""
        return cls(type(error).__name__, error.title, error.cause, error.fixes)

    def error(self) -> LoomError:
        """The error that crossed, of its class."""
        kind: Any = getattr(errors, self.kind, None)
        plain = isinstance(kind, type) and issubclass(kind, LoomError) and kind.__init__ is LoomError.__init__
        made: LoomError = (kind if plain else CredentialError)(self.title, cause=self.cause, fixes=self.fixes)
        return made
