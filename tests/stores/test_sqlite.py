"""What the SQLite store promises beyond the contract: damage of every column, refusals, versions, scale."""

import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from loom_nb.database import Schema, migrate, told
from loom_nb.errors import StoreDamaged, StoreError
from loom_nb.events import Kept, LogEntry, Noticed, RunFinished, RunStarted
from loom_nb.stores import SqliteStore, default_store
from loom_nb.stores.schema import SCHEMA


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "loom.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(path, busy_seconds=0.05)) as store:
        yield store


def log(session: str, *events: Kept, start: int = 1, run: str = "r1") -> list[LogEntry]:
    return [LogEntry(session, start + n, run, 100.0 + start + n, event) for n, event in enumerate(events)]


def fill(store: SqliteStore, session: str) -> list[LogEntry]:
    """A session with one whole run of six entries."""
    notices = [Noticed(f"{session} note {n}") for n in range(4)]
    entries = log(session, RunStarted("m", f"goal of {session}"), *notices, RunFinished("completed", "done"))
    lease = store.acquire(session)
    store.append(lease, entries)
    store.release(lease)
    return entries


def with_more(*statements: str) -> Schema:
    """Our schema and a version after it."""
    return replace(SCHEMA, migrations=(*SCHEMA.migrations, statements))


@contextmanager
def database(path: Path) -> Iterator[sqlite3.Connection]:
    """The file as any other program sees it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


def flipped(value: object) -> object:
    """The value with one bit of one byte changed."""
    match value:
        case float():
            return value + 2.0**-20
        case str():
            return value[:-1] + chr(ord(value[-1]) ^ 1)
        case bytes():
            return value[:-1] + bytes([value[-1] ^ 1])
    raise AssertionError(value)


COLUMNS = ("session", "seq", "run", "ts", "type", "json", "hash")


class TestDamage:
    @pytest.mark.parametrize("seq", [1, 3, 6])
    @pytest.mark.parametrize("column", COLUMNS)
    def test_a_flipped_byte_is_noticed_and_other_sessions_stay_readable(
        self, store: SqliteStore, path: Path, column: str, seq: int
    ) -> None:
        whole = {session: fill(store, session) for session in ("aaa", "bbb", "ccc")}
        with database(path) as db:
            if column == "seq":
                db.execute("UPDATE events SET seq = 99 WHERE session = 'bbb' AND seq = ?", (seq,))
            else:
                (old,) = db.execute(
                    f"SELECT {column} FROM events WHERE session='bbb' AND seq=?", (seq,)
                ).fetchone()
                db.execute(
                    f"UPDATE events SET {column} = ? WHERE session='bbb' AND seq=?", (flipped(old), seq)
                )

        with pytest.raises(StoreDamaged) as damaged:
            list(store.read("bbb"))

        assert f"'bbb' is damaged at entry {seq}" in damaged.value.title
        assert damaged.value.fixes
        assert store.salvage("bbb") == whole["bbb"][: seq - 1]
        assert store.check("bbb")[0].seq == seq
        assert {found.session for found in store.check()} >= {"bbb"}
        for session in ("aaa", "ccc"):
            assert list(store.read(session)) == whole[session]
            assert store.check(session) == []
        assert {"aaa", "ccc"} <= {row.session for row in store.runs() if row.status == "completed"}

    @pytest.mark.parametrize(
        "sql",
        [
            "DELETE FROM events WHERE session = 'b' AND seq = 6",
            "DELETE FROM events WHERE session = 'b' AND seq > 2",
            "DELETE FROM events WHERE session = 'b' AND seq = 1",
            "DELETE FROM events WHERE session = 'b' AND seq IN (3, 4)",
            "DELETE FROM events WHERE session = 'b'",
            "DELETE FROM heads WHERE session = 'b'",
            "UPDATE heads SET entries = 3 WHERE session = 'b'",
            "UPDATE heads SET entries = 7 WHERE session = 'b'",
            "UPDATE heads SET entries = 'many' WHERE session = 'b'",
            "UPDATE heads SET hash = zeroblob(32) WHERE session = 'b'",
            "UPDATE events SET json = (SELECT json FROM events WHERE session = 'a' AND seq = 3) "
            "WHERE session = 'b' AND seq = 3",
            "UPDATE events SET json = (SELECT o.json FROM events o WHERE o.session = 'b' "
            "AND o.seq = 7 - events.seq) WHERE session = 'b' AND seq IN (3, 4)",
            "UPDATE events SET json = CAST(json AS BLOB) || x'ff' WHERE session = 'b' AND seq = 3",
            "UPDATE events SET json = CAST(x'ff' AS TEXT), run = CAST(x'c328' AS TEXT) WHERE session = 'b'",
            "UPDATE events SET ts = 'noon', hash = 'text', json = 5 WHERE session = 'b' AND seq = 2",
            "UPDATE events SET run = run || json, json = '' WHERE session = 'b' AND seq = 2",
        ],
    )
    def test_cuts_swaps_and_forgeries_are_noticed(self, store: SqliteStore, path: Path, sql: str) -> None:
        whole = {session: fill(store, session) for session in "abc"}
        with database(path) as db:
            db.execute(sql)

        with pytest.raises(StoreDamaged, match="'b' is damaged"):
            list(store.read("b"))

        salvaged = store.salvage("b")
        assert salvaged == whole["b"][: len(salvaged)]
        assert store.check("b") != []
        assert [list(store.read(session)) for session in "ac"] == [whole["a"], whole["c"]]
        assert len(store.runs()) >= 2
        assert {"a", "c"} <= {row.id for row in store.sessions()}

    def test_wrong_times_in_the_listing_are_found_by_a_check(self, store: SqliteStore, path: Path) -> None:
        fill(store, "a")
        with database(path) as db:
            db.execute("UPDATE heads SET updated = updated + 1")

        assert [str(found) for found in store.check()] == [
            "session 'a', entry 0: the listing has other times than the log"
        ]

    def test_an_index_that_leads_back_is_noticed_and_followed_once(self, path: Path) -> None:
        with closing(SqliteStore(path)) as store:
            fill(store, "session-b")
            others = fill(store, "session-c")
        content, changed = re.subn(rb"session-b\x05(?!r1)", b"session-b\x02", path.read_bytes())
        assert changed == 1
        path.write_bytes(content)

        with closing(SqliteStore(path)) as store:
            with pytest.raises(StoreDamaged, match="'session-b'"):
                list(store.read("session-b"))
            assert {found.session for found in store.check()} >= {"session-b"}
            assert list(store.read("session-c")) == others

    def test_a_schema_that_is_no_text_is_damage(self, path: Path) -> None:
        with closing(SqliteStore(path)) as store:
            fill(store, "s")
        path.write_bytes(path.read_bytes().replace(b"CREATE TABLE meta (key", b"CREATE TABLE meta \xa0key"))

        with closing(SqliteStore(path)) as store:
            for use in (
                store.sessions,
                store.runs,
                lambda: list(store.read("s")),
                lambda: store.acquire("s"),
            ):
                with pytest.raises(StoreDamaged) as refused:
                    use()
                assert refused.value.cause and refused.value.fixes

    def test_nothing_is_appended_to_a_log_whose_end_is_bad(self, store: SqliteStore, path: Path) -> None:
        fill(store, "s")
        lease = store.acquire("s")
        with database(path) as db:
            db.execute("UPDATE events SET hash = zeroblob(32) WHERE seq = 6")

        with pytest.raises(StoreDamaged, match="'s'"):
            store.append(lease, log("s", Noticed("after it"), start=7))

    @pytest.mark.parametrize("share", [0.0001, 0.3, 0.6, 0.9])
    def test_a_file_that_was_cut_off_is_refused_with_a_type(self, path: Path, share: float) -> None:
        with closing(SqliteStore(path)) as store:
            for n in range(60):
                fill(store, f"s{n}")
        os.truncate(path, int(path.stat().st_size * share))

        with closing(SqliteStore(path)) as store, pytest.raises(StoreError) as refused:
            [list(store.read(f"s{n}")) for n in range(60)]

        assert refused.value.cause and refused.value.fixes

    def test_one_bad_page_leaves_other_sessions_readable(self, path: Path) -> None:
        with closing(SqliteStore(path)) as store:
            for session in "abc":
                lease = store.acquire(session)
                store.append(lease, log(session, *[Noticed("x" * 2000) for _ in range(30)]))
        content = bytearray(path.read_bytes())
        with database(path) as db:
            pages = db.execute("PRAGMA page_count").fetchone()[0]
        page = pages // 2  # rows of b
        content[(page - 1) * 4096 : page * 4096] = b"\xa5" * 4096
        path.write_bytes(content)

        with closing(SqliteStore(path)) as store:
            with pytest.raises(StoreDamaged, match="'b'"):
                list(store.read("b"))
            assert 0 < len(store.salvage("b")) < 30
            assert [len(list(store.read(session))) for session in "ac"] == [30, 30]
            assert {found.session for found in store.check()} == {"", "b"}


class TestTheFile:
    @pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
    def test_it_is_for_this_user_only(self, path: Path, store: SqliteStore) -> None:
        before = os.umask(0)
        try:
            lease = store.acquire("s")
            store.append(lease, log("s", Noticed("secret")))
        finally:
            os.umask(before)

        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert modes == {"loom.db": 0o600, "loom.db-wal": 0o600, "loom.db-shm": 0o600}
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    def test_it_writes_ahead_and_syncs_fully(self, path: Path, store: SqliteStore) -> None:
        store.acquire("s")

        with store._database.transaction() as db:
            assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert db.execute("PRAGMA synchronous").fetchone() == (2,)

    def test_a_deleted_file_is_noticed_and_a_new_one_begun(self, path: Path, store: SqliteStore) -> None:
        lease = store.acquire("s")
        shutil.rmtree(path.parent)

        with pytest.raises(StoreError, match="moved or deleted"):
            store.append(lease, log("s", Noticed("into the void")))
        store.release(lease)
        assert not path.exists()

        store.append(store.acquire("s"), log("s", Noticed("anew")))
        assert len(list(store.read("s"))) == 1

    def test_the_users_store_lies_where_the_system_keeps_data_or_in_loom_nb_home(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import platformdirs

        monkeypatch.delenv("LOOM_NB_HOME", raising=False)
        assert (
            default_store().path.parent == platformdirs.user_data_path("loom_nb", appauthor=False).resolve()
        )
        monkeypatch.setenv("LOOM_NB_HOME", str(tmp_path / "home"))
        assert default_store().path == (tmp_path / "home" / "loom.db").resolve()
        assert default_store(tmp_path / "x.db").path == (tmp_path / "x.db").resolve()

    def test_importing_the_stores_loads_no_database(self) -> None:
        heavy = "{'sqlite3', '_sqlite3', 'platformdirs', 'sqlalchemy'}"
        program = f"import sys, loom_nb.stores; print(sorted({heavy} & set(sys.modules)))"

        shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

        assert shown.stdout == "[]\n"


def garbage(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database, " * 500)


def directory(path: Path) -> None:
    path.mkdir(parents=True)


def file_in_the_way(path: Path) -> None:
    path.parent.write_text("a file where the folder should be")


def somebody_elses(path: Path) -> None:
    path.parent.mkdir()
    with database(path) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")


def without_a_schema(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        store.acquire("s")
    with database(path) as db:
        db.execute("UPDATE meta SET value = 'one'")


class TestRefusals:
    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (garbage, "is not a database"),
            (directory, "cannot be opened"),
            (file_in_the_way, "cannot be made"),
            (somebody_elses, "another program"),
            (without_a_schema, "which schema"),
        ],
    )
    def test_a_file_that_is_no_store_is_refused_and_left_alone(
        self, store: SqliteStore, path: Path, make: Callable[[Path], None], words: str
    ) -> None:
        make(path)
        before = path.read_bytes() if path.is_file() else b""

        for _ in range(2):
            for use in (
                lambda: store.acquire("s"),
                store.sessions,
                store.runs,
                lambda: list(store.read("s")),
            ):
                with pytest.raises(StoreError, match=words) as refused:
                    use()
                assert refused.value.fixes

        assert (path.read_bytes() if path.is_file() else b"") == before

    def test_a_locked_store_is_refused_and_works_again_when_it_is_free(
        self, store: SqliteStore, path: Path
    ) -> None:
        lease = store.acquire("s")
        with database(path) as db:
            db.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="locked by another process") as refused:
                store.append(lease, log("s", Noticed("one")))
            assert list(store.read("s")) == []
            db.execute("ROLLBACK")

        assert refused.value.cause and refused.value.fixes
        store.append(lease, log("s", Noticed("one")))

    def test_a_full_or_protected_database_is_told_as_such(self, store: SqliteStore, path: Path) -> None:
        fill(store, "s")
        with database(path) as db:
            db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
            with pytest.raises(sqlite3.OperationalError) as full:
                db.execute("CREATE TABLE more AS SELECT zeroblob(100000)")
        with (
            closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db,
            pytest.raises(sqlite3.OperationalError) as protected,
        ):
            db.execute("DELETE FROM events")

        assert "full" in told(full.value, path).title
        assert "may not be written" in told(protected.value, path).title
        assert all(
            told(error.value, path).fixes and told(error.value, path).cause for error in (full, protected)
        )


class TestTheSchema:
    def test_a_newer_one_is_read_but_never_written(self, path: Path) -> None:
        with closing(SqliteStore(path)) as store:
            entries = fill(store, "s")
        with database(path) as db:
            db.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = path.read_bytes()

        with closing(SqliteStore(path)) as store:
            with pytest.raises(StoreError, match="newer loom_nb") as refused:
                store.acquire("s")
            assert list(store.read("s")) == entries
            assert [row.status for row in store.runs()] == ["completed"]

        assert any("upgrade" in fix for fix in refused.value.fixes)
        assert path.read_bytes() == before

    def test_one_that_grows_newer_while_it_is_open_is_written_no_more(
        self, path: Path, store: SqliteStore
    ) -> None:
        lease = store.acquire("s")
        store.append(lease, log("s", Noticed("one")))
        with database(path) as db:
            migrate(db, path, with_more("CREATE TABLE extra (x)"))

        with pytest.raises(StoreError, match="newer loom_nb"):
            store.append(lease, log("s", Noticed("two"), start=2))
        assert len(list(store.read("s"))) == 1

    def test_an_older_one_is_brought_forward_with_its_rows(self, path: Path, store: SqliteStore) -> None:
        entries = fill(store, "s")
        newer = with_more("CREATE TABLE extra (x)", "INSERT INTO extra SELECT seq FROM events")

        with database(path) as db:
            assert migrate(db, path, newer) == len(newer.migrations)
            assert migrate(db, path, newer) == len(newer.migrations)  # done once
            assert db.execute("SELECT count(*) FROM extra").fetchone() == (6,)
        assert list(store.read("s")) == entries

    def test_a_step_that_fails_leaves_the_old_one_whole(self, path: Path, store: SqliteStore) -> None:
        fill(store, "s")

        with database(path) as db:
            with pytest.raises(sqlite3.OperationalError):
                migrate(db, path, with_more("CREATE TABLE extra (x)", "INSERT INTO nowhere VALUES (1)"))
            assert db.execute("SELECT name FROM sqlite_master WHERE name = 'extra'").fetchall() == []
            assert migrate(db, path, SCHEMA) == len(SCHEMA.migrations)


def steps(store: SqliteStore, work: Callable[[], object]) -> int:
    """How many instructions of SQLite's machine a piece of work takes."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    with store._database.transaction() as db:
        db.set_progress_handler(tick, 1)
    work()
    with store._database.transaction() as db:
        db.set_progress_handler(None, 1)
    return count


class TestScale:
    def test_a_page_of_a_listing_costs_the_same_whatever_the_store_holds(
        self, path: Path, store: SqliteStore
    ) -> None:
        fills = 0

        def grow(to: int) -> None:
            nonlocal fills
            while fills < to:
                fill(store, f"session {fills}")
                fills += 1

        grow(200)
        with store._database.transaction() as db:
            pass
        db.execute("PRAGMA synchronous = OFF")  # only to fill it quickly
        listings = (
            store.runs,
            lambda: store.runs("session 7"),
            lambda: store.sessions(limit=50),
            lambda: store.sessions(limit=50, before=store.sessions(limit=60)[-1]),
        )
        small = [steps(store, listing) for listing in listings]
        grow(10_000)
        large = [steps(store, listing) for listing in listings]

        assert len(store.runs()) == 100
        assert len(store.sessions()) == 10_000
        assert all(many <= few * 1.1 for many, few in zip(large, small, strict=True))

    def test_appending_and_acquiring_cost_the_same_however_long_the_log(self, store: SqliteStore) -> None:
        lease = store.acquire("s")
        store.append(lease, log("s", *[Noticed("x")] * 100))
        short = steps(store, lambda: store.append(lease, log("s", Noticed("x"), start=101)))
        store.append(lease, log("s", *[Noticed("x")] * 10_000, start=102))

        long = steps(store, lambda: store.append(lease, log("s", Noticed("x"), start=10_102)))

        assert long <= short * 1.1

    def test_listing_the_runs_of_a_session_costs_the_same_however_long_its_log(
        self, store: SqliteStore
    ) -> None:
        lease = store.acquire("s")
        store.append(lease, log("s", RunStarted("m", "g"), Noticed("x"), RunFinished("completed")))
        short = steps(store, lambda: store.runs("s"))
        store.append(lease, log("s", *[Noticed("x")] * 5_000, start=4))

        long = steps(store, lambda: store.runs("s"))

        assert long <= short * 1.1
