"""What an answer rests on is shown on every surface: numbers that lead to passages, inventions flagged in words."""

import re
import xml.etree.ElementTree as ET

import pytest

from loom_nb.capabilities.knowledge.graph_search import Edge, Node, Subgraph
from loom_nb.events import (
    EvidenceFound,
    LogEntry,
    MessageAdded,
    Passage,
    RunFinished,
    RunStarted,
    TextDelta,
    TurnStarted,
)
from loom_nb.messages import MODEL, DataPart, Message, Origin, TextPart, ToolResultPart, user
from loom_nb.notebook.render.bundle import bundle
from loom_nb.notebook.render.live import Live
from loom_nb.notebook.render.subgraph import svg
from loom_nb.notebook.transcript import Transcript, fold

PASSAGES = (
    Passage(1, "aa", "Quokkas", "lines 1-7", "library", 0.97, headings=("Marsupials", "Quokkas")),
    Passage(2, "bb", "Bees", "page 2", "library", 0.41, url="https://example.org/bees"),
    Passage(3, "cc", "Cats"),
)
WORDS = DataPart("evidence:aa", "[1] Quokkas\n\nThey live on Rottnest.", Origin("knowledge", "Quokkas"))


def events(answer, passages=PASSAGES, words=(WORDS,), known=3):
    return [
        RunStarted("scripted:x", "where?"),
        MessageAdded(user("where?")),
        EvidenceFound("where?", passages, "enrichment", known=known),
        *([MessageAdded(Message("user", tuple(words)))] if words else []),
        TurnStarted(1),
        MessageAdded(Message("assistant", (TextPart(answer, MODEL),))),
        RunFinished("completed", answer),
    ]


def surfaces(answer, **options):
    return bundle(Transcript.of(events(answer, **options)))


def test_a_citation_leads_to_its_passage_with_title_place_score_and_words():
    html = surfaces("They live there [1].")["text/html"]

    (anchor,) = re.findall(r'<a href="#(loom-[0-9a-f]{8}-1)" title="Quokkas, lines 1-7">1</a>', html)
    assert f'<div id="{anchor}"' in html
    listed = html[html.index(f'<div id="{anchor}"') :]
    assert "Quokkas, lines 1-7 · score 0.97" in listed
    assert "Marsupials" in listed
    assert "They live on Rottnest." in listed
    assert "Found and not cited: [2] Bees, page 2; [3] Cats" in listed


def test_two_answers_to_the_same_question_lead_to_passages_of_their_own():
    def anchors(run, model="scripted:x", passages=PASSAGES):
        told = [RunStarted(model, "where?"), *events("So [1].", passages)[1:]]
        log = [LogEntry("any", number, run, 0.0, event) for number, event in enumerate(told, 1)]
        return re.findall(r'id="(loom-[^"]+)"', bundle(Transcript.of(log))["text/html"])

    first = anchors("r1")
    assert first == anchors("r1") and len(first) == 1
    others = [anchors("r2"), anchors("r1", "scripted:y"), anchors("r1", passages=PASSAGES[:1])]
    assert len({one for found in (first, *others) for one in found}) == 4


@pytest.mark.parametrize("surface", ["text/plain", "text/markdown", "text/html", "text/llm+plain"])
def test_an_invented_citation_is_flagged_in_words_on_every_surface(surface):
    shown = surfaces("Surely [7].")[surface]

    assert "not in the evidence" in shown
    assert re.search(r"The answer cites \\?\[7\\?\], which is not in the evidence", shown)


@pytest.mark.parametrize("surface", ["text/plain", "text/markdown", "text/html", "text/llm+plain"])
def test_sound_citations_are_listed_on_every_surface(surface):
    shown = surfaces("So [1], and [2].")[surface]

    assert "Quokkas, lines 1-7 · score 0.97" in shown
    assert "Bees, page 2 · score 0.41" in shown
    assert "not in the evidence" not in shown


def test_a_number_told_earlier_in_the_conversation_is_no_invention():
    shown = surfaces("As before [2].", passages=PASSAGES[:1], known=2)

    assert "not in the evidence" not in shown["text/plain"]
    assert "told earlier in this conversation" in shown["text/html"]


@pytest.mark.parametrize("answer", ["In April[7].", "As [7]: so.", "The report (2024)[7].", "So [7, p. 3]."])
def test_an_invention_is_flagged_however_it_is_attached(answer):
    shown = surfaces(answer)

    assert "not in the evidence" in shown["text/plain"]
    assert '<span style="text-decoration:line-through">7</span>' in shown["text/html"]
    assert ("(p. 3)" in shown["text/html"]) == ("p. 3" in answer)


def test_code_and_links_are_left_alone():
    shown = surfaces("`x[7]` and [a link](https://example.org/[8]) and\n\n```\n[9]\n```\n")

    assert "not in the evidence" not in shown["text/plain"]
    assert "not in the evidence" not in shown["text/html"]


def test_nothing_is_said_where_no_documents_were_searched():
    told = [one for one in events("A list [1].") if not isinstance(one, EvidenceFound)]
    shown = bundle(Transcript.of(told))

    assert "vidence" not in shown["text/plain"]
    assert "[1]" in shown["text/html"]


def test_what_was_found_for_a_task_is_no_prompt_of_the_user():
    shown = bundle(Transcript.of(events("So [1].")), prompt=True)

    assert shown["text/html"].count(">You<") == 1


def test_words_of_a_search_by_the_tool_are_shown_too():
    result = ToolResultPart(
        "c1", "search_knowledge",
        (TextPart("1 passage"), TextPart("[2] Bees, page 2\n\nBees dance.", Origin("knowledge", "Bees"))),
    )  # fmt: skip
    told = events("So [2].", words=())
    told.insert(-2, MessageAdded(Message("tool", (result,))))

    assert "Bees dance." in bundle(Transcript.of(told))["text/plain"]


HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>\u202e](javascript:alert(3)) `'


@pytest.mark.parametrize("surface", ["text/plain", "text/markdown", "text/html"])
def test_hostile_titles_places_and_words_do_nothing(surface):
    passage = Passage(1, HOSTILE, HOSTILE, HOSTILE, HOSTILE, 0.5, "javascript:alert(4)", (HOSTILE,))
    words = DataPart("evidence:x", f"[1] x\n\n{HOSTILE}", Origin("knowledge", HOSTILE))
    shown = surfaces("So [1], or [9].", passages=(passage,), words=(words,))[surface]

    assert "\u202e" not in shown
    if surface == "text/html":
        assert "<img" not in shown
        assert "<script" not in shown
        assert 'href="javascript' not in shown
    if surface == "text/markdown":
        assert not re.search(r"(?<!\\)\]\(<?javascript", shown)
        assert "<script" not in shown


def test_the_record_tells_what_was_cited_and_what_was_invented():
    record = surfaces("So [1], or [9].")["application/vnd.loom.run.v1+json"]

    assert record["evidence"]["invented"] == [9]
    assert [one["cited"] for one in record["evidence"]["passages"]] == [True, False, False]


def test_a_growing_answer_only_grows_and_ends_as_the_whole():
    answer = "They live on Rottnest [1]. Others say [7], `code [8] here`, or [2, 9].\n\nThe end [3].\n"
    live, transcript, before = Live(), Transcript(), ""
    for event in events(answer)[:5]:
        transcript = fold(transcript, event)
    for at in range(0, len(answer), 3):
        transcript = fold(transcript, TextDelta(answer[at : at + 3]))
        shown = "".join(piece.text for piece in live.pieces(transcript))
        assert shown.startswith(before)
        before = shown
    for event in events(answer)[5:]:
        transcript = fold(transcript, event)
    whole = "".join(piece.text for piece in live.pieces(transcript))
    assert whole.startswith(before)
    assert whole == bundle(transcript)["text/plain"]


def test_a_subgraph_is_a_picture_and_a_sentence():
    shown = Subgraph(
        (Node("Marie Curie", "person", 0), Node("polonium <b>", "element", 1)),
        (Edge(0, "discovered & named", 1),),
        3,
    )
    drawn = svg(shown)

    root = ET.fromstring(drawn)
    assert root.find("{*}desc").text == "Marie Curie discovered & named polonium <b>; and 3 more"
    assert {one.text for one in root.iter("{http://www.w3.org/2000/svg}text")} == {
        "Marie Curie",
        "polonium <b>",
        "discovered & named",
    }
    assert "currentColor" in drawn
    assert not re.search(r"#[0-9a-f]{3,6}", drawn)
    assert svg(Subgraph()) == ""
    assert drawn == svg(shown)
