"""What becomes of a note that was changed in its file and elsewhere."""

import pytest

from loom_nb.capabilities.memory.merging import merged
from loom_nb.capabilities.memory.notes import Note

BASE = Note("ab12cd3", "likes tea", category="taste", tags=("drink",))
FIELDS = ("text", "category", "tags", "pinned", "importance", "scope", "extra")


def told(**changed):
    return {name: getattr(BASE, name) for name in FIELDS} | changed


def other(note=BASE, **changed):
    fields = {name: getattr(note, name) for name in note.__struct_fields__} | changed
    return Note(**fields)


@pytest.mark.parametrize("is_later", [True, False])
def test_what_one_place_left_alone_is_what_the_other_made_of_it(is_later):
    made = merged(BASE, other(importance=0.9, tags=("a", "b")), told(text="likes milk"), is_later=is_later)

    assert made.note == other(importance=0.9, tags=("a", "b"), text="likes milk")
    assert not made.clashes and made.lost is None


@pytest.mark.parametrize("is_later", [True, False])
def test_of_a_field_that_both_changed_the_later_holds_and_the_others_are_of_both(is_later):
    here = other(text="likes cocoa", pinned=True)

    made = merged(BASE, here, told(text="likes milk", category="food"), is_later=is_later)

    of_file = other(here, text="likes milk", category="food")
    of_note = other(here, category="food")
    assert made.clashes == ("text",)
    assert (made.note, made.lost) == ((of_file, None) if is_later else (of_note, of_file))


def test_the_same_change_in_both_places_is_no_clash():
    made = merged(BASE, other(text="likes milk"), told(text="likes milk"), is_later=False)
    assert made.note == other(text="likes milk") and not made.clashes


def test_where_nothing_is_known_of_before_each_difference_is_a_clash():
    made = merged(None, BASE, told(text="likes milk", importance=0.7), is_later=True)
    assert made.note == other(text="likes milk", importance=0.7) and made.clashes == ("text", "importance")


def test_a_note_that_became_one_of_a_notebook_stays_so_unless_its_file_chose_another_scope_later():
    here = other(scope="working", place="a.ipynb")

    assert merged(BASE, here, told(text="likes milk"), is_later=True).note.place == "a.ipynb"
    chosen = merged(BASE, here, told(scope="semantic"), is_later=True).note
    assert (chosen.scope, chosen.place) == ("semantic", "")
