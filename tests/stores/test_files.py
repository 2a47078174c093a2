"""What the file store promises beyond the contract: its files, what crashes leave, damage of every byte."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from loom_nb.errors import LeaseLost, StoreDamaged, StoreError
from loom_nb.events import Kept, LogEntry, Noticed, QuestionAsked, RunFinished, RunStarted
from loom_nb.questions import Question
from loom_nb.stores import FileSessionStore
from loom_nb.stores.disk import locked
from loom_nb.stores.files import file_name
from loom_nb.stores.segments import End, Segment, encode


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(path: Path) -> FileSessionStore:
    return FileSessionStore(path, busy_seconds=0.05)


def log(session: str, *events: Kept, start: int = 1, run: str = "r1") -> list[LogEntry]:
    return [LogEntry(session, start + n, run, 100.0 + start + n, event) for n, event in enumerate(events)]


def fill(store: FileSessionStore, session: str) -> list[LogEntry]:
    """A session with one run, kept in two appends."""
    entries = log(session, RunStarted("m", "goal"), Noticed("Zähle 🧶"), RunFinished("completed", "done"))
    lease = store.acquire(session)
    store.append(lease, entries[:1])
    store.append(lease, entries[1:])
    store.release(lease)
    return entries


def file(store: FileSessionStore, session: str, suffix: str = ".jsonl") -> Path:
    return store.path / "sessions" / (file_name(session) + suffix)


def more(store: FileSessionStore, session: str) -> bytes:
    """What an append of three entries to the session would write."""
    with Segment(file(store, session), session) as segment:
        end = segment.end()
    data, _ = encode(session, log(session, *[Noticed("late")] * 3, start=end.seq + 1), end)
    return data


class TestTheFile:
    def test_it_is_a_line_of_plain_json_for_each_entry(self, store: FileSessionStore) -> None:
        entries = fill(store, "nb-1")

        first, *rest = map(json.loads, file(store, "nb-1").read_text(encoding="utf-8").splitlines())

        assert first["session"] == "nb-1"
        assert [(line["seq"], line["run"], line["time"]) for line in rest] == [
            (entry.seq, entry.run, entry.time) for entry in entries
        ]
        assert [line["event"]["type"] for line in rest] == ["RunStarted", "Noticed", "RunFinished"]
        assert [line["prev"] for line in rest] == [line["sum"] for line in (first, *rest[:-1])]

    def test_appending_changes_no_byte_that_was_there(self, store: FileSessionStore) -> None:
        fill(store, "s")
        before = file(store, "s").read_bytes()

        store.append(store.acquire("s"), log("s", Noticed("more"), start=4))

        assert file(store, "s").read_bytes().startswith(before)

    @pytest.mark.parametrize(
        "session",
        [
            "",
            ".",
            "..",
            "../../etc/passwd",
            "/abs",
            "C:\\x",
            "CON",
            "a\x00b",
            "A" * 5000,
            "漢字🧶",
            "%2e",
            "İ" * 99,
        ],
    )
    def test_any_id_is_a_short_plain_name_inside_the_folder(
        self, store: FileSessionStore, tmp_path: Path, session: str
    ) -> None:
        fill(store, session)

        made = [path for path in tmp_path.rglob("*") if path.is_file()]
        names = {path.name for path in made if path.parent == store.path / "sessions"}
        assert len(names) == 2
        assert all(name.isascii() and name == name.lower() and len(name) < 90 for name in names)
        assert all(path.is_relative_to(store.path) for path in made)

    def test_ids_that_differ_in_case_or_form_have_names_that_differ_in_more(self) -> None:
        ids = ["nb", "NB", "Nb", "n/b", "n-b", "é", "e\u0301", "nb ", "nb\n"]
        assert len({file_name(session).casefold() for session in ids}) == len(ids)

    def test_the_name_shows_the_beginning_of_the_id(self) -> None:
        assert file_name("nb-Analysis of May").startswith("nb-analysis-of-may-")

    def test_the_log_of_a_newer_version_is_refused_with_what_to_do(self, store: FileSessionStore) -> None:
        fill(store, "s")
        from loom_nb.stores import segments

        rest = b'"log":%d,"session":"s"}' % (segments.VERSION + 1)
        line = b'{"sum":"%s",%s\n' % (segments._sum(b"s", rest).encode(), rest)
        file(store, "s").write_bytes(line)

        with pytest.raises(StoreError, match="newer loom_nb") as refused:
            list(store.read("s"))
        assert any("upgrade" in fix for fix in refused.value.fixes)

    def test_a_folder_that_went_away_is_noticed_and_a_new_one_begun(self, store: FileSessionStore) -> None:
        lease = store.acquire("s")
        store.append(lease, log("s", Noticed("one")))
        shutil.rmtree(store.path)

        with pytest.raises(StoreError, match="moved or deleted"):
            store.append(lease, log("s", Noticed("into the void"), start=2))
        store.release(lease)
        assert not store.path.exists()

        store.append(store.acquire("s"), log("s", Noticed("anew")))
        assert [entry.event for entry in store.read("s")] == [Noticed("anew")]

    def test_who_waits_too_long_for_a_lock_is_told(self, store: FileSessionStore) -> None:
        lease = store.acquire("s")
        with locked(file(store, "s", ".lease"), 1, make=False):
            with pytest.raises(StoreError, match="locked by another process") as refused:
                store.append(lease, log("s", Noticed("one")))
            assert list(store.read("s")) == []
        assert refused.value.cause and refused.value.fixes
        store.append(lease, log("s", Noticed("one")))

    @pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everything")
    def test_a_folder_without_rights_is_refused(self, store: FileSessionStore) -> None:
        fill(store, "s")
        file(store, "s").chmod(0o400)

        with pytest.raises(StoreError, match="may not be used"):
            store.append(store.acquire("s"), log("s", Noticed("x"), start=4))


class TestWhatACrashLeaves:
    def cuts(self, data: bytes) -> Iterator[bytes]:
        yield from (data[:cut] for cut in range(1, len(data)))

    def test_an_append_that_was_cut_anywhere_never_happened(self, store: FileSessionStore) -> None:
        entries = fill(store, "s")
        whole = file(store, "s").read_bytes()

        for torn in self.cuts(more(store, "s")):
            file(store, "s").write_bytes(whole + torn)

            assert list(store.read("s")) == entries
            assert store.check("s") == []
            assert [row.entries for row in store.sessions()] == [3]
            assert [row.status for row in store.runs("s")] == ["completed"]
            store.release(store.acquire("s"))
            assert file(store, "s").read_bytes() == whole

    def test_an_append_that_is_whole_but_was_not_acknowledged_counts(self, store: FileSessionStore) -> None:
        fill(store, "s")
        file(store, "s").write_bytes(file(store, "s").read_bytes() + more(store, "s"))

        assert [entry.seq for entry in store.read("s")] == [1, 2, 3, 4, 5, 6]
        store.append(store.acquire("s"), log("s", Noticed("on"), start=7))
        assert len(list(store.read("s"))) == 7

    def test_zeros_at_the_end_after_a_power_cut_are_cut_off(self, store: FileSessionStore) -> None:
        entries = fill(store, "s")
        whole = file(store, "s").read_bytes()
        late = more(store, "s")

        for tail in (bytes(4096), late[:100] + bytes(300), bytes(200) + late[200:]):
            file(store, "s").write_bytes(whole + tail)
            assert list(store.read("s")) == entries
            store.release(store.acquire("s"))
            assert file(store, "s").read_bytes() == whole

    def test_what_a_writer_is_in_the_middle_of_is_not_read(self, store: FileSessionStore) -> None:
        entries = fill(store, "s")
        lease = store.acquire("s")
        file(store, "s").write_bytes(file(store, "s").read_bytes() + more(store, "s")[:-9])

        assert list(store.read("s", after=1)) == entries[1:]
        store.append(lease, log("s", Noticed("instead"), start=4))
        assert [entry.seq for entry in store.read("s")] == [1, 2, 3, 4]


class TestDamage:
    @pytest.mark.parametrize("noted", [True, False], ids=["", "without its lease file"])
    def test_every_flipped_byte_is_noticed_and_nothing_wrong_is_read(
        self, store: FileSessionStore, noted: bool
    ) -> None:
        entries, others = fill(store, "s"), fill(store, "other")
        path = file(store, "s")
        whole = path.read_bytes()
        if not noted:
            file(store, "s", ".lease").unlink()

        for at in range(len(whole)):
            content = bytearray(whole)
            content[at] ^= 1 << at % 8
            path.write_bytes(content)

            with pytest.raises(StoreDamaged, match="'s' is damaged"):
                list(store.read("s"))
            salvaged = store.salvage("s")
            assert salvaged == entries[: len(salvaged)]
        assert list(store.read("other")) == others

    def test_a_log_that_was_cut_between_two_appends_is_noticed(self, store: FileSessionStore) -> None:
        entries = fill(store, "s")
        lines = file(store, "s").read_bytes().splitlines(keepends=True)
        for kept in range(1, len(lines)):
            file(store, "s").write_bytes(b"".join(lines[:kept]))

            with pytest.raises(StoreDamaged, match="missing|damaged"):
                list(store.read("s"))
            with pytest.raises(StoreDamaged):
                store.append(store.acquire("s"), log("s", Noticed("x"), start=kept))
            assert store.salvage("s") == entries[: kept - 1]

    def test_a_log_that_is_gone_is_noticed(self, store: FileSessionStore) -> None:
        fill(store, "s")
        file(store, "s").unlink()

        with pytest.raises(StoreDamaged, match="gone"):
            list(store.read("s"))
        with pytest.raises(StoreDamaged, match="gone"):
            store.append(store.acquire("s"), log("s", Noticed("x")))
        assert [found.problem for found in store.check()] == ["the file of its log is gone"]

    def test_lines_that_were_taken_out_swapped_or_brought_from_elsewhere_are_noticed(
        self, store: FileSessionStore
    ) -> None:
        fill(store, "s")
        fill(store, "t")
        head, one, two, three = file(store, "s").read_bytes().splitlines(keepends=True)
        _, _, foreign, _ = file(store, "t").read_bytes().splitlines(keepends=True)
        for lines, seq in (
            ([head, two, three], 1),
            ([head, one, three], 2),
            ([head, one, three, two], 2),
            ([head, one, one, two, three], 2),
            ([head, one, foreign, three], 2),
        ):
            file(store, "s").write_bytes(b"".join(lines))
            assert [found.seq for found in store.check("s")] == [seq]

    def test_the_file_of_another_session_is_not_taken_for_ones_own(self, store: FileSessionStore) -> None:
        fill(store, "s")
        fill(store, "t")
        shutil.copy(file(store, "t"), file(store, "s"))

        with pytest.raises(StoreDamaged, match="session 't'"):
            list(store.read("s"))

    def test_a_session_whose_first_line_is_bad_is_listed_by_the_name_of_its_file(
        self, store: FileSessionStore
    ) -> None:
        fill(store, "s")
        content = bytearray(file(store, "s").read_bytes())
        content[50] ^= 1
        file(store, "s").write_bytes(content)

        assert [row.id for row in store.sessions()] == [file_name("s")]
        assert [row.status for row in store.runs()] == ["damaged"]
        assert [str(found) for found in store.check()] == [
            f"session {file_name('s')!r}, entry 0: its first line is not as it was written"
        ]

    def test_nothing_is_appended_to_a_log_whose_end_is_bad(self, store: FileSessionStore) -> None:
        fill(store, "s")
        lease = store.acquire("s")
        content = bytearray(file(store, "s").read_bytes())
        content[-20] ^= 1
        file(store, "s").write_bytes(content)

        with pytest.raises(StoreDamaged, match="'s'"):
            store.append(lease, log("s", Noticed("after it"), start=4))
        assert file(store, "s").read_bytes() == content

    def test_the_other_runs_of_a_damaged_session_are_listed_as_they_were(
        self, store: FileSessionStore
    ) -> None:
        lease = store.acquire("s")
        for n in range(5):
            ends = (RunStarted("m", f"goal {n}"), Noticed("x"), RunFinished("completed", f"answer {n}"))
            store.append(lease, log("s", *ends, start=1 + 3 * n, run=f"r{n}"))
        content = file(store, "s").read_bytes()
        file(store, "s").write_bytes(content.replace(b"answer 2", b"answer 7"))

        assert [(row.run, row.status) for row in store.runs()] == [
            ("r4", "completed"),
            ("r3", "completed"),
            ("r2", "damaged"),
            ("r1", "completed"),
            ("r0", "completed"),
        ]
        assert store.runs("s") == store.runs()


class TestTheLeaseFile:
    @pytest.mark.parametrize("slot", [0, 1])
    def test_a_bad_slot_never_lets_an_old_holder_write_on_beside_a_new_one(
        self, store: FileSessionStore, path: Path, slot: int
    ) -> None:
        here = FileSessionStore(path, host="here")
        there = FileSessionStore(path, host="there")
        old = there.acquire("s")
        there.append(old, log("s", Noticed("one")))
        content = bytearray(file(store, "s", ".lease").read_bytes())
        content[slot * 1024 + 30] ^= 1
        file(store, "s", ".lease").write_bytes(content)

        with pytest.raises(LeaseLost):
            there.append(old, log("s", Noticed("two"), start=2))
        new = here.acquire("s")
        assert new.fence > old.fence
        here.append(new, log("s", Noticed("two"), start=2))
        assert len(list(here.read("s"))) == 2

    @pytest.mark.parametrize("content", [b"", b"nonsense", bytes(2048), b"x" * 2048])
    def test_one_that_is_destroyed_is_begun_anew(self, store: FileSessionStore, content: bytes) -> None:
        entries = fill(store, "s")
        file(store, "s", ".lease").write_bytes(content)

        assert list(store.read("s")) == entries
        lease = store.acquire("s")
        store.append(lease, log("s", Noticed("on"), start=4))
        assert len(list(store.read("s"))) == 4


class TestTheListings:
    @pytest.mark.parametrize("harm", ["gone", "empty", "cut", "nonsense", "a flipped byte"])
    @pytest.mark.parametrize("index", ["runs.index", "sessions.index", "questions.index"])
    def test_an_index_that_is_damaged_or_gone_is_made_anew(
        self, store: FileSessionStore, index: str, harm: str
    ) -> None:
        for n in range(30):
            fill(store, f"s{n}")
            lease = store.acquire(f"s{n}")
            asked = QuestionAsked(Question(f"q{n}", "confirm", "ok?"))
            store.append(lease, [LogEntry(f"s{n}", 4, "r1", 200.0 + n, asked)])
            store.release(lease)
        listed = store.runs(), store.sessions(), store.questions()
        path = store.path / index
        content = path.read_bytes()
        harmed = {
            "empty": b"",
            "cut": content[:-200],
            "nonsense": b"nonsense" * 400,
            "a flipped byte": content[:-300] + bytes([content[-300] ^ 1]) + content[-299:],
        }
        if harm == "gone":
            path.unlink()
        else:
            path.write_bytes(harmed[harm])
        if harm == "cut":
            store.reindex()  # a shorter index cannot be told from a younger one

        assert (store.runs(), store.sessions(), store.questions()) == listed
        fill(store, "late")
        assert {row.session for row in store.runs()} == {"late", *(f"s{n}" for n in range(30))}

    def test_logs_that_were_brought_from_elsewhere_are_listed_after_an_index(
        self, store: FileSessionStore, tmp_path: Path
    ) -> None:
        for n in range(5):
            fill(store, f"s{n}")
        copy = FileSessionStore(tmp_path / "copy")
        fill(copy, "own")
        for session in ("s1", "s3"):
            shutil.copy(file(store, session), file(copy, session))

        copy.reindex()

        assert {row.id for row in copy.sessions()} == {"own", "s1", "s3"}
        assert [row.status for row in copy.runs()] == ["completed"] * 3
        assert list(copy.read("s1")) == list(store.read("s1"))

    def test_a_folder_of_logs_alone_is_a_store(self, store: FileSessionStore, tmp_path: Path) -> None:
        for n in range(5):
            fill(store, f"s{n}")
        (tmp_path / "copy" / "sessions").mkdir(parents=True)
        for log_file in (store.path / "sessions").glob("*.jsonl"):
            shutil.copy(log_file, tmp_path / "copy" / "sessions")

        copy = FileSessionStore(tmp_path / "copy")

        assert copy.sessions() == store.sessions()
        assert copy.runs() == store.runs()

    def test_the_index_of_sessions_stays_small_however_often_they_are_written(
        self, store: FileSessionStore
    ) -> None:
        leases = [store.acquire(f"s{n}") for n in range(2)]
        for seq in range(1, 1201):
            for n, lease in enumerate(leases):
                store.append(lease, [LogEntry(f"s{n}", seq, "", float(2 * seq + n), Noticed("x"))])

        assert (store.path / "sessions.index").stat().st_size < 1100 * 128
        assert [(row.id, row.updated) for row in store.sessions()] == [("s1", 2401.0), ("s0", 2400.0)]

    def test_one_writer_alone_never_lets_it_grow(self, store: FileSessionStore) -> None:
        lease = store.acquire("s")
        for seq in range(1, 51):
            store.append(lease, [LogEntry("s", seq, "", float(seq), Noticed("x"))])

        assert (store.path / "sessions.index").stat().st_size == 2 * 128
        assert [row.updated for row in store.sessions()] == [50.0]


class TestReadingTheRest:
    def test_what_comes_before_is_not_read(self, store: FileSessionStore) -> None:
        """The beginning is damaged, and nobody who reads the end needs to know."""
        lease = store.acquire("s")
        for first in range(1, 2001, 100):
            store.append(lease, log("s", *[Noticed("x" * 500)] * 100, start=first))
        content = bytearray(file(store, "s").read_bytes())
        content[5000] ^= 1
        file(store, "s").write_bytes(content)

        assert [entry.seq for entry in store.read("s", after=1990)] == list(range(1991, 2001))
        with pytest.raises(StoreDamaged):
            list(store.read("s"))

    @pytest.mark.parametrize("size", [10, 3000, 300_000])
    def test_it_begins_where_it_should_whatever_the_lines_are_like(
        self, store: FileSessionStore, size: int
    ) -> None:
        lease = store.acquire("s")
        notices = [Noticed("x" * (size if n % 3 else 5)) for n in range(60)]
        store.append(lease, log("s", *notices[:41]))
        store.append(lease, log("s", *notices[41:], start=42))

        for after in range(62):
            assert [entry.seq for entry in store.read("s", after=after)] == list(range(after + 1, 61))


def test_the_end_of_a_file_that_holds_nothing_yet_is_its_first_line(tmp_path: Path) -> None:
    from loom_nb.stores.segments import beginning, head

    (tmp_path / "x.jsonl").write_bytes(head("s"))
    with Segment(tmp_path / "x.jsonl", "s") as segment:
        assert segment.end() == beginning("s") == End(len(head("s")), 0, beginning("s").sum, 0)
        assert list(segment.walk()) == []
