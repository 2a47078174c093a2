"""Which contents of the user's own skills were used before: another one is asked about once.

Commands and code can write where these skills lie. That cannot be prevented here; it need not go unseen.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loom_nb.capabilities.skills.shelf import Opened
from loom_nb.database import Database, Schema
from loom_nb.errors import StoreError
from loom_nb.wording import counted

if TYPE_CHECKING:
    from sqlite3 import Connection

MOST_KEPT = 20
"""Contents of one skill that are kept."""
_MOST_MARKS = 500
"""Files of one skill whose changes are told by name."""
_SHOWN = 3

_SCHEMA = Schema(
    0x4C4E534B,
    (
        (
            "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
            """CREATE TABLE used (
                id INTEGER PRIMARY KEY, folder TEXT NOT NULL, sha256 TEXT NOT NULL, at REAL NOT NULL,
                approved INTEGER NOT NULL, marks TEXT NOT NULL, UNIQUE (folder, sha256))""",
        ),
    ),
)


class Seen:
    """The record, in the home of settings. Safe from any thread and process.

    Args:
        path: of the database; it is made when something is kept.
        opened: when the conversation was opened, in nanoseconds since the epoch.
    """

    def __init__(self, path: Path, opened: int) -> None:
        self._path = path
        self._opened = opened
        self._database = Database(path, _SCHEMA, 10.0)

    def doubt(self, opened: Opened) -> str:
        """Why a person should look at a skill of theirs before it is used again; empty: nothing is new."""
        if opened.skill.tier != "user":
            return ""
        try:
            rows = self._rows(opened)
        except StoreError as error:
            return f"which of your skills were used before cannot be read: {error.title}"
        if any(sha256 == opened.sha256 for sha256, _, _ in rows):
            return ""
        name = opened.skill.name
        if rows:
            what = _difference(json.loads(rows[0][2]), _marks(opened))
            return f"your skill {name} has changed since it was last used{what}, was it you?"
        if opened.changed > self._opened:
            return f"your skill {name} was changed while this conversation was open, was it you?"
        return ""

    def approved(self, opened: Opened) -> bool:
        """Whether a person has said yes to this very content of a skill of theirs."""
        if opened.skill.tier != "user":
            return False
        try:
            return any(said and sha256 == opened.sha256 for sha256, said, _ in self._rows(opened))
        except StoreError:
            return False

    def keep(self, opened: Opened, *, approved: bool) -> None:
        """Write down that this content was used. Where that cannot be, it is asked about again."""
        if opened.skill.tier != "user":
            return
        folder = str(opened.skill.folder)
        try:
            with self._database.transaction("IMMEDIATE") as db:
                _keep(db, folder, opened, approved)
        except StoreError:
            return

    def close(self) -> None:
        """Let go of the record."""
        self._database.close()

    def _rows(self, opened: Opened) -> list[tuple[str, int, str]]:
        """(hash, whether a person said yes, files) of what was used, the last one first."""
        if not self._path.exists():
            return []
        query = "SELECT sha256, approved, marks FROM used WHERE folder = ? ORDER BY at DESC, id DESC"
        with self._database.transaction() as db:
            return db.execute(query, (str(opened.skill.folder),)).fetchall()


def _keep(db: "Connection", folder: str, opened: Opened, approved: bool) -> None:
    db.execute(
        """INSERT INTO used (folder, sha256, at, approved, marks) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT (folder, sha256) DO UPDATE SET at = ?3, approved = max(approved, ?4)""",
        (folder, opened.sha256, time.time(), int(approved), json.dumps(_marks(opened))),
    )
    db.execute(
        """DELETE FROM used WHERE folder = ?1 AND id NOT IN
        (SELECT id FROM used WHERE folder = ?1 ORDER BY at DESC, id DESC LIMIT ?2)""",
        (folder, MOST_KEPT),
    )


def _marks(opened: Opened) -> dict[str, str]:
    marks = opened.marks if len(opened.marks) <= _MOST_MARKS else ()
    return {path.encode("utf-8", "replace").decode(): mark[:16] for path, mark in marks}


def _difference(before: dict[str, str], now: dict[str, str]) -> str:
    """Which files differ, in words; nothing where that is not known."""
    if not before or not now:
        return ""
    paths: Sequence[str] = sorted(
        one for one in before.keys() | now.keys() if before.get(one) != now.get(one)
    )
    more = f" and {counted(len(paths) - _SHOWN, 'other file')}" if len(paths) > _SHOWN else ""
    return f" ({', '.join(paths[:_SHOWN])}{more})" if paths else ""
