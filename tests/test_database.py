"""What a thread puts off inside a transaction, and a file in a folder that may not be written."""

import gc
import threading
import weakref
from contextlib import closing
from pathlib import Path

import pytest

from loom_nb.database import Database, Schema
from loom_nb.errors import StoreError
from tests.usual_user import usual_user

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


def test_a_file_is_read_where_its_folder_may_not_be_written() -> None:
    with usual_user() as place:
        folder = place / "a folder, 100% #1"
        folder.mkdir()
        with closing(opened(folder / "a")) as one:
            write(one, "kept")
        folder.chmod(0o555)
        with closing(opened(folder / "a")) as one:
            for _ in range(2):
                assert lines(one) == ["kept"]
                with pytest.raises(StoreError, match="may not be written"):
                    write(one, "refused")

            folder.chmod(0o755)  # somebody may write again, and does
            with closing(opened(folder / "a")) as other:
                write(other, "news")
            assert lines(one) == ["kept", "news"]
            write(one, "more")
            assert lines(one) == ["kept", "news", "more"]


def test_what_another_one_wrote_is_seen_though_the_file_is_read_as_it_lies_there() -> None:
    with usual_user() as place:
        folder = place / "folder"
        folder.mkdir()
        with closing(opened(folder / "a")) as one:
            write(one, "kept")
        folder.chmod(0o555)
        with closing(opened(folder / "a")) as one:
            assert lines(one) == ["kept"]
            folder.chmod(0o755)
            with closing(opened(folder / "a")) as other:
                write(other, "news " * 5_000)
            folder.chmod(0o555)
            assert len(lines(one)) == 2
        folder.chmod(0o755)
