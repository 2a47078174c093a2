"""Notes: kept, changed, found the same by all, and every change can be taken back."""

import math
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_nb.capabilities.memory.notes import (
    EVERYTHING,
    MOST_TEXT,
    NoteChanged,
    NoteNotFound,
    Provenance,
    RunNotKnown,
    Viewer,
)
from loom_nb.capabilities.memory.store import NoteStore
from loom_nb.errors import LoomUsageError, StoreError

AGENT = Provenance("agent", "s1", "r1", "work/a.ipynb", agent="helper")


class Ticks:
    """A clock that goes on one second a look."""

    def __init__(self, start=1_700_000_000.0):
        self.time = start

    def __call__(self):
        self.time += 1
        return self.time


@pytest.fixture
def clock():
    return Ticks()


@pytest.fixture
def store(tmp_path, clock):
    with closing(NoteStore(tmp_path / "memory.db", now=clock)) as store:
        yield store


def texts(store, **given):
    return [hit.note.text for hit in store.page(sort="created", **given).rows]


def test_a_note_is_kept_with_all_that_was_said_of_it(store, tmp_path):
    made = store.add(
        "  Rex is a dog. ",
        category="pets",
        tags=["dog", "dog", " big  one "],
        pinned=True,
        importance=0.9,
        by=AGENT,
    ).note

    with closing(NoteStore(tmp_path / "memory.db")) as other:
        note = other.get(made.id)
    assert (note.text, note.category, note.tags) == ("Rex is a dog.", "pets", ("dog", "big one"))
    assert (note.pinned, note.importance, note.scope, note.version, note.uses) == (
        True,
        0.9,
        "persistent",
        1,
        0,
    )
    assert note.by == AGENT and note.created == note.updated > 0
    assert str(note.by) == "agent helper · a.ipynb · r1"


def test_the_id_of_a_note_comes_from_its_words_so_that_a_run_replays(tmp_path):
    first, second = (NoteStore(tmp_path / name) for name in ("a.db", "b.db"))
    for store in (first, second):
        store.add("one thing")
        store.add("another thing", importance=0.1)
    assert [hit.note.id for hit in first.page().rows] == [hit.note.id for hit in second.page().rows]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("text", "", "without words"),
        ("text", " \n ", "without words"),
        ("text", 7, "is words"),
        ("text", "x" * (MOST_TEXT + 1), "at most"),
        ("category", ["a"], "category"),
        ("category", "x" * 81, "category"),
        ("tags", 5, "tags"),
        ("tags", ["ok", ""], "tags"),
        ("tags", [str(n) for n in range(33)], "tags"),
        ("pinned", "yes", "pinned"),
        ("importance", 1.5, "0 to 1"),
        ("importance", -0.1, "0 to 1"),
        ("importance", math.nan, "0 to 1"),
        ("importance", True, "0 to 1"),
        ("importance", "high", "0 to 1"),
        ("scope", "forever", "forever"),
        ("colour", "red", "no field"),
    ],
)
def test_a_value_that_a_field_does_not_take_is_refused_and_nothing_changes(store, field, value, said):
    note = store.add("a note").note

    with pytest.raises(LoomUsageError, match=said):
        store.edit(note.id, field, value)
    if field != "colour":
        with pytest.raises(LoomUsageError, match=said):
            store.add(**{"text": "another", field: value})
    assert store.get(note.id) == note and store.page().total == 1


def test_the_letters_of_a_label_count_as_they_are_read_and_heaps_of_marks_are_none(store):
    assert store.add("a note", category="e\u0302\u0301" * 80).note.category == "\u1ebf" * 80
    with pytest.raises(LoomUsageError, match="1 to 80"):
        store.add("another", category="e" + "\u0315\u0300" * 10_000)


def test_a_note_that_is_not_there_is_an_error_that_says_so(store):
    for act in (store.get, store.forget, store.pin, lambda one: store.edit(one, "text", "x")):
        with pytest.raises(NoteNotFound, match="'nope'"):
            act("nope")


def test_session_and_working_notes_are_seen_where_they_belong_and_nowhere_else(store):
    here, there = Viewer("s1", "a.ipynb"), Viewer("s2", "b.ipynb")
    store.add("for this session", scope="session", viewer=here)
    store.add("for this notebook", scope="working", viewer=here)
    store.add("for all of us", scope="semantic")

    assert texts(store, viewer=here) == ["for this session", "for this notebook", "for all of us"]
    assert texts(store, viewer=there) == ["for all of us"]
    assert texts(store, viewer=Viewer("s3", "a.ipynb")) == ["for this notebook", "for all of us"]
    assert len(texts(store, viewer=EVERYTHING)) == 3
    assert [hit.note.text for hit in store.search("this session notebook", viewer=there)] == []
    with pytest.raises(LoomUsageError, match="session"):
        store.add("for nobody", scope="session")


def test_of_many_notes_of_other_sessions_none_hides_those_of_this_one(store):
    for n in range(200):
        store.add(f"kettle number {n} kettle kettle", scope="session", viewer=Viewer(f"other{n}"))
    store.add("a kettle that everybody has")

    assert [hit.note.text for hit in store.search("kettle", viewer=Viewer("mine"))] == [
        "a kettle that everybody has"
    ]


# -- the same thing again ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "again",
    [
        "The user's favourite tea is oolong from Taiwan",
        "the user's favourite tea is OOLONG from Taiwan!!",
        "Remember that the user's favourite tea is oolong, from Taiwan.",
        "favourite tea is oolong from Taiwan",
    ],
)
def test_the_same_thing_said_again_is_no_second_note(store, again):
    first = store.add("The user's favourite tea is oolong from Taiwan.").note

    added = store.add(again)

    assert (added.how, added.note.id) == ("known", first.id)
    assert store.page().total == 1 and len(store.history(first.id)) == 1


def test_the_same_thing_with_more_said_of_it_brings_the_note_up_to_date(store):
    first = store.add("Tea is oolong.", tags=["drink"], pinned=True, importance=0.4).note

    added = store.add("tea is oolong", category="food", tags=["tea"], importance=0.8)

    assert added.how == "updated" and added.note.id == first.id
    note = store.get(first.id)
    assert (note.category, note.tags, note.pinned, note.importance) == ("food", ("drink", "tea"), True, 0.8)


def test_a_longer_text_that_holds_a_note_takes_its_place_and_the_old_words_are_kept(store):
    first = store.add("Clara lives in Lisbon").note

    added = store.add("Clara lives in Lisbon and works as an architect")

    assert (added.how, added.note.id) == ("updated", first.id)
    assert [version.note.text for version in store.history(first.id)] == [
        "Clara lives in Lisbon",
        "Clara lives in Lisbon and works as an architect",
    ]


@pytest.mark.parametrize(
    "news",
    [
        "The orders database listens on port 5433 of host db-orders, user report_reader, since the move.",
        "The orders database does not listen on port 5432 of host db-orders, user report_reader, since the move.",
    ],
)
def test_a_number_that_changed_or_a_not_makes_it_news_and_the_note_beside_it_is_told(store, news):
    old = store.add(
        "The orders database listens on port 5432 of host db-orders, user report_reader, since the move."
    )

    added = store.add(news)

    assert added.how == "added"
    assert [note.id for note in added.similar] == [old.note.id]


@pytest.mark.parametrize(
    ("old", "news"),
    [
        (
            "Deploy uploads to the staging server at port 8080 first, then to the production server at port 9090.",
            "Deploy uploads to the staging server at port 9090 first, then to the production server at port 9090.",
        ),
        (
            "Anna is responsible for the billing service, and Ben is responsible for the login service.",
            "Ben is responsible for the billing service, and Ben is responsible for the login service.",
        ),
        (
            "Anna is responsible for the billing service. Ben is responsible for the login service.",
            "Ben is responsible for the billing service.",
        ),
        (
            "Likes coffee in the morning and does not like tea in the evening.",
            "Does not like coffee in the morning and likes tea in the evening.",
        ),
        ("Anna is the manager of the team.", "Anna was the manager of the team."),
        ("Meeting with Alice on 3 May and with Bob on 4 May.", "Meeting with Alice on 4 May and with Bob on 4 May."),
    ],
)  # fmt: skip
def test_words_that_stand_in_a_note_at_other_places_are_news(store, old, news):
    store.add(old)
    assert store.add(news).how == "added"


def test_what_two_notes_say_of_two_is_news_of_one(store):
    store.add("Anna is responsible for the billing service.")
    store.add("Ben is responsible for the login service.")
    assert store.add("Ben is responsible for the billing service.").how == "added"


def test_recalled_notes_said_again_together_are_not_stored_anew(store):
    store.add("Rex the dog is afraid of thunder and hides in the bathtub.")
    store.add("Clara the sister lives in Lisbon near the old aqueduct.")

    added = store.add(
        "Rex the dog is afraid of thunder and hides in the bathtub. Clara the sister lives in Lisbon near the old aqueduct."
    )

    assert added.how in ("known", "updated") and store.page().total == 2


# -- changes and undo ----------------------------------------------------------------------------------


def test_each_change_is_a_version_with_time_and_run_and_can_be_taken_back_in_turn(store):
    note = store.add("first words").note
    store.edit(note.id, "text", "second words", AGENT)
    store.pin(note.id)
    store.forget(note.id)

    history = store.history(note.id)
    assert [(one.change, one.note.version) for one in history] == [
        ("added", 1), ("edited", 2), ("edited", 3), ("forgotten", 3),
    ]  # fmt: skip
    assert history[1].by == AGENT and history[0].moment < history[1].moment

    assert store.undo().change == "forgotten"
    assert (store.get(note.id).text, store.get(note.id).pinned) == ("second words", True)
    store.undo()
    assert not store.get(note.id).pinned
    store.undo()
    assert store.get(note.id).text == "first words"
    store.undo()
    assert store.page().total == 0
    with pytest.raises(LoomUsageError, match="nothing to undo"):
        store.undo()
    assert store.check() == []


def test_a_change_of_a_note_that_was_changed_meanwhile_is_refused(store):
    note = store.add("first words").note
    store.edit(note.id, "text", "second words")
    for late in (
        lambda: store.edit(note.id, "text", "late words", expected=1),
        lambda: store.forget(note.id, expected=1),
        lambda: store.undo_all({note.id: 1}),
    ):
        with pytest.raises(NoteChanged):
            late()
    assert store.get(note.id).text == "second words"
    assert store.edit(note.id, "text", "third words", expected=2).version == 3


def test_an_undo_can_be_bound_to_one_change_and_to_who_made_it(store):
    note = store.add("first words", by=AGENT).note
    store.edit(note.id, "text", "second words", AGENT)
    last = store.undoable(note.id)
    store.edit(note.id, "pinned", True)
    with pytest.raises(NoteChanged, match="somebody else"):
        store.undo(note.id, only_by="agent")
    with pytest.raises(NoteChanged, match="another one"):
        store.undo(note.id, expected=last.seq)
    assert store.get(note.id).pinned and store.get(note.id).text == "second words"
    store.undo(note.id)
    assert store.undo(note.id, AGENT, only_by="agent", expected=last.seq).change == "edited"
    assert store.get(note.id).text == "first words"
    store.undo(note.id)
    assert store.undoable(note.id) is None


def test_what_is_done_with_several_notes_is_one_change(store):
    a, b, c = (store.add(f"thing {name} of the shed", pinned=name == "a").note.id for name in "abc")
    assert [note.id for note in store.pin_all([a, b, c, "nothere", b])] == [b, c]
    assert {note.id for note in store.undo().notes} == {b, c}
    assert [store.get(one).pinned for one in (a, b, c)] == [True, False, False]

    assert [note.id for note in store.forget_all([a, "nothere", c])] == [a, c]
    store.undo_all({a: 0, c: 0})
    assert store.page().total == 3
    store.forget_all([a, c])
    store.undo(a)
    with pytest.raises(NoteChanged):
        store.undo_all({c: 0, a: 0})
    assert store.page().total == 2 and store.check() == []


def test_the_undo_of_one_note_leaves_later_changes_of_others(store):
    first, second = store.add("the first one").note, store.add("the second one").note
    store.forget(first.id)
    store.edit(second.id, "text", "changed")

    store.undo(first.id)

    assert store.get(first.id).text == "the first one" and store.get(second.id).text == "changed"
    assert [hit.note.id for hit in store.search("first one")] == [first.id]


def test_a_forgotten_note_is_not_found_and_one_brought_back_is(store):
    note = store.add("the hedgehog sleeps").note
    store.forget(note.id)
    assert store.search("hedgehog") == ()

    store.undo()

    assert [hit.note.id for hit in store.search("hedgehog")] == [note.id]


def test_what_is_remembered_again_after_it_was_forgotten_goes_on_counting_versions(store):
    note = store.add("a passing thought").note
    store.forget(note.id)
    again = store.add("a passing thought").note
    assert again.id == note.id and again.version == 2
    assert [one.change for one in store.history(note.id)] == ["added", "forgotten", "added"]


def test_the_store_can_be_looked_at_as_it_was(store):
    store.add("one about apples")
    moment = store._now()
    pear = store.add("two about pears").note
    store.used((), how="enrichment", query="", by=Provenance("agent", "s", "r7"), begins=True)
    store.edit(pear.id, "text", "two about quinces")
    store.forget(pear.id)

    def then(when, **given):
        return [hit.note.text for hit in store.as_of(when, sort="created", **given).rows]

    assert then(moment) == ["one about apples"]
    assert then("r7") == ["one about apples", "two about pears"]
    assert then("r7", query="pear") == ["two about pears"]
    assert then(store._now()) == ["one about apples"]
    assert store.as_of("r7", limit=1, offset=1).total == 2
    with pytest.raises(LoomUsageError, match="r99"):
        store.as_of("r99")


def test_a_run_is_found_by_its_name_and_session_though_the_clock_was_set_back(store, clock):
    first = store.add("first fact", by=AGENT).note
    store.used((), how="enrichment", query="", by=Provenance("agent", session="s9", run="r1"), begins=True)
    clock.time -= 5_000
    later = store.add("later fact", by=Provenance("agent", session="s8", run="r7")).note

    def ids(*run, session=""):
        return {hit.note.id for hit in store.as_of(*run, session=session).rows}

    assert ids("r1", session="s9") == {first.id}
    assert ids("r7", session="s8") == {first.id} and ids(1e12) == {first.id, later.id}
    with pytest.raises(RunNotKnown):
        ids("r7", session="s9")


def test_notes_that_are_found_are_sorted_as_those_that_are_listed(store):
    for words in ("apple cat", "Banana cat", "cherry cat", "Date cat"):
        store.add(words)
    listed, found = store.page("", "text"), store.page("cat", "text")
    assert [hit.note.text for hit in listed.rows] == [hit.note.text for hit in found.rows]
    assert len(store.as_of(1e12, offset=-2).rows) == len(store.page(offset=-2).rows) == 4


def test_a_note_with_many_tags_loses_none_when_it_is_said_again(store):
    tags = [f"tag{n}" for n in range(32)]
    note = store.add("the kayak is in the shed", tags=tags).note
    again = store.add("the kayak is in the shed", tags=["another"], importance=0.9).note
    assert again.id == note.id and list(again.tags) == tags


def test_a_page_is_sorted_counted_and_cut(store):
    for n in range(25):
        store.add(f"thing {n:02}", importance=n / 25, category="odd" if n % 2 else "even")

    page = store.page(sort="-importance", offset=5, limit=3)
    assert page.total == 25
    assert [hit.note.text for hit in page.rows] == ["thing 19", "thing 18", "thing 17"]
    assert store.page(category="odd").total == 12
    assert store.page("thing 07").rows[0].note.text == "thing 07"
    assert store.page("nothing of the kind").total == 0
    with pytest.raises(LoomUsageError, match="sorted"):
        store.page(sort="colour")


def test_a_search_finds_with_each_letter_that_is_typed(store):
    store.add("Meetings with the designers are on Tuesday")
    store.add("The kayak is in the shed")

    for length in range(2, len("meetings") + 1):
        rows = store.page("meetings"[:length]).rows
        assert [hit.note.text[:8] for hit in rows] == ["Meetings"], "meetings"[:length]
    assert store.page("mez").total == 0
    assert store.page("the kayak is in the sh").rows[0].note.text == "The kayak is in the shed"


# -- why, and what would be ----------------------------------------------------------------------------


def test_it_is_written_down_when_and_why_a_note_was_shown(store):
    note = store.add("the kayak is in the shed").note
    hits = store.search("where is the kayak")

    store.used(hits, how="search", query="where is the kayak", by=AGENT)
    store.used(hits, how="enrichment", query="kayak", by=Provenance("agent", "s2", "r1"))

    assert store.get(note.id).uses == 2
    last, first = store.why(note.id)
    assert (first.run, first.how, first.query, first.terms) == (
        "r1",
        "search",
        "where is the kayak",
        ("kayak",),
    )
    assert first.components.keys() == {"words", "salience", "recency"} and first.score == hits[0].score
    assert last.session == "s2"
    assert [one.session for one in store.why(note.id, "r1", session="s1")] == ["s1"]
    assert store.why(note.id, "r2") == ()
    assert len(store.history(note.id)) == 1


def test_what_a_forget_would_change_in_the_next_request_is_told(store):
    pinned = store.add("always say good morning", pinned=True).note
    shed = store.add("the kayak lies in the shed behind the house").note
    other = store.add("kayak trips begin at the jetty").note
    tokens = store.choose("kayak", tokens=10_000).tokens - 5

    change = store.would_change(shed.id, "kayak", tokens=tokens)

    assert store.choose("kayak", tokens=10_000).ids[0] == pinned.id
    assert change.shown is (shed.id in change.before)
    assert shed.id not in change.after and pinned.id in change.after and other.id in change.after
    assert store.would_change(other.id, "unrelated").before == (pinned.id,)
    assert store.would_change(other.id, "unrelated").shown is False


def test_pinned_notes_come_first_and_the_budget_and_what_is_seen_hold(store):
    for n in range(5):
        store.add(f"pinned number {n}: " + "word " * 40, pinned=True, importance=n / 10)

    chosen = store.choose("anything", tokens=120)

    assert 1 <= len(chosen.hits) < 5 and chosen.tokens <= 120 and chosen.left_out == 5 - len(chosen.hits)
    assert chosen.hits[0].note.importance == 0.4
    names = {f"note:{one}" for one in chosen.ids}
    assert not set(store.choose("anything", tokens=120, seen=names).ids) & set(chosen.ids)
    assert store.choose("anything", tokens=0).hits == ()


# -- the store -----------------------------------------------------------------------------------------


def test_one_damaged_row_concerns_no_other(store, tmp_path):
    bad, good = store.add("the broken kettle").note, store.add("the sound kettle").note
    with closing(sqlite3.connect(tmp_path / "memory.db")) as db, db:
        db.execute("UPDATE notes SET body = ? WHERE id = ?", (b"{", bad.id))

    assert [hit.note.id for hit in store.search("kettle")] == [good.id]
    assert [hit.note.id for hit in store.page().rows] == [good.id]
    with pytest.raises(NoteNotFound):
        store.get(bad.id)
    assert store.check() != []


def test_another_program_s_database_is_refused(tmp_path):
    with closing(sqlite3.connect(tmp_path / "x.db")) as db, db:
        db.execute("CREATE TABLE theirs (a)")
    with pytest.raises(StoreError, match="another program"):
        NoteStore(tmp_path / "x.db").add("hello there")


WRITER = """
import sys
from loom_nb.capabilities.memory.store import NoteStore
store, name = NoteStore(sys.argv[1]), sys.argv[2]
for n in range(40):
    note = store.add(f"{name} keeps lantern {name}{n} on shelf {n}").note
    if n % 4 == 0: store.edit(note.id, "importance", 0.9)
    if n % 5 == 0: store.forget(note.id)
    store.add("what all of them say together")
"""


def test_four_processes_write_at_once_and_nothing_is_lost_or_twice(store, tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path / "memory.db")]
    writers = [subprocess.Popen([*command, f"p{n}"], stderr=subprocess.PIPE) for n in range(4)]

    errors = [writer.communicate()[1].decode() for writer in writers]

    assert errors == [""] * 4
    assert store.page().total == 4 * 32 + 1
    assert len(store.search("what all of them say together", limit=50)) >= 1
    assert store.check() == []


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200) | st.text(alphabet="\"'()*^:-+ANDORNEAR{}[]\\ \x00ab中ß", max_size=60))
def test_any_text_is_a_legal_query_and_a_legal_page(text):
    hits = SHARED.search(text)
    assert all(hit.relevance >= SHARED.threshold for hit in hits)
    assert SHARED.page(text).total >= len(hits)
    SHARED.choose(text)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300))
def test_any_text_with_words_is_kept_as_it_is_and_found_by_itself(text):
    try:
        note = SHARED.add(text).note
    except LoomUsageError:
        return
    assert SHARED.get(note.id) == note
    assert SHARED.check() == []


@pytest.fixture(scope="module", autouse=True)
def shared(tmp_path_factory):
    global SHARED
    SHARED = NoteStore(tmp_path_factory.mktemp("shared") / "memory.db")
    SHARED.add("the quick brown fox jumps over the lazy dog")
    SHARED.add("read_the_file in stations.py, NEAR the AND gate")
    yield
    SHARED.close()
