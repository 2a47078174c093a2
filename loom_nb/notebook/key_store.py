"""What the notebook needs of the place where secrets are kept: it looks at facts, and hands values in."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from loom_nb.credentials.policies import Binding, CredentialPolicy, SecretFacts
from loom_nb.credentials.uses import AuditRow


class Secrets(Protocol):
    """Keeps secrets, and never gives one out. Every call may wait, on any thread."""

    @property
    def tier(self) -> str:
        """Where they are used: "broker process", or "this process"."""
        ...

    def put(
        self,
        scope: str,
        secret_type: str,
        fields: Mapping[str, object],
        *,
        binding: Binding | None = None,
        policy: CredentialPolicy | None = None,
        grants: tuple[str, ...] = (),
        note: str = "",
    ) -> SecretFacts:
        """Keep one under a name that is free."""
        ...

    def rotate(self, scope: str, fields: Mapping[str, object]) -> SecretFacts:
        """Another value; all else stays."""
        ...

    def change(
        self,
        scope: str,
        *,
        binding: Binding | None = None,
        policy: CredentialPolicy | None = None,
        grants: tuple[str, ...] | None = None,
        note: str | None = None,
    ) -> SecretFacts:
        """Other facts; the value stays."""
        ...

    def revoke(self, scope: str) -> bool:
        """Forget one; whether there was one."""
        ...

    def facts(self, scope: str) -> SecretFacts:
        """What may be known of one. Raises ScopeNotFound."""
        ...

    def find(self, texts: Sequence[str]) -> list[tuple[int, str]]:
        """(number of the text, name) wherever a kept secret stands in one of them, in any encoding."""
        ...

    def list(self, prefix: str = "") -> tuple[SecretFacts, ...]:
        """The facts of all whose name begins so."""
        ...

    def damaged(self) -> tuple[str, ...]:
        """Names whose record cannot be opened."""
        ...

    def check_log(self) -> int:
        """Read the whole audit; how many rows it has. Raises `StoreDamaged` where it was changed."""
        ...

    def rekey(self) -> int:
        """Seal all of them anew; how many."""
        ...

    def lock(self) -> None:
        """Forget the master key."""
        ...

    def unlock(self, passphrase: str = "") -> None:
        """Come by the master key. Raises SecretsLocked."""
        ...

    def log(self, scope: str = "", *, limit: int = 100) -> tuple[AuditRow, ...]:
        """The newest rows of the audit, of one secret or of all."""
        ...
