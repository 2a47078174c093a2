"""What every store promises. A new store is added to STORES and has to pass all of it."""

import gc
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom_nb.errors import LeaseLost, SessionBusy, StoreError
from loom_nb.events import (
    CallFinished,
    CallStarted,
    Kept,
    LogEntry,
    MessageAdded,
    Noticed,
    RunFinished,
    RunInterrupted,
    RunStarted,
    SessionOpened,
    TurnFinished,
)
from loom_nb.messages import ImagePart, Message, TextPart, ToolCallPart, ToolResultPart, Usage, user
from loom_nb.protocols import RunRow, Store
from loom_nb.stores import MemoryStore, SqliteStore

STORES: dict[str, Callable[[Path], Store]] = {
    "memory": lambda folder: MemoryStore(),
    "sqlite": lambda folder: SqliteStore(folder / "loom.db"),
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = STORES[request.param](tmp_path)
    yield store
    store.close()


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
