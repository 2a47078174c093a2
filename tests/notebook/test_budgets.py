"""`%loom budget`, `--budget` and what a cell says when a cap is reached, in a shell and in real kernels."""

import re

import pytest

from loom_nb.errors import LoomUsageError
from loom_nb.notebook.budgets import Budgets, Line, bars_html, bars_text
from loom_nb.notebook.card import Card
from loom_nb.protocols import Spent
from loom_nb.settings import Cap, money, read
from loom_nb.testing import Say, WireServer
from tests.notebook.kernels import kernel
from tests.notebook.shells import facts, offered, typed

ASK = "%%loom -q\nwhat is 2 + 2?"


def bench_of(shell):
    return shell.loom_workbench


def test_without_a_cap_it_tells_what_was_spent(shell):
    assert "nothing yet; no cap" in str(typed(shell, "budget"))
    assert shell.run_cell(ASK).success
    told = str(typed(shell, "budget"))
    assert re.search(r"last cell +[\d,]+ tokens, \$0; no cap", told)
    assert re.search(r"this notebook +[\d,]+ tokens, \$0; no cap", told)
    assert re.search(r"today +[\d,]+ tokens, \$0; no cap", told)
    assert "%loom budget day 5.00" in told


def test_a_cap_counts_from_the_next_cell_on_and_can_be_taken_off(shell):
    assert shell.run_cell(ASK).success
    card = typed(shell, "budget day 200 tok")
    assert card.title == "from the next cell on the day may spend 200 tokens"
    assert re.search(r"today +\[█+·*\]  [\d,]+ of 200 tokens", str(card))
    assert "LOOM_NB_BUDGET_DAY" in str(card)

    done = shell.run_cell(ASK)
    assert not done.success
    assert type(done.error_in_exec).__name__ == "RunLimited"
    assert "Fix    %loom budget day 400tok\n" in str(done.error_in_exec)
    assert "budget, today" in facts(typed(shell, ""))

    typed(shell, "budget day off")
    assert shell.run_cell(ASK).success
    typed(shell, "budget notebook 1.00")
    typed(shell, "budget cell 20k")
    assert bench_of(shell).budgets == Budgets(Cap(tokens=20_000), Cap(dollars=1.0), None, 30_000)
    assert str(bench_of(shell).runtime().caps.describe()) == "a run 20,000 tokens, the notebook $1.00"
    assert typed(shell, "budget off").title == "from the next cell on no cap on what is spent from now on"
    assert not bench_of(shell).runtime().caps


def test_a_cell_may_have_a_budget_of_its_own(shell):
    assert shell.run_cell("%%loom -q --budget 50k\nwhat is 2 + 2?").success
    done = shell.run_cell("%%loom -q --budget '100 tok'\nwhat is 2 + 2?")
    assert "--budget 200tok" in str(done.error_in_exec)
    for wrong, fix in (("much", "0.05"), ("20000", "20k"), ("$20k", "20k")):
        refused = shell.run_cell(f"%%loom --budget {wrong}\nhi")
        assert isinstance(refused.error_in_exec, LoomUsageError)
        assert fix in str(refused.error_in_exec)


def test_the_demo_costs_nothing_and_is_held_by_no_dollars(shell):
    typed(shell, "budget day 0.01")
    assert shell.run_cell(ASK).success
    assert "$0 of $0.01, $0.01 left" in str(typed(shell, "budget"))


def test_a_large_request_is_asked_about_from_a_size_that_can_be_set(shell):
    assert "a request of 30,000 tokens" in str(typed(shell, "budget"))
    assert "from 50,000 tokens on you are asked" in typed(shell, "budget ask 50k").title
    assert bench_of(shell).runtime().preflight.above == 50_000
    typed(shell, "budget ask off")
    assert bench_of(shell).runtime().preflight.describe() == "never"


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("budget dya 5", "%loom budget day 5.00"),
        ("budget 5.00", "%loom budget cell 5.00"),
        ("budget day", "%loom budget day 5.00"),
        ("budget day much", "%loom budget day 20k"),
        ("budget day 20000", "%loom budget day 20k"),
        ("budget ask 0.05", "%loom budget ask 50k"),
        ("budget ask", "%loom budget ask 50k"),
    ],
)
def test_what_it_does_not_understand_it_says_with_what_to_type(shell, line, fix):
    with pytest.raises(LoomUsageError) as refused:
        typed(shell, line)
    assert fix in refused.value.fixes


def test_what_can_be_typed_is_offered(shell):
    assert offered(shell, "%loom budget ") == ["cell", "notebook", "day", "ask", "off"]
    assert "20k" in offered(shell, "%loom budget day ")


# -- settings --------------------------------------------------------------------------------------


def test_caps_are_settings_like_any_other():
    given = {"LOOM_NB_BUDGET_DAY": "5.00", "LOOM_NB_BUDGET_CELL": "20k", "LOOM_NB_ASK_ABOVE": "50k"}
    settings = read(given)
    assert (settings.budget_day, settings.budget_cell) == (Cap(dollars=5.0), Cap(tokens=20_000))
    assert (settings.ask_above, settings.budget_notebook) == (50_000, None)
    assert read({"LOOM_NB_ASK_ABOVE": "off"}).ask_above is None
    assert read({"LOOM_NB_ASK_ABOVE": "40000"}).ask_above == 40_000


# -- pictures --------------------------------------------------------------------------------------

LINES = [
    Line("cell", None, Cap(tokens=20_000)),
    Line("notebook", Spent(41_000, 0.9, 500), Cap(dollars=1.0)),
    Line("day", Spent(900_000, 6.25), Cap(dollars=5.0)),
]


def test_a_bar_tells_what_was_spent_of_what():
    text = bars_text(LINES)
    assert text.splitlines()[0] == f"  last cell      [{'·' * 40}]  nothing yet of 20,000 tokens"
    notebook, day = text.splitlines()[1:]
    assert f"[{'█' * 36}{'·' * 4}]" in notebook
    assert "$0.90 of $1.00, $0.10 left; 500 tokens of unknown price are not in it" in notebook
    assert f"[{'█' * 40}]  $6.25 of $5.00, $0 left" in day
    assert bars_text(LINES, ascii=True).isascii()


def test_a_spark_of_use_is_seen_and_a_cap_that_is_passed_fills_its_bar():
    assert "[█·" in bars_text([Line("day", Spent(1), Cap(tokens=1_000_000))])
    html = bars_html(LINES)
    assert [float(width) for width in re.findall(r"height:100%;width:([\d.]+)%", html)] == [0.0, 90.0, 100.0]
    assert "$6.25 of $5.00" in html


def test_no_dollars_are_shown_for_a_price_that_is_not_known():
    told = Line("day", Spent(5_000, 0.0, 5_000), None).words
    assert told == "5,000 tokens of unknown price; no cap"
    assert "$" not in told


# -- real kernels ----------------------------------------------------------------------------------


def test_two_kernels_share_the_budget_of_the_day(tmp_path):
    capped = {"LOOM_NB_BUDGET_DAY": "4000 tok"}
    with kernel(tmp_path, **capped) as first, kernel(tmp_path, **capped) as second:
        for one in (first, second):
            one.run("%load_ext loom_nb")
        spent, reached = 0, None
        for turn in range(20):
            cell = (first, second)[turn % 2].run(ASK)
            if cell.status == "error":
                reached = cell
                break
            spent += 1
        assert spent >= 2
        assert reached is not None
        assert reached.reply["content"]["ename"] == "RunLimited"
        shown = second.run("%loom budget")
        text = "".join(str(one["data"]["text/plain"]) for one in shown.of("execute_result", "display_data"))
    assert re.search(r"today +\[█{30,40}·*\]  [34],\d{3} of 4,000 tokens", text)


def test_a_card_of_budgets_is_a_card(shell):
    card = typed(shell, "budget")
    assert isinstance(card, Card)
    assert "<table>" in card.to_html()


def test_a_damaged_book_takes_neither_the_status_nor_the_removal_of_a_cap_along(shell):
    typed(shell, "budget notebook 1.00")
    assert shell.run_cell(ASK).success
    book = bench_of(shell).settings.home / "loom.db.spending"
    for file in book.glob("*-*"):
        file.write_bytes(b"x" * 1024)

    status = facts(typed(shell, ""))
    assert status["budget, this notebook"] == "not known; the cap is $1.00"
    assert "is damaged" in status["not known"] and "remove" in status["not known"]
    assert "nothing yet" not in str(typed(shell, "budget"))
    assert not shell.run_cell(ASK).success  # a cap that cannot be watched covers nothing

    card = typed(shell, "budget notebook off")
    assert card.title == "from the next cell on no cap on this notebook"
    assert "is damaged" in facts(card)["not known"]
    assert shell.run_cell(ASK).success
    assert facts(typed(shell, ""))["spent here"] == "$0"  # the refused run called no model


def test_what_stands_behind_off_is_not_passed_over(shell):
    typed(shell, "budget cell 20k")
    with pytest.raises(LoomUsageError, match="no budget"):
        typed(shell, "budget cell off please")
    assert bench_of(shell).budgets.cell == Cap(tokens=20_000)


def test_after_a_replay_every_card_says_that_nothing_was_spent(shell, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("REPLAYED_KEY", "sk-replayed-0123456789abcdef")
    with WireServer([Say("It is 4.")]) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        shell.user_ns["tape"] = str(tmp_path / "tape.json")
        shell.run_cell(
            "from loom_nb import Model\n"
            "real = Model.anthropic('claude-sonnet-4-5', key_env='REPLAYED_KEY')\n"
            "m = Model.cassette(tape, real, 'record')"
        )
        assert shell.run_cell("%%loom -m m -o first\nwhat is 2 + 2?").success
    first = shell.user_ns["first"]
    asked = facts(typed(shell, ""))
    before = " ".join(str(typed(shell, "budget")).split())
    capsys.readouterr()

    shell.run_cell("again = Model.cassette(tape, real, 'strict')")
    assert shell.run_cell("%%loom -m again --new -o second\nwhat is 2 + 2?").success
    footer = " ".join(capsys.readouterr().out.split())

    assert first.cost > 0
    assert shell.user_ns["second"].cost == 0
    recorded = f"(recorded: {money(first.cost)})"
    assert f"· replayed from recording · 1 step · 10→2 tok · $0 {recorded} ·" in footer
    told = facts(typed(shell, ""))
    assert (told["spent here"], told["tokens here"]) == (asked["spent here"], asked["tokens here"])
    after = " ".join(str(typed(shell, "budget")).split())
    assert "last cell 12 tokens, <$0.0001; no cap" in before
    assert "last cell nothing, replayed from recording; no cap" in after
    assert "today 12 tokens, <$0.0001; no cap" in before
    assert "today 12 tokens, <$0.0001; no cap" in after
