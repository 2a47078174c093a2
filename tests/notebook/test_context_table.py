"""The live table of `%loom context`: its rows, its actions, and its messages in a real kernel."""

import re
from contextlib import contextmanager

import pytest

from loom_nb.errors import LoomUsageError
from loom_nb.events import Change, ContextCompacted, ContextMarked
from loom_nb.messages import Conversation, Message, Origin, TextPart
from loom_nb.notebook.card import Card
from loom_nb.notebook.context_cards import Setting
from loom_nb.notebook.context_table import ContextRows, bar_of, contents_of, said
from loom_nb.protocols import Request
from loom_nb.runtime.context import View
from loom_nb.runtime.ledger import ledger_of
from tests.notebook.kernels import WIDGET_VIEW, kernel
from tests.notebook.shells import TOOL

# -- the ledger as rows ----------------------------------------------------------------------------------


def text(words, role="user"):
    return Message(role, (TextPart(words, Origin("user")),))


def view_of(*messages):
    view = View(Conversation())
    for message in messages:
        view.add(message)
    return view


def shorter(name, first, last, *messages):
    return ContextCompacted(name, "snip", "asked for", (Change(first, last, messages),), 9, 9)


def table_of(view, budget=None):
    ledger = ledger_of(Request("You are a helper.", view.shown), view, budget=budget)
    return ledger, contents_of(ledger, Setting("offline", first=0.6), view.marks, Card("context"))


def cells(contents, name):
    row = next(row for row in contents.rows if row.id == name)
    return dict(zip([column.name for column in contents.columns], row.cells, strict=True))


def can(contents, name):
    return set(next(row for row in contents.rows if row.id == name).can)


def test_the_rows_add_up_to_the_request_and_the_bar_to_the_budget():
    view = view_of(text("one " * 40), text("two", "assistant"), text("three"))
    ledger, contents = table_of(view, budget=1_000)
    assert sum(row.keys[4] for row in contents.rows) == ledger.tokens
    assert sum(row.keys[5] for row in contents.rows) == pytest.approx(1)
    bar = bar_of(ledger, Setting("offline", first=0.6))
    assert sum(segment.size for segment in bar.segments) == 1_000
    assert [segment.name for segment in bar.segments] == ["system", "history", "free"]
    assert bar.mark == pytest.approx(0.6)
    over, _ = table_of(view, budget=10)
    assert bar_of(over, Setting("offline", first=0.6)).mark == pytest.approx(6 / over.tokens)
    assert [one.name for one in bar_of(table_of(view)[0], Setting("offline")).segments] == [
        "system",
        "history",
    ]


def test_what_can_be_done_to_an_item_follows_from_its_marks_and_compactions():
    view = view_of(*(text(f"message {n} " * 9) for n in range(9)))
    view.take(
        shorter("c1", 0, 0, text("short")),
        shorter("c2", 2, 4, text("summary")),
        shorter("c3", 5, 5),
        ContextMarked(6, "pinned"),
        ContextMarked(7, "hidden"),
    )
    _, contents = table_of(view)
    assert can(contents, "instructions") == set()
    assert next(row for row in contents.rows if row.id == "instructions").why
    assert can(contents, "m1") == {"pin", "hide", "restore", "undo"}
    assert can(contents, "m2") == {"pin", "hide"}
    assert can(contents, "m3-m5") == {"pin", "hide", "restore", "undo"}
    assert can(contents, "m6") == {"pin", "hide", "restore", "undo"}
    assert can(contents, "m7") == {"unpin", "hide"}
    assert can(contents, "m8") == {"pin", "unhide"}
    assert cells(contents, "m1")["state"] == "shortened"
    assert cells(contents, "m1")["by"] == "c1"
    assert re.fullmatch(r"\d+ of \d+", cells(contents, "m1")["tokens"])
    assert cells(contents, "m6")["state"] == "left out"
    assert cells(contents, "m8")["by"] == "you"
    assert {row.id for row in contents.rows if row.quiet} == {"m4", "m3", "m5", "m6", "m8"}


def test_messages_are_named_in_few_words():
    assert said([2]) == "m3"
    assert said([5, 2, 3, 4]) == "m3-m6"
    assert said([0, 2, 4, 6, 8]) == "5 messages"


# -- its actions -----------------------------------------------------------------------------------------


@pytest.fixture
def talk(talk):
    """A conversation of three prompts, and its rows."""
    talk.user_ns["rows"] = ContextRows(talk.loom_workbench, talk.loom_workbench.session.id)
    return talk


def awaited(talk, code):
    done = talk.run_cell(f"_got = await {code}")
    if done.error_in_exec is not None:
        raise done.error_in_exec
    return talk.user_ns["_got"]


def act(talk, action, *rows):
    return awaited(talk, f"rows.act({action!r}, {rows!r}, '')")


def undo(talk, receipt):
    talk.user_ns["_back"] = receipt.undo
    return awaited(talk, "_back()")


def shown(talk):
    """What the model would be sent now."""
    return list(talk.loom_workbench.session.view.shown)


def test_what_is_hidden_is_told_in_tokens_and_comes_back_by_undo_and_by_hand(talk):
    before = shown(talk)
    receipt = act(talk, "hide", "m3", "m2.1", "m2.2")
    assert re.search(
        r"^m2-m3 are hidden: .* · conversation [\d,]+ → [\d,]+ tokens, [\d,]+ fewer$", receipt.words
    )
    assert receipt.back == ("%loom context free m2-m3",)
    assert shown(talk) != before
    again = undo(talk, receipt)
    assert "as before" in again.words
    assert shown(talk) == before
    assert again.back == ("%loom context hide m2-m3",)
    undo(talk, again)
    assert talk.loom_workbench.session.view.hidden == {1, 2}
    assert talk.run_cell(receipt.back[0]).success
    assert shown(talk) == before


def test_undo_gives_each_message_the_mark_it_had(talk):
    act(talk, "pin", "m1")
    act(talk, "hide", "m3")
    receipt = act(talk, "hide", "m1", "m3", "m5")
    assert set(receipt.back) == {"%loom context pin m1", "%loom context hide m3", "%loom context free m5"}
    undo(talk, receipt)
    assert talk.loom_workbench.session.view.marks == {0: "pinned", 2: "hidden"}


def test_undo_is_refused_once_a_message_was_marked_otherwise(talk):
    receipt = act(talk, "hide", "m3")
    act(talk, "pin", "m3")
    with pytest.raises(LoomUsageError, match="m3 was marked otherwise since"):
        undo(talk, receipt)
    assert talk.loom_workbench.session.view.pinned == {2}


def test_an_item_is_restored_whatever_shortened_it_and_that_is_taken_back(talk):
    for line in ("%loom compact snip", "%loom compact micro"):
        assert talk.run_cell(line).success
    view = talk.loom_workbench.session.view
    number = next(iter(view.counting().values()))[0].first
    before, whole = shown(talk), view.conversation.messages[number]
    receipt = act(talk, "restore", f"m{number + 1}")
    assert f"m{number + 1} is sent as before it was compacted" in receipt.words
    assert whole in shown(talk)
    assert "more" in receipt.words
    again = undo(talk, receipt)
    assert shown(talk) == before
    assert again.back[0].startswith("%loom compact undo c")
    undo(talk, again)
    assert whole in shown(talk)


def test_a_whole_compaction_is_undone_and_not_brought_back_once_something_else_has_changed(talk):
    whole = shown(talk)
    assert talk.run_cell("%loom compact collapse").success
    name = next(iter(talk.loom_workbench.session.view.counting()))
    row = next(row for row in awaited(talk, "rows.contents()").rows if "undo" in row.can)
    before = shown(talk)
    receipt = act(talk, "undo", row.id)
    assert f"{name} is undone" in receipt.words
    assert shown(talk) == whole
    undo(talk, receipt)
    assert shown(talk) == before
    receipt = act(talk, "undo", row.id)
    act(talk, "hide", "m3")
    with pytest.raises(LoomUsageError, match="the context has changed since"):
        undo(talk, receipt)


def test_an_item_is_read_as_it_is_sent_and_as_it_was(talk):
    act(talk, "hide", "m3")
    details = awaited(talk, "rows.details('m3')")
    assert [label for label, _ in details.texts] == ["as it is sent", "as it was"]
    assert "left out by the person" in details.texts[0][1]
    assert "station reading" in details.texts[1][1]
    assert dict(details.facts)["state"] == "hidden by you"
    assert "You work for a person" in awaited(talk, "rows.details('instructions')").texts[0][1]
    with pytest.raises(LoomUsageError, match="no message 'm99'"):
        awaited(talk, "rows.details('m99')")


def test_a_table_of_an_earlier_conversation_says_so(talk):
    assert talk.run_cell("%%loom --new -q\nhello").success
    with pytest.raises(LoomUsageError, match="earlier conversation"):
        act(talk, "hide", "m1")
    with pytest.raises(LoomUsageError, match="earlier conversation"):
        awaited(talk, "rows.contents()")


# -- a kernel --------------------------------------------------------------------------------------------

SLOW = '''import asyncio
from loom_nb import tool
held = asyncio.Event()
@tool(read_only=True)
async def look(page: int) -> str:
    """Look at a page."""
    await held.wait()
    return "seen"'''


@contextmanager
def talking(home, *more):
    with kernel(home, LOOM_NB_RENDER="live") as one:
        cells = ("%load_ext loom_nb", TOOL, *(f"%%loom -t look\nplease look at page {n}" for n in (1, 2)))
        for cell in (*cells, *more):
            assert one.run(cell).status == "ok"
        yield one


def opened(running, line="%loom context"):
    """The comm of a table, once its page is there; and what it showed first."""
    (output,) = running.run(line).saved
    comm = output["data"][WIDGET_VIEW]["model_id"]
    running.send_comm(comm, {"type": "ready"})
    return comm, running.heard(comm, "show")


def tokens(show):
    about = dict(show["head"]["facts"])["next request"]
    return int(re.search(r"about ([\d,]+)", about)[1].replace(",", ""))


def test_the_card_is_a_table_only_where_a_person_is_and_its_words_are_the_same(tmp_path):
    with talking(tmp_path) as one:
        (live,) = one.run("%loom context").saved
        (static,) = one.run("%loom context", allow_stdin=False).saved
        assert WIDGET_VIEW not in static["data"]
        assert static["metadata"] == {}
        assert {**live["data"], WIDGET_VIEW: None} == {**static["data"], WIDGET_VIEW: None}
        assert live["metadata"] == {"loom": {"table": live["data"][WIDGET_VIEW]["model_id"]}}
        kept = one.run("card = %loom context")
        assert kept.of("comm_open") == []
        opens = [content["data"]["state"] for content in one.run("%loom context").of("comm_open")]
        assert any("loom-table" in state.get("_css", "") for state in opens)
        assert not any("look at page" in str(state) for state in opens)  # nothing of it is in the state


def test_rows_are_sorted_filtered_read_and_acted_upon_by_messages(tmp_path):
    with talking(tmp_path) as one:
        comm, first = opened(one)
        query = {"text": "", "sort": "tokens", "down": True, "start": 0, "count": 5}
        page = one.said_by(comm, {"type": "query", "number": 7, "query": query}, "page")
        sizes = [int(row["cells"][4].split()[0].replace(",", "")) for row in page["rows"]]
        assert page["number"] == 7
        assert sizes == sorted(sizes, reverse=True)
        assert len(sizes) == 5
        query = {"text": "station", "chosen": {"section": "history"}}
        page = one.said_by(comm, {"type": "query", "number": 8, "query": query}, "page")
        assert [row["id"] for row in page["rows"]] == ["m3", "m4", "m7", "m8"]
        every = one.said_by(comm, {"type": "all", "query": query}, "all")
        assert every["ids"] == ["m3", "m4", "m7", "m8"]
        details = one.said_by(comm, {"type": "open", "row": "m3"}, "details")
        assert "station reading" in details["details"]["texts"][0][1]

        one.send_comm(comm, {"type": "act", "action": "hide", "rows": ["m3"]})
        after = one.heard(comm, "show")
        receipt = one.heard(comm, "receipt")
        assert "m3 is hidden" in receipt["text"]
        assert receipt["undo"] is True
        assert tokens(after) < tokens(first)
        assert "1 message hidden" in after["saved"]["text/plain"]  # what a file that is saved now holds
        one.send_comm(comm, {"type": "undo"})
        assert tokens(one.heard(comm, "show")) == tokens(first)
        assert "taken back" in one.heard(comm, "receipt")["text"]


def test_all_tables_that_are_open_are_renewed_after_an_action_and_after_a_cell(tmp_path):
    with talking(tmp_path) as one:
        (one_comm, _), (other, _) = opened(one), opened(one)
        one.send_comm(one_comm, {"type": "act", "action": "pin", "rows": ["m1"]})
        assert dict(one.heard(other, "show")["head"]["facts"])["by you"] == "0 messages hidden, 1 pinned"
        one.submit("%loom context hide m3")
        assert dict(one.heard(one_comm, "show")["head"]["facts"])["by you"] == "1 message hidden, 1 pinned"
        assert dict(one.heard(other, "show")["head"]["facts"])["by you"] == "1 message hidden, 1 pinned"


def test_what_is_no_message_of_a_table_is_told_and_ignored(tmp_path):
    with talking(tmp_path) as one:
        comm, _ = opened(one)
        for message in (
            {"type": "hello"},
            {"type": "act", "action": "burn", "rows": ["m1"]},
            {"type": "act", "action": "hide", "rows": "m1"},
            {"type": "query", "query": {"count": 5_000}},
            {"type": "open"},
        ):
            assert "ignored" in one.said_by(comm, message, "problem")["text"], message
        none = one.said_by(comm, {"type": "act", "action": "pin", "rows": ["instructions"]}, "problem")
        assert "none of the chosen rows" in none["text"]
        gone = one.said_by(comm, {"type": "open", "row": "m99"}, "problem")
        assert "no message 'm99'" in gone["text"]
        assert "%loom context" in gone["fixes"]
        one.send_comm(comm, {"type": "undo"})  # nothing was done, so nothing happens
        assert one.said_by(comm, {"type": "open", "row": "m1"}, "details")["row"] == "m1"


def test_while_a_run_goes_on_nothing_is_changed_and_the_table_says_why(tmp_path):
    with talking(tmp_path, SLOW) as one:
        comm, _ = opened(one)
        request = one.submit("%%loom -t look\nplease look at page 3")
        one.until(request, lambda message: message["msg_type"] == "display_data")
        refused = one.said_by(comm, {"type": "act", "action": "hide", "rows": ["m3"]}, "problem")
        assert "has not ended" in refused["text"]
        assert "%loom stop" in refused["fixes"]
        one.press()
        one.collect(request)
        assert (
            "m3 is hidden"
            in one.said_by(comm, {"type": "act", "action": "hide", "rows": ["m3"]}, "receipt")["text"]
        )


def test_the_oldest_of_many_tables_becomes_its_card_and_one_that_is_left_is_closed(tmp_path):
    with talking(tmp_path) as one:
        comms = [opened(one)[0] for _ in range(6)]
        closed = one.run("%loom context")
        assert comms[0] in [content["comm_id"] for content in closed.of("comm_close")]
        one.send_comm(comms[1], {"type": "left"})
        while True:
            message = one.client.get_iopub_msg(timeout=20)
            if message["msg_type"] == "comm_close" and message["content"]["comm_id"] == comms[1]:
                break
