"""Numbers of passages stay in a conversation; citations are found where a reader sees them, and checked."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_nb.events import EvidenceFound, Passage
from loom_nb.runtime.evidence import Numbers, citations


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


@pytest.mark.parametrize("piece", ["`", "[1", "```\n", "[1,", "` [1] ", "~~~\n[1]\n"])
def test_looking_for_citations_takes_no_longer_for_odd_texts(piece):
    began = time.process_time()
    citations(piece * 4_000, ())
    assert time.process_time() - began < 5
