"""What every store promises. A new store is added to STORES or to DURABLE and has to pass all of it.

The second half is for stores that keep: crashes, full disks, flipped bytes, other processes and
machines. Children are real processes, they are really killed, and the disk is really full.
"""

import gc
import json
import os
import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom_nb.errors import LeaseLost, LoomUsageError, SessionBusy, SessionDeleted, StoreDamaged, StoreError
from loom_nb.events import (
    CallFinished,
    CallStarted,
    Grant,
    GrantRevoked,
    Kept,
    LogEntry,
    MessageAdded,
    Noticed,
    QuestionAnswered,
    QuestionAsked,
    RunFinished,
    RunInterrupted,
    RunStarted,
    SessionOpened,
    TurnFinished,
)
from loom_nb.messages import ImagePart, Message, TextPart, ToolCallPart, ToolResultPart, Usage, user
from loom_nb.protocols import RunRow, SessionRow, Store
from loom_nb.questions import Question
from loom_nb.stores import FileSessionStore, MemoryStore, SqliteStore
from loom_nb.stores.leases import HeldLease

Kept_: TypeAlias = SqliteStore | FileSessionStore

DURABLE: dict[str, Callable[..., Kept_]] = {
    "sqlite": lambda folder, **options: SqliteStore(folder / "loom.db", **options),
    "files": lambda folder, **options: FileSessionStore(folder / "sessions", **options),
}
STORES: dict[str, Callable[[Path], Store]] = {"memory": lambda folder: MemoryStore(), **DURABLE}

HERE = "this-machine"


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = STORES[request.param](tmp_path)
    yield store
    store.close()


@pytest.fixture(params=DURABLE)
def make(request: pytest.FixtureRequest) -> Callable[..., Kept_]:
    """Opens a store in a folder."""
    return DURABLE[request.param]


@pytest.fixture
def kept(make: Callable[..., Kept_], tmp_path: Path) -> Iterator[Kept_]:
    with closing(make(tmp_path)) as store:
        yield store


def log(session: str, *events: Kept, start: int = 1, run: str = "r1", time: float = 100.0) -> list[LogEntry]:
    """Events as entries of one run, a second apart."""
    return [LogEntry(session, start + n, run, time + n, event) for n, event in enumerate(events)]


def keep(store: Store, session: str, *events: Kept, run: str = "r1", time: float = 100.0) -> None:
    """Append events to a session as its only writer."""
    lease = store.acquire(session)
    start = len(list(store.read(session))) + 1
    store.append(lease, log(session, *events, start=start, run=run, time=time))
    store.release(lease)


WHOLE_RUN: Sequence[Kept] = (
    SessionOpened(metadata={"notebook": "a.ipynb"}),
    RunStarted("scripted:x", "Zähle ¿ 数えて 🧶"),
    MessageAdded(Message("user", (TextPart("look"), ImagePart(b"\x89PNG\x00\xff")))),
    MessageAdded(Message("assistant", (ToolCallPart("c1", "read", '{"path": "\\u0000"}'),))),
    TurnFinished(1, Usage(10, 5, 3), "tool_calls", seconds=0.25),
    CallStarted("c1", "read", {"path": "a", "deep": [{"n": 10**30}, None, 1.5, True]}, ("reads",)),
    CallFinished(ToolResultPart("c1", "read", (TextPart("NUL \x00 and \u2028 and \U0010ffff"),))),
    Noticed(""),
    RunFinished("completed", "done", usage=Usage(10, 5), cost=0.25, data={"a": [1, 2]}),
)


class TestTheLog:
    def test_what_was_appended_is_read_back_equal_and_in_order(self, store: Store) -> None:
        entries = log("s", *WHOLE_RUN)
        lease = store.acquire("s")

        store.append(lease, entries[:4])
        store.append(lease, entries[4:])

        assert list(store.read("s")) == entries

    @pytest.mark.parametrize("after", [-5, 0, 1, 8, 9, 10, 10**30])
    def test_reading_after_an_entry_gives_the_rest(self, store: Store, after: int) -> None:
        keep(store, "s", *WHOLE_RUN)

        assert [entry.seq for entry in store.read("s", after=after)] == list(range(1, 10))[max(after, 0) :]

    def test_a_session_that_does_not_exist_is_empty(self, store: Store) -> None:
        assert list(store.read("nobody")) == []
        assert list(store.runs("nobody")) == []
        assert list(store.runs()) == []
        assert list(store.sessions()) == []

    def test_appending_nothing_keeps_nothing(self, store: Store) -> None:
        store.append(store.acquire("s"), [])

        assert list(store.read("s")) == []
        assert list(store.sessions()) == []

    def test_many_entries_are_read_back_whatever_their_size(self, store: Store) -> None:
        notices = [Noticed("x" * (n % 7) * 40_000) for n in range(700)]
        keep(store, "s", *notices)

        assert [entry.event for entry in store.read("s")] == notices

    def test_the_log_may_grow_while_it_is_read(self, store: Store) -> None:
        lease = store.acquire("s")
        store.append(lease, log("s", *[Noticed(str(n)) for n in range(600)]))

        reading = iter(store.read("s"))
        first = next(reading)
        store.append(lease, log("s", Noticed("late"), start=601))

        assert [first.seq, *(entry.seq for entry in reading)] == list(range(1, 601))
        assert [entry.seq for entry in store.read("s", after=600)] == [601]

    @pytest.mark.parametrize(
        "session", ["", " ", "a'b\"c;--", "../../etc", "%", "漢字🧶", "a\x00b", "A" * 5000]
    )
    def test_any_text_may_name_a_session(self, store: Store, session: str) -> None:
        keep(store, session, Noticed("here"))
        keep(store, session + "x", Noticed("there"))

        assert [entry.event for entry in store.read(session)] == [Noticed("here")]
        assert {row.id for row in store.sessions()} == {session, session + "x"}

    @pytest.mark.parametrize(
        ("session", "seqs"),
        [
            ("s", [3]),
            ("s", [1]),
            ("s", [0]),
            ("s", [-1]),
            ("s", [2, 2]),
            ("s", [2, 4]),
            ("s", [10**30]),
            ("t", [2]),
        ],
    )
    def test_what_does_not_continue_the_log_is_refused_as_a_whole(
        self, store: Store, session: str, seqs: list[int]
    ) -> None:
        lease = store.acquire("s")
        store.append(lease, log("s", Noticed("one")))
        wrong = [LogEntry(session, seq, "", 1.0, Noticed("wrong")) for seq in seqs]

        with pytest.raises(StoreError, match="does not continue"):
            store.append(lease, wrong)

        assert [entry.event for entry in store.read("s")] == [Noticed("one")]
        store.append(lease, log("s", Noticed("two"), start=2))
        assert len(list(store.read("s"))) == 2

    def test_sessions_do_not_see_each_other(self, store: Store) -> None:
        a, b = store.acquire("a"), store.acquire("b")
        for n in range(1, 20):
            store.append(a, log("a", Noticed(f"a{n}"), start=n))
            store.append(b, log("b", Noticed(f"b{n}"), start=n))

        assert [entry.event for entry in store.read("b")] == [Noticed(f"b{n}") for n in range(1, 20)]

    def test_threads_may_write_their_sessions_at_once(self, store: Store) -> None:
        failures: list[BaseException] = []

        def write(session: str) -> None:
            try:
                lease = store.acquire(session)
                for n in range(1, 41):
                    store.append(lease, log(session, Noticed(str(n)), start=n))
                    assert len(list(store.read(session))) == n
                store.release(lease)
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=write, args=(f"s{n}",)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert failures == []
        assert [row.entries for row in store.sessions()] == [40] * 6

    def test_a_closed_store_may_be_closed_again(self, store: Store) -> None:
        keep(store, "s", Noticed("kept"))

        store.close()
        store.close()

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_any_batches_of_any_events_come_back_as_they_went(
        self, store: Store, data: st.DataObject
    ) -> None:
        session = uuid.uuid4().hex  # a new one for each example
        text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
        plain: st.SearchStrategy[Any] = st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | text,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
            max_leaves=10,
        )
        event = st.one_of(
            st.builds(Noticed, text),
            st.builds(lambda words: MessageAdded(user(words)), text),
            st.builds(CallStarted, text, text, st.dictionaries(text, plain, max_size=3)),
        )
        moment = st.floats(allow_nan=False, allow_infinity=False)
        drawn = data.draw(st.lists(st.tuples(text, moment, event), max_size=12))
        entries = [LogEntry(session, n, run, ts, what) for n, (run, ts, what) in enumerate(drawn, 1)]
        cut = data.draw(st.integers(0, len(entries)))

        lease = store.acquire(session)
        store.append(lease, entries[:cut])
        store.append(lease, entries[cut:])

        assert list(store.read(session)) == entries
        assert list(store.read(session, after=cut)) == entries[cut:]


class TestTheLease:
    def test_one_holder_at_a_time(self, store: Store) -> None:
        held = store.acquire("s")

        with pytest.raises(SessionBusy) as refused:
            store.acquire("s")

        assert "'s'" in refused.value.title and "this process" in refused.value.title
        assert refused.value.cause and refused.value.fixes
        store.append(held, log("s", Noticed("still mine")))

    def test_a_lease_names_its_session_and_each_holder_has_a_higher_fence(self, store: Store) -> None:
        fences = []
        for _ in range(4):
            lease = store.acquire("s")
            fences.append(lease.fence)
            assert lease.session == "s"
            store.release(lease)

        assert fences == sorted(set(fences))

    def test_another_session_is_free(self, store: Store) -> None:
        held, free = store.acquire("s"), store.acquire("t")

        store.append(free, log("t", Noticed("ok")))
        store.append(held, log("s", Noticed("ok")))

    def test_a_lease_given_back_writes_no_more(self, store: Store) -> None:
        lease = store.acquire("s")
        store.release(lease)

        with pytest.raises(LeaseLost, match="'s'"):
            store.append(lease, log("s", Noticed("late")))
        with pytest.raises(LeaseLost):
            store.renew(lease)
        assert list(store.read("s")) == []

    def test_an_old_lease_writes_no_more_when_another_came(self, store: Store) -> None:
        old = store.acquire("s")
        store.append(old, log("s", Noticed("one")))
        store.release(old)
        new = store.acquire("s")

        with pytest.raises(LeaseLost) as refused:
            store.append(old, log("s", Noticed("late"), start=2))
        with pytest.raises(LeaseLost):
            store.renew(old)

        assert refused.value.cause and refused.value.fixes
        store.append(new, log("s", Noticed("two"), start=2))
        assert len(list(store.read("s"))) == 2

    def test_giving_back_twice_or_late_harms_nobody(self, store: Store) -> None:
        old = store.acquire("s")
        store.release(old)
        store.release(old)
        new = store.acquire("s")
        store.release(old)

        store.append(new, log("s", Noticed("mine")))

    def test_a_lease_is_renewed_as_often_as_one_likes(self, store: Store) -> None:
        lease = store.acquire("s")

        for _ in range(3):
            store.renew(lease)

        store.append(lease, log("s", Noticed("mine")))

    def test_a_lease_that_nobody_refers_to_is_free(self, store: Store) -> None:
        forgotten = store.acquire("s")
        fence = forgotten.fence
        del forgotten
        gc.collect()

        assert store.acquire("s").fence > fence

    def test_of_many_threads_that_ask_one_gets_it(self, store: Store) -> None:
        start = threading.Barrier(6)
        got: list[object] = []
        refused: list[object] = []

        def ask() -> None:
            start.wait()
            try:
                got.append(store.acquire("s"))
            except SessionBusy as busy:
                refused.append(busy)

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert (len(got), len(refused)) == (1, 5)


class TestTheListings:
    def test_a_run_is_listed_with_how_it_ended(self, store: Store) -> None:
        for n, status in enumerate(("completed", "stopped", "limit", "denied", "failed")):
            ends = (RunStarted("m:x", f"goal {n}"), RunFinished(status))  # type: ignore[arg-type]  # a Literal in a loop
            keep(store, "s", *ends, run=f"r{n}", time=100.0 * n)

        assert list(store.runs("s")) == [
            RunRow("s", "r4", 400.0, "goal 4", "m:x", "failed"),
            RunRow("s", "r3", 300.0, "goal 3", "m:x", "denied"),
            RunRow("s", "r2", 200.0, "goal 2", "m:x", "limit"),
            RunRow("s", "r1", 100.0, "goal 1", "m:x", "stopped"),
            RunRow("s", "r0", 0.0, "goal 0", "m:x", "completed"),
        ]

    def test_a_run_without_end_is_running_while_its_session_is_held_and_interrupted_after(
        self, store: Store
    ) -> None:
        lease = store.acquire("s")
        store.append(lease, log("s", RunStarted("m", "g"), Noticed("on the way")))

        assert [row.status for row in store.runs()] == ["running"]
        store.release(lease)
        assert [row.status for row in store.runs()] == ["interrupted"]

    def test_an_interrupted_run_stays_interrupted_when_the_session_goes_on(self, store: Store) -> None:
        keep(store, "s", RunStarted("m", "one"))
        lease = store.acquire("s")
        store.append(lease, log("s", RunInterrupted(), start=2))
        store.append(lease, log("s", RunStarted("m", "two"), start=3, run="r2", time=200.0))

        assert [(row.run, row.status) for row in store.runs("s")] == [
            ("r2", "running"),
            ("r1", "interrupted"),
        ]

    def test_runs_come_newest_first_from_all_sessions_up_to_the_limit(self, store: Store) -> None:
        for n in range(6):
            keep(
                store, f"s{n % 2}", RunStarted("m", "g"), RunFinished("completed"), run=f"r{n}", time=float(n)
            )

        assert [row.run for row in store.runs()] == ["r5", "r4", "r3", "r2", "r1", "r0"]
        assert [row.run for row in store.runs(limit=2)] == ["r5", "r4"]
        assert [row.run for row in store.runs("s0", limit=2)] == ["r4", "r2"]
        assert list(store.runs(limit=0)) == []

    def test_the_runs_of_one_session_keep_their_order_when_the_clock_jumps_back(self, store: Store) -> None:
        for n, moment in enumerate((500.0, 100.0, 300.0)):
            keep(store, "s", RunStarted("m", "g"), run=f"r{n}", time=moment)

        assert [row.run for row in store.runs("s")] == ["r2", "r1", "r0"]

    def test_the_same_run_id_in_two_sessions_is_two_runs(self, store: Store) -> None:
        keep(store, "a", RunStarted("m", "g"), RunFinished("completed"), time=1.0)
        keep(store, "b", RunStarted("m", "g"), RunFinished("failed"), time=2.0)

        assert [(row.session, row.status) for row in store.runs()] == [("b", "failed"), ("a", "completed")]

    def test_sessions_come_newest_first_with_their_writer(self, store: Store) -> None:
        keep(store, "old", Noticed("a"), Noticed("b"), time=10.0)
        held = store.acquire("new")
        store.append(held, log("new", Noticed("c"), time=50.0))

        new, old = store.sessions()

        assert (new.id, new.entries, new.started, new.updated) == ("new", 1, 50.0, 50.0)
        assert (old.id, old.entries, old.started, old.updated) == ("old", 2, 10.0, 11.0)
        assert new.writer.rpartition(":")[2].isdecimal()
        assert old.writer == ""

    def test_pages_of_sessions_put_together_are_the_whole_listing(self, store: Store) -> None:
        for n in range(23):
            keep(store, f"s{n}", Noticed("x"), time=float(n // 3))  # some at the same moment

        whole = list(store.sessions())
        for size in (1, 4, 23, 50):
            pages: list[SessionRow] = []
            while page := store.sessions(limit=size, before=pages[-1] if pages else None):
                assert len(page) <= size
                pages += page
            assert pages == whole

        assert list(store.sessions(limit=0)) == []
        assert list(store.sessions(limit=4)) == whole[:4]

    @pytest.mark.parametrize("seed", range(4))
    def test_listings_are_right_whatever_the_clock_says(self, store: Store, seed: int) -> None:
        """Against a list of all entries, for every limit, with a clock that jumps both ways."""
        chance, moment = random.Random(seed), 1000.0
        written: list[LogEntry] = []
        for n in range(120):
            moment += chance.choice((1, 1, 1, 5, -3, -400, 3000, 0.5))
            session = f"s{chance.randrange(8)}"
            run = chance.choice(
                (
                    (RunStarted("m", f"goal {n}"), RunFinished("completed")),
                    (RunStarted("m", f"goal {n}"), QuestionAsked(Question(f"q{n}", "confirm", "ok?"))),
                    (Noticed("x"),),
                )
            )
            start = len(list(store.read(session))) + 1
            entries = log(session, *run, start=start, run=f"r{n}", time=moment)
            lease = store.acquire(session)
            store.append(lease, entries)
            store.release(lease)
            written += entries

        def order(entry: LogEntry) -> tuple[float, str, int]:
            return entry.time, entry.session, entry.seq

        starts = sorted((e for e in written if isinstance(e.event, RunStarted)), key=order, reverse=True)
        asked = sorted((e for e in written if isinstance(e.event, QuestionAsked)), key=order, reverse=True)
        last = sorted({e.session: (e.time, e.session) for e in written}.values(), reverse=True)
        ended = {e.run for e in written if isinstance(e.event, RunFinished)}
        for limit in (1, 2, 5, 17, 1000):
            rows = store.runs(limit=limit)
            assert [(row.session, row.run) for row in rows] == [(e.session, e.run) for e in starts[:limit]]
            assert all(row.status == ("completed" if row.run in ended else "interrupted") for row in rows)
            assert list(store.questions(limit=limit)) == asked[:limit]
            assert [row.id for row in store.sessions(limit=limit)] == [name for _, name in last[:limit]]
            of_one = [e.run for e in written if e.session == "s3" and isinstance(e.event, RunStarted)]
            assert [row.run for row in store.runs("s3", limit=limit)] == of_one[::-1][:limit]


def three(store: Store) -> dict[str, list[LogEntry]]:
    """Three sessions with a run and a question each; "b" is the newest."""
    grant = Grant("k", "a.ipynb")
    for n, name in enumerate("acb"):
        events = (
            SessionOpened(metadata={"notebook": "a.ipynb"}),
            RunStarted("m", f"goal of {name}"),
            QuestionAsked(Question(f"q-{name}", "confirm", "ok?")),
            QuestionAnswered(f"q-{name}", "person", "yes", grant=grant),
            GrantRevoked(grant),
            RunFinished("completed", f"answer of {name}", usage=Usage(10, 5), cost=0.5, turns=2),
        )
        keep(store, name, *events, time=100.0 * n)
    return {name: list(store.read(name)) for name in "abc"}


class TestNames:
    def test_a_session_is_listed_with_its_name_wherever_it_stood(self, store: Store) -> None:
        logs = three(store)

        store.rename("a", "  the  letters\nto Ada ")
        held = store.acquire("c")
        store.rename("c", "写 🧶")  # whoever writes it

        assert [(row.id, row.name) for row in store.sessions()] == [
            ("b", ""),
            ("c", "写 🧶"),
            ("a", "the letters to Ada"),
        ]
        store.append(held, log("c", Noticed("still mine"), start=7, time=500.0))
        assert list(store.read("a")) == logs["a"]
        store.rename("a", "")
        assert {row.id: row.name for row in store.sessions()} == {"a": "", "b": "", "c": "写 🧶"}

    def test_a_name_outlives_the_store_and_its_writers(
        self, make: Callable[..., Kept_], tmp_path: Path
    ) -> None:
        with closing(make(tmp_path)) as store:
            three(store)
            store.rename("a", "kept" * 20)
            keep(store, "a", Noticed("on"), time=900.0)

        with closing(make(tmp_path)) as again:
            assert again.sessions(limit=1)[0].name == "kept" * 20

    @pytest.mark.parametrize("name", ["x" * 81, "a\x00b", "a\u202eb", "\ud800"])
    def test_a_name_that_cannot_be_shown_is_refused(self, store: Store, name: str) -> None:
        three(store)

        with pytest.raises(LoomUsageError, match="a name has"):
            store.rename("a", name)

        assert {row.name for row in store.sessions()} == {""}

    def test_what_does_not_exist_gets_no_name(self, store: Store) -> None:
        store.release(store.acquire("empty"))

        for session in ("nobody", "empty"):
            with pytest.raises(StoreError, match=session):
                store.rename(session, "x")

    def test_the_size_of_a_session_grows_with_it_alone(self, kept: Kept_) -> None:
        three(kept)
        before = {row.id: row.size for row in kept.sessions()}

        keep(kept, "a", Noticed("x" * 1000), time=900.0)

        after = {row.id: row.size for row in kept.sessions()}
        assert 1000 < after["a"] - before["a"] < 1500
        assert {**before, "a": 0} == {**after, "a": 0}


class TestLandmarks:
    def test_where_runs_begin_and_end_is_told_without_what_they_did(self, store: Store) -> None:
        keep(store, "s", *WHOLE_RUN)
        keep(store, "s", RunStarted("m", "two"), Noticed("x"), run="r2")
        keep(store, "s", RunInterrupted(), run="r2")
        kinds = SessionOpened | RunStarted | RunFinished | RunInterrupted

        whole = [entry for entry in store.read("s") if isinstance(entry.event, kinds)]

        assert list(store.landmarks("s")) == whole
        assert len(whole) == 5
        assert list(store.landmarks("nobody")) == []
        keep(store, "without", RunStarted("m", "g"), Noticed("x"))
        assert [entry.seq for entry in store.landmarks("without")] == [1]


class TestDeletion:
    def test_a_deleted_session_is_in_no_listing_and_its_undo_brings_back_every_byte(
        self, store: Store
    ) -> None:
        logs = three(store)
        before = (store.sessions(), store.runs(), store.runs("c"), store.questions())

        store.delete("c")
        store.delete("c")  # it is deleted already

        assert [row.id for row in store.sessions()] == ["b", "a"]
        assert [row.id for row in store.sessions(limit=1, before=store.sessions()[0])] == ["a"]
        assert [row.session for row in store.runs(limit=2)] == ["b", "a"]
        assert list(store.runs("c")) == []
        gone = store.deleted()
        assert [(row.id, row.entries, row.updated) for row in gone] == [("c", 6, 105.0)]
        assert gone[0].deleted is not None
        assert list(store.read("c")) == logs["c"]
        assert len(store.landmarks("c")) == 3

        store.restore("c")

        assert (store.sessions(), store.runs(), store.runs("c"), store.questions()) == before
        assert list(store.deleted()) == []
        keep(store, "c", Noticed("on"), time=900.0)
        assert list(store.read("c"))[:6] == logs["c"]
        assert store.sessions(limit=1)[0].id == "c"

    def test_leaves_go_with_a_deleted_session_and_what_was_taken_back_stays_taken_back(
        self, store: Store
    ) -> None:
        three(store)
        store.delete("c")

        of_c = [entry.event.type for entry in store.questions() if entry.session == "c"]

        assert of_c == ["GrantRevoked"]
        assert len(store.questions(limit=6)) == 6
        assert [entry.session for entry in store.questions(limit=4)] == ["b", "b", "b", "c"]

    def test_what_somebody_writes_is_not_deleted(self, store: Store) -> None:
        three(store)
        held = store.acquire("c")

        with pytest.raises(SessionBusy, match="'c'"):
            store.delete("c")

        store.append(held, log("c", Noticed("still mine"), start=7))
        store.release(held)
        store.delete("c")

    def test_nobody_writes_what_was_deleted_until_it_is_brought_back(self, store: Store) -> None:
        three(store)
        old = store.acquire("c")
        store.release(old)
        store.delete("c")

        with pytest.raises(SessionDeleted, match="'c'") as refused:
            store.acquire("c")
        with pytest.raises(LeaseLost):
            store.append(old, log("c", Noticed("late"), start=7))

        assert any("undo c" in fix for fix in refused.value.fixes)
        store.restore("c")
        with pytest.raises(LeaseLost):
            store.append(old, log("c", Noticed("late"), start=7))
        lease = store.acquire("c")
        assert lease.fence > old.fence
        store.append(lease, log("c", Noticed("on"), start=7))

    def test_what_does_not_exist_is_neither_deleted_nor_brought_back(self, store: Store) -> None:
        three(store)
        store.release(store.acquire("empty"))

        for session in ("nobody", "empty"):
            with pytest.raises(StoreError, match=session):
                store.delete(session)
        for session in ("nobody", "a"):
            with pytest.raises(StoreError, match=session):
                store.restore(session)

    def test_the_last_deleted_come_first(self, make: Callable[..., Kept_], tmp_path: Path) -> None:
        moment = [1000.0]
        with closing(make(tmp_path, now=lambda: moment[0])) as store:
            three(store)
            for name in "bca":
                moment[0] += 10
                store.delete(name)
            store.restore("c")
            moment[0] += 10
            store.delete("c")

            assert [(row.id, row.deleted) for row in store.deleted()] == [
                ("c", 1040.0),
                ("a", 1030.0),
                ("b", 1010.0),
            ]
            assert [row.id for row in store.deleted(limit=2)] == ["c", "a"]
        with closing(make(tmp_path)) as again:
            assert [row.id for row in again.deleted()] == ["c", "a", "b"]
            assert again.check() == []

    def test_deletions_are_found_without_their_index(self, tmp_path: Path) -> None:
        with closing(FileSessionStore(tmp_path)) as store:
            three(store)
            store.delete("b")
            (tmp_path / "deleted.index").unlink()

            assert [row.id for row in store.deleted()] == ["b"]

    def test_whatever_is_deleted_the_pages_of_the_rest_are_whole(self, store: Store) -> None:
        for n in range(40):
            keep(store, f"s{n:02}", RunStarted("m", "g"), time=float(n))
        for n in range(40):
            if n % 3:
                store.delete(f"s{n:02}")
        left = [f"s{n:02}" for n in range(39, -1, -3)]

        pages: list[SessionRow] = []
        while page := store.sessions(limit=4, before=pages[-1] if pages else None):
            pages += page

        assert [row.id for row in pages] == left
        assert [row.session for row in store.runs(limit=9)] == left[:9]
        assert len(store.deleted()) == 26


class TestPurge:
    def test_what_was_purged_is_gone_and_the_rest_is_as_it_was(self, store: Store) -> None:
        logs = three(store)
        store.rename("c", "its name")
        store.delete("c")

        assert list(store.purge(["c", "c", "nobody"])) == ["c"]

        assert list(store.read("c")) == []
        assert list(store.deleted()) == []
        assert [row.id for row in store.sessions()] == ["b", "a"]
        assert {entry.session for entry in store.questions()} == {"a", "b"}
        assert [list(store.read(name)) for name in "ab"] == [logs["a"], logs["b"]]
        with pytest.raises(StoreError, match="'c'"):
            store.restore("c")

    def test_what_is_not_deleted_is_not_purged(self, store: Store) -> None:
        logs = three(store)
        store.delete("b")
        store.restore("b")

        assert list(store.purge(["a", "b"])) == []

        assert [list(store.read(name)) for name in "abc"] == list(logs.values())

    def test_a_purged_id_begins_anew_and_an_old_lease_does_not_fit_it(self, store: Store) -> None:
        three(store)
        first = store.acquire("new")
        store.append(first, log("new", Noticed("one")))
        store.release(first)
        store.delete("new")
        store.purge(["new"])

        with pytest.raises(LeaseLost):
            store.append(first, log("new", Noticed("late"), start=2))
        lease = store.acquire("new")
        with pytest.raises(LeaseLost):
            store.append(first, log("new", Noticed("late")))

        store.append(lease, log("new", Noticed("anew")))
        assert [entry.event for entry in store.read("new")] == [Noticed("anew")]
        assert "new" in {row.id for row in store.sessions()}

    def test_no_byte_of_it_is_left(self, kept: Kept_) -> None:
        three(kept)
        fill(kept, "session-to-go")
        keep(kept, "session-to-go", Noticed("word-to-go " * 9_000), start_run("goal-to-go"), run="run-to-go")
        kept.rename("session-to-go", "name-to-go")
        assert any(b"word-to-go" in file.read_bytes() for file in files_of_all(kept))
        kept.delete("session-to-go")

        assert list(kept.purge(["session-to-go"])) == ["session-to-go"]

        found = [file for file in files_of_all(kept) if b"-to-go" in file.read_bytes()]
        assert found == []
        assert not [file for file in files_of_all(kept) if "to-go" in file.name]
        assert kept.check() == []

    def test_a_purge_that_was_killed_is_finished_by_the_next(self, tmp_path: Path) -> None:
        with closing(FileSessionStore(tmp_path)) as store:
            three(store)
            store.delete("b")
            store.delete("c")
            (log_of_b,) = (tmp_path / "sessions").glob("b-*.jsonl")
            log_of_b.unlink()  # as far as it came

            with pytest.raises(SessionDeleted):
                store.acquire("b")
            assert [row.id for row in store.deleted()] == ["c"]
            store.purge(["c"])

            assert {file.name[0] for file in (tmp_path / "sessions").iterdir()} == {"a"}
            assert store.check() == []
            assert [row.session for row in store.runs()] == ["a"]
            keep(store, "b", Noticed("anew"))


def start_run(goal: str) -> RunStarted:
    return RunStarted("m", goal)


def files_of_all(store: Kept_) -> list[Path]:
    """All files of a store, those beside a database, too."""
    folder = store.path.parent if isinstance(store, SqliteStore) else store.path
    return [file for file in folder.rglob("*") if file.is_file()]


def fill(store: Store, session: str) -> list[LogEntry]:
    """A session with one whole run of six entries."""
    notices = [Noticed(f"{session} note {n}") for n in range(4)]
    end = RunFinished("completed", f"answer of {session}")
    entries = log(session, RunStarted("m", f"goal of {session}"), *notices, end)
    lease = store.acquire(session)
    store.append(lease, entries)
    store.release(lease)
    return entries


# Children: what another kernel does

OPEN = """
import json, sys, time
from loom_nb.errors import SessionBusy, StoreError
from loom_nb.events import LogEntry, Noticed, RunStarted
from loom_nb.stores import FileSessionStore, SqliteStore

store = {"SqliteStore": SqliteStore, "FileSessionStore": FileSessionStore}[sys.argv[1]](sys.argv[2])
"""

WRITE = """
session, appends, size = sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
lease = store.acquire(session)
store.append(lease, [LogEntry(session, 1, "r1", time.time(), RunStarted("m", "g"))])
print(1, flush=True)
for first in range(2, 2 + 3 * appends, 3):
    events = [Noticed(f"{n} " + "x" * size) for n in range(first, first + 3)]
    if first % 5 == 0:
        events[1] = RunStarted("m", f"g{first}")
    batch = [LogEntry(session, n, f"r{first}", time.time(), event) for n, event in enumerate(events, first)]
    store.append(lease, batch)
    print(first + 2, flush=True)
"""

HOLD = """
lease = store.acquire("s")
store.append(lease, [LogEntry("s", 1, "r1", 1.0, RunStarted("m", "g"))])
print(lease.fence, flush=True)
sys.stdin.read()
"""

FLICKER = """
while True:
    store.delete("s")
    print("deleted", flush=True)
    store.restore("s")
    print("restored", flush=True)
"""

TURNS = """
mine, appends = sys.argv[3], int(sys.argv[4])
while appends:
    try:
        lease = store.acquire("s")
    except SessionBusy:
        time.sleep(0.001)
        continue
    last = max((entry.seq for entry in store.read("s")), default=0)
    store.append(lease, [LogEntry("s", last + 1, mine, 1.0, Noticed(f"{mine} {appends}"))])
    store.release(lease)
    appends -= 1
"""


@contextmanager
def child(store: Kept_, program: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", OPEN + program, type(store).__name__, str(store.path)]
    with subprocess.Popen(
        [*command, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


class TestKilled:
    def kill_at_random_points(self, store: Kept_, kills: int) -> None:
        chance = random.Random(kills)
        started = 0
        for n in range(kills):
            session = f"killed-{n}"
            with child(store, WRITE, session, 100_000, chance.choice((10, 2_000, 60_000))) as process:
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
            runs = [entry.run for entry in entries if isinstance(entry.event, RunStarted)]
            started += len(runs)
            rows = store.runs(session, limit=10_000)
            assert [(row.run, row.status) for row in rows] == [(run, "interrupted") for run in runs[::-1]]
            assert [row.id for row in store.sessions(limit=1)] == [session]
            lease = store.acquire(session)
            store.append(lease, log(session, Noticed("on"), start=len(entries) + 1, time=time.time()))
            assert len(list(store.read(session))) == len(entries) + 1
            store.release(lease)
        assert len(store.sessions()) == kills
        assert len(store.runs(limit=100_000)) == started
        assert store.check() == []

    @pytest.mark.timeout(120)
    def test_no_acknowledged_entry_is_lost_and_the_run_counts_as_interrupted(self, kept: Kept_) -> None:
        self.kill_at_random_points(kept, 6)

    @pytest.mark.slow
    @pytest.mark.timeout(1800)
    def test_no_acknowledged_entry_is_lost_in_many_kills(self, kept: Kept_) -> None:
        """For a release: `LOOM_NB_KILLS=200`."""
        self.kill_at_random_points(kept, int(os.environ.get("LOOM_NB_KILLS", "60")))


class TestManyProcesses:
    @pytest.mark.parametrize("processes", [2, 4])
    def test_different_sessions_are_written_at_once_and_nothing_is_lost(
        self, kept: Kept_, processes: int
    ) -> None:
        command = [sys.executable, "-c", OPEN + WRITE, type(kept).__name__, str(kept.path)]
        writers = [
            subprocess.Popen([*command, f"s{n}", "60", "200"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for n in range(processes)
        ]
        errors = [writer.communicate()[1].decode() for writer in writers]

        assert errors == [""] * processes
        assert [len(list(kept.read(f"s{n}"))) for n in range(processes)] == [181] * processes
        assert kept.check() == []
        assert {(row.entries, row.writer) for row in kept.sessions()} == {(181, "")}
        assert len(kept.runs(limit=1000)) == processes * 13

    def test_of_one_session_each_waits_its_turn_and_the_log_has_no_gap(self, kept: Kept_) -> None:
        command = [sys.executable, "-c", OPEN + TURNS, type(kept).__name__, str(kept.path)]
        writers = [
            subprocess.Popen([*command, f"w{n}", "25"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for n in range(3)
        ]
        errors = [writer.communicate()[1].decode() for writer in writers]

        assert errors == [""] * 3
        entries = list(kept.read("s"))
        assert [entry.seq for entry in entries] == list(range(1, 76))
        for n in range(3):
            mine = [entry.event for entry in entries if entry.run == f"w{n}"]
            assert mine == [Noticed(f"w{n} {left}") for left in range(25, 0, -1)]

    def test_a_second_process_is_told_who_writes_the_session(self, kept: Kept_) -> None:
        with child(kept, HOLD) as process:
            line(process)

            with pytest.raises(SessionBusy) as refused:
                kept.acquire("s")

            assert "'s'" in refused.value.title and str(process.pid) in refused.value.title
            assert refused.value.cause
            assert any(str(process.pid) in fix for fix in refused.value.fixes)
            assert [row.writer.endswith(f":{process.pid}") for row in kept.sessions()] == [True]
            assert [row.status for row in kept.runs()] == ["running"]

    def test_the_lease_of_a_killed_process_is_taken_at_once_with_a_higher_fence(self, kept: Kept_) -> None:
        with child(kept, HOLD) as process:
            fence = int(line(process))
            process.kill()
            process.wait()

            lease = kept.acquire("s")

        assert lease.fence > fence
        kept.append(lease, log("s", Noticed("taken over"), start=2))

    @pytest.mark.skipif(sys.platform != "linux", reason="zombies are seen through /proc")
    def test_a_killed_process_that_nobody_waited_for_is_dead(self, kept: Kept_) -> None:
        with child(kept, HOLD) as process:
            line(process)
            process.kill()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

            kept.append(kept.acquire("s"), log("s", Noticed("taken over"), start=2))

    def test_a_process_that_ends_its_input_gives_back_nothing_and_is_dead_all_the_same(
        self, kept: Kept_
    ) -> None:
        with child(kept, HOLD) as process:
            line(process)
            process.communicate()

            assert [row.writer for row in kept.sessions()] == [""]
            kept.acquire("s")


class TestAClockThatJumps:
    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process is known by its clock")
    @pytest.mark.parametrize("jump", [-1e6, 1e6])
    def test_a_living_process_of_this_machine_keeps_its_session_and_a_dead_one_does_not(
        self, make: Callable[..., Kept_], tmp_path: Path, jump: float
    ) -> None:
        moment = time.time()
        with closing(make(tmp_path, now=lambda: moment)) as store, child(store, HOLD) as process:
            line(process)
            moment += jump
            with pytest.raises(SessionBusy):
                store.acquire("s")
            assert [row.status for row in store.runs()] == ["running"]

            process.kill()
            process.wait()
            store.append(store.acquire("s"), log("s", Noticed("taken over"), start=2))

    @pytest.mark.parametrize("jump", [-1e6, 1e6])
    def test_the_holder_writes_on(self, make: Callable[..., Kept_], tmp_path: Path, jump: float) -> None:
        moment = 2e6
        with closing(make(tmp_path, now=lambda: moment)) as store:
            lease = store.acquire("s")
            store.append(lease, log("s", Noticed("before"), time=moment))
            moment += jump
            store.append(lease, log("s", Noticed("after"), start=2, time=moment))
            store.renew(lease)
            with pytest.raises(SessionBusy):
                store.acquire("s")

            assert [entry.time for entry in store.read("s")] == [2e6, 2e6 + jump]
            assert store.sessions()[0].updated == 2e6 + jump


class Elsewhere:
    """A store on another machine that shares the disk, and a clock that both read."""

    def __init__(self, make: Callable[..., Kept_], folder: Path) -> None:
        self.time = 1000.0
        self.there = make(folder, host="elsewhere", now=lambda: self.time)
        self.here = make(folder, host=HERE, now=lambda: self.time)


@pytest.fixture
def elsewhere(make: Callable[..., Kept_], tmp_path: Path) -> Iterator[Elsewhere]:
    both = Elsewhere(make, tmp_path)
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

    def test_a_holder_whose_clock_jumped_writes_on_or_is_refused_but_never_beside_another(
        self, elsewhere: Elsewhere
    ) -> None:
        old = elsewhere.there.acquire("s")
        elsewhere.there.append(old, log("s", Noticed("before")))
        elsewhere.time += 1e6  # forward: it counts as silent
        new = elsewhere.here.acquire("s")
        elsewhere.time -= 2e6  # and back

        with pytest.raises(LeaseLost):
            elsewhere.there.append(old, log("s", Noticed("late"), start=2))
        elsewhere.here.append(new, log("s", Noticed("mine"), start=2))
        with pytest.raises(SessionBusy):
            elsewhere.there.acquire("s")

        assert [entry.event for entry in elsewhere.there.read("s")] == [Noticed("before"), Noticed("mine")]


class TestDeletionAmongProcesses:
    def test_what_another_process_writes_is_not_deleted_and_after_its_death_it_is(self, kept: Kept_) -> None:
        with child(kept, HOLD) as process:
            line(process)
            with pytest.raises(SessionBusy) as refused:
                kept.delete("s")
            assert str(process.pid) in refused.value.title
            process.kill()
            process.wait()

            kept.delete("s")

        assert kept.sessions() == []
        kept.restore("s")
        assert [row.status for row in kept.runs()] == ["interrupted"]

    def test_another_machine_that_was_silent_finds_its_session_deleted(self, elsewhere: Elsewhere) -> None:
        old = elsewhere.there.acquire("s")
        elsewhere.there.append(old, log("s", Noticed("one")))
        with pytest.raises(SessionBusy, match="elsewhere"):
            elsewhere.here.delete("s")
        elsewhere.time += 31

        elsewhere.here.delete("s")

        with pytest.raises(LeaseLost):
            elsewhere.there.append(old, log("s", Noticed("late"), start=2))
        with pytest.raises(SessionDeleted):
            elsewhere.there.acquire("s")
        assert [row.id for row in elsewhere.there.deleted()] == ["s"]

    def test_killed_while_it_deletes_and_restores_it_leaves_one_of_both(self, kept: Kept_) -> None:
        chance = random.Random(7)
        entries = fill(kept, "s")
        for _ in range(6):
            with child(kept, FLICKER) as process:
                for _ in range(chance.randint(1, 9)):
                    line(process)
                until = time.perf_counter() + chance.random() * 0.003
                while time.perf_counter() < until:
                    pass
                process.kill()
                process.wait()

            listed, gone = [row.id for row in kept.sessions()], [row.id for row in kept.deleted()]
            assert sorted(listed + gone) == ["s"]
            assert list(kept.read("s")) == entries
            if gone:
                kept.restore("s")
            assert kept.check() == []

    def test_purges_and_new_logs_at_once_lose_nothing(self, kept: Kept_) -> None:
        for n in range(12):
            fill(kept, f"old{n}")
            kept.delete(f"old{n}")
        command = [sys.executable, "-c", OPEN + WRITE, type(kept).__name__, str(kept.path)]
        writers = [
            subprocess.Popen(
                [*command, f"new{n}", "20", "100"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            for n in range(2)
        ]
        for n in range(12):
            assert list(kept.purge([f"old{n}"])) == [f"old{n}"]
        errors = [writer.communicate()[1].decode() for writer in writers]

        assert errors == ["", ""]
        assert sorted((row.id, row.entries) for row in kept.sessions()) == [("new0", 61), ("new1", 61)]
        assert {row.session for row in kept.runs()} == {"new0", "new1"}
        assert kept.check() == []


def files_of(store: Kept_) -> list[Path]:
    return [store.path] if store.path.is_file() else sorted(p for p in store.path.rglob("*") if p.is_file())


def flip(file: Path, at: int, bit: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1 << bit
    file.write_bytes(content)


class TestAFlippedByte:
    @pytest.mark.parametrize("note", [0, 1, 3])
    def test_it_is_noticed_where_it_is_and_other_sessions_stay_as_they_were(
        self, kept: Kept_, note: int
    ) -> None:
        chance = random.Random(note)
        whole = {session: fill(kept, session) for session in ("aaa", "bbb", "ccc")}
        kept.close()
        words = f"bbb note {note}".encode()
        (file,) = [file for file in files_of(kept) if words in file.read_bytes()]
        flip(file, file.read_bytes().index(words) + chance.randrange(len(words)), chance.randrange(7))

        with pytest.raises(StoreDamaged) as damaged:
            list(kept.read("bbb"))

        assert f"'bbb' is damaged at entry {note + 2}" in damaged.value.title
        assert damaged.value.fixes
        assert kept.salvage("bbb") == whole["bbb"][: note + 1]
        assert kept.check("bbb")[0].seq == note + 2
        assert {found.session for found in kept.check()} == {"bbb"}
        for session in ("aaa", "ccc"):
            assert list(kept.read(session)) == whole[session]
            lease = kept.acquire(session)
            kept.append(lease, log(session, Noticed("on"), start=7))
        assert {"aaa", "ccc"} <= {row.session for row in kept.runs() if row.status == "completed"}
        assert {"aaa", "ccc"} <= {row.id for row in kept.sessions()}

    def test_a_run_whose_first_or_last_entry_is_bad_is_listed_as_damaged(self, kept: Kept_) -> None:
        for session in "abc":
            fill(kept, session)
        kept.close()
        for words in (b"goal of a", b"answer of b"):
            (file,) = [file for file in files_of(kept) if words in file.read_bytes()]
            flip(file, file.read_bytes().index(words) + 1, 0)

        assert sorted(row.status for row in kept.runs()) == ["completed", "damaged", "damaged"]
        assert [row.session for row in kept.runs() if row.status == "completed"] == ["c"]

    @pytest.mark.timeout(120)
    def test_anywhere_it_never_changes_what_is_read(self, make: Callable[..., Kept_], tmp_path: Path) -> None:
        chance = random.Random(200)
        with closing(make(tmp_path)) as store:
            whole = {f"session {n}": fill(store, f"session {n}") for n in range(12)}
            listed = store.runs(), store.sessions()
        before = {file: file.read_bytes() for file in files_of(store) if file.stat().st_size}
        noticed = 0
        for _ in range(200):
            (file,) = chance.choices(list(before), [len(content) for content in before.values()])
            flip(file, chance.randrange(len(before[file])), chance.randrange(8))
            with closing(make(tmp_path)) as damaged:
                harmed = [
                    session for session, entries in whole.items() if is_harmed(damaged, session, entries)
                ]
                wrong = lists_otherwise(damaged, listed)
                assert not wrong or damaged.check() != []
                if isinstance(damaged, FileSessionStore):
                    assert len(harmed) <= 1
            noticed += bool(harmed or wrong)
            for extra in set(files_of(store)) - set(before):
                extra.unlink()
            for name, content in before.items():
                name.write_bytes(content)
        assert noticed > 20  # the others fell on bytes that mean nothing


def is_harmed(store: Kept_, session: str, entries: list[LogEntry]) -> bool:
    """Whether reading a session is refused. What is read must be what was written."""
    try:
        assert list(store.read(session)) == entries
    except StoreDamaged:
        salvaged = store.salvage(session)
        assert salvaged == entries[: len(salvaged)]
        return True
    except StoreError:  # nothing of the whole file can be read
        return True
    return False


def lists_otherwise(store: Kept_, before: tuple[list[RunRow], list[SessionRow]]) -> bool:
    try:
        return (store.runs(), store.sessions()) != before
    except StoreError:
        return False


FULL_DISK = """
import resource, signal

limit = int(sys.argv[3])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
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
        self, kept: Kept_, limit: int
    ) -> None:
        pytest.importorskip("resource")
        with child(kept, FULL_DISK, limit) as process:
            said, errors = process.communicate()
        assert errors == ""
        count, failures = json.loads(said)

        assert len(failures) == 15
        assert {failure[0] for failure in failures} == {"StoreError"}
        assert all("disk" in title.lower() and cause and fixes for _, title, cause, fixes in failures)
        assert len(list(kept.read("s"))) == count
        assert [row.entries for row in kept.sessions()] == [count]
        assert kept.check() == []

    def test_a_session_and_a_run_that_found_no_space_are_in_no_listing(self, kept: Kept_) -> None:
        pytest.importorskip("resource")
        fill(kept, "before")
        program = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[3])
held, fresh = store.acquire("before"), store.acquire("fresh")
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
for lease, seq in ((held, 7), (fresh, 1)):
    entry = LogEntry(lease.session, seq, "r9", 500.0, RunStarted("m", "x" * 5_000_000))
    try:
        store.append(lease, [entry])
    except StoreError as error:
        print(error.title)
"""
        with child(kept, program, 400_000) as process:
            said, errors = process.communicate()
        assert errors == ""
        assert len(said.splitlines()) == 2

        assert [row.id for row in kept.sessions()] == ["before"]
        assert [(row.session, row.run) for row in kept.runs()] == [("before", "r1")]
        assert [row.id for row in kept.sessions(limit=1)] == ["before"]
        assert [row.run for row in kept.runs(limit=1)] == ["r1"]
        assert kept.check() == []


class TestRefusals:
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
    def test_what_is_no_json_is_refused_and_nothing_is_written(self, kept: Kept_, entry: LogEntry) -> None:
        lease = kept.acquire("s")

        with pytest.raises(StoreError):
            kept.append(lease, [*log("s", Noticed("one")), entry])

        assert list(kept.read("s")) == []
        kept.append(lease, log("s", Noticed("one")))

    def test_a_session_name_that_is_no_text_is_refused(self, kept: Kept_) -> None:
        with pytest.raises(StoreError, match="surrogate"):
            kept.acquire("\ud800")

    def test_a_whole_entry_with_an_event_of_another_version_is_not_read_over(self, kept: Kept_) -> None:
        class FromTheFuture(Noticed, frozen=True, tag=True):
            """An event that this version does not know."""

        lease = kept.acquire("s")
        kept.append(lease, log("s", Noticed("one"), FromTheFuture("two"), Noticed("three")))

        with pytest.raises(StoreDamaged, match="written by a newer loom_nb") as refused:
            list(kept.read("s"))
        assert "no event that this version knows" in (refused.value.cause or "")
        assert any("upgrade" in fix for fix in refused.value.fixes)
        assert [found.seq for found in kept.check("s")] == [2]

    def test_an_interrupt_in_the_middle_of_an_append_undoes_it(
        self, make: Callable[..., Kept_], tmp_path: Path
    ) -> None:
        interrupted = False

        def now() -> float:
            if interrupted:
                raise KeyboardInterrupt
            return 1.0

        with closing(make(tmp_path, now=now)) as store:
            lease = store.acquire("s")
            interrupted = True
            with pytest.raises(KeyboardInterrupt):
                store.append(lease, log("s", Noticed("one")))
            interrupted = False

            assert list(store.read("s")) == []
            store.append(lease, log("s", Noticed("one")))

    def test_a_lease_may_be_given_back_in_the_middle_of_anything(
        self, make: Callable[..., Kept_], tmp_path: Path
    ) -> None:
        """The garbage collector may drop a session while this thread is inside a call."""
        late: list[Callable[[], None]] = []

        def now() -> float:
            while late:
                late.pop()()
            return 1.0

        with closing(make(tmp_path, now=now)) as store:
            fill(store, "a")
            dropped, lease = store.acquire("a"), store.acquire("b")
            late.append(lambda: store.release(dropped))
            late.append(lambda: store.release(HeldLease("b", 0)))

            store.append(lease, log("b", Noticed("one")))

            assert {row.id: bool(row.writer) for row in store.sessions()} == {"a": False, "b": True}

    def test_a_session_that_is_dropped_in_the_middle_of_another_store_on_the_same_file_waits_for_it(
        self, make: Callable[..., Kept_], tmp_path: Path
    ) -> None:
        """Each of two agents has a store of its own; the thread may not wait for itself."""
        late: list[Callable[[], object]] = []

        def now() -> float:
            while late:
                late.pop()()
            return 1.0

        with (
            closing(make(tmp_path, now=now, host=HERE)) as store,
            closing(make(tmp_path, now=lambda: 1.0, host=HERE, busy_seconds=0.05)) as other,
            closing(make(tmp_path, now=lambda: 1.0, host="elsewhere")) as elsewhere,
        ):
            lease = store.acquire("b")
            late.append(lambda: other.release(lease))

            store.append(lease, log("b", Noticed("one")))

            assert [row.writer for row in elsewhere.sessions()] == [""]  # it was not given up

    def test_a_folder_that_may_not_be_made_is_refused_with_what_to_do(
        self, make: Callable[..., Kept_], tmp_path: Path
    ) -> None:
        in_the_way = tmp_path / "file"
        in_the_way.write_text("not a folder")

        with closing(make(in_the_way)) as store, pytest.raises(StoreError) as refused:
            store.acquire("s")

        assert refused.value.cause and refused.value.fixes


class TestTheDisk:
    @pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
    def test_everything_is_for_this_user_only(self, kept: Kept_, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            lease = kept.acquire("s")
            kept.append(lease, log("s", RunStarted("m", "secret"), Noticed("secret")))
        finally:
            os.umask(before)

        made = [path for path in tmp_path.rglob("*") if path != tmp_path]
        assert {path.stat().st_mode & 0o777 for path in made if path.is_file()} == {0o600}
        assert {path.stat().st_mode & 0o777 for path in made if path.is_dir()} <= {0o700}

    def test_nothing_is_made_before_the_first_write(self, kept: Kept_, tmp_path: Path) -> None:
        assert repr(kept) == f"{type(kept).__name__}({str(kept.path)!r})"
        kept.close()
        assert list(tmp_path.iterdir()) == []

    def test_any_call_after_closing_opens_it_again(self, kept: Kept_) -> None:
        lease = kept.acquire("s")
        kept.close()

        kept.append(lease, log("s", Noticed("one")))

        assert len(list(kept.read("s"))) == 1
