"""Pieces: what is sealed never changes, forty are enough for a megabyte, and a frame costs little."""

import itertools
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_nb.events import (
    CallDelta,
    CallFinished,
    CallStarted,
    Event,
    MessageAdded,
    Noticed,
    RetryScheduled,
    RunFinished,
    RunStarted,
    TextDelta,
    ThinkingDelta,
    TurnStarted,
)
from loom_nb.messages import Message, TextPart, ThinkingPart, ToolCallPart, ToolResultPart, user
from loom_nb.notebook import render
from loom_nb.notebook.render import Live, Piece
from loom_nb.notebook.render.segments import LONGEST, Splitter, segments
from loom_nb.notebook.transcript import Transcript, fold
from tests import cost

START: list[Event] = [RunStarted("anthropic:claude", "go"), MessageAdded(user("go")), TurnStarted(1)]
BLOCKS = st.sampled_from(
    [
        "A paragraph of **some** words, `code` and more of them.\n\n",
        "- one\n- two\n\n- three after a gap\n\n",
        "```python\nx = 1\n\n\ny = 2\n```\n\n",
        "~~~\n# not a heading\n\n```\nnot a fence\n~~~\n",
        "| a | b |\n|---|---|\n| 1 | 2 |\n\n",
        "# Heading\n",
        "1. item\n\n   ```\n   code in an item\n\n   more\n   ```\n\n2. next\n\n",
        "> quoted\n> more\n\n",
        "\n\n\n",
        "text without an end",
        " and *more",
        "```\nnever closed\n\nstill code\n",
        "| half | a",
    ]
)
DOCUMENTS = st.lists(BLOCKS, min_size=1, max_size=30).map("".join)


class Words(HTMLParser):
    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.told: list[str] = []
        self.feed(markup)
        self.close()

    def handle_data(self, data: str) -> None:
        self.told += data.split()


def cut(text: str, sizes: list[int]) -> list[str]:
    chunks, at, turn = [], 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        chunks.append(text[at : at + size])
        at, turn = at + size, turn + 1
    return chunks


def answer(text: str) -> MessageAdded:
    return MessageAdded(Message("assistant", (TextPart(text),)))


def frames(events: list[Event]) -> list[list[Piece]]:
    live, transcript, shown = Live(), Transcript(), []
    for event in events:
        transcript = fold(transcript, event)
        shown.append(live.pieces(transcript))
    return shown


def assert_only_the_end_changes(shown: list[list[Piece]]) -> None:
    sealed: list[Piece] = []
    for pieces in shown:
        now = [piece for piece in pieces if piece.sealed]
        assert pieces[: len(now)] == now, "an open piece stands before a sealed one"
        assert now[: len(sealed)] == sealed, "a sealed piece has changed"
        assert len({piece.key for piece in pieces}) == len(pieces)
        sealed = now
    texts = ["".join(piece.text for piece in pieces) for pieces in shown]
    for before, after in itertools.pairwise(texts):
        assert after.startswith(before), "text that had been shown has changed"


@settings(deadline=None)
@given(DOCUMENTS, st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_segments_are_the_text_and_do_not_depend_on_its_chunks(text, sizes):
    splitter = Splitter()
    given_out = [segment for chunk in cut(text, sizes) for segment in splitter.feed(chunk)]

    assert given_out + splitter.finish() == segments(text)
    assert "".join(segment.source for segment in segments(text)) == text


@settings(max_examples=40, deadline=None)
@given(DOCUMENTS, st.lists(st.integers(1, 60), min_size=1, max_size=5))
def test_sealed_pieces_stay_as_they_are_however_the_text_comes(text, sizes):
    events = [*START, *(TextDelta(chunk) for chunk in cut(text * 2, sizes)), answer(text * 2)]
    events.append(RunFinished("completed", text * 2, turns=1))
    shown = frames(events)

    assert_only_the_end_changes(shown)
    assert shown[-1] == render.pieces(Transcript.of([*START, answer(text * 2), events[-1]]))


@settings(deadline=None)
@given(DOCUMENTS)
def test_the_pieces_joined_are_the_whole(text):
    transcript = Transcript.of([*START, answer(text), RunFinished("completed", text, turns=1)])
    pieces = render.pieces(transcript)

    assert all(piece.sealed for piece in pieces)
    assert "".join(piece.text for piece in pieces) == render.plain(transcript)
    assert Words("".join(piece.html for piece in pieces)).told == Words(render.html(transcript)).told


def test_a_whole_run_is_shown_in_pieces_of_which_only_the_end_changes():
    calls = [ToolCallPart(f"c{n}", "look", f'{{"n": {n}}}') for n in range(3)]
    done = [CallFinished(ToolResultPart(c.id, c.name, (TextPart("fine " * 400),))) for c in calls]
    turn: list[Event] = [
        ThinkingDelta("hm "),
        ThinkingDelta("hm"),
        TextDelta("I look "),
        TextDelta("now.\n\nThen"),
        *(CallDelta(call.id, call.name, part) for call in calls for part in ('{"n"', f": {call.id[1:]}}}")),
        MessageAdded(Message("assistant", (ThinkingPart("hm hm"), TextPart("I look now.\n\nThen"), *calls))),
        *(CallStarted(call.id, call.name, {"n": n}, ("reads",)) for n, call in enumerate(calls)),
        *(done[1], done[0], done[2]),
        Noticed("careful"),
    ]
    events = [*START, *turn, TurnStarted(2), RetryScheduled(1, 1.0, "overloaded", "529"), *turn]
    shown = frames([*events, RunFinished("stopped", "", "by you", turns=2)])

    assert_only_the_end_changes(shown)
    assert shown[-1] == render.pieces(Transcript.of([*events, RunFinished("stopped", "", "by you", turns=2)]))


def test_an_attempt_that_is_thrown_away_is_taken_back():
    transcript = Transcript.of([*START, TextDelta("wrong words. " * 1_000), TextDelta("\n\nmore\n\nmore")])
    live = Live()
    assert "wrong" in live.pieces(transcript)[0].html

    transcript = fold(transcript, RetryScheduled(1, 1.0, "connection", "reset"))

    assert all("wrong" not in piece.html for piece in live.pieces(transcript))


PARAGRAPH = "Some words of an answer with **emphasis** and `code`, going on for a while until it ends.\n\n"


@pytest.mark.parametrize(
    "text",
    [
        PARAGRAPH * 11_000,
        "word " * 200_000,
        "x" * 1_000_000,
        "- an item of a long list, with some more words\n" * 21_500,
        "| a | b |\n|---|---|\n" + "| one | two and three and four |\n" * 31_500,
        "```python\n" + "value = 1  # a line of code\n" * 36_000 + "```\n",
    ],
    ids=["paragraphs", "one line", "one word", "a list", "a table", "code"],
)
def test_a_megabyte_takes_no_more_than_forty_pieces_and_loses_nothing(text):
    transcript = Transcript.of([*START, answer(text), RunFinished("completed", text, turns=1)])
    pieces = render.pieces(transcript)

    assert len(pieces) <= 40
    told = re.sub(r"\s", "", "".join(piece.text for piece in pieces[:-1]))
    assert told == re.sub(r"\s", "", text)
    sizes = [len(piece.html) for piece in pieces[:-2]]
    assert sizes[0] < 100_000 and sizes[-1] > sizes[0]


@pytest.mark.parametrize(
    "text",
    ["```python\n" + "x = 1\n" * 9_000 + "```\n", "| a | b |\n|--|--|\n" + "| 1 | 2 |\n" * 6_000],
    ids=["code", "a table"],
)
def test_what_must_be_cut_goes_on_as_what_it_was(text):
    parts = segments(text)

    assert len(parts) > 1 and all(len(part.source) <= 2 * LONGEST for part in parts)
    for part in parts:
        markup = render.html(Transcript.of([answer(part.markdown)]))
        assert ("<pre" in markup) == text.startswith("```") and ("<th " in markup) == text.startswith("|")


def test_fences_lists_and_tables_are_not_cut():
    text = "Words.\n\n```\na\n\nb\n```\n\n- x\n\n- y\n\n| a |\n|---|\n| 1 |\n\nEnd.\n"

    first_lines = [segment.source.strip().split("\n")[0] for segment in segments(text)]
    assert first_lines == ["Words.", "```", "- x", "| a |", "End."]


def test_a_frame_costs_what_is_open_and_not_what_was_said():
    live, transcript, costs = Live(), Transcript.of(START), []
    for chunk in [PARAGRAPH] * 4_000:
        transcript = fold(transcript, TextDelta(chunk))
        if 100 < len(costs) < 3_500:
            live.pieces(transcript)
            costs.append(0)
        else:
            costs.append(cost.calls(lambda now=transcript: live.pieces(now)))

    early, late = max(costs[1:100]), max(costs[-400:])
    assert late < 2 * early


@pytest.mark.timeout(150)
def test_very_many_deltas_are_folded_in_a_moment():
    transcript = Transcript.of([*START, *(TextDelta("word ") for _ in range(300_000))])

    assert len(transcript.text) == 1_500_000


def test_while_it_is_written_an_answer_looks_like_what_it_will_be():
    def open_html(*deltas: str) -> str:
        return render.pieces(Transcript.of([*START, *map(TextDelta, deltas)]))[0].html

    assert "<strong>bold</strong>" in open_html("some **bold")
    assert "<pre" in open_html("```python\ndef f():")
    assert "**" not in open_html("```\na ** b").replace("a ** b", "")
    assert "<th " in open_html("| a | b |\n|--")


def test_arguments_are_seen_while_they_are_written():
    transcript = Transcript.of([*START, CallDelta("c", "save", '{"path": "out'), CallDelta("c", "", "/rep")])
    markup = render.pieces(transcript)[0].html

    assert "being written" in markup and "out/rep" in markup


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([], "waiting for the model"),
        ([ThinkingDelta("hm")], "thinking"),
        ([TextDelta("a")], "writing"),
        ([CallDelta("c", "look", "{")], "calling"),
        ([CallStarted("c", "look", {})], "running look"),
        ([RetryScheduled(1, 2.0, "overloaded", "529")], "waiting to try again"),
    ],
)
def test_the_last_piece_says_what_is_going_on_and_then_the_sum(events, words):
    last = render.pieces(Transcript.of([*START, *events]))[-1]
    assert last.key == "end" and not last.sealed and words in last.html and last.text == ""

    last = render.pieces(Transcript.of([*START, *events, RunFinished("stopped", turns=1)]))[-1]
    assert last.key == "end" and last.sealed and "stopped · anthropic:claude · 1 step" in last.html
