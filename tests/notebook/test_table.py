"""A table as values: which rows a query wants, in which order, and what a page is sent of them."""

from dataclasses import replace

import msgspec
import pytest

from loom_nb.notebook.card import Card
from loom_nb.notebook.table import (
    MOST_ROWS,
    WHOLE,
    Action,
    Bar,
    Column,
    Contents,
    Details,
    Query,
    Row,
    Segment,
    able,
    arranged,
    head,
    opened,
    page,
)

COLUMNS = (Column("name", "name"), Column("size", "size", number=True), Column("kind", "kind", choose=True))


def table(*things, can=()):
    rows = tuple(
        Row(name, (name, f"{size:,}", kind), {1: size}, frozenset(can)) for name, size, kind in things
    )
    return Contents(Card("things"), "things", COLUMNS, rows, actions=(Action("drop", "Drop", key="d"),))


THINGS = table(("pear", 9, "fruit"), ("Leek", 1_200, "root"), ("apple", 30, "fruit"), ("beet", 30, "root"))


def names(contents, **query):
    return [row.id for row in arranged(contents, msgspec.convert(query, Query))]


def test_without_a_wish_all_rows_come_in_their_natural_order():
    assert names(THINGS) == ["pear", "Leek", "apple", "beet"]


def test_numbers_are_sorted_as_numbers_and_words_whatever_their_case():
    assert names(THINGS, sort="size", down=True) == ["Leek", "apple", "beet", "pear"]
    assert names(THINGS, sort="size") == ["pear", "apple", "beet", "Leek"]
    assert names(THINGS, sort="name") == ["apple", "beet", "Leek", "pear"]


def test_each_word_must_occur_and_what_is_chosen_must_be_it():
    assert names(THINGS, text="FRU  p") == ["pear", "apple"]
    assert names(THINGS, text="fruit root") == []
    assert names(THINGS, chosen={"kind": "root"}, text="e", sort="name") == ["beet", "Leek"]


def test_a_column_that_is_gone_is_passed_over():
    assert names(THINGS, sort="colour", chosen={"colour": "red"}) == ["pear", "Leek", "apple", "beet"]


def test_a_page_is_a_window_and_says_where_it_stands():
    many = table(*((f"n{n}", n, "x") for n in range(5_000)))
    rows = arranged(many, Query())
    shown = page(rows, Query(start=4_950, count=150))
    assert (shown["start"], shown["matching"], len(shown["rows"])) == (4_950, 5_000, 50)
    beyond = page(rows, Query(start=9_000))
    assert [row["id"] for row in beyond["rows"]] == ["n4999"]
    assert page((), Query(start=3)) == {"start": 0, "matching": 0, "rows": []}
    assert len(page(rows, Query())["rows"]) == MOST_ROWS


@pytest.mark.parametrize("query", [{"count": MOST_ROWS + 1}, {"count": 0}, {"start": -1}, {"text": 3}])
def test_a_query_that_asks_for_more_than_a_window_is_none(query):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(query, Query)


def test_an_action_takes_only_the_rows_that_can_take_it_each_once():
    some = table(("a", 1, "x"), ("b", 2, "x"), can=("drop",))
    assert able(some, "drop", ["b", "a", "b", "zebra"]) == ("a", "b")
    assert able(THINGS, "drop", ["pear"]) == ()


def test_the_head_counts_what_can_be_chosen_and_is_plain_data():
    told = head(THINGS)
    assert told["values"] == {"kind": [("fruit", 2), ("root", 2)]}
    assert told["total"] == 4
    assert told["actions"][0]["key"] == "d"
    bar = Bar("all", (Segment("a", 1.0, "one", 1),), 0.5, "half")
    with_bar = head(replace(THINGS, bar=bar))
    assert with_bar["bar"]["segments"][0] == {"name": "a", "size": 1.0, "words": "one", "tone": 1}
    assert msgspec.json.decode(msgspec.json.encode(with_bar))["noun"] == ["row", "rows"]


def test_characters_that_are_not_seen_are_shown_and_a_long_text_is_cut():
    evil = table(("a\u202eb", 1, "<b>x</b>"))
    (row,) = page(evil.rows, Query())["rows"]
    assert row["cells"] == ["a⟨U+202E⟩b", "1", "<b>x</b>"]  # written as text by the page
    told = opened(Details((("who", "\u200bme"),), (("as it is", "x" * (WHOLE + 7)),)))
    assert told["facts"] == [("who", "⟨U+200B⟩me")]
    assert told["texts"][0][1].endswith("… 7 more characters")
