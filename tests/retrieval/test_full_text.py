"""Searching a table by BM25: order, bounds, and how much of a question a text answers."""

import math
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_tables import table_of

from loom_nb.retrieval.analysis import TOKENIZE, index_text
from loom_nb.retrieval.full_text import rows_of, search

NOTES = (
    "The user likes dark roast coffee in the morning",
    "Deploys of the shop go out on Fridays",
    "The HTTPServer of the shop listens on port 8080",
)


def rows(hits):
    return [hit.rowid for hit in hits]


def test_a_question_in_plain_words_finds_what_answers_it():
    db = table_of(*NOTES)
    assert rows(search(db, "texts", "What coffee does the user like?")) == [1]
    assert rows(search(db, "texts", "when do we deploy?")) == [2]
    assert rows(search(db, "texts", "which port does the shop's server listen on?"))[0] == 3


def test_an_unrelated_question_or_a_greeting_finds_nothing():
    db = table_of(*NOTES)
    assert search(db, "texts", "What is the capital of France?") == []
    assert search(db, "texts", "hi") == []


def test_a_question_that_is_answered_whole_says_so_and_words_that_no_text_has_count_as_missed():
    db = table_of(*NOTES)
    (whole,) = search(db, "texts", "Fridays")
    assert whole.answered == pytest.approx(1.0, abs=0.1)
    assert whole.words == ("fridays",)
    (part,) = search(db, "texts", "Fridays in Reykjavik")
    assert part.answered < 0.5


def test_a_table_of_one_text_can_be_searched():
    (hit,) = search(table_of(NOTES[0]), "texts", "coffee")
    assert hit.rowid == 1
    assert hit.bm25 > 0
    assert hit.answered > 0.5


def test_an_empty_table_has_nothing():
    assert search(table_of(), "texts", "coffee") == []


def test_a_rare_word_counts_more_than_a_common_one_and_a_short_text_more_than_a_long_one():
    db = table_of("shop " * 3, "shop zebra", "shop", "shop and many other words " * 20, "zebra " + "x " * 50)
    assert rows(search(db, "texts", "shop zebra"))[0] == 2
    assert rows(search(db, "texts", "zebra")) == [2, 5]


def test_the_sum_is_that_of_fts5_where_its_weights_are_positive():
    texts = [
        f"text {number} {'zebra ' * (number % 4)} {'lion' if number % 9 == 0 else ''}" for number in range(99)
    ]
    db = table_of(*texts)
    ((_, theirs), *_) = db.execute(
        "SELECT rowid, -bm25(texts) FROM texts WHERE texts MATCH 'lion' ORDER BY 2 DESC"
    )
    ours = search(db, "texts", "lion")[0]
    n, total = 11, 99
    weight = math.log1p((total - n + 0.5) / (n + 0.5)) / math.log((total - n + 0.5) / (n + 0.5))
    assert ours.bm25 == pytest.approx(theirs * weight)


def test_a_name_of_code_whose_parts_most_texts_have_says_little_and_does_not_outweigh_the_rest():
    texts = [f"the data in a frame: {'row ' * (n % 5)}" for n in range(100)]
    texts[50] = "DataFrame is a class of pandas"
    texts[51] = "how to drop duplicate rows of a data frame by some of its columns"
    first, *others = search(table_of(*texts), "texts", "DataFrame drop duplicate rows")

    assert first.rowid == 52 and first.answered > 0.6
    assert max(hit.bm25 for hit in others) < 0.1 * first.bm25


@pytest.mark.parametrize("having", [1, 30, 55, 90, 100])
def test_a_name_of_code_counts_at_most_as_a_word_that_stands_there_often(having):
    texts = [f"{'readFile' if n % 2 else 'please read this file'}" for n in range(having)]
    hits = search(table_of(*texts, *["nothing"] * (100 - having)), "texts", "readFile", limit=100)

    assert len(hits) == having
    weight = math.log1p((100 - having + 0.5) / (having + 0.5))
    assert all(weight * (1 - 1e-9) <= hit.bm25 <= weight * 2.2 * (1 + 1e-9) for hit in hits)


def test_columns_have_weights():
    db = sqlite3.connect(":memory:")
    db.execute(f"CREATE VIRTUAL TABLE texts USING fts5(title, body, {TOKENIZE})")
    for row, (title, body) in enumerate([("x", "zebra"), ("zebra", "x"), ("x", "y")], 1):
        db.execute("INSERT INTO texts (rowid, title, body) VALUES (?, ?, ?)", (row, title, body))
    assert rows(search(db, "texts", "zebra", columns=(5.0, 1.0))) == [2, 1]
    assert rows(search(db, "texts", "zebra", columns=(1.0, 5.0))) == [1, 2]


def test_only_some_rows_may_be_asked_for_and_only_so_many():
    db = table_of(*["zebra"] * 10)
    assert rows(search(db, "texts", "zebra", limit=3)) == [1, 2, 3]
    assert rows(search(db, "texts", "zebra", among={7, 8, 99})) == [7, 8]


def test_rows_are_counted_also_within_a_transaction():
    db = table_of("one", "two")
    db.execute("DELETE FROM texts WHERE rowid = 1")
    assert rows_of(db, "texts") == 1


def test_a_name_of_a_table_is_never_sql():
    db = sqlite3.connect(":memory:")
    db.execute(f"""CREATE VIRTUAL TABLE "my ""notes" USING fts5(body, {TOKENIZE})""")
    db.execute("""INSERT INTO "my ""notes" VALUES ('zebra')""")
    assert rows(search(db, 'my "notes', "zebra")) == [1]


def test_in_a_large_table_rare_words_choose_and_common_ones_order():
    texts = [f"{'common' if n % 5 == 0 else ''} {'rare' if n in (10, 11) else ''} filler" for n in range(300)]
    hits = search(table_of(*texts), "texts", "rare common", read_rows=20)
    assert rows(hits) == [11, 12]  # the first of them is common, too
    assert hits[0].words == ("rare", "common")
    assert hits[1].words == ("rare",)


def test_words_that_most_texts_have_are_passed_over_where_there_are_others():
    texts = [f"filler {'rare' if n == 10 else ''}" for n in range(300)]
    (hit,) = search(table_of(*texts), "texts", "rare filler", read_rows=20)
    assert hit.words == ("rare",)
    assert hit.answered > 0.6


def test_where_all_words_are_common_the_newest_texts_are_looked_at():
    hits = search(table_of(*["filler"] * 300), "texts", "filler", read_rows=20)
    assert sorted(rows(hits)) == list(range(281, 301))


HEAP = table_of(*NOTES, "zebra " * 30, "東京 C++ readTheFile", "")


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(), max_size=80))
def test_any_text_is_a_legal_question_with_values_in_their_bounds(query):
    for hit in search(HEAP, "texts", query):
        assert hit.bm25 > 0
        assert 0 <= hit.answered <= 1
        assert hit.words


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(["zebra lion", "lion", "zebra", "mouse", "cat mouse"]), min_size=1, max_size=30)
)
def test_every_text_that_has_a_word_is_found(texts):
    hits = search(table_of(*texts), "texts", "zebra mouse")
    assert sorted(rows(hits)) == [
        row for row, text in enumerate(texts, 1) if "zebra" in text or "mouse" in text
    ]
    assert [hit.bm25 for hit in hits] == sorted((hit.bm25 for hit in hits), reverse=True)
    assert index_text("zebra") == "zebra"


@pytest.mark.parametrize("among", [{1, 2}, {2, 140}], ids=["side by side", "apart"])
def test_rows_are_found_among_some_however_often_others_have_the_words(among):
    texts = ["the budget of the observatory is nine million", "the budget of it", *["budget line"] * 300]
    texts[139] = "the moon of the observatory"
    db = table_of(*texts, *["telescope"] * 3)

    hits = search(db, "texts", "budget of the observatory", read_rows=20, among=among)
    assert set(rows(hits)) == among
    # a rare word that only others have chooses nothing among these
    assert rows(search(db, "texts", "telescope budget", read_rows=20, among={1, 2})) == [1, 2]
    assert search(db, "texts", "telescope", read_rows=20, among=among) == []
    assert search(db, "texts", "budget", among=set()) == []
