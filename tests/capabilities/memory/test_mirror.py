"""The folder of a memory: what people write there counts, and nothing of it is lost or stamped anew."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from loom_nb.capabilities.memory.capability import MemoryCapability
from loom_nb.capabilities.memory.front_matter import parsed, rendered
from loom_nb.capabilities.memory.mirror import Mirror, folder_key
from loom_nb.capabilities.memory.notes import Note, Provenance, Viewer
from loom_nb.capabilities.memory.store import NoteStore
from loom_nb.errors import LoomUsageError
from loom_nb.events import Noticed
from loom_nb.protocols import Enquiry
from tests.usual_user import usual_user

START = 1_700_000_000.0


class Clock:
    def __init__(self):
        self.time = START

    def __call__(self):
        self.time += 0.01
        return self.time


class At:
    """A store, its folder, and the hours that pass."""

    def __init__(self, path):
        self.clock = Clock()
        self.store = NoteStore(path / "memory.db", now=self.clock)
        self.folder = path / "notes"
        self.mirror = Mirror(self.folder, self.store, self.clock)

    def sync(self):
        report = self.mirror.sync()
        again = self.mirror.sync()
        assert not again, again
        assert self.store.check() == []
        return report

    def write(self, name, text, hours=0.0):
        """As a person does, at an hour."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        os.utime(file, (START + hours * 3600,) * 2)
        return file

    def files(self):
        return sorted(str(file.relative_to(self.folder)) for file in self.folder.rglob("*.md"))

    def texts(self):
        return sorted(hit.note.text for hit in self.store.page(limit=1_000).rows)

    def later(self, hours):
        self.clock.time = START + hours * 3600


@pytest.fixture
def at(tmp_path):
    made = At(tmp_path)
    with closing(made.store):
        yield made


def test_each_note_has_a_file_that_people_can_read(at):
    note = at.store.add(
        "Rex: the *dog*.\n\nSecond paragraph.", category="pets", tags=["dog", "no"], pinned=True
    ).note

    report = at.sync()

    assert report.written == at.files() == [f"rex-the-dog-second-paragraph-{note.id}.md"]
    text = (at.folder / at.files()[0]).read_text()
    assert text.startswith(f"---\nid: {note.id}\ncategory: pets\ntags:\n- dog\n")
    assert text.endswith("---\n\nRex: the *dog*.\n\nSecond paragraph.\n")
    assert "pinned: true" in text and "created: '2023-11-14T" in text and "source: person" in text


def test_a_file_reads_back_as_the_note_it_was_written_from():
    note = Note(
        id="0abc123", text="a: b\n---\nc", category="yes", tags=("2024", "null", "ä #x"), importance=0.25,
        created=START, updated=START + 0.5, extra={"aliases": ["x", 1], "due": "tomorrow"},
    )  # fmt: skip
    told = parsed(rendered(note))
    assert told.id == note.id and (told.created, told.updated) == (START, START + 0.5)
    assert {**told.fields} == {
        "text": note.text, "category": "yes", "tags": note.tags, "pinned": False, "importance": 0.25,
        "scope": "persistent", "extra": note.extra,
    }  # fmt: skip


def test_a_file_that_somebody_added_becomes_a_note_with_its_own_dates_and_stays_as_it_is(at):
    file = at.write("deep/plain words.md", "The hedgehog sleeps under the stairs.\n", hours=-500)
    dated = at.write(
        "dated.md", "---\ncreated: 2020-02-03\ntags: one, two\nmood: happy\n---\nDated words.", hours=-9
    )
    before = [(one.read_bytes(), one.stat().st_mtime_ns) for one in (file, dated)]

    report = at.sync()

    assert len(report.added) == 2 and not report.written
    notes = {hit.note.text: hit.note for hit in at.store.page().rows}
    plain, other = notes["The hedgehog sleeps under the stairs."], notes["Dated words."]
    assert plain.created == plain.updated == START - 500 * 3600
    assert other.created == 1580688000.0 and other.tags == ("one", "two") and other.extra == {"mood": "happy"}
    assert plain.by == Provenance("file")
    assert [(one.read_bytes(), one.stat().st_mtime_ns) for one in (file, dated)] == before
    assert [hit.note.id for hit in at.store.search("hedgehog")] == [plain.id]


def test_an_edit_of_a_file_changes_its_note_and_keeps_what_it_was(at):
    note = at.store.add("Rex is afraid of thunder.", tags=["dog"]).note
    at.sync()
    (name,) = at.files()
    text = (at.folder / name).read_text()
    at.later(3)
    at.write(name, text.replace("thunder", "fireworks").replace("pinned: false", "pinned: true"), hours=2)

    report = at.sync()

    changed = at.store.get(note.id)
    assert report.edited == [note.id] and not report.conflicts and not report.written
    assert (changed.text, changed.pinned, changed.created) == (
        "Rex is afraid of fireworks.",
        True,
        note.created,
    )
    assert changed.updated == START + 2 * 3600 and changed.by.who == "file"
    at.store.undo()
    at.sync()
    assert "thunder" in (at.folder / name).read_text()


def test_a_file_that_was_only_touched_changes_nothing(at):
    note = at.store.add("as it was").note
    at.sync()
    os.utime(at.folder / at.files()[0], (START + 9_999,) * 2)

    assert not at.sync()
    assert at.store.get(note.id) == note


def test_a_change_by_the_agent_is_written_into_the_file_and_what_people_added_stays(at):
    at.write("mine.md", "---\nmood: happy\nid: zz99zz9\n---\nfirst\n", hours=-1)
    at.sync()

    at.store.edit("zz99zz9", "text", "second")
    report = at.sync()

    assert report.written == ["mine.md"] and at.files() == ["mine.md"]
    assert (
        "mood: happy" in (at.folder / "mine.md").read_text()
        and "second" in (at.folder / "mine.md").read_text()
    )


def test_where_both_changed_the_later_one_wins_and_the_other_is_kept(at):
    note = at.store.add("the original words").note
    at.sync()
    (name,) = at.files()
    original = (at.folder / name).read_text()

    at.later(1)
    at.store.edit(note.id, "text", "words of the agent at one")
    at.later(3)
    at.write(name, original.replace("original words", "words of the file at two"), hours=2)
    report = at.sync()
    assert report.conflicts == [note.id] and at.store.get(note.id).text == "the words of the file at two"

    at.later(6)
    at.write(name, original.replace("original words", "words of the file at five"), hours=5)
    at.store.edit(note.id, "text", "words of the agent at six")
    report = at.sync()
    assert report.conflicts == [note.id] and at.store.get(note.id).text == "words of the agent at six"
    assert "agent at six" in (at.folder / name).read_text()
    kept = [version.note.text for version in at.store.history(note.id)]
    assert kept == [
        "the original words", "words of the agent at one", "the words of the file at two",
        "words of the agent at six", "the words of the file at five",
    ]  # fmt: skip


def test_an_edit_of_a_file_and_another_of_another_field_elsewhere_both_hold(at):
    note = at.store.add("Ann likes tea").note
    at.sync()
    (name,) = at.files()
    at.later(3)
    at.write(name, (at.folder / name).read_text().replace("tea", "tea, and is allergic to milk"), hours=2)
    at.store.edit(note.id, "importance", 0.9)

    report = at.sync()

    now = at.store.get(note.id)
    assert (now.text, now.importance) == ("Ann likes tea, and is allergic to milk", 0.9)
    assert not report.conflicts and not report.problems and report.written == [name]
    assert "importance: 0.9" in (at.folder / name).read_text()


def test_a_file_that_says_what_its_note_said_long_ago_is_an_edit_where_they_had_agreed_since(at):
    note = at.store.add("Ann likes tea", importance=0.4).note
    at.sync()
    (name,) = at.files()
    first = (at.folder / name).read_text()
    at.store.edit(note.id, "importance", 0.9)
    at.sync()
    at.later(3)
    at.write(name, first, hours=2)
    at.store.edit(note.id, "pinned", True)

    at.sync()

    assert (at.store.get(note.id).importance, at.store.get(note.id).pinned) == (0.4, True)


def test_what_a_file_lost_is_told_and_an_undo_brings_it_back(at):
    note = at.store.add("Ann likes tea").note
    at.sync()
    (name,) = at.files()
    at.write(name, (at.folder / name).read_text().replace("tea", "milk"), hours=1)
    at.later(2)
    at.store.change(note.id, text="Ann likes cocoa", pinned=True)

    report = at.sync()

    (told,) = report.told_once
    assert all(word in told for word in (name, note.id, "note later", "whose text holds", "undo"))
    assert at.store.get(note.id).text == "Ann likes cocoa"
    undone = at.store.undo(note.id)
    at.sync()
    assert (undone.change, undone.notes[0].text) == ("conflict", "Ann likes milk")
    assert at.store.get(note.id).text == "Ann likes milk" and at.store.get(note.id).pinned
    assert "Ann likes milk" in (at.folder / name).read_text()
    at.store.undo(note.id)
    assert at.store.get(note.id).text == "Ann likes tea"


def test_a_file_with_the_id_of_a_note_of_a_session_is_a_note_of_its_own(at):
    here = Viewer("s1", "a.ipynb")
    note = at.store.add("of the session alone", scope="session", viewer=here).note
    file = at.write("mine.md", f"---\nid: {note.id}\n---\nfor everybody", hours=9)

    (added,) = at.sync().added

    assert at.store.get(note.id) == note and added != note.id
    assert at.store.get(added).text == "for everybody" and file.exists()


def test_a_file_of_a_note_that_became_one_of_a_session_gives_it_its_words_and_goes(at):
    note = at.store.add("of everybody").note
    at.sync()
    (name,) = at.files()
    at.write(name, (at.folder / name).read_text().replace("everybody", "everybody else"), hours=9)
    at.store.change(note.id, viewer=Viewer("s1"), scope="session")

    at.sync()

    now = at.store.get(note.id)
    assert (now.text, now.scope, now.place) == ("of everybody else", "session", "s1") and at.files() == []


def test_a_file_that_a_crash_left_behind_is_no_edit_of_a_person(at):
    note = at.store.add("the first words").note
    at.sync()
    (name,) = at.files()
    first = (at.folder / name).read_text()
    at.store.edit(note.id, "text", "the second words")
    at.sync()
    at.store.edit(note.id, "text", "the third words")
    with at.store.writing() as db:  # as if it had died between the file and the row, and another one went on
        db.execute("DELETE FROM files")
    at.write(name, first, hours=90)

    report = at.sync()

    assert at.store.get(note.id).text == "the third words" and not report.conflicts and not report.edited
    assert "third" in (at.folder / name).read_text() and at.files() == [name]


def test_a_file_of_another_checkout_wins_over_an_older_note(at):
    note = at.store.add("the first words").note
    at.sync()
    (name,) = at.files()
    text = (at.folder / name).read_text()
    with at.store.writing() as db:
        db.execute("DELETE FROM files")
    at.write(name, text.replace("first", "other"), hours=5)

    assert at.sync().conflicts == [note.id]
    assert at.store.get(note.id).text == "the other words"


def test_a_deleted_file_forgets_its_note_and_undo_brings_both_back(at):
    at.store.add("to stay here")
    note = at.store.add("to go away").note
    at.sync()
    (at.folder / next(name for name in at.files() if note.id in name)).unlink()

    report = at.sync()

    assert report.forgotten == [note.id] and at.texts() == ["to stay here"]
    assert at.store.undo().change == "forgotten"
    at.sync()
    assert at.texts() == ["to go away", "to stay here"] and len(at.files()) == 2


def test_several_deleted_files_are_one_change_to_undo(at):
    for n in range(4):
        at.store.add(f"thing {n} of the shed")
    at.sync()
    for name in at.files()[:3]:
        (at.folder / name).unlink()
    assert len(at.sync().forgotten) == 3

    assert len(at.store.undo().notes) == 3
    at.sync()
    assert len(at.files()) == 4


def test_a_folder_that_is_gone_or_empty_all_at_once_forgets_nothing(at):
    for n in range(4):
        at.store.add(f"thing {n} of the shed")
    at.sync()
    for name in at.files():
        (at.folder / name).unlink()
    report = at.sync()
    assert report.told_once and not report.forgotten and len(at.files()) == 4
    for name in at.files():
        (at.folder / name).unlink()
    at.folder.rmdir()
    at.sync()
    assert len(at.files()) == 4 and len(at.texts()) == 4


def test_a_forgotten_note_takes_its_file_along_unless_somebody_changed_it(at):
    gone, kept = at.store.add("goes for good").note, at.store.add("was edited since").note
    at.sync()
    name = next(name for name in at.files() if kept.id in name)
    at.store.forget(gone.id)
    at.store.forget(kept.id)
    at.write(name, (at.folder / name).read_text().replace("edited", "rescued"), hours=4)

    at.sync()

    assert at.texts() == ["was rescued since"] and at.files() == [name]
    assert at.store.get(kept.id).version > 1


def test_a_renamed_file_is_the_same_note_and_a_copied_one_another(at):
    note = at.store.add("a wandering note").note
    at.write("unmarked.md", "no front matter here\n", hours=-1)
    at.sync()
    old = next(name for name in at.files() if note.id in name)
    (at.folder / "sub").mkdir()
    (at.folder / old).rename(at.folder / "sub" / "new name.md")
    (at.folder / "unmarked.md").rename(at.folder / "marked.md")
    ids = {hit.note.id for hit in at.store.page().rows}

    report = at.sync()
    assert not report.forgotten and not report.added
    assert {hit.note.id for hit in at.store.page().rows} == ids

    at.write("copy.md", (at.folder / "sub" / "new name.md").read_text(), hours=1)
    report = at.sync()
    assert len(report.added) == 1 and at.store.page().total == 3
    assert at.store.get(note.id).text == "a wandering note"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"---\ntags: [unclosed\n---\nx", "YAML"),
        (b"---\n- a list\n---\nx", "name: value"),
        (b"---\nimportance: 7\n---\nx", "0 to 1"),
        (b"---\nscope: session\n---\nx", "scope"),
        (b"---\na: &a [x]\nb: *a\n---\nx", "aliases"),
        (b"---\nx: !!python/object/apply:os.system ['true']\n---\nx", "YAML"),
        (b"---\nx: !!bool maybe\n---\nx", "YAML"),
        (b"---\nx: !!timestamp soon\n---\nx", "YAML"),
        (b"---\nx: !!int ''\n---\nx", "YAML"),
        (b"\xff\xfe\x00words", "UTF-8"),
        (b"---\nid: abc\n---\n   \n", "without words"),
        (b"x" * 1_000_001, "bytes"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_and_left_alone_and_its_note_stays(at, data, said):
    note = at.store.add("a sound note").note
    at.sync()
    (name,) = at.files()
    (at.folder / name).write_bytes(data)
    os.utime(at.folder / name, (START + 60,) * 2)

    report = at.mirror.sync()

    assert len(report.problems) == 1 and name in report.problems[0] and said in report.problems[0]
    assert at.store.get(note.id).text == "a sound note"
    assert (at.folder / name).read_bytes() == data
    with pytest.raises(LoomUsageError):
        parsed(data)


def test_one_odd_file_keeps_no_other_from_becoming_a_note(at):
    at.write("a.md", '---\nmine: "\\ud800"\n"\\ud801": 1\nlarge: 1%s\n---\nodd front matter' % ("0" * 30))
    at.write("b.md", "an ordinary note")
    (at.folder / os.fsdecode(b"\xff.md")).write_text("a name that is no text")
    os.utime(at.folder / os.fsdecode(b"\xff.md"), (START,) * 2)

    report = at.sync()

    assert len(report.added) == 2
    assert len(report.problems) == 1 and "its name is no UTF-8" in report.problems[0]
    odd = next(hit.note for hit in at.store.page().rows if hit.note.text == "odd front matter")
    assert odd.extra == {"mine": "\ufffd", "\ufffd": 1, "large": "1" + "0" * 30}


def test_links_hidden_files_and_others_are_no_notes(at, tmp_path):
    at.store.add("a note")
    at.sync()
    (tmp_path / "outside.md").write_text("outside of the folder")
    (at.folder / "link.md").symlink_to(tmp_path / "outside.md")
    (at.folder / "linked").symlink_to(tmp_path)
    (at.folder / ".hidden.md").write_text("hidden")
    (at.folder / "readme.txt").write_text("no markdown")
    os.mkfifo(at.folder / "pipe.md")

    assert not at.sync()
    assert at.texts() == ["a note"]


def test_a_file_whose_place_became_a_link_is_not_written_through_it(at, tmp_path):
    note = at.store.add("a note").note
    at.sync()
    (name,) = at.files()
    secret = tmp_path / "outside.txt"
    secret.write_text("outside")
    (at.folder / name).unlink()
    (at.folder / name).symlink_to(secret)
    at.store.edit(note.id, "text", "changed")

    at.mirror.sync()

    assert secret.read_text() == "outside"
    assert at.store.get(note.id).text == "changed"


def test_a_secret_in_a_file_becomes_no_note(tmp_path):
    store = NoteStore(tmp_path / "m.db", clean=lambda text: text.replace("hunter22", "[secret]"))
    mirror = Mirror(tmp_path / "notes", store)
    mirror.folder.mkdir()
    (mirror.folder / "a.md").write_text("the password is hunter22")

    for n, name in enumerate(("key: hunter22", "hunter22: key", "deep: [{a: x hunter22 y}]")):
        (mirror.folder / f"b{n}.md").write_text(f"---\n{name}\n---\nwords")

    report = mirror.sync()

    assert len(report.problems) == 4 and all("secret" in one for one in report.problems)
    assert store.page().total == 0
    assert b"hunter22" not in (tmp_path / "m.db").read_bytes()


def test_who_is_asked_for_secrets_holds_up_nobody_who_writes(tmp_path):
    asked = []

    def kept(text):
        asked.append(text)
        with closing(sqlite3.connect(tmp_path / "m.db", timeout=0, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
        return text

    with closing(NoteStore(tmp_path / "m.db", kept=kept)) as store:
        mirror = Mirror(tmp_path / "notes", store)
        mirror.folder.mkdir()
        for n in range(3):
            (mirror.folder / f"{n}.md").write_text(f"the lantern {n} is on its shelf")

        assert len(mirror.sync().added) == len(asked) == 3
        assert not mirror.sync() and len(asked) == 3  # of a file that is as it was nobody is asked


def test_a_file_that_another_process_writes_while_it_is_judged_is_not_taken_for_what_it_was(tmp_path):
    folder = tmp_path / "notes"
    with closing(NoteStore(tmp_path / "m.db")) as other:
        note = other.add("Ann likes tea").note
        Mirror(folder, other).sync()
        (file,) = folder.glob("*.md")
        file.write_text(file.read_text().replace("tea", "milk"))

        def kept(text):
            if other.get(note.id).text == "Ann likes tea":
                Mirror(folder, other).sync()
                other.edit(note.id, "text", "Ann likes cocoa")
                Mirror(folder, other).sync()
            return text

        with closing(NoteStore(tmp_path / "m.db", kept=kept, busy_seconds=0.01)) as store:
            Mirror(folder, store).sync()

        assert other.get(note.id).text == "Ann likes cocoa" and "cocoa" in file.read_text()
        assert [one.note.text.split()[-1] for one in other.history(note.id)] == ["tea", "milk", "cocoa"]


def test_notes_of_a_session_have_no_file_and_lose_it_when_they_become_such(at):
    here = Viewer("s1", "a.ipynb")
    at.store.add("of the session alone", scope="session", viewer=here)
    note = at.store.add("of everybody", scope="semantic").note
    assert len(at.sync().written) == 1

    at.store.change(note.id, viewer=here, scope="working")
    assert len(at.sync().removed) == 1
    assert at.files() == [] and at.store.page().total == 2


def test_what_was_used_often_has_the_same_file(at):
    at.store.add("the kayak is in the shed")
    at.sync()
    before = [(at.folder / name).read_bytes() for name in at.files()]
    at.store.used(at.store.search("kayak"), how="search", query="kayak", by=Provenance("agent", "s", "r1"))
    assert not at.sync()
    assert [(at.folder / name).read_bytes() for name in at.files()] == before


def test_another_machine_makes_the_same_notes_of_the_files(at, tmp_path):
    at.store.add("one thing", pinned=True)
    at.store.add("another thing", importance=0.9)
    at.write("third.md", "a third thing", hours=-2)
    at.sync()

    other = NoteStore(tmp_path / "other.db", now=at.clock)
    Mirror(at.folder, other, at.clock).sync()

    def told(store):
        return sorted((h.note.id, *h.note.said, h.note.created, h.note.updated) for h in store.page().rows)

    assert told(other) == told(at.store)
    assert not Mirror(at.folder, other, at.clock).sync()


def test_a_folder_has_one_key_however_it_is_written(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    assert folder_key(tmp_path / "x") == folder_key(tmp_path / "link" / "x") != folder_key(tmp_path / "y")


SYNCING = """
import sys
from pathlib import Path
from loom_nb.capabilities.memory.mirror import Mirror
from loom_nb.capabilities.memory.store import NoteStore
store, name = NoteStore(sys.argv[1]), sys.argv[3]
mirror = Mirror(Path(sys.argv[2]), store)
for n in range(12):
    note = store.add(f"{name} keeps lantern {name}{n} on shelf {n}").note
    mirror.sync()
    if n % 3 == 0: store.edit(note.id, "importance", 0.9)
    if n % 4 == 0: (mirror.folder / f"{name}-{n}.md").write_text(f"{name} wrote file {name}x{n}")
    if n % 5 == 0: store.forget(note.id)
mirror.sync()
"""


def test_four_processes_keep_folder_and_notes_together(tmp_path):
    command = [sys.executable, "-c", SYNCING, str(tmp_path / "memory.db"), str(tmp_path / "notes")]
    writers = [subprocess.Popen([*command, f"p{n}"], stderr=subprocess.PIPE) for n in range(4)]

    errors = [writer.communicate()[1].decode() for writer in writers]

    assert errors == [""] * 4
    with closing(NoteStore(tmp_path / "memory.db")) as store:
        mirror = Mirror(tmp_path / "notes", store)
        mirror.sync()
        agrees(store, mirror)
        assert store.page().total == 4 * (12 - 3 + 3)


def agrees(store, mirror):
    """Table, index, versions and files say the same."""
    assert store.check() == []
    files = {}
    for file in mirror.folder.rglob("*.md"):
        told = parsed(file.read_bytes())
        files[file.relative_to(mirror.folder).as_posix()] = told.fields["text"]
    notes = sorted(hit.note.text for hit in store.page(limit=10_000).rows)
    assert sorted(files.values()) == notes
    assert not list(mirror.folder.glob(".loom-*"))


# -- what may not be read or written -----------------------------------------------------------------------


@pytest.fixture
def shut():
    """A store and its folder in a place that everybody may enter, and folders and files of it are shut."""
    with usual_user() as place:
        made, was = At(place), []

        def shut(*paths, mode=0o555):
            for path in paths:
                was.append((path, path.stat().st_mode))
                path.chmod(mode)

        made.shut = shut
        with closing(made.store):
            yield made
            for path, mode in reversed(was):
                path.chmod(mode)


def test_a_folder_that_cannot_be_written_is_told_and_made_good_later(shut):
    gone, changed = shut.store.add("goes away").note, shut.store.add("is changed").note
    shut.sync()
    shut.shut(shut.folder)
    shut.store.forget(gone.id)
    shut.store.edit(changed.id, "text", "was changed")
    for _ in range(2):
        report = shut.mirror.sync()
        assert not report and len(report.problems) == 2
        assert "not written" in report.problems[0] and "not removed" in report.problems[1]
    assert shut.texts() == ["was changed"]

    shut.folder.chmod(0o755)
    report = shut.sync()
    assert len(report.written) == len(report.removed) == 1 and not report.problems


def test_a_folder_or_file_that_cannot_be_read_is_told_and_its_notes_stay(shut):
    folder = shut.write("inner/deep.md", "in the inner folder", hours=-1).parent
    file = shut.write("plain.md", "in a file", hours=-1)
    shut.write("other.md", "in another file", hours=-1)
    shut.sync()
    os.utime(file, (START,) * 2)
    shut.shut(folder, file, mode=0)

    report = shut.mirror.sync()

    assert not report and sorted(words.partition(":")[0] for words in report.problems) == [
        "inner cannot be read",
        "plain.md is not taken over",
    ]
    assert len(shut.texts()) == 3


def test_what_a_crash_left_behind_is_cleared_away_in_every_folder(at):
    at.write("inner/deep.md", "in the inner folder", hours=-1)
    for place in (at.folder, at.folder / "inner"):
        (place / ".loom-0123456789abcdef.tmp").write_text("half a no")

    at.sync()

    assert not list(at.folder.rglob(".loom-*"))


async def test_a_folder_that_cannot_be_written_takes_no_tool_and_no_run_away(shut):
    told = MemoryCapability(path=shut.store.path, mirror=shut.folder)
    names = [shut.store.add(f"lantern {n} is on shelf {n}").note.id for n in range(9)]
    shut.sync()
    shut.shut(shut.folder)
    tools = await told.open()
    assert tools.enrich is not None and tools.close is not None
    forget = next(tool for tool in tools.tools if tool.name == "forget")
    for name in names[1:]:
        assert "is forgotten" in str(await forget.function(note_id=name))

    shown = await tools.enrich(Enquiry("where is lantern 0?", run="r1"))

    await tools.close()
    assert shown is not None and "lantern 0" in shown.parts[0].text
    words = [fact.text for fact in shown.facts if isinstance(fact, Noticed)]
    assert len(words) == 4 and words[3] == f"and 5 other files of {shut.folder}"
