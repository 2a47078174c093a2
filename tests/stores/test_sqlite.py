"""What the SQLite store promises beyond the contract: crashes, processes, damage, full disks, versions."""

import json
import os
import random
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from loom_nb.errors import LeaseLost, SessionBusy, StoreDamaged, StoreError
from loom_nb.events import CallStarted, Kept, LogEntry, Noticed, RunFinished, RunStarted
from loom_nb.stores import SqliteStore, default_store
from loom_nb.stores.database import MIGRATIONS, migrate, told

HERE = "this-machine"


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


@contextmanager
def database(path: Path) -> Iterator[sqlite3.Connection]:
    """The file as any other program sees it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


# Children: what another kernel does

WRITE = """
import sys
from loom_nb.events import LogEntry, Noticed, RunStarted
from loom_nb.stores import SqliteStore

path, session, appends, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
store = SqliteStore(path)
lease = store.acquire(session)
store.append(lease, [LogEntry(session, 1, "r1", 1.0, RunStarted("m", "g"))])
print(1, flush=True)
for first in range(2, 2 + 3 * appends, 3):
    notices = [(n, Noticed(f"{n} " + "x" * size)) for n in range(first, first + 3)]
    store.append(lease, [LogEntry(session, n, "r1", float(n), notice) for n, notice in notices])
    print(first + 2, flush=True)
"""

HOLD = """
import sys
from loom_nb.events import LogEntry, RunStarted
from loom_nb.stores import SqliteStore

store = SqliteStore(sys.argv[1])
lease = store.acquire("s")
store.append(lease, [LogEntry("s", 1, "r1", 1.0, RunStarted("m", "g"))])
print(lease.fence, flush=True)
sys.stdin.read()
"""


@contextmanager
def child(program: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


class TestKilled:
    def kill_at_random_points(self, path: Path, kills: int) -> None:
        chance = random.Random(kills)
        store = SqliteStore(path)
        for n in range(kills):
            session = f"killed-{n}"
            with child(WRITE, path, session, 100_000, chance.choice((10, 2_000, 60_000))) as process:
                for _ in range(chance.randint(1, 40)):
                    acknowledged = int(line(process))
                until = time.perf_counter() + chance.random() * 0.004
                while time.perf_counter() < until:  # to hit any point of the next append
                    pass
                process.kill()
                rest, _ = process.communicate()
            acknowledged = max([acknowledged, *map(int, rest.split("\n")[:-1])])

            entries = list(store.read(session))

            assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
            assert len(entries) >= acknowledged
            assert len(entries) % 3 == 1  # all of an append, or nothing of it
            assert [row.status for row in store.runs(session)] == ["interrupted"]
            store.release(store.acquire(session))
        assert len(store.sessions()) == kills
        assert store.check() == []
        store.close()

    def test_no_acknowledged_entry_is_lost_and_the_run_counts_as_interrupted(self, path: Path) -> None:
        self.kill_at_random_points(path, 15)

    @pytest.mark.slow
    @pytest.mark.timeout(600)
    def test_no_acknowledged_entry_is_lost_in_two_hundred_kills(self, path: Path) -> None:
        self.kill_at_random_points(path, 200)


class TestManyProcesses:
    @pytest.mark.parametrize("processes", [2, 4])
    def test_sessions_of_one_file_are_written_at_once_and_nothing_is_lost(
        self, path: Path, processes: int
    ) -> None:
        command = [sys.executable, "-c", WRITE, str(path)]
        writers = [
            subprocess.Popen([*command, f"s{n}", "60", "200"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for n in range(processes)
        ]
        errors = [writer.communicate()[1].decode() for writer in writers]

        assert errors == [""] * processes
        with closing(SqliteStore(path)) as store:
            assert [len(list(store.read(f"s{n}"))) for n in range(processes)] == [181] * processes
            assert store.check() == []
            assert {row.writer for row in store.sessions()} == {""}

    def test_a_second_process_is_told_who_writes_the_session(self, store: SqliteStore, path: Path) -> None:
        with child(HOLD, path) as process:
            line(process)

            with pytest.raises(SessionBusy) as refused:
                store.acquire("s")

            assert "'s'" in refused.value.title and str(process.pid) in refused.value.title
            assert refused.value.cause
            assert any(str(process.pid) in fix for fix in refused.value.fixes)
            assert [row.writer.endswith(f":{process.pid}") for row in store.sessions()] == [True]
            assert [row.status for row in store.runs()] == ["running"]

    def test_the_lease_of_a_killed_process_is_taken_at_once_with_a_higher_fence(
        self, store: SqliteStore, path: Path
    ) -> None:
        with child(HOLD, path) as process:
            fence = int(line(process))
            process.kill()
            process.wait()

            lease = store.acquire("s")

        assert lease.fence > fence
        store.append(lease, log("s", Noticed("taken over"), start=2))

    @pytest.mark.skipif(sys.platform != "linux", reason="zombies are seen through /proc")
    def test_a_killed_process_that_nobody_waited_for_is_dead(self, store: SqliteStore, path: Path) -> None:
        with child(HOLD, path) as process:
            line(process)
            process.kill()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

            store.append(store.acquire("s"), log("s", Noticed("taken over"), start=2))

    def test_a_process_that_ends_its_input_gives_back_nothing_and_is_dead_all_the_same(
        self, store: SqliteStore, path: Path
    ) -> None:
        with child(HOLD, path) as process:
            line(process)
            process.communicate()

            assert [row.writer for row in store.sessions()] == [""]
            store.acquire("s")


class Elsewhere:
    """A store on another machine that shares the file, and a clock that both read."""

    def __init__(self, path: Path) -> None:
        self.time = 1000.0
        self.there = SqliteStore(path, host="elsewhere", now=lambda: self.time)
        self.here = SqliteStore(path, host=HERE, now=lambda: self.time)


@pytest.fixture
def elsewhere(path: Path) -> Iterator[Elsewhere]:
    both = Elsewhere(path)
    yield both
    both.there.close()
    both.here.close()


class TestAnotherMachine:
    def test_a_silent_holder_loses_its_lease_after_thirty_seconds(self, elsewhere: Elsewhere) -> None:
        old = elsewhere.there.acquire("s")
        elsewhere.time += 29
        with pytest.raises(SessionBusy, match="elsewhere"):
            elsewhere.here.acquire("s")

        elsewhere.time += 2
        new = elsewhere.here.acquire("s")

        assert new.fence > old.fence
        with pytest.raises(LeaseLost, match=HERE):
            elsewhere.there.append(old, log("s", Noticed("late")))
        with pytest.raises(LeaseLost, match=HERE):
            elsewhere.there.renew(old)
        elsewhere.there.release(old)
        elsewhere.here.append(new, log("s", Noticed("mine")))

    def test_renewing_keeps_it(self, elsewhere: Elsewhere) -> None:
        lease = elsewhere.there.acquire("s")
        for _ in range(5):
            elsewhere.time += 20
            elsewhere.there.renew(lease)

        with pytest.raises(SessionBusy):
            elsewhere.here.acquire("s")

    def test_appending_keeps_it(self, elsewhere: Elsewhere) -> None:
        lease = elsewhere.there.acquire("s")
        for n in range(1, 6):
            elsewhere.time += 20
            elsewhere.there.append(lease, log("s", Noticed(str(n)), start=n))

        with pytest.raises(SessionBusy):
            elsewhere.here.acquire("s")

    def test_a_silent_holder_writes_on_as_long_as_nobody_else_came(self, elsewhere: Elsewhere) -> None:
        lease = elsewhere.there.acquire("s")
        elsewhere.time += 3600

        elsewhere.there.append(lease, log("s", Noticed("still here")))

        with pytest.raises(SessionBusy):
            elsewhere.here.acquire("s")


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

    def test_a_run_whose_first_or_last_row_is_bad_is_listed_as_damaged(
        self, store: SqliteStore, path: Path
    ) -> None:
        for session in "abc":
            fill(store, session)
        with database(path) as db:
            db.execute(
                "UPDATE events SET json = replace(json, 'goal', 'gaol') WHERE session = 'a' AND seq = 1"
            )
            db.execute(
                "UPDATE events SET json = replace(json, 'done', 'gone') WHERE session = 'b' AND seq = 6"
            )

        assert {row.session: row.status for row in store.runs()} == {
            "a": "damaged",
            "b": "damaged",
            "c": "completed",
        }

    def test_a_whole_row_with_an_event_of_another_version_is_not_read_over(self, store: SqliteStore) -> None:
        class FromTheFuture(Noticed, frozen=True, tag=True):
            """An event that this version does not know."""

        lease = store.acquire("s")
        store.append(lease, log("s", Noticed("one"), FromTheFuture("two"), Noticed("three")))

        with pytest.raises(StoreDamaged, match="no event that this version knows"):
            list(store.read("s"))
        assert [found.seq for found in store.check("s")] == [2]

    def test_wrong_times_in_the_listing_are_found_by_a_check(self, store: SqliteStore, path: Path) -> None:
        fill(store, "a")
        with database(path) as db:
            db.execute("UPDATE heads SET updated = updated + 1")

        assert [str(found) for found in store.check()] == [
            "session 'a', entry 0: the listing has other times than the log"
        ]

    def test_a_flipped_byte_anywhere_in_the_file_never_changes_what_is_read(self, path: Path) -> None:
        store = SqliteStore(path)
        whole = {f"session {n}": fill(store, f"session {n}") for n in range(40)}
        runs, sessions = store.runs(), store.sessions()
        store.close()
        noticed = 0
        chance = random.Random(300)
        for n in range(300):
            copy = path.with_name(f"flip{n}.db")
            content = bytearray(path.read_bytes())
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            copy.write_bytes(content)
            with closing(SqliteStore(copy)) as damaged:
                harmed = False
                for session, entries in whole.items():
                    try:
                        assert list(damaged.read(session)) == entries
                    except StoreError:
                        harmed = True
                try:
                    if (damaged.runs(), damaged.sessions()) != (runs, sessions):
                        harmed = True
                        assert damaged.check() != []
                except StoreError:
                    harmed = True
            noticed += harmed
            copy.unlink()
        assert noticed > 100  # the others fell on bytes that mean nothing

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


FULL_DISK = """
import json, resource, signal, sys
from pathlib import Path
from loom_nb.errors import StoreError
from loom_nb.events import LogEntry, Noticed
from loom_nb.stores import SqliteStore

path, limit = Path(sys.argv[1]), int(sys.argv[2])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = SqliteStore(path)
lease = store.acquire("s")
kept, failures = 0, []

def append(count):
    global kept
    for _ in range(count):
        store.append(lease, [LogEntry("s", kept + 1, "r1", 1.0, Noticed(str(kept + 1) + "x" * 3000))])
        kept += 1

append(5)
for _ in range(3):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for _ in range(5):
        try:
            append(2000)
        except StoreError as error:
            failures.append([type(error).__name__, error.title, error.cause, len(error.fixes)])
    readable = [entry.event.text.rstrip("x") for entry in store.read("s")]
    assert readable == [str(n) for n in range(1, kept + 1)], (readable, kept)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    append(20)
    limit += 200_000
store.release(lease)
store.close()
print(json.dumps([kept, failures]))
"""


class TestAFullDisk:
    @pytest.mark.parametrize("limit", [70_000, 300_000])
    def test_it_refuses_with_a_type_stays_readable_and_goes_on_when_there_is_space(
        self, path: Path, limit: int
    ) -> None:
        pytest.importorskip("resource")
        done = subprocess.run(
            [sys.executable, "-c", FULL_DISK, str(path), str(limit)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        kept, failures = json.loads(done.stdout)

        assert len(failures) == 15
        assert {failure[0] for failure in failures} == {"StoreError"}
        assert all("disk" in title.lower() and cause and fixes for _, title, cause, fixes in failures)
        with closing(SqliteStore(path)) as store:
            assert len(list(store.read("s"))) == kept
            assert store.check() == []


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

    def test_nothing_is_made_before_the_first_use(self, path: Path, store: SqliteStore) -> None:
        assert not path.parent.exists()
        assert repr(store) == f"SqliteStore({str(path)!r})"
        store.close()
        assert not path.parent.exists()

    def test_it_writes_ahead_and_syncs_fully(self, path: Path, store: SqliteStore) -> None:
        store.acquire("s")

        with store._database.transaction() as db:
            assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert db.execute("PRAGMA synchronous").fetchone() == (2,)

    def test_any_call_after_closing_opens_it_again(self, store: SqliteStore) -> None:
        lease = store.acquire("s")
        store.close()

        store.append(lease, log("s", Noticed("one")))

        assert len(list(store.read("s"))) == 1

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

    @pytest.mark.parametrize(
        "entry",
        [
            LogEntry("s", 2, "r1", 1.0, Noticed("\ud800")),
            LogEntry("s", 2, "\ud800", 1.0, Noticed("")),
            LogEntry("s", 2, "r1", float("nan"), Noticed("")),
            LogEntry("s", 2, "r1", 1.0, CallStarted("c", "t", {"x": object()})),
            LogEntry("s", 2, "r1", 1.0, RunFinished("completed", data={"a": {1, object()}})),
        ],
        ids=["surrogate", "surrogate in the run", "no time", "object", "objects in a set"],
    )
    def test_what_is_no_json_is_refused_and_nothing_is_written(
        self, store: SqliteStore, entry: LogEntry
    ) -> None:
        lease = store.acquire("s")

        with pytest.raises(StoreError):
            store.append(lease, [*log("s", Noticed("one")), entry])

        assert list(store.read("s")) == []
        store.append(lease, log("s", Noticed("one")))

    def test_a_session_name_that_is_no_text_is_refused(self, store: SqliteStore) -> None:
        with pytest.raises(StoreError, match="surrogate"):
            store.acquire("\ud800")

    def test_an_interrupt_in_the_middle_of_an_append_undoes_it(self, path: Path) -> None:
        interrupted = False

        def now() -> float:
            if interrupted:
                raise KeyboardInterrupt
            return 1.0

        with closing(SqliteStore(path, now=now)) as store:
            lease = store.acquire("s")
            interrupted = True
            with pytest.raises(KeyboardInterrupt):
                store.append(lease, log("s", Noticed("one")))
            interrupted = False

            assert list(store.read("s")) == []
            store.append(lease, log("s", Noticed("one")))

    def test_a_lease_may_be_given_back_in_the_middle_of_anything(self, path: Path) -> None:
        """The garbage collector may drop a session while this thread is inside a transaction."""
        late: list[Callable[[], None]] = []

        def now() -> float:
            while late:
                late.pop()()
            return 1.0

        with closing(SqliteStore(path, now=now)) as store:
            fill(store, "a")
            dropped, lease = store.acquire("a"), store.acquire("b")
            late.append(lambda: store.release(dropped))

            store.append(lease, log("b", Noticed("one")))

            assert {row.id: bool(row.writer) for row in store.sessions()} == {"a": False, "b": True}


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
            migrate(db, path, (*MIGRATIONS, ("CREATE TABLE extra (x)",)))

        with pytest.raises(StoreError, match="newer loom_nb"):
            store.append(lease, log("s", Noticed("two"), start=2))
        assert len(list(store.read("s"))) == 1

    def test_an_older_one_is_brought_forward_with_its_rows(self, path: Path, store: SqliteStore) -> None:
        entries = fill(store, "s")
        newer = (*MIGRATIONS, ("CREATE TABLE extra (x)", "INSERT INTO extra SELECT seq FROM events"))

        with database(path) as db:
            assert migrate(db, path, newer) == len(newer)
            assert migrate(db, path, newer) == len(newer)  # done once
            assert db.execute("SELECT count(*) FROM extra").fetchone() == (6,)
        assert list(store.read("s")) == entries

    def test_a_step_that_fails_leaves_the_old_one_whole(self, path: Path, store: SqliteStore) -> None:
        fill(store, "s")

        with database(path) as db:
            with pytest.raises(sqlite3.OperationalError):
                migrate(db, path, (*MIGRATIONS, ("CREATE TABLE extra (x)", "INSERT INTO nowhere VALUES (1)")))
            assert db.execute("SELECT name FROM sqlite_master WHERE name = 'extra'").fetchall() == []
            assert migrate(db, path) == len(MIGRATIONS)


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
    def test_listing_runs_costs_the_same_whatever_the_store_holds(
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
        small = steps(store, store.runs), steps(store, lambda: store.runs("session 7"))
        grow(10_000)
        large = steps(store, store.runs), steps(store, lambda: store.runs("session 7"))

        assert len(store.runs()) == 100
        assert len(store.sessions()) == 10_000
        assert large[0] <= small[0] * 1.1
        assert large[1] <= small[1] * 1.1

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
