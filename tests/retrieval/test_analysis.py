"""Words of a text and of a question: the same reading for both."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_tables import table_of

from loom_nb.retrieval.analysis import (
    MAX_TERMS,
    index_text,
    placed_words,
    query_terms,
    stems,
    stream_safe,
    terms,
    words,
)


def match(query, *, any_of=True):
    """The question as an expression of FTS5; None where there is nothing to look for."""
    return (" OR " if any_of else " AND ").join(term.expression for term in query_terms(query)) or None


def found(query, *texts, any_of=True):
    expression = match(query, any_of=any_of)
    if expression is None:
        return []
    rows = table_of(*texts).execute(
        "SELECT rowid FROM texts WHERE texts MATCH ? ORDER BY rowid", (expression,)
    )
    return [row for (row,) in rows]


def test_case_accents_and_compatibility_forms_are_let_go():
    assert words("Café \uff23\uff21\uff26\uff25\u0301 \ufb01ne Straße") == ["cafe", "cafe", "fine", "strasse"]


def test_names_of_code_are_found_whole_and_by_their_parts():
    assert words("readTheFile read_csv HTTPServer") == [
        "readthefile", "read", "the", "file", "read", "csv", "httpserver", "http", "server",
    ]  # fmt: skip
    assert found("HTTPServer", "our http server", "an HTTPServer", "http only") == [1, 2]
    assert found("read the file", "call readTheFile()") == [1]


@pytest.mark.parametrize(
    "heap",
    ["\u0315" * 3_000 + "\u0300" * 3_000, ("\u0315" * 30 + "\uff9e") * 200, "\u0315\u0f73" * 3_000],
)
def test_of_a_heap_of_marks_some_are_read(heap):
    text = f"Fische{heap} und Käse"
    kept = stream_safe(text)
    nfkd = unicodedata.normalize("NFKD", kept)
    assert (
        max(len(run) for run in "".join(" M"[unicodedata.combining(one) > 0] for one in nfkd).split()) < 100
    )
    assert words(text) == words(kept)
    assert "kase" in words(text) and words(text)[0].startswith("fische")


def test_texts_as_people_write_them_are_read_with_all_their_marks():
    for text in ("Käse e\u0301te\u0323\u0302", "हिन्दी में", "-" * 100 + "é" + "=" * 99, "🍣" * 50, "ｶﾞｷﾞ"):
        assert stream_safe(text) == text


TEXTS = [
    "Käse aus Köln, readTheFile() and read_csv; C++ or C# at 3.5",
    "東京都の天気は晴れです。ｶﾞｷﾞ２０２４年 ﬁne हिन्दी में ตลาดน้ำ",
]


@pytest.mark.parametrize("text", TEXTS)
def test_words_are_placed_where_they_stand(text):
    placed = list(placed_words(text))
    assert {word for _, word in placed} >= set(words(text)) - {"カ", "キ"}
    for at, word in placed:
        assert words(text[at : at + 70])[: len(words(text))].count(word), (at, word)
    named, written = ("天気", "天気") if "天" in text else ("koln", "Köln")
    assert text[{word: at for at, word in placed}[named] :].startswith(written)


def test_languages_with_signs_in_their_names_are_words():
    assert terms("C++ or C#") == ["cplusplus", "csharp"]
    assert found("C++", "written in C++", "written in C") == [1]


def test_scripts_without_blanks_are_found_by_any_part():
    texts = ("東京都の天気は晴れです", "大阪の食べ物", "ตลาดน้ำดำเนินสะดวก", "서울의 날씨는 맑다")
    assert found("天気", *texts) == [1]
    assert found("晴", *texts) == [1]
    assert found("食べ物", *texts) == [2]
    assert found("ตลาด", *texts) == [3]
    assert found("날씨", *texts) == [4]


def test_marks_of_indic_scripts_stay_in_their_words():
    assert words("हिन्दी में। ୰") == ["हिन्दी", "में"]
    assert found("हिन्दी", "यह हिन्दी है", "यह नहीं") == [1]


@pytest.mark.parametrize(
    "nothing",
    ["", " ", "hi", "Hello there!", "thanks a lot", "what is it?", "to be or not to be", "👍 🎉", "...", "你好",
     "こんにちは", "und was ist das?", "¿qué es esto?", '"', "*", "()", "-", "\x00"],
)  # fmt: skip
def test_what_asks_for_nothing_has_no_expression(nothing):
    assert match(nothing) is None


def test_stop_words_of_another_language_go_only_where_it_is_spoken():
    assert terms("die hard") == ["die", "hard"]
    assert terms("was ist die Antwort auf die Frage") == ["antwort", "frage"]
    assert terms("war and peace") == ["war", "peace"]


def test_nothing_in_a_question_is_syntax():
    assert found('NEAR(a b) AND "x" OR body: * ^ NOT', "unrelated") == []
    assert found('dogs AND "cats', "dogs", "cats and dogs", any_of=False) == [2]


def test_all_words_may_be_asked_for():
    assert found("red wine", "red wine", "red", "wine", any_of=False) == [1]
    assert found("red wine", "red wine", "red", "wine") == [1, 2, 3]


def test_english_forms_of_a_word_meet():
    assert found("deploying", "we deploy on Fridays", "it was deployed", "nothing") == [1, 2]
    assert stems("ponies running stopped churches boxes the analysis") == [
        "pony", "run", "stop", "church", "box", "analysis",
    ]  # fmt: skip


def test_a_long_question_is_read_from_its_beginning_and_keeps_its_longest_words():
    query = " ".join(f"w{'x' * (number % 40)}{number}" for number in range(2_000))
    assert len(terms(query)) == MAX_TERMS


TABLE = table_of("one text", "readTheFile 東京 C++ café")


@settings(max_examples=500, deadline=None)
@given(st.text(st.characters(), max_size=200), st.booleans())
def test_any_text_is_a_legal_question(query, any_of):
    expression = match(query, any_of=any_of)
    if expression is not None:
        TABLE.execute("SELECT rowid FROM texts WHERE texts MATCH ?", (expression,)).fetchall()


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=100))
def test_a_text_is_found_by_itself(text):
    """Unless it has no word, or none but stop words."""
    if terms(text):
        assert 2 in found(text, "something else", text, any_of=False)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=100))
def test_what_is_indexed_is_words_with_blanks_between(text):
    assert index_text(text).split() == words(text)
