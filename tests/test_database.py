"""What a thread puts off while it is inside a transaction, of whatever object on whatever file."""

import gc
import threading
import weakref
from contextlib import closing
from pathlib import Path

import pytest

from loom_nb.database import Database, Schema
from loom_nb.errors import StoreError

SCHEMA = Schema(7, [["CREATE TABLE meta (key PRIMARY KEY, value)", "CREATE TABLE lines (line)"]])


def opened(path: Path) -> Database:
    return Database(path, SCHEMA, 0.05)


def lines(database: Database) -> list[str]:
    with database.transaction() as db:
        return [line for (line,) in db.execute("SELECT line FROM lines")]


def write(database: Database, line: str) -> None:
    with database.transaction("IMMEDIATE") as db:
        db.execute("INSERT INTO lines VALUES (?)", (line,))


class Circle:
    """Something that only the garbage collector finds."""

    def __init__(self) -> None:
        self.itself = self


def test_a_finalizer_in_the_middle_of_a_transaction_of_another_object_on_the_file_waits(
    tmp_path: Path,
) -> None:
    with closing(opened(tmp_path / "a")) as one, closing(opened(tmp_path / "a")) as other:
        assert lines(other) == []
        circle = Circle()
        weakref.finalize(circle, other.soon, lambda: write(other, "late"))
        with one.transaction("IMMEDIATE") as db:
            del circle
            gc.collect()  # to write here would be to wait for this very thread
            db.execute("INSERT INTO lines VALUES ('first')")
        assert lines(one) == ["first", "late"]


def test_what_is_put_off_waits_for_the_outermost_transaction(tmp_path: Path) -> None:
    done: list[str] = []
    with closing(opened(tmp_path / "a")) as one, closing(opened(tmp_path / "b")) as other:
        with one.transaction("IMMEDIATE"):
            with other.transaction("IMMEDIATE"):
                one.soon(lambda: done.append("late"))
            assert done == []
        assert done == ["late"]


def test_another_thread_puts_nothing_off(tmp_path: Path) -> None:
    done: list[str] = []
    with closing(opened(tmp_path / "a")) as one, one.transaction("IMMEDIATE"):
        thread = threading.Thread(target=one.soon, args=(lambda: done.append("at once"),))
        thread.start()
        thread.join()
        assert done == ["at once"]


def test_it_is_done_after_a_transaction_that_failed_too(tmp_path: Path) -> None:
    done: list[str] = []
    with closing(opened(tmp_path / "a")) as one:

        def fail() -> None:
            with one.transaction("IMMEDIATE") as db:
                one.soon(lambda: done.append("late"))
                db.execute("no SQL")

        with pytest.raises(StoreError):
            fail()
        assert done == ["late"]
