"""The audit of a store of secrets: a row for each thing that was done or refused, chained by hashes.

Each row's hash covers the row and the hash before it, so that no row can be changed, taken out or put in
without all that follow being written anew. Where the key of the store is at hand the end of the chain is
sealed with it: up to there nobody without the key can write it anew, or cut it.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from loom_nb.credentials.sealing import SealingKey
from loom_nb.credentials.uses import AuditRow, Use
from loom_nb.errors import SecretDamaged, StoreDamaged

if TYPE_CHECKING:
    from sqlite3 import Connection

TABLES = (
    """CREATE TABLE audit (
        seq INTEGER PRIMARY KEY, scope TEXT NOT NULL, row BLOB NOT NULL, hash BLOB NOT NULL)""",
    "CREATE INDEX audit_by_scope ON audit (scope, seq)",
    # one row: where the chain ends, the latest moment seen, and how far it was sealed with which data key
    """CREATE TABLE audit_head (
        id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, hash BLOB NOT NULL, seen REAL,
        sealed_seq INTEGER, sealed_hash BLOB, sealed_seen REAL, data_key INTEGER, seal BLOB)""",
    "INSERT INTO audit_head (id, seq, hash) VALUES (1, 0, zeroblob(32))",
)
MAX_TEXT = 1_000
"""Characters of one text in a row."""
_START = bytes(32)
_SEAL = "loom_nb audit, 1:{}:{}:{!r}"
_FIXES = ("%loom doctor", "put back a copy of the store")
Key = tuple[int, SealingKey]
"""(number of a data key, the data key)"""
KeyOf = Callable[[int], SealingKey]
"""From the number of a data key to the key. Raises `SecretDamaged` if there is none."""


@dataclass(frozen=True, slots=True)
class _Head:
    """Where the chain ends, and how far it was sealed. What is not as it should be fits no seal."""

    seq: int
    hash: bytes
    seen: float | None
    sealed_seq: int | None
    sealed_hash: bytes | None
    sealed_seen: float | None
    data_key: int | None
    seal: bytes | None

    @classmethod
    def of(cls, db: "Connection") -> "_Head":
        """Raises `StoreDamaged` if it is gone."""
        row = db.execute(
            """SELECT seq, hash, seen, sealed_seq, sealed_hash, sealed_seen, data_key, seal
            FROM audit_head WHERE id = 1"""
        ).fetchone()
        if row is None or not isinstance(row[0], int) or not isinstance(row[1], bytes):
            what = "the end of the audit is gone: nothing can be written down, so no secret is used"
            raise StoreDamaged(what, fixes=_FIXES)
        return cls(*row)

    def sealed_by(self, key_of: KeyOf) -> bool:
        """Whether the seal is the one that was set."""
        told = _SEAL.format(self.sealed_seq, (self.sealed_hash or b"").hex(), self.sealed_seen)
        try:
            key_of(self.data_key or 0).unseal(self.seal or b"", told.encode())
        except SecretDamaged:
            return False
        return True


def append(db: "Connection", row: AuditRow, key: Key | None, *, clock_set: bool = False) -> AuditRow:
    """Write a row at the end of the chain, within the transaction of what it tells of.

    Args:
        db: in a transaction that writes.
        row: its `seq` does not matter.
        key: to seal the end of the chain with; None where it is not at hand.
        clock_set: a person has vouched for the clock: what was seen before does not matter any more.

    Raises:
        StoreDamaged: the end of the chain is gone.
    """
    head = _Head.of(db)
    row = msgspec.structs.replace(row, seq=head.seq + 1, use=_bounded(row.use), reason=_text(row.reason))
    told = msgspec.json.encode(row)
    hash_ = _next(head.hash, told)
    latest = row.moment if clock_set or not isinstance(head.seen, float) else max(head.seen, row.moment)
    db.execute("INSERT INTO audit VALUES (?, ?, ?, ?)", (row.seq, row.use.scope, told, hash_))
    db.execute("UPDATE audit_head SET seq = ?, hash = ?, seen = ?", (row.seq, hash_, latest))
    if key is not None:
        number, sealing = key
        seal = sealing.seal(b"", _SEAL.format(row.seq, hash_.hex(), latest).encode())
        db.execute(
            """UPDATE audit_head
            SET sealed_seq = seq, sealed_hash = hash, sealed_seen = seen, data_key = ?, seal = ?""",
            (number, seal),
        )
    return row


def seen(db: "Connection", key_of: KeyOf | None) -> float:
    """The latest moment that was written down; infinity where that cannot be known any more.

    Args:
        db: in a transaction.
        key_of: the data key of a number; None: it is not at hand, and the seal is not looked at.

    Raises:
        StoreDamaged: the end of the chain is gone.
    """
    head = _Head.of(db)
    latest = head.seen if isinstance(head.seen, float) else -math.inf
    if head.seal is None or key_of is None:
        return latest
    return max(latest, head.sealed_seen or -math.inf) if head.sealed_by(key_of) else math.inf


def log(db: "Connection", scope: str, limit: int) -> tuple[AuditRow, ...]:
    """The last rows of a scope, or of all where it is empty; oldest first.

    One that is not as it was written is of kind "damaged", and says no more than its number.
    """
    where = "WHERE a.scope = :scope" if scope else ""
    rows = db.execute(
        f"""SELECT a.seq, a.scope, a.row, a.hash, p.hash FROM audit a LEFT JOIN audit p ON p.seq = a.seq - 1
        {where} ORDER BY a.seq DESC LIMIT :limit""",  # noqa: S608  one of two literals
        {"scope": scope, "limit": limit},
    ).fetchall()
    return tuple(_told(*row) for row in reversed(rows))


def check(db: "Connection", path: Path, key_of: KeyOf | None) -> int:
    """Read the whole chain; how many rows it has.

    Args:
        db: in a transaction.
        path: of the store, for the message.
        key_of: the data key of a number; None: the seal is not looked at.

    Raises:
        StoreDamaged: it is not as it was written; the message names the first row that is not.
    """
    head, before, count = _Head.of(db), _START, 0
    rows = db.execute("SELECT seq, scope, row, hash FROM audit ORDER BY seq")
    for count, (seq, scope, told, hash_) in enumerate(rows, 1):
        if seq != count:
            raise _damage(path, count, "it is missing")
        if _told(seq, scope, told, hash_, before).kind == "damaged":
            raise _damage(path, seq, "it is not as it was written")
        if seq == head.sealed_seq and hash_ != head.sealed_hash:
            raise _damage(path, seq, "it is not the row that was sealed")
        before = hash_
    if count < max(head.seq, head.sealed_seq or 0):
        raise _damage(path, count + 1, "it and all that followed are gone")
    if (count, before) != (head.seq, head.hash):
        raise _damage(path, count, "the chain does not end as it was written")
    if head.seal is not None and key_of is not None and not head.sealed_by(key_of):
        raise _damage(path, head.sealed_seq or 0, "the seal over it does not fit")
    return count


def _told(seq: int, scope: str, told: object, hash_: object, before: bytes | None) -> AuditRow:
    try:
        if not isinstance(told, bytes) or hash_ != _next(before or _START, told):
            raise ValueError
        row = msgspec.json.decode(told, type=AuditRow)
        if row.seq != seq or row.use.scope != scope:
            raise ValueError
    except (ValueError, TypeError):
        wrong = "this row is not as it was written"
        return AuditRow(seq=seq, moment=0.0, kind="damaged", use=Use(scope=str(scope), who=""), reason=wrong)
    return row


def _next(before: bytes, told: bytes) -> bytes:
    return hashlib.sha256(before + told).digest()


def _bounded(use: Use) -> Use:
    texts = {
        name: _text(value) for name in use.__struct_fields__ if isinstance(value := getattr(use, name), str)
    }
    return msgspec.structs.replace(use, **texts)


def _text(text: str) -> str:
    text = text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
    return text.encode("utf-8", "replace").decode()


def _damage(path: Path, seq: int, problem: str) -> StoreDamaged:
    return StoreDamaged(
        f"the audit of secrets is damaged at row {seq}: {problem}",
        cause=f"{path} was changed outside of loom_nb, or the disk has a fault; no secret is concerned",
        fixes=_FIXES,
    )
