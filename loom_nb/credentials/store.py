"""Keeps secrets in one SQLite file: each sealed by itself, its facts readable, any number of processes.

The secrets are sealed with a data key; the data key is sealed with the master key and lies in the same file.
So another master key costs one small write, and another data key one transaction. A row is sealed together
with its facts: neither can be changed, or put beside another, without being noticed at the next use.

A use is one transaction: read, judged, written into the audit, counted; then the value is given out.
"""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import msgspec

from loom_nb.credentials import audit, gate
from loom_nb.credentials.master_key import MasterKey
from loom_nb.credentials.policies import Binding, CredentialPolicy, SecretFacts
from loom_nb.credentials.sealing import SALT_BYTES, SealingKey
from loom_nb.credentials.secrets import Secret
from loom_nb.credentials.uses import AuditKind, AuditRow, Ruling, Use
from loom_nb.database import Database, Schema
from loom_nb.errors import (
    CredentialDenied,
    CredentialError,
    LoomUsageError,
    ScopeNotFound,
    SecretDamaged,
    SecretsLocked,
)

if TYPE_CHECKING:
    from sqlite3 import Connection

SCHEMA = Schema(
    0x4C4F4F53,  # "LOOS"
    (
        (
            "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
            """CREATE TABLE data_keys (
                id INTEGER PRIMARY KEY AUTOINCREMENT, salt BLOB NOT NULL, box BLOB NOT NULL)""",
            """CREATE TABLE secrets (
                scope TEXT PRIMARY KEY, data_key INTEGER NOT NULL REFERENCES data_keys,
                facts BLOB NOT NULL, box BLOB NOT NULL) WITHOUT ROWID""",
            # a name that comes again goes on counting, so that nothing cached of an old one is taken for new
            "CREATE TABLE versions (scope TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID",
        ),
        audit.TABLES,
    ),
)
# what was overwritten is not left in free pages, nor in the log of the database
_PRAGMAS = ("secure_delete = ON", "foreign_keys = ON")
_SCOPE = "a scope is a name of 1 to 200 characters, such as github.read, without blanks at its ends"


class SecretStore(Protocol):
    """Where secrets are kept, by scope. Each method raises what that of `SealedRows` says."""

    def put(
        self, scope: str, secret: Secret, *, binding: Binding | None = None,
        policy: CredentialPolicy | None = None, grants: tuple[str, ...] = (), note: str = "",
    ) -> SecretFacts:  # fmt: skip
        """Keep a secret under a name that is free."""
        ...

    def rotate(self, scope: str, secret: Secret) -> SecretFacts:
        """Another value in place of the one that is kept."""
        ...

    def change(
        self, scope: str, *, binding: Binding | None = None, policy: CredentialPolicy | None = None,
        grants: tuple[str, ...] | None = None, note: str | None = None,
    ) -> SecretFacts:  # fmt: skip
        """Other facts for the value that is kept."""
        ...

    def take(self, use: Use) -> tuple[SecretFacts, Secret]:
        """Use a secret: judged, written down, counted, given out."""
        ...

    def ruling(self, use: Use) -> Ruling:
        """What the policy says of a use."""
        ...

    def refuse(self, use: Use, reason: str) -> None:
        """Write down that a use was refused before its policy was asked."""
        ...

    def go_on(self, use: Use, facts: SecretFacts) -> None:
        """Write down that a use goes on elsewhere, which its policy lets."""
        ...

    def get(self, scope: str) -> tuple[SecretFacts, Secret]:
        """The facts and the value, without a use: for redaction and for copies."""
        ...

    def facts(self, scope: str) -> SecretFacts:
        """What may be known without a key."""
        ...

    def list(self, prefix: str = "") -> tuple[SecretFacts, ...]:
        """The facts of all whose scope begins so."""
        ...

    def damaged(self) -> tuple[str, ...]:
        """Scopes that cannot be read or opened."""
        ...

    def revoke(self, scope: str) -> bool:
        """Forget a secret; whether there was one."""
        ...

    def rekey(self, master: MasterKey | None = None) -> int:
        """Seal everything anew; how many."""
        ...

    def log(self, scope: str = "", *, limit: int = 100) -> tuple[AuditRow, ...]:
        """The last rows of the audit."""
        ...

    def check_log(self) -> int:
        """Read the whole audit; how many rows it has."""
        ...

    def unlock(self) -> None:
        """Come by the key."""
        ...

    def lock(self) -> None:
        """Forget the key."""
        ...

    def close(self) -> None:
        """Let go of files and keys."""
        ...


Held = TypeVar("Held")
"""What the sealed box of a row holds: the secret itself, or where it is."""


class SealedRows(ABC, Generic[Held]):
    """Secrets by scope, as rows of a SQLite file. Whoever has it without the master key has the facts alone.

    Args:
        path: the file; it is made at the first use, for this user only.
        master: where the master key comes from; asked when a value is put or taken, never for the facts.
        now: seconds since 1970 (UTC).
        busy_seconds: how long to wait while another process writes.
    """

    SCHEMA = SCHEMA

    def __init__(
        self,
        path: str | Path,
        master: MasterKey,
        *,
        now: Callable[[], float] = time.time,
        busy_seconds: float = 10.0,
    ) -> None:
        self.path = Path(path)
        self._master = master
        self._now = now
        self._database = Database(self.path, self.SCHEMA, busy_seconds, _PRAGMAS)
        self._opened: tuple[int, bytes, SealingKey] | None = None
        """(id, box, data key) as it was last unsealed."""

    def put(
        self,
        scope: str,
        secret: Secret,
        *,
        binding: Binding | None = None,
        policy: CredentialPolicy | None = None,
        grants: tuple[str, ...] = (),
        note: str = "",
    ) -> SecretFacts:
        """Keep a secret under a name that is free.

        Raises:
            LoomUsageError: the name is no name, or it is taken: `rotate` gives it another value.
            SecretsLocked: the master key is missing, or it is another than the one of this store.
            StoreError: the file cannot be written.
        """
        name = _scope(scope)
        _check_zones(policy)
        self.unlock()
        with self._holding(name, secret) as held, self._database.transaction("IMMEDIATE") as db:
            if db.execute("SELECT 1 FROM secrets WHERE scope = ?", (name,)).fetchone():
                raise LoomUsageError(f"there is a secret {name} already", fixes=[f"%loom key rotate {name}"])
            moment = self._now()
            facts = SecretFacts(
                scope=name, type=secret.type, version=_next_version(db, name), created=moment, updated=moment,
                binding=binding or Binding(), policy=policy or CredentialPolicy(), grants=grants, note=note,
            )  # fmt: skip
            self._write(db, facts, held)
            self._note(db, "put", _by_person(name), facts, reason=secret.type)
        return facts

    def rotate(self, scope: str, secret: Secret) -> SecretFacts:
        """Another value in place of the one that is kept; its binding, policy and grants stay.

        Raises:
            ScopeNotFound: nothing is kept under this name.
            LoomUsageError: it is of another type.
            SecretsLocked, SecretDamaged, StoreError: as for `put` and `get`.
        """
        self.unlock()
        with self._holding(scope, secret) as held, self._database.transaction("IMMEDIATE") as db:
            facts, _ = self._read(db, scope)
            if secret.type != facts.type:
                raise LoomUsageError(f"{scope} is of type {facts.type}, not {secret.type}")
            facts = msgspec.structs.replace(facts, version=_next_version(db, scope), updated=self._now())
            self._write(db, facts, held)
            self._note(db, "rotated", _by_person(scope), facts)
        return facts

    def change(
        self,
        scope: str,
        *,
        binding: Binding | None = None,
        policy: CredentialPolicy | None = None,
        grants: tuple[str, ...] | None = None,
        note: str | None = None,
    ) -> SecretFacts:
        """Other facts for the value that is kept; None leaves one as it is.

        Raises: as `rotate`.
        """
        _check_zones(policy)
        self.unlock()
        given = {"binding": binding, "policy": policy, "grants": grants, "note": note}
        given = {name: one for name, one in given.items() if one is not None}
        with self._database.transaction("IMMEDIATE") as db:
            facts, held = self._read(db, scope)
            facts = msgspec.structs.replace(facts, updated=self._now(), **given)
            self._write(db, facts, held)
            self._note(
                db, "changed", _by_person(scope), facts, reason=msgspec.json.encode(given).decode(),
                clock_set=policy is not None,
            )  # fmt: skip
        return facts

    def take(self, use: Use) -> tuple[SecretFacts, Secret]:
        """Use a secret: judged by its sealed facts, written into the audit, counted; then it is given out.

        All of it is one transaction: of two who want the last use one gets it, and where the audit cannot be
        written nobody gets anything. What is refused is written down, too.

        Returns:
            The facts, as they are after this use, and the value.

        Raises:
            CredentialDenied: the policy, the binding or the grants refuse it, or a person has to be asked.
            ScopeNotFound, SecretsLocked, SecretDamaged: as for `get`.
            StoreError: the audit cannot be written.
        """
        with self._refusing(use):
            self.unlock()
        ahead = None
        while True:
            with self._database.transaction("IMMEDIATE") as db:
                taken = self._judged(db, use, ahead)
            if taken is not None:
                break
            with self._refusing(use):
                ahead = self._ahead(use.scope)
        if isinstance(taken, CredentialError):
            raise taken
        return taken

    @contextmanager
    def _refusing(self, use: Use) -> Iterator[None]:
        """What goes wrong is written down."""
        try:
            yield
        except CredentialError as error:
            self.refuse(use, error.title)
            raise

    def _judged(
        self, db: "Connection", use: Use, ahead: tuple[Held, Secret] | None
    ) -> tuple[SecretFacts, Secret] | CredentialError | None:
        """The facts and the value, or why not, which is written down; None: the value has to be fetched."""
        try:
            facts, held = self._read(db, use.scope)
        except CredentialError as error:
            keyed = not isinstance(error, SecretsLocked)
            self._note(db, "refused", use, reason=error.title, keyed=keyed)
            return error
        seen = audit.seen(db, lambda number: self._key(db, number))
        verdict = gate.ruling(facts, use, self._now(), seen)
        if verdict.decision != "allow":
            self._note(db, "refused", use, facts, reason=verdict.reason)
            return _denied(facts, verdict)
        if (secret := self._value(held, ahead)) is None:
            return None
        if (left := facts.policy.uses) is not None:
            policy = msgspec.structs.replace(facts.policy, uses=left - 1)
            facts = msgspec.structs.replace(facts, policy=policy)
            self._write(db, facts, held)
        self._note(db, "used", use, facts, reason=verdict.reason)
        return facts, secret

    def ruling(self, use: Use) -> Ruling:
        """What the policy says of a use, without the master key and without using anything.

        That a person has to be asked, or that it is refused, is written into the audit. It is only a
        forecast: `take` judges again, by what was sealed.

        Raises:
            ScopeNotFound, SecretDamaged: as for `facts`.
            StoreError: the audit cannot be read or written.
        """
        with self._database.transaction() as db:
            facts = _facts(use.scope, _row(db, use.scope)[1])
            verdict = gate.ruling(facts, use, self._now(), audit.seen(db, None))
        if verdict.decision != "allow":
            kind: AuditKind = "asked" if verdict.decision == "ask" else "refused"
            with self._database.transaction("IMMEDIATE") as db:
                self._note(db, kind, use, facts, reason=verdict.reason, keyed=False)
        return verdict

    def refuse(self, use: Use, reason: str) -> None:
        """Write down that a use was refused before its policy was asked, as for the form of its request.

        Raises:
            StoreError: the audit cannot be written.
        """
        with self._database.transaction("IMMEDIATE") as db:
            self._note(db, "refused", use, reason=reason, keyed=False)

    def go_on(self, use: Use, facts: SecretFacts) -> None:
        """Write down that a use goes on at another address, as a redirect sends it; it is not counted again.

        Raises:
            SecretsLocked: the store was locked meanwhile.
            StoreError: the audit cannot be written. Then it does not go on.
        """
        with self._database.transaction("IMMEDIATE") as db:
            self._note(db, "used", use, facts, reason="sent on by a redirect; the use before it goes on")

    def log(self, scope: str = "", *, limit: int = 100) -> tuple[AuditRow, ...]:
        """The last rows of the audit, of one secret or of all; oldest first. Needs no key.

        A row that is not as it was written is of kind "damaged": see `check_log`.
        """
        with self._database.transaction() as db:
            return audit.log(db, scope, max(limit, 0))

    def check_log(self) -> int:
        """Read the whole audit; how many rows it has. The seal over it is checked where the key is at hand.

        Raises:
            StoreDamaged: it is not as it was written; the message names the first row that is not. The
                secrets are not concerned.
        """
        with self._database.transaction() as db:
            at_hand = self._opened is not None
            return audit.check(db, self.path, (lambda number: self._key(db, number)) if at_hand else None)

    def get(self, scope: str) -> tuple[SecretFacts, Secret]:
        """The facts and the value that were sealed together.

        Raises:
            ScopeNotFound: nothing is kept under this name.
            SecretsLocked: the master key is missing, or it is another than the one of this store.
            SecretDamaged: this row was changed; the others are not concerned.
        """
        self.unlock()
        while True:
            with self._database.transaction() as db:
                facts, held = self._read(db, scope)
            try:
                return facts, self._fetched(held, scope)
            except SecretDamaged:
                with self._database.transaction() as db:
                    if self._read(db, scope)[1] == held:
                        raise  # and it was not rotated meanwhile

    def facts(self, scope: str) -> SecretFacts:
        """What may be known without the master key. It is only believed when the value is taken: see `get`.

        Raises:
            ScopeNotFound: nothing is kept under this name.
            SecretDamaged: it cannot be read.
        """
        with self._database.transaction() as db:
            return _facts(scope, _row(db, scope)[1])

    def list(self, prefix: str = "") -> tuple[SecretFacts, ...]:
        """The facts of all whose scope begins so, by scope; of those that can be read: see `damaged`."""
        return tuple(facts for _, facts in self._all(prefix) if facts is not None)

    def damaged(self) -> tuple[str, ...]:
        """Scopes whose row cannot be read or opened. Needs the master key.

        Raises:
            SecretsLocked: it is missing, or it is another than the one of this store.
        """
        found = []
        for scope, facts in self._all(""):
            try:
                if facts is None:
                    raise SecretDamaged(scope)
                self.get(scope)
            except (SecretDamaged, ScopeNotFound):
                found.append(scope)
        return tuple(found)

    def revoke(self, scope: str) -> bool:
        """Forget a secret; whether there was one. Needs no key. Its bytes are overwritten."""
        with self._database.transaction("IMMEDIATE") as db:
            gone = db.execute("DELETE FROM secrets WHERE scope = ?", (scope,)).rowcount > 0
            if gone:
                self._left(db, scope)
                self._note(db, "revoked", _by_person(scope), keyed=False)
        if gone:
            self._tidy()
            self._database.overwrite()
        return gone

    def rekey(self, master: MasterKey | None = None) -> int:
        """Seal everything anew with a fresh data key, itself sealed with `master` from now on; how many.

        Args:
            master: another way to come by the master key; None keeps the one there is.

        Raises:
            SecretsLocked: one of the two master keys is missing, or the old one is another.
            SecretDamaged: a row does not open: nothing is changed then. `revoke` it first, or put it anew.
        """
        self.unlock()
        fresh = _sealed_key(master or self._master)
        with self._database.transaction("IMMEDIATE") as db:
            scopes = [scope for (scope,) in db.execute("SELECT scope FROM secrets")]
            rows = [self._read(db, scope) for scope in scopes]
            old = [number for (number,) in db.execute("SELECT id FROM data_keys")]
            self._add_key(db, *fresh)
            for facts, held in rows:
                self._write(db, facts, held)
            db.executemany("DELETE FROM data_keys WHERE id = ?", [(number,) for number in old])
            self._note(db, "rekeyed", _by_person(""), reason=f"{len(rows)} secrets")
        self._master = master or self._master
        self._database.overwrite()
        return len(rows)

    def unlock(self) -> None:
        """Come by the data key, unless it is here. A person may be asked: no other process waits meanwhile,
        but for the very first time, when the master key may be made.

        Raises:
            SecretsLocked: the master key is missing, or it is another than the one of this store.
        """
        with self._database.transaction() as db:
            row = db.execute("SELECT id, salt, box FROM data_keys ORDER BY id DESC LIMIT 1").fetchone()
        if row is not None:
            self._unsealed(*row)
            return
        with self._database.transaction("IMMEDIATE") as db:
            if not db.execute("SELECT 1 FROM data_keys").fetchone():
                # within: of two that make a key in a keychain at once the later one would take its place
                self._add_key(db, *_sealed_key(self._master))
                return
        self.unlock()  # another process was faster

    def lock(self) -> None:
        """Forget the data key; the next use asks for the master key again."""
        self._opened = None

    def close(self) -> None:
        """Let go of the file and of the key."""
        self.lock()
        self._database.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, {self._master.source})"

    # -- where the values are ----------------------------------------------------------------------------

    @abstractmethod
    def _hold(self, scope: str, secret: Secret) -> Held:
        """Bring a value to where it will be, before the row that speaks of it is written."""

    def _release(self, held: Held) -> None:
        """Give up a value whose row was not written."""

    @abstractmethod
    def _packed(self, held: Held) -> bytes:
        """What is held, as the box of its row."""

    @abstractmethod
    def _unpacked(self, text: bytes) -> Held:
        """The inverse."""

    def _wrote(self, db: "Connection", scope: str, held: Held) -> None:
        """A row that speaks of this value was written, in place of what it spoke of before."""

    def _left(self, db: "Connection", scope: str) -> None:
        """The row of this scope was deleted."""

    def _tidy(self) -> None:
        """Delete the values that no row speaks of any more."""

    def _ahead(self, scope: str) -> tuple[Held, Secret] | None:
        """The value, where it takes time to come by it: before anybody has to wait for that."""
        return None

    @abstractmethod
    def _value(self, held: Held, ahead: tuple[Held, Secret] | None) -> Secret | None:
        """The value; None if it is another than what was fetched ahead."""

    @abstractmethod
    def _fetched(self, held: Held, scope: str) -> Secret:
        """The value, whatever it takes to come by it."""

    @contextmanager
    def _holding(self, scope: str, secret: Secret) -> Iterator[Held]:
        held = self._hold(scope, secret)
        try:
            yield held
        except BaseException:
            self._release(held)
            raise
        self._tidy()

    # -- rows --------------------------------------------------------------------------------------------

    def _read(self, db: "Connection", scope: str) -> tuple[SecretFacts, Held]:
        number, told, box = _row(db, scope)
        facts = _facts(scope, told)
        try:
            text = self._key(db, number).unseal(box, told)
        except SecretDamaged:
            raise _damage(scope) from None
        return facts, self._unpacked(text)

    def _write(self, db: "Connection", facts: SecretFacts, held: Held) -> None:
        number, key = self._newest_key(db)
        told = facts.to_json()
        db.execute(
            """INSERT INTO secrets VALUES (?, ?, ?, ?)
            ON CONFLICT (scope) DO UPDATE SET
                data_key = excluded.data_key, facts = excluded.facts, box = excluded.box""",
            (facts.scope, number, told, key.seal(self._packed(held), told)),
        )
        self._wrote(db, facts.scope, held)
        db.execute("INSERT OR REPLACE INTO versions VALUES (?, ?)", (facts.scope, facts.version))

    def _note(
        self, db: "Connection", kind: AuditKind, use: Use, facts: SecretFacts | None = None, *,
        reason: str = "", keyed: bool = True, clock_set: bool = False,
    ) -> None:  # fmt: skip
        """Write a row of the audit, sealed where the key is at hand."""
        row = AuditRow(
            seq=0, moment=self._now(), kind=kind, use=use, version=facts.version if facts else 0,
            mode=facts.policy.mode if facts else "", reason=reason,
        )  # fmt: skip
        audit.append(db, row, self._newest_key(db) if keyed else None, clock_set=clock_set)

    def _all(self, prefix: str) -> Iterator[tuple[str, SecretFacts | None]]:
        with self._database.transaction() as db:
            rows = db.execute("SELECT scope, CAST(facts AS BLOB) FROM secrets ORDER BY scope").fetchall()
        for scope, told in rows:
            if scope.startswith(prefix):
                try:
                    yield scope, _facts(scope, told)
                except SecretDamaged:
                    yield scope, None

    # -- keys --------------------------------------------------------------------------------------------

    def _newest_key(self, db: "Connection") -> tuple[int, SealingKey]:
        ((number,),) = db.execute("SELECT max(id) FROM data_keys").fetchall()
        return number, self._key(db, number)

    def _add_key(self, db: "Connection", salt: bytes, box: bytes, key: SealingKey) -> None:
        number = db.execute("INSERT INTO data_keys (salt, box) VALUES (?, ?)", (salt, box)).lastrowid or 0
        self._opened = (number, box, key)

    def _key(self, db: "Connection", number: int) -> SealingKey:
        row = db.execute("SELECT id, salt, box FROM data_keys WHERE id = ?", (number,)).fetchone()
        if row is None:
            raise SecretDamaged("the key of a sealed record is not in the store")
        return self._unsealed(*row)

    def _unsealed(self, number: int, salt: bytes, box: bytes) -> SealingKey:
        if self._opened is not None and self._opened[:2] == (number, box):
            return self._opened[2]
        try:
            text = self._master.key(salt, make=False).unseal(box, _KEY_FACTS + salt)
        except SecretDamaged:
            raise SecretsLocked(
                f"the {self._master.source} does not open the secrets in {self.path}",
                cause="they were sealed with another master key, or the file was changed; nothing was lost",
                fixes=("put back the master key that was used", "%loom doctor"),
            ) from None
        key = SealingKey.from_text(text.decode())
        self._opened = (number, box, key)
        return key


class SqliteSecretStore(SealedRows[Secret]):
    """Secrets whose values are in the file, too, each sealed with its facts."""

    def _hold(self, scope: str, secret: Secret) -> Secret:
        return secret

    def _packed(self, held: Secret) -> bytes:
        return held.to_json()

    def _unpacked(self, text: bytes) -> Secret:
        return Secret.from_json(text)

    def _value(self, held: Secret, ahead: tuple[Secret, Secret] | None) -> Secret:
        return held

    def _fetched(self, held: Secret, scope: str) -> Secret:
        return held


_KEY_FACTS = b"loom_nb data key, 1:"


def _sealed_key(master: MasterKey) -> tuple[bytes, bytes, SealingKey]:
    """(salt, box, key) of a fresh data key."""
    salt, key = os.urandom(SALT_BYTES), SealingKey.fresh()
    outer = master.key(salt, make=True)
    return salt, outer.seal(key.to_text().encode(), _KEY_FACTS + salt), key


def _row(db: "Connection", scope: str) -> tuple[int, bytes, bytes]:
    # bytes as they lie there: text that is none would fail here, and say nothing of which row
    find = (
        "SELECT data_key, CAST(facts AS BLOB), CAST(box AS BLOB), typeof(facts) = 'blob' AND"
        " typeof(box) = 'blob' FROM secrets WHERE scope = ?"
    )
    row = db.execute(find, (scope,)).fetchone() if _is_scope(scope) else None
    if row is None:
        raise ScopeNotFound(f"no secret is kept as {scope[:200]!r}", fixes=["%loom key"])
    if not row[3]:
        raise _damage(scope)
    return row[0], row[1], row[2]


def _facts(scope: str, told: bytes) -> SecretFacts:
    try:
        facts = msgspec.json.decode(told, type=SecretFacts)
    except (msgspec.MsgspecError, UnicodeDecodeError, LoomUsageError):
        raise _damage(scope) from None
    if facts.scope != scope:
        raise _damage(scope)
    return facts


def _damage(scope: str) -> SecretDamaged:
    return SecretDamaged(
        f"the record of {scope} was changed outside of loom_nb, or is damaged",
        cause="its value cannot be trusted and is not used; the other secrets are not concerned",
        fixes=(f"%loom key revoke {scope}", "put back a copy of the store"),
    )


def _denied(facts: SecretFacts, verdict: Ruling) -> CredentialDenied:
    asks = verdict.decision == "ask"
    return CredentialDenied(
        f"{facts.scope} may not be used" + (" without a person's yes" if asks else ""),
        cause=verdict.reason,
        fixes=(f"%loom key show {facts.scope}", f"%loom key log {facts.scope}"),
    )


def _by_person(scope: str) -> Use:
    return Use(scope=scope, who="person")


def _check_zones(policy: CredentialPolicy | None) -> None:
    """Raises `LoomUsageError` for a zone that this machine does not know: its window would never open."""
    for window in policy.windows if policy else ():
        window.holds(0.0)


def _next_version(db: "Connection", scope: str) -> int:
    row = db.execute("SELECT version FROM versions WHERE scope = ?", (scope,)).fetchone()
    return (row[0] if row else 0) + 1


def _scope(text: str) -> str:
    if not isinstance(text, str) or not _is_scope(text):
        raise LoomUsageError(_SCOPE)
    return text


def _is_scope(text: str) -> bool:
    return 0 < len(text) <= 200 and text == text.strip() and text.isprintable()
