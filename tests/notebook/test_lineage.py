"""What is out of date, against a reference: the notebook as it stands, run once from first to last."""

import hashlib
import random
from dataclasses import dataclass, field

import pytest

from loom_nb.notebook.lineage import GONE, CellRun, Lineage


@dataclass
class Cell:
    """A cell that computes each variable it binds of its text and the variables it reads."""

    id: str
    reads: tuple[str, ...]
    binds: tuple[str, ...]
    text: str = "v1"

    def values(self, names):
        seen = [f"{name}={names.get(name)}" for name in self.reads]
        return {
            name: hashlib.md5(f"{self.id} {self.text} {name} {seen}".encode()).hexdigest()
            for name in self.binds
        }


@dataclass
class Book:
    """A notebook and its kernel; the reference is a fresh kernel."""

    cells: list[Cell]
    names: dict = field(default_factory=dict)
    runs: list[CellRun] = field(default_factory=list)
    ran: dict = field(default_factory=dict)

    def run(self, *which):
        for place in which:
            cell = self.cells[place]
            written = cell.values(self.names)
            reads = frozenset(name for name in cell.reads if name in self.names)
            self.names |= written
            prints = {name: f"={value}" for name, value in written.items()}
            self.runs.append(CellRun(len(self.runs) + 1, cell.id, cell.text, reads, prints))
            self.ran[cell.id] = cell.text
        return self

    def clean(self):
        fresh = {}
        for cell in self.cells:
            if cell.id in self.ran:
                fresh |= Cell(cell.id, cell.reads, cell.binds, self.ran[cell.id]).values(fresh)
        return fresh

    def stale(self, *, order=True):
        found = Lineage(self.runs, [cell.id for cell in self.cells] if order else [], sure=order)
        return {name: told for name in self.names if (told := found.why_stale(name))}

    def really(self):
        clean = self.clean()
        return {name for name in self.names if self.names[name] != clean.get(name)}


def book():
    return Book(
        [
            Cell("load", (), ("df",)),
            Cell("double", ("df",), ("df2",)),
            Cell("clean", ("df",), ("df",)),
            Cell("sum", ("df", "df2"), ("total",)),
        ]
    )


def test_a_notebook_run_from_first_to_last_has_nothing_out_of_date():
    one = book().run(0, 1, 2, 3)
    assert one.stale() == one.stale(order=False) == {}
    assert one.really() == set()
    assert one.run(0, 1, 2, 3).stale() == {}


def test_what_was_made_of_an_edited_cell_is_out_of_date_with_the_reason():
    one = book().run(0, 1, 2, 3)
    one.cells[0].text = "v2"
    one.run(0)
    told = one.stale()
    assert one.really() == set(told)
    assert told["df2"] == "comes from cell [2], and cell [5] has changed df since"
    assert told["total"] == "comes from cell [4], and cell [5] has changed df since"
    assert told["df"] == "comes from cell [5], and cell [3] has not run since"
    one.run(1, 2, 3)
    assert one.stale() == {}
    assert one.really() == set()


def test_a_cell_that_stops_making_a_variable_leaves_it_as_it_was_before_the_edit():
    runs = [CellRun(4, "a", "df = 1", frozenset(), {"df": "=1"}), CellRun(5, "a", "pass")]
    assert Lineage(runs).why_stale("df") == "comes from cell [4] as it was before your edit"


def test_a_cell_that_was_edited_and_not_run_says_so_of_what_it_made():
    runs = [CellRun(4, "a", "df = 1", frozenset(), {"df": "=1"})]
    assert Lineage(runs, edited=["a"]).why_stale("df") == "comes from cell [4] as it was before your edit"
    assert Lineage(runs, edited=["b"]).why_stale("df") == ""


def test_a_cell_that_changes_what_it_reads_and_runs_twice_is_told():
    one = Book([Cell("a", (), ("x",)), Cell("b", ("x",), ("x",))]).run(0, 1, 1)
    assert one.really() == {"x"}
    assert one.stale() == {"x": "is not what a clean run makes: cell [3] used x as cell [2] had left it"}
    assert one.run(0, 1).stale() == {}


def test_a_cell_run_again_after_one_below_changed_its_input_is_told():
    one = book().run(0, 1, 2).run(1)
    assert one.really() == {"df2"}
    assert one.stale() == {"df2": "is not what a clean run makes: cell [4] used df as cell [3] had left it"}


def test_what_is_made_anew_with_the_same_content_is_no_change():
    one = book().run(0, 1, 3).run(0)
    assert one.really() == set()
    assert one.stale() == {}


def test_what_cannot_be_looked_into_counts_as_the_same_where_the_same_cell_made_it_anew():
    def runs(text):
        return [
            CellRun(1, "a", "m = Model()", frozenset(), {"m": "@1"}),
            CellRun(2, "b", "y = m.fit()", frozenset({"m"}), {"y": "=5"}),
            CellRun(3, "a", text, frozenset(), {"m": "@2"}),
        ]

    assert Lineage(runs("m = Model()")).why_stale("y") == ""
    assert (
        Lineage(runs("m = Model(2)")).why_stale("y")
        == "comes from cell [2], and cell [3] has changed m since"
    )


def test_cells_without_ids_are_cells_of_their_own_and_raise_no_alarm():
    texts = ("x = 1", "x += 1", "x += 1", "x = 1")
    runs = [
        CellRun(n, "", text, frozenset({"x"} if "+=" in text else ()), {"x": f"={n}"})
        for n, text in enumerate(texts, 1)
    ]
    assert Lineage(runs).why_stale("x") == ""


def test_a_variable_that_was_deleted_and_one_nobody_made_are_not_told_of():
    runs = [
        CellRun(1, "a", "x = 1", frozenset(), {"x": "=1"}),
        CellRun(2, "b", "del x", frozenset(), {"x": GONE}),
    ]
    found = Lineage(runs)
    assert found.why_stale("x") == found.why_stale("other") == ""
    assert found.maker("other") is None


def test_a_long_row_of_runs_is_followed_to_its_beginning():
    one = Book([Cell("a", (), ("x",)), *(Cell(f"c{n}", ("x",), ("x",)) for n in range(900))])
    one.run(*range(901))
    assert one.stale() == {}
    one.cells[0].text = "v2"
    one.run(0, 900)
    assert one.stale()


def random_book(chance):
    names = [f"v{n}" for n in range(4)]
    cells = []
    for n in range(chance.randint(2, 6)):
        known = sorted({name for cell in cells for name in cell.binds})
        reads = tuple(chance.sample(known, chance.randint(0, min(2, len(known)))))
        cells.append(Cell(f"c{n}", reads, tuple(chance.sample(names, chance.randint(1, 2)))))
    return Book(cells)


@pytest.mark.parametrize("seed", range(20))
def test_no_clean_run_of_any_notebook_raises_an_alarm(seed):
    chance = random.Random(seed)
    for _ in range(30):
        one = random_book(chance)
        one.run(*range(len(one.cells)))
        assert one.stale() == one.stale(order=False) == {}
        for cell in one.cells:  # Restart & Run All, after editing, in the kernel that there was
            cell.text = chance.choice(["v1", "v2"])
        one.run(*range(len(one.cells)))
        assert one.stale() == one.stale(order=False) == {}


@pytest.mark.parametrize("seed", range(20))
def test_after_any_order_of_runs_and_edits_just_what_differs_from_the_reference_is_told(seed):
    chance = random.Random(1_000 + seed)
    told = 0
    for _ in range(60):
        one = random_book(chance)
        one.run(*range(len(one.cells)))
        for _ in range(chance.randint(1, 5)):
            place = chance.randrange(len(one.cells))
            if chance.random() < 0.5:
                one.cells[place].text = f"v{chance.randint(1, 3)}"
            one.run(place)
        found = one.stale()
        assert set(found) == one.really()
        told += len(found)
    assert told > 20


def test_cells_run_once_each_out_of_order_are_told_where_the_order_is_sure():
    one = Book([Cell("a", (), ("x",)), Cell("b", ("x",), ("y",)), Cell("c", (), ("x",))]).run(0, 2, 1)
    assert one.really() == {"y"}
    order = [cell.id for cell in one.cells]
    assert Lineage(one.runs, order).why_stale("y") == ""
    assert Lineage(one.runs, order, sure=True).why_stale("y")


def test_what_a_prompt_was_given_is_held_against_a_clean_run_up_to_its_cell():
    ask = Cell("ask", ("df",), ())
    one = Book([*book().cells[:2], ask, Cell("later", ("df",), ("df",))]).run(0, 1, 2, 3)

    def told():
        return Lineage(one.runs, [cell.id for cell in one.cells]).why_stale("df", before=2)

    assert told() == ""
    assert one.run(3).stale()
    assert told() == ""
    one.cells[0].text = "v2"
    one.run(0)
    assert told() == "comes from cell [1] as it was before your edit"


def test_a_cell_whose_text_was_given_is_told_when_it_ran_with_another_one():
    one = book().run(0, 1)
    assert Lineage(one.runs).rerun("load", 2) is None
    one.run(0)
    assert Lineage(one.runs).rerun("load", 2) is None
    assert Lineage(one.runs).ran_since("load", 2)
    one.cells[0].text = "v2"
    one.run(0)
    assert Lineage(one.runs).rerun("load", 2).number == 4
    assert not Lineage(one.runs).ran_since("double", 2)


def test_a_new_cell_whose_place_is_not_saved_yet_raises_no_alarm_where_it_was_inserted():
    one = Book([Cell("a", (), ("df",)), Cell("new", ("df",), ("df",)), Cell("b", ("df",), ("y",))])
    one.run(0, 2, 1, 2)
    assert one.really() == set()
    assert Lineage(one.runs, ["a", "b"]).why_stale("y") == ""
    one.cells[0].text = "v2"
    one.run(0)
    assert (
        Lineage(one.runs, ["a", "b"]).why_stale("y")
        == "comes from cell [4], and cell [5] has changed df since"
    )
