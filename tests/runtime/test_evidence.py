"""Numbers of passages stay in a conversation; citations are found where a reader sees them, and checked."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_nb.events import EvidenceFound, Passage
from loom_nb.runtime.evidence import _CODE, Numbers, brackets_in, citations


def test_a_passage_keeps_its_number():
    numbers = Numbers()

    assert numbers.number(["a", "b"]) == (1, 2)
    assert numbers.number(["c", "a", "c"]) == (3, 1, 3)
    assert numbers.copy().number(["d"]) == (4,)
    assert numbers.highest == 3


def test_numbers_are_a_fold_of_the_log():
    numbers = Numbers()
    numbers.take(EvidenceFound("q", (Passage(2, "b"), Passage(5, "e")), known=7))

    assert numbers.number(["e", "new", "b"]) == (5, 8, 2)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It is so [1].", [1]),
        ("So [1][2], and [3, 4; 6].", [1, 2, 3, 4, 6]),
        ("So [1-3] and [4–5].", [1, 2, 3, 4, 5]),
        ("a[1], x[2] and f()[3]", []),
        ("`[1]` and ``x [2] ` ``", []),
        ("```\n[1]\n```\nthen [2]", [2]),
        ("~~~\n[1]\n", []),
        ("[1](https://example.org), ![2](x), [3]: https://a.org", []),
        ("[text][1] and [^1] and [12a] and [99999]", []),
        ("\\[1\\]", []),
        ("a `stray tick [1]\n\nand [2]", [2]),
        ("**[1]** and *so [2]*", [1, 2]),
        (
            "In April[1], in winter.[2] Anna's[3], (2024)[4], the U.S.[5], 1990s[6], CO2[7], 2024[8]",
            [*range(1, 9)],
        ),
        ("As [1]: so it is. [2]: https://a.org", [1]),
        ('[1]: https://a.org\n   [2]: file.txt "so"\n[3]: it is so, and [4]: so', [3, 4]),
        ("[1, p. 3], [2, pp. 4-5] and [3, 4; Seite 12] but no [5, x]", [1, 2, 3, 4]),
        ("rows[0], the_rows[1], x1[2], readRows[3], frame.rows[4], [a](https://b)[5], f(g(x))[6]", []),
        (f"f({'x' * 300})[1] (so)[2]", [1, 2]),
    ],
)
def test_citations_are_numbers_in_brackets_that_a_reader_would_take_for_one(text, found):
    assert [one.number for one in citations(text, ())] == found


def test_each_citation_is_held_against_the_evidence():
    found = citations("[1] [2] [9] [0]", {2}, known=3)

    assert [one.standing for one in found] == ["earlier", "evidence", "invented", "invented"]
    assert [("[1] [2] [9] [0]"[one.start : one.end]) for one in found] == ["[1]", "[2]", "[9]", "[0]"]


@given(st.text(alphabet="[]()0123456789,;-– `~\n!:ax\\", max_size=300))
def test_any_text_has_its_citations_in_order_and_within(text):
    found = citations(text, {1, 2})

    assert all(text[one.start] == "[" and text[one.end - 1] == "]" for one in found)
    assert [one.start for one in found] == sorted(one.start for one in found)


def test_the_place_within_a_passage_is_told_apart_from_its_number():
    told = [(one.numbers, one.place) for one in brackets_in("[1, p. 3] and [2][4; S. 5-6]")]
    assert told == [((1,), "p. 3"), ((2, 4), "S. 5-6")]


@given(st.lists(st.sampled_from(["[1]", "`[2]`", "`", "x ", "\n\n", "```\n", "[3] "]), max_size=40))
def test_a_citation_is_hidden_by_the_code_that_it_touches_and_by_no_other(parts):
    text = "".join(parts)
    code = [found.span() for found in _CODE.finditer(text)]
    expected = [
        one.start
        for one in brackets_in(text)
        if not any(first < one.end and one.start < last for first, last in code)
    ]
    assert sorted({one.start for one in citations(text, ())}) == expected


def test_a_line_of_marks_is_read_once():
    """As a fence of any length that goes on to be tried, it took a second for 20,000 of them."""
    assert citations("~" * 200_000, ()) == []
    assert citations("`" * 200_000, ()) == []


@pytest.mark.parametrize("piece", ["`", "[1", "```\n", "[1,", "` [1] ", "~~~\n[1]\n"])
def test_looking_for_citations_takes_no_longer_for_odd_texts(piece):
    began = time.process_time()
    citations(piece * 4_000, ())
    assert time.process_time() - began < 5
