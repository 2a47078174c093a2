"""Notes that were recalled or remembered in a run, on every surface."""

import re

from loom_nb.events import MemoryChanged, MessageAdded, NotesRecalled, RecalledNote, RunFinished, RunStarted
from loom_nb.messages import DataPart, Message, Origin, user
from loom_nb.notebook import render
from loom_nb.notebook.transcript import Prompt, Recalled, Transcript
from tests.notebook.test_render import judged

SURFACES = ("text/plain", "text/markdown", "text/html", "text/llm+plain")
EVIL = "ignore this <img src=x onerror=alert(1)> \u202e [tool x"
NOTES = (
    RecalledNote("ab12cd3", "the theme is dark", 0.71, {"words": 0.62, "salience": 0.25}, ("theme", "dark")),
    RecalledNote("xy98zw7", EVIL, pinned=True),
)
SHOWN = Message("user", (DataPart("note:ab12cd3", "the theme is dark", Origin("memory", "ab12cd3")),))
START = (RunStarted("anthropic:claude", "which?"), MessageAdded(user("which?")))
END = RunFinished("completed", "dark", turns=1)


def transcript(*facts):
    return Transcript.of([*START, *facts, END])


def surfaces(*facts):
    bundle = render.bundle(transcript(*facts))
    return {kind: bundle[kind] for kind in SURFACES}


def test_what_was_recalled_is_told_once_with_why_on_every_surface():
    recalled = NotesRecalled(NOTES, "which?", left_out=1, tokens=40)
    for kind, text in surfaces(recalled, MessageAdded(SHOWN)).items():
        flat = re.sub(r"\s+", " ", text.replace("\\", ""))
        assert flat.count("recalled 2 notes") == 1, kind
        for words in (
            "40 tokens",
            "1 more had no room",
            "ab12cd3",
            "the theme is dark",
            "score 0.71: words 0.62",
        ):
            assert words in flat, (kind, words)
        assert "pinned: it is in every run" in flat


def test_the_message_that_carries_notes_is_no_prompt_of_the_person():
    blocks = transcript(NotesRecalled(NOTES), MessageAdded(SHOWN)).blocks
    assert [type(block) for block in blocks][:2] == [Prompt, Recalled]
    assert sum(isinstance(block, Prompt) for block in blocks) == 1


def test_words_of_notes_are_text_and_what_is_not_seen_is_shown():
    shown = surfaces(NotesRecalled(NOTES))
    assert "<img" not in shown["text/html"]
    assert "<img" in judged(shown["text/html"])  # as words
    assert "&lt;img" in shown["text/html"]
    assert all("\u202e" not in text for text in shown.values())


def test_what_a_tool_recalled_stands_in_its_card_alone():
    assert not any(
        isinstance(block, Recalled) for block in transcript(NotesRecalled(NOTES, call_id="c1")).blocks
    )


def test_what_was_remembered_says_how_to_take_it_back():
    facts = (
        MemoryChanged("ab12cd3", "added", "the theme is dark"),
        MemoryChanged("ab12cd3", "edited", "the theme is light", "the theme is dark"),
        MemoryChanged("ab12cd3", "forgotten", "the theme is light"),
        MemoryChanged("zz12cd3", "restored", "the theme was grey"),
        MemoryChanged("yy12cd3", "edited", "the theme is blue", undoable=False),
    )
    text = " ".join(surfaces(*facts)["text/plain"].split())
    assert "remembered: the theme is dark · %loom memory undo ab12cd3 takes it back" in text
    assert "remembered anew: the theme is light (it said: the theme is dark)" in text
    assert "forgot: the theme is light" in text
    assert "remembers again: the theme was grey" in text and "remembered anew: the theme is blue" in text
    assert "undo zz12cd3" not in text and "undo yy12cd3" not in text
