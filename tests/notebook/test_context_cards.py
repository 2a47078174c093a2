"""The ledger of a request, a compaction and two requests side by side, as a person sees them."""

import re

from loom_nb.events import Change, CompactionUndone, ContextCompacted, ContextMarked
from loom_nb.messages import (
    Conversation,
    DataPart,
    Message,
    Origin,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    user,
)
from loom_nb.notebook.card import Card, Drawn, Table
from loom_nb.notebook.context_cards import (
    FirstRequest,
    Setting,
    compact_card,
    content,
    difference_card,
    item_card,
    ledger_card,
)
from loom_nb.protocols import Request
from loom_nb.runtime.compaction import Collapse, ContextProtocol, Snip, Step, make_room
from loom_nb.runtime.context import View
from loom_nb.runtime.ledger import Ledger, ledger_of
from loom_nb.tools import tool
from tests.notebook.test_render import judged

EVIL = '"><img src=x onerror=alert(1)><script>alert(2)</script>\u202e|`'


@tool(read_only=True)
def look(at: int) -> str:
    """Look at a page.

    Args:
        at: its number.
    """
    return str(at)


def work(turns: int, size: int = 4_000) -> list[Message]:
    messages = [user("find it")]
    for number in range(turns):
        call = ToolCallPart(f"c{number}", "look", f'{{"at": {number}}}')
        result = ToolResultPart(
            f"c{number}",
            "look",
            (TextPart(f"fact {number} " + "y" * size, Origin("web", "https://example.org")),),
        )
        messages += [Message("assistant", (call,)), Message("tool", (result,))]
    return [*messages, Message("assistant", (TextPart("found"),))]


def view_of(turns: int) -> View:
    return View(Conversation(work(turns)))


def ledger(view: View, **known: int) -> Ledger:
    return ledger_of(Request("Be brief.", view.shown, (look,)), view, **known)


async def compacted(view: View, step: Snip | Collapse) -> ContextCompacted:
    situation = ContextProtocol(keep_turns=1).situation(view, 20_000)
    (done,) = await make_room(situation, [Step(0.5, step)], view.tokens, 1, "pressure 82%")
    return done


def rows(card: Card) -> dict[str, tuple[str, ...]]:
    return {row[0]: row for row in card.tables[0].rows}


# --- the ledger


def test_the_ledger_lists_the_items_in_the_order_of_the_request_and_its_sections_add_up():
    view = view_of(2)
    card = ledger_card(ledger(view, budget=40_000), Setting("offline", own=True, first=0.6))
    assert list(rows(card)) == ["instructions", "tool:look", "m1", "m2", "m3", "m4", "m5", "m6"]
    assert rows(card)["m3"][1:3] == ("history", "result")
    assert rows(card)["m3"][4:6] == ("web:https://example.org", "sent")
    known = dict(card.facts)
    total = ledger(view).tokens
    assert known["next request"] == f"about {total:,} tokens and its prompt, from a cell without flags"
    assert known["budget"] == "40,000 tokens, set in this notebook"
    assert re.fullmatch(r"\d+ %; from 60 % on it is compacted", known["pressure"])
    counts = re.findall(r"^  \S (system|tools|history) +([\d,]+) tok", card.drawn[0].text, re.M)
    assert sum(int(count.replace(",", "")) for _, count in counts) == total
    assert judged(card.to_html())


def test_where_the_budget_is_not_known_the_card_says_how_to_set_one():
    card = ledger_card(ledger(view_of(1)), Setting("offline"))
    assert "%loom context budget 40k sets one" in dict(card.facts)["budget"]
    assert "pressure" not in dict(card.facts)
    assert "free" not in card.drawn[0].text


def test_the_pressure_is_of_what_the_vendor_counted():
    card = ledger_card(ledger(view_of(1), budget=10_000, counted=3_000), Setting("anthropic:claude"))
    assert dict(card.facts)["pressure"] == "30 % as the model counts"
    assert dict(card.facts)["budget"] == "10,000 tokens, the window of anthropic:claude"


async def test_each_state_of_an_item_is_told():
    view = view_of(6)
    await compacted(view, Snip())
    view.take(ContextMarked(0, "pinned"), ContextMarked(1, "hidden"))
    shown = rows(ledger_card(ledger(view), Setting("offline", pinned=1, hidden=1)))
    assert shown["m1"][5] == "pinned"
    assert shown["m2"][5] == "hidden by you"
    assert shown["m3"][5] == "shortened by c1"
    assert re.fullmatch(r"\d+ of 1,0\d\d", shown["m3"][3])
    assert shown["m14"][5] == "sent"


async def test_what_a_list_stands_for_is_one_row_and_all_of_it_where_all_is_asked_for():
    view = view_of(6)
    await compacted(view, Collapse())
    card = ledger_card(ledger(view), Setting("offline"))
    (stands, out) = [row for row in card.tables[0].rows if row[0].startswith("m2-")]
    assert stands[5] == "stands for m2-m13"
    assert out[2] == "12 items"
    assert out[5] == "left out by c1"
    whole = ledger_card(ledger(view), Setting("offline"), whole=True)
    assert [row[5] for row in whole.tables[0].rows].count("left out by c1") == 12


def test_a_long_table_keeps_its_two_ends_and_counts_the_middle():
    view = view_of(100)
    card = ledger_card(ledger(view), Setting("offline"))
    table = card.tables[0].rows
    assert len(table) == 61
    assert table[0][0] == "instructions"
    assert table[20][2] == f"{204 - 60} more"
    assert table[-1][0] == "m202"
    assert len(ledger_card(ledger(view), Setting("offline"), whole=True).tables[0].rows) == 204


def test_the_plain_card_has_a_row_a_line_and_at_most_100_columns():
    view = View(Conversation([user("数据 " * 200 + EVIL), *work(3)[1:]]))
    for ascii_only in (False, True):
        card = ledger_card(ledger(view, budget=9_000), Setting("offline"), ascii=ascii_only)
        lines = str(card).split("\n")
        table = lines[lines.index("in the order of the request") + 1 :]
        assert len([line for line in table if line.startswith(("  m", "  tool:"))]) == 9
        assert max(len(line) for line in table) <= 100
    drawn = card.drawn[0].text
    assert drawn.isascii()


def test_foreign_words_stay_text_on_every_card():
    data = DataPart(EVIL, EVIL, Origin("notebook", EVIL), EVIL)
    result = ToolResultPart("c", EVIL, (TextPart(EVIL, Origin("file", EVIL)),), True)
    call = Message("assistant", (ToolCallPart("c", EVIL, EVIL),))
    view = View(Conversation([user(EVIL, data), call, Message("tool", (result,))]))
    note = Message("user", (DataPart(EVIL, EVIL, Origin("model", EVIL)),))
    done = ContextCompacted("c1", EVIL, EVIL, (Change(1, 2, (note,), EVIL, 9),), 10, 5, EVIL)
    view.take(done)
    made = ledger_of(Request(EVIL, view.shown), view)
    cards = [
        ledger_card(made, Setting(EVIL, compactions=(EVIL,)), whole=True),
        item_card("m1", content(view.conversation.messages[0]), EVIL),
        compact_card([done]),
        difference_card(FirstRequest("r1", EVIL, made), FirstRequest("r2", EVIL, Ledger(()))),
    ]
    for card in cards:
        words = judged(card.to_html())
        assert "<script>alert(2)</script>" in words
        assert "\u202e" not in words
        assert "\u202e" not in str(card)


# --- an item


def test_an_item_is_shown_whole_and_where_it_differs_as_it_was():
    card = item_card("m3", "a short line", "a long line " * 50, told=(("state", "shortened by c1"),))
    assert "as it is sent" in str(card)
    assert str(card).count("a long line") >= 49
    assert max(map(len, str(card).split("\n"))) <= 100
    assert "as it was" not in str(item_card("m3", "the same"))
    assert "as it was" in judged(card.to_html())


# --- a compaction


async def test_a_compaction_shows_what_was_and_what_is_sent_side_by_side_and_how_to_undo_it():
    view = view_of(4)
    done = await compacted(view, Snip())
    card = compact_card([done])
    assert card.title.startswith("from the next request on: ")
    assert dict(card.steps)["%loom compact undo c1"] == "takes snip back"
    plain = str(card)
    assert re.search(r"what was sent +\| what the model is shown now", plain)
    assert "characters left out here" in plain.replace("\n", "")
    assert "undo: %loom compact undo c1  or one item: %loom compact undo c1 m3" in plain
    markup = judged(card.to_html())
    assert 'recall("m3") gives them' in markup
    assert "<details" in card.to_html()


async def test_a_preview_says_that_nothing_was_changed_and_has_nothing_to_undo():
    done = await compacted(view_of(4), Collapse())
    card = compact_card([done], preview=True)
    assert card.title.startswith("preview, nothing was changed: ")
    assert "Would be compacted: collapse" in str(card)
    assert "undo" not in str(card) + card.to_html()
    assert card.steps == (("%loom compact", "does it"),)


async def test_what_was_sent_is_kept_by_the_event_itself():
    view = view_of(4)
    snipped = await compacted(view, Snip())
    assert snipped.changes[0].was.startswith("[result of look]\nfact 0 yyy")
    assert snipped.changes[0].tokens > 900
    listed = await compacted(view, Collapse())
    assert listed.changes[0].was.startswith('m2: [call look({"at": 0})]\nm3: [result of look] fact 0')
    assert listed.changes[0].tokens < 2_000  # of what c1 had left


# --- two requests


async def test_two_requests_are_compared_by_what_was_added_and_what_changed():
    before = view_of(3)
    one = FirstRequest("r6", "offline:demo", ledger(before))
    after = View(Conversation([*work(3), user("and now?")]))
    await compacted(after, Snip())
    after.take(ContextMarked(1, "hidden"))
    card = difference_card(one, FirstRequest("r7", "anthropic:claude", ledger(after)))
    added, changed = card.tables
    assert [row[0] for row in added.rows] == ["m9"]
    fates = {row[0]: (row[3], row[4]) for row in changed.rows}
    assert fates["m2"] == ("sent", "hidden by you")
    assert fates["m3"] == ("sent", "shortened by c1")
    assert "m1" not in fates
    assert "anthropic:claude" in dict(card.facts)["r7"]
    after.take(CompactionUndone("c1"), ContextMarked(1, None))
    assert difference_card(one, FirstRequest("r7", "", ledger(after))).tables[1].rows == ()


# --- cards


def test_a_column_of_numbers_stands_to_the_right():
    table = Table("t", ("a", "n"), (("x", "1"), ("y", "1,000")), numbers=frozenset({1}))
    card = Card("c", tables=(table,), drawn=(Drawn("drawn", "<div>drawn</div>"),))
    assert "  x      1\n  y  1,000" in str(card)
    assert '<td style="text-align: right">1,000</td>' in card.to_html()
    assert str(card).index("drawn") < str(card).index("  x")
