"""The tables of the log, version by version."""

from loom_nb.database import Schema

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
        # With rowid: without it, rows of 1.5 kB took twice the space and time.
        """CREATE TABLE events (
            session TEXT NOT NULL, seq INTEGER NOT NULL, run TEXT NOT NULL, ts REAL NOT NULL,
            type TEXT NOT NULL, json TEXT NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (session, seq))""",
        "CREATE INDEX run_starts ON events (ts, session, seq) WHERE type = 'RunStarted'",
        "CREATE INDEX run_starts_of_session ON events (session, seq) WHERE type = 'RunStarted'",
        """CREATE INDEX run_ends ON events (session, run, type, seq)
            WHERE type IN ('RunFinished', 'RunInterrupted')""",
        # The length and the last hash of each log: an end that was cut off is noticed, too.
        """CREATE TABLE heads (
            session TEXT PRIMARY KEY, entries INTEGER NOT NULL, hash BLOB NOT NULL,
            started REAL NOT NULL, updated REAL NOT NULL) WITHOUT ROWID""",
        """CREATE TABLE leases (
            session TEXT PRIMARY KEY, fence INTEGER NOT NULL, owner TEXT NOT NULL,
            expires REAL NOT NULL) WITHOUT ROWID""",
    ),
    (
        """CREATE INDEX questions ON events (ts, session, seq)
            WHERE type IN ('GrantRevoked', 'QuestionAnswered', 'QuestionAsked')""",
    ),
    ("CREATE INDEX heads_by_time ON heads (updated, session)",),
    (
        "ALTER TABLE heads ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0",
        """UPDATE heads SET bytes = (SELECT coalesce(sum(length(CAST(json AS BLOB))), 0)
            FROM events e WHERE e.session = heads.session)""",
        """CREATE TABLE labels (
            session TEXT PRIMARY KEY, name TEXT NOT NULL, deleted REAL) WITHOUT ROWID""",
        "CREATE INDEX labels_deleted ON labels (deleted, session) WHERE deleted IS NOT NULL",
    ),
)
SCHEMA = Schema(0x4C4F4F4D, MIGRATIONS)  # "LOOM"
