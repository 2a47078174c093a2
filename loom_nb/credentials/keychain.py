"""Keeps the values of secrets in the keychain of the operating system; their facts stay in a SQLite file.

A keychain has no transactions and counts nothing. So the facts, the count of uses and the audit are rows of
a file, sealed as everywhere, and a row holds the name of the keychain's entry in place of the value. An entry
is written before the row that names it, under a name of its own, and deleted after the row has gone: whenever
a process dies, the entry of each row is there, and what no row names is swept up later.
"""

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from loom_nb.credentials.master_key import KeychainKey, MasterKey
from loom_nb.credentials.secrets import Secret
from loom_nb.credentials.store import SCHEMA, SealedRows
from loom_nb.database import Schema
from loom_nb.errors import CredentialError, LoomUsageError, SecretDamaged, SecretsLocked

if TYPE_CHECKING:
    from sqlite3 import Connection

LEFT_SECONDS = 3_600.0
"""How old an entry is that no row names, before it is taken for one that was left behind."""


class Entry(msgspec.Struct, frozen=True):
    """Where in the keychain a value is."""

    name: str


class KeychainStore(SealedRows[Entry]):
    """Secrets whose values are in the keychain. Deleting an entry there revokes it at once, too.

    Args:
        path: the file with the facts and the audit; it is made at the first use, for this user only.
        service: what the entries are called in the keychain.
        master: the key that the rows are sealed with; None: one in the same keychain.
        now: seconds since 1970 (UTC).
        busy_seconds: how long to wait while another process writes.
    """

    SCHEMA = Schema(
        0x4C4F4F4B,  # "LOOK"
        (
            *SCHEMA.migrations,
            # `kept` where a row names it; else from when it is
            (
                """CREATE TABLE entries (
                    name TEXT PRIMARY KEY, scope TEXT NOT NULL, kept INTEGER NOT NULL, made REAL NOT NULL)""",
                "CREATE INDEX entries_by_scope ON entries (scope)",
                "CREATE INDEX entries_left ON entries (made) WHERE kept = 0",
            ),
        ),
    )

    def __init__(
        self,
        path: str | Path,
        service: str = "loom_nb secrets",
        *,
        master: MasterKey | None = None,
        now: Callable[[], float] = time.time,
        busy_seconds: float = 10.0,
    ) -> None:
        super().__init__(path, master or KeychainKey(service), now=now, busy_seconds=busy_seconds)
        self._service = service

    def _hold(self, scope: str, secret: Secret) -> Entry:
        entry = Entry(uuid.uuid4().hex)
        with self._database.transaction("IMMEDIATE") as db:
            db.execute("INSERT INTO entries VALUES (?, ?, 0, ?)", (entry.name, scope, self._now()))
        try:
            self._call("set_password", entry.name, secret.to_json().decode())
        except BaseException:
            self._release(entry)
            raise
        return entry

    def _release(self, held: Entry) -> None:
        with self._database.transaction("IMMEDIATE") as db:
            db.execute("UPDATE entries SET made = 0.0 WHERE name = ? AND kept = 0", (held.name,))
        self._tidy()

    def _packed(self, held: Entry) -> bytes:
        return msgspec.json.encode(held)

    def _unpacked(self, text: bytes) -> Entry:
        return msgspec.json.decode(text, type=Entry)

    def _wrote(self, db: "Connection", scope: str, held: Entry) -> None:
        if not db.execute("UPDATE entries SET kept = 1 WHERE name = ?", (held.name,)).rowcount:
            raise CredentialError(f"the entry of {scope} in the keychain was swept up before it was used")
        db.execute(
            "UPDATE entries SET kept = 0, made = 0.0 WHERE scope = ? AND kept = 1 AND name <> ?",
            (scope, held.name),
        )

    def _left(self, db: "Connection", scope: str) -> None:
        db.execute("UPDATE entries SET kept = 0, made = 0.0 WHERE scope = ? AND kept = 1", (scope,))

    def _tidy(self) -> None:
        old = self._now() - LEFT_SECONDS
        with self._database.transaction() as db:
            left = db.execute("SELECT name FROM entries WHERE kept = 0 AND made < ?", (old,)).fetchall()
        for (name,) in left:
            try:
                if self._call("get_password", name) is not None:
                    self._call("delete_password", name)
            except SecretsLocked:
                return  # no row names it: it is of no use to anybody, and goes another time
            with self._database.transaction("IMMEDIATE") as db:
                db.execute("DELETE FROM entries WHERE name = ? AND kept = 0", (name,))

    def _ahead(self, scope: str) -> tuple[Entry, Secret] | None:
        try:
            with self._database.transaction() as db:
                entry = self._read(db, scope)[1]
        except CredentialError:
            return None  # it is judged, and written down, by who looks again
        try:
            return entry, self._fetched(entry, scope)
        except SecretDamaged:
            with self._database.transaction() as db:
                if self._read(db, scope)[1] == entry:
                    raise
        return None

    def _value(self, held: Entry, ahead: tuple[Entry, Secret] | None) -> Secret | None:
        return ahead[1] if ahead is not None and ahead[0] == held else None

    def _fetched(self, held: Entry, scope: str) -> Secret:
        text = self._call("get_password", held.name)
        if text is None:
            raise SecretDamaged(
                f"the keychain holds no value for {scope} any more",
                cause="somebody deleted it there; the other secrets are not concerned",
                fixes=(f"%loom key rotate {scope}", f"%loom key revoke {scope}"),
            )
        try:
            return Secret.from_json(text.encode())
        except (msgspec.MsgspecError, UnicodeEncodeError, KeyError, LoomUsageError):
            what = f"what the keychain holds for {scope} is not what was put there"
            raise SecretDamaged(what, fixes=(f"%loom key rotate {scope}",)) from None

    def _call(self, what: str, *arguments: str) -> Any:
        try:
            import keyring
            from keyring.errors import KeyringError
        except ImportError:
            raise SecretsLocked(
                "the keychain needs keyring", fixes=("pip install 'loom-nb[auth]'",)
            ) from None
        try:
            return getattr(keyring, what)(self._service, *arguments)
        except KeyringError as error:
            raise SecretsLocked(
                "the keychain refuses",
                cause=type(error).__name__,
                fixes=("unlock the keychain", "%loom doctor"),
            ) from None
