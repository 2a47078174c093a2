"""Which names a cell reads before it gives them a value."""

import pytest

from loom_nb.capabilities.cell_names import names_of


def helper():
    return scale * 2  # noqa: F821  a name of the notebook


helper.__module__ = "__main__"


@pytest.mark.parametrize(
    ("code", "reads"),
    [
        ("df2 = df * 2", "df"),
        ("df = load()\ndf2 = df * 2", "load"),
        ("df = df.dropna()", "df"),
        ("x += 1", "x"),
        ("d['k'] = v", "d v"),
        ("d.a = 1", "d"),
        ("import pandas as pd\npd.read_csv(path)", "path"),
        ("from a import b as c\nc(x)", "x"),
        ("if a:\n    b = 1\nprint(b)", "a print"),
        ("if a:\n    b = 1\nelse:\n    print(b)", "a b print"),
        ("for row in rows:\n    last = row\nlast", "rows"),
        ("with open(p) as f:\n    t = f.read()\nt", "open p"),
        ("try:\n    x = f()\nexcept E:\n    x = None\nx", "f E"),
        ("[n for n in values if n > low]", "values low"),
        ("def f(a):\n    b = a + c\n    return b\nc = 1", ""),
        ("def f(a, b=d):\n    return a + c", "d c"),
        ("class A(B):\n    def m(self):\n        return self.x + y", "B y"),
        ("a, (b, *c) = t\na + b\nc", "t"),
        ("if (n := size) > 1:\n    n", "size"),
        ("x: int = y", "y"),
        ("lambda q: q + w", "w"),
        ("this is no Python", ""),
    ],
)
def test_names_are_read_where_the_cell_has_not_given_them_a_value(code, reads):
    assert names_of(code, {}).reads == frozenset(reads.split())


def test_a_function_of_the_notebook_reads_what_it_names():
    names = names_of("y = helper()", {"helper": helper, "scale": 3})
    assert names.reads == {"helper", "scale"}
    assert names.binds == {"y"}
    assert names.mentions >= {"helper", "scale", "y"}


def test_what_is_bound_and_deleted_counts_as_the_cells_own():
    names = names_of("import os\ndel old\nfor n in x: pass\ndef f(): inner = 1", {})
    assert names.binds == {"os", "old", "n", "f"}
