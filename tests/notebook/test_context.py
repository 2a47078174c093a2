"""`%loom context` and `%loom compact` in a plain shell, in real kernels and without a person."""

import re
from types import SimpleNamespace

import pytest

from loom_nb.errors import LoomUsageError, NotBuiltError
from loom_nb.notebook import line_magics
from loom_nb.notebook.card import Card
from tests.notebook.kernels import kernel
from tests.notebook.shells import ASK, TOOL, facts, offered, typed
from tests.notebook.test_nbclient import client, environment, notebook


def rows(card, column=5):
    return {row[0]: row[column] for row in card.tables[0].rows}


def tokens(shell):
    return int(
        re.search(r"about ([\d,]+)", facts(typed(shell, "context"))["next request"])[1].replace(",", "")
    )


# -- how it is awaited -----------------------------------------------------------------------------------


def transformed(shell, text):
    return shell.transform_cell(text)


def test_a_line_at_the_left_edge_is_awaited_and_any_other_is_left_alone(shell):
    call = "get_ipython().run_line_magic('loom', "
    assert transformed(shell, "%loom context") == f"await {call}'context')\n"
    assert (
        transformed(shell, "x = 1\n%loom  compact --preview # no\n")
        == f"x = 1\nawait {call}' compact --preview # no')\n"
    )
    assert transformed(shell, "card = %loom context all") == f"card = await {call}'context all')\n"
    assert transformed(shell, "%loom doctor\n%loom context") == f"{call}'doctor')\nawait {call}'context')\n"
    for text in ("%loom contexts", "%loom", "s = '''\n%loom context\n'''", "%loom models context"):
        assert "await" not in transformed(shell, text), text
    assert "await" not in transformed(shell, "def f():\n    %loom context\n")
    assert "await" not in transformed(shell, "%loom?")
    shell.run_cell("%unload_ext loom_nb")
    assert "await" not in transformed(shell, "%loom context")
    shell.run_cell("%load_ext loom_nb")


def test_in_a_terminal_a_card_comes_back_however_it_is_called(talk):
    assert isinstance(talk.run_line_magic("loom", "context"), Card)
    talk.run_cell("card = %loom context")
    assert isinstance(talk.user_ns["card"], Card)
    talk.run_cell("def card_of():\n    return get_ipython().run_line_magic('loom', 'context')")
    talk.run_cell("inner = card_of()")
    assert isinstance(talk.user_ns["inner"], Card)


def test_where_a_loop_runs_and_nobody_awaits_it_says_how(talk):
    talk.run_cell("def card_of():\n    return get_ipython().run_line_magic('loom', 'context')")
    done = talk.run_cell("import asyncio\nawait asyncio.sleep(0)\npending = card_of()\ncard = await pending")
    assert done.success
    assert isinstance(talk.user_ns["card"], Card)
    assert "%loom context that has not begun: await" in repr(talk.user_ns["pending"])
    with pytest.raises(LoomUsageError, match="%loom context has to be awaited"):
        _ = talk.user_ns["pending"].title


# -- before there is anything ----------------------------------------------------------------------------


def test_without_a_conversation_every_line_says_how_to_begin_one(shell):
    for line in (
        "context",
        "context show m1",
        "context pin m1",
        "compact",
        "compact --preview",
        "compact undo",
    ):
        card = typed(shell, line)
        assert card.title == "there is no conversation yet, and so no context"
        assert "%%loom" in dict(card.steps)
    typed(shell, "context budget 5k")
    assert shell.loom_workbench.context_budget == 5_000


# -- the ledger ------------------------------------------------------------------------------------------


def test_the_ledger_of_a_conversation_holds_instructions_tools_and_messages(talk):
    card = typed(talk, "context")
    assert rows(card, 1)["instructions"] == "system"
    assert rows(card, 1)["tool:list_variables"] == "tools"
    assert rows(card)["m11"] == "sent"
    assert rows(card, 4)["m11"] == "tool:look"
    assert "not known" in facts(card)["budget"]
    assert str(talk.loom_workbench.session.id) in facts(talk.run_cell("%loom").result)["conversation"]


def test_a_budget_counts_from_the_next_cell_on_and_can_be_taken_off(talk):
    bench = talk.loom_workbench
    before = bench.plain_agent()
    assert typed(talk, "context budget").title == "no budget is set in this notebook"
    assert typed(talk, "context budget 3k").title == "a request may have 3,000 tokens from the next cell on"
    assert bench.runtime().context.budget == 3_000
    assert bench.plain_agent() is not before
    assert facts(typed(talk, "context"))["budget"] == "3,000 tokens, set in this notebook"
    talk.run_cell(ASK.format(4))
    assert [
        entry.event.strategy for entry in bench.results[-1].events if entry.event.type == "ContextCompacted"
    ]
    typed(talk, "context budget off")
    assert bench.plain_agent() is before
    for wrong, told in (
        ("lots", "is no number of tokens"),
        ("40", "500 on"),
        ("-3k", "no number"),
    ):
        with pytest.raises(LoomUsageError, match=told):
            typed(talk, f"context budget {wrong}")
    typed(talk, "context budget 1.5k")
    assert bench.context_budget == 1_500
    typed(talk, "context budget 40,000")
    assert bench.context_budget == 40_000


def test_an_item_is_shown_whole(talk):
    card = typed(talk, "context show m3")
    assert card.to_html().count("station reading") == 300
    assert facts(card)["state"] == "sent"
    assert "page 1" in str(typed(talk, "context show m3.1"))
    assert "Look into one variable" in str(typed(talk, "context show inspect_variable"))
    assert "You work for a person" in str(typed(talk, "context show instructions"))
    assert "[call of look" in str(typed(talk, "context show m2-m3"))
    for wrong in ("m99", "m0", "x", "", "m5-m2"):
        with pytest.raises(LoomUsageError):
            typed(talk, f"context show {wrong}")
    with pytest.raises(LoomUsageError) as caught:
        typed(talk, "context show tool:inspect_variabel")
    assert any("tool:" in fix for fix in caught.value.fixes)


def test_a_slip_is_answered_with_what_was_meant(talk):
    for line, fix in (
        ("context shwo", "%loom context show"),
        ("context hid m1", "%loom context hide"),
        ("compact colapse", "%loom compact collapse"),
        ("context diff r1", "%loom context diff r1 r2"),
        ("context pin", "%loom context pin m1"),
    ):
        with pytest.raises(LoomUsageError) as caught:
            typed(talk, line)
        assert caught.value.fixes[0] == fix
    with pytest.raises(LoomUsageError, match="takes nothing more"):
        typed(talk, "context all m1")
    with pytest.raises(LoomUsageError, match="cannot be pinned or hidden"):
        typed(talk, "context hide tool:look")


# -- pinned and hidden -----------------------------------------------------------------------------------


def test_what_is_hidden_is_not_sent_and_what_is_pinned_is_not_compacted(talk):
    before = tokens(talk)
    card = typed(talk, "context hide m3")
    assert card.title == "m3 is hidden: the model is not shown it"
    assert rows(typed(talk, "context"))["m3"] == "hidden by you"
    assert tokens(talk) < before - 1_000
    assert "station reading" in str(typed(talk, "context show m3")), "a person still reads it"
    typed(talk, "context unhide m3")
    assert tokens(talk) == before
    typed(talk, "context pin m7")
    typed(talk, "compact micro")
    shown = rows(typed(talk, "context"))
    assert shown["m3"] == "shortened by c1"
    assert shown["m7"] == "pinned"
    assert facts(typed(talk, "context"))["by you"] == "0 messages hidden, 1 pinned"
    assert typed(talk, "context drop m1 m2-m4").title.startswith("m1, m2, m3, m4 are hidden")
    assert typed(talk, "context free m1-m12").title.endswith("neither pinned nor hidden any more")


def test_a_hidden_result_is_in_no_request_that_follows(talk):
    typed(talk, "context hide m3 m4")
    session = talk.loom_workbench.session
    _, body = talk.loop_runner(session.preview("and now?", agent=talk.loom_workbench.plain_agent()))
    assert b"page 2: station reading" in body
    assert b"page 1: station reading" not in body


# -- compaction ------------------------------------------------------------------------------------------


def test_a_preview_changes_nothing_and_undo_brings_back_every_token(talk):
    session = talk.loom_workbench.session
    whole, before = list(session.view.shown), session.view.tokens
    assert typed(talk, "compact --preview").title.startswith("preview, nothing was changed")
    assert list(session.view.shown) == whole
    card = typed(talk, "compact micro")
    assert session.view.tokens < before
    assert "what the model is shown now" in str(card)
    assert dict(card.steps)["%loom compact undo c1"] == "takes micro back"
    assert facts(typed(talk, "context"))["compacted"] == "c1 micro"
    undone = typed(talk, "compact undo c1 m3")
    assert undone.title.startswith("m3 of c1 is undone")
    assert rows(typed(talk, "context"))["m3"] == "sent"
    assert rows(typed(talk, "context"))["m7"] == "shortened by c1"
    assert facts(typed(talk, "compact undo"))["still compacted"] == "nothing"
    assert list(session.view.shown) == whole
    for wrong in ("undo", "undo c9", "undo c1 m3", "undo what"):
        with pytest.raises(LoomUsageError):
            typed(talk, f"compact {wrong}")


def test_the_offline_model_writes_the_handoff_that_is_shown(talk):
    card = typed(talk, "compact auto")
    told = str(card)
    assert "Handoff, written by the model" in told
    assert "DEMO" in told and "(m1) please look at page 1" in told
    assert re.search(r"look gave: page 1: station", told)
    assert rows(typed(talk, "context"))["m1-m8"]
    undo = typed(talk, "compact undo")
    assert undo.title.startswith("c1 is undone")


def test_where_nothing_can_be_left_out_it_says_what_stays(shell):
    shell.run_cell("%%loom -q\n2 + 2")
    card = typed(shell, "compact")
    assert card.title == "nothing to compact"
    assert "the latest prompt" in facts(card)["stays"]


def test_a_run_of_the_conversation_that_has_not_ended_is_not_touched(talk):
    bench = talk.loom_workbench
    bench.running.append(SimpleNamespace(id="r9", session_id=bench.session.id, done=False))
    for line in ("context", "context pin m1", "compact", "compact undo"):
        with pytest.raises(LoomUsageError, match="r9 has not ended"):
            typed(talk, line)
    bench.running.clear()


# -- two runs --------------------------------------------------------------------------------------------


def test_two_runs_are_compared_by_their_first_requests(talk):
    typed(talk, "compact micro")
    talk.run_cell(ASK.format(4))
    card = typed(talk, "context diff r3 r4")
    added, changed = card.tables
    assert [row[0] for row in added.rows] == ["tool:recall", "m10.1", "m10.2", "m11", "m12", "m13"]
    assert {row[0]: row[4] for row in changed.rows} == {"m3": "shortened by c1", "m7": "shortened by c1"}
    same = typed(talk, "context diff r2 r2")
    assert [table.rows for table in same.tables] == [(), ()]
    talk.run_cell("%loom reset")
    talk.run_cell("%%loom -q\n2 + 2")
    with pytest.raises(LoomUsageError, match="different conversations"):
        typed(talk, "context diff r4 r5")


# -- tab and help ----------------------------------------------------------------------------------------


def test_tab_offers_verbs_items_runs_and_strategies(talk):
    assert offered(talk, "%loom cont") == ["context"]
    assert "budget" in offered(talk, "%loom context ")
    assert offered(talk, "%loom context pin ")[:2] == ["m12", "m11"]
    assert offered(talk, "%loom context diff r1 ") == ["r3", "r2", "r1"]
    assert offered(talk, "%loom context budget 4") == ["40k"]
    assert offered(talk, "%loom compact ") == ["snip", "micro", "collapse", "auto", "undo", "--preview"]
    typed(talk, "compact micro")
    assert offered(talk, "%loom compact undo ") == ["c1"]
    assert "m3" in offered(talk, "%loom compact undo c1 ")


def test_the_help_names_both_and_neither_is_refused_as_later(shell):
    assert "%loom context" in line_magics.usage()
    assert "%loom compact" in line_magics.usage()
    with pytest.raises(NotBuiltError):
        line_magics.perform(shell.loom_workbench, "cost")


# -- real kernels ----------------------------------------------------------------------------------------


def test_in_a_kernel_a_conversation_is_looked_at_pinned_compacted_and_undone(tmp_path):
    with kernel(tmp_path, LOOM_NB_RENDER="live") as one:
        for cell in ("%load_ext loom_nb", TOOL, "%loom context budget 3k"):
            assert one.run(cell).status == "ok"
        for page in (1, 2, 3):
            shown = one.run(f"%%loom -t look\nplease look at page {page}")
            assert shown.status == "ok"
            assert re.search(r"context \d+ %", shown.text)
        assert "Context compacted: " in shown.text
        (context,) = one.run("%loom context").saved
        assert context["kind"] == "execute_result"
        assert "3,000 tokens, set in this notebook" in context["data"]["text/plain"]
        assert "float:left" in context["data"]["text/html"]
        assert "m9 is pinned" in one.run("%loom context pin m9").text
        assert "m1 is hidden" in one.run("%loom context hide m1").text
        assert "preview, nothing was changed" in one.run("%loom compact collapse --preview").text
        assert "from the next request on" in one.run("%loom compact collapse").text
        assert "is undone" in one.run("%loom compact undo").text
        assert one.run("%%loom -t look\nplease look at page 4").status == "ok"
        assert "in r4 and not in r1" in one.run("%loom context diff r1 r4").text
        slip = one.run("%loom context shwo")
        assert slip.status == "error"
        assert "%loom context show" in slip.error
        nested = one.run("for _ in 'a':\n    %loom context")
        assert nested.status == "error"
        assert "has to be awaited" in nested.error


async def test_a_notebook_without_a_person_shows_the_same_each_time(tmp_path):
    cells = (
        "%load_ext loom_nb", TOOL, "%loom context budget 3k",
        *(f"%%loom -t look\nplease look at page {page}" for page in (1, 2)),
        "%loom context", "%loom compact --preview", "%loom compact collapse", "%loom compact undo",
    )  # fmt: skip
    nodes = []
    for name in ("one", "two"):
        node = notebook(cells)
        with client(node, tmp_path / name) as one:
            await one.async_execute(env=environment(tmp_path / name), cleanup_kc=True)
        nodes.append(node)
    outputs = [[cell.outputs for cell in node.cells[3:]] for node in nodes]
    assert outputs[0] == outputs[1]
    text = outputs[0][2][0].data["text/plain"]
    assert text.startswith("context: what the next request is made of")
    assert "Context compacted: snip" in outputs[0][1][0].data["text/plain"]
