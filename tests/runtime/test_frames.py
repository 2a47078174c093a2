"""Events as tables, and what turns took as a figure."""

import io
import subprocess
import sys

import pandas as pd
import pytest

from loom_nb import Agent, MemoryStore, Model, artifact, frames, tool
from loom_nb.events import (
    CallFinished,
    LogEntry,
    QuestionAnswered,
    RetryScheduled,
    RunFinished,
    RunStarted,
    TurnFinished,
    TurnStarted,
)
from loom_nb.messages import TextPart, ToolResultPart, Usage
from loom_nb.models.scripted import Call


@tool(read_only=True)
def look(what: str) -> str:
    artifact("seen", what)
    return f"I see {what}"


@tool(read_only=True)
def fail() -> str:
    raise ValueError("no")


def agent(*replies):
    return Agent(Model.scripted(replies), tools=(look, fail), session_store=MemoryStore())


def entries(*events, run="r1", start=1):
    return [LogEntry("s", start + n, run, 100.0 + n, event) for n, event in enumerate(events)]


def turn(number, usage=None, cost=None, seconds=1.0):
    return TurnStarted(number, 900, 5000), TurnFinished(
        number, usage or Usage(1000, 100, 800), "end", "m", seconds, cost
    )


def call(outcome="ok", seconds=0.5):
    return CallFinished(ToolResultPart("c", "look", (TextPart("x"),)), outcome, seconds)


async def test_each_event_is_a_row_with_its_turn_tool_and_words():
    result = await agent([Call("look", {"what": "a tree"}), Call("fail")], "It is a tree.").run(
        "what is there?"
    )
    frame = result.events_frame()

    assert frame["type"].tolist() == [entry.event.type for entry in result.events]
    assert frame["seq"].tolist() == [entry.seq for entry in result.events]
    first = frame[frame["type"] == "RunStarted"].iloc[0]
    assert (first["text"], first["run"]) == ("what is there?", "r1")
    assert pd.isna(first["turn"])
    calls = frame[frame["type"] == "CallFinished"].set_index("tool")
    assert calls["outcome"].to_dict() == {"look": "ok", "fail": "error"}
    assert calls.loc["look", "text"] == "I see a tree"
    assert calls["turn"].tolist() == [1, 1]
    kept = frame[frame["type"] == "ArtifactAdded"].iloc[0]
    assert kept["text"] == "seen: text, 1 line"
    assert frame["turn"].iloc[-1] == 2
    assert frame["time"].dt.tz is not None


async def test_sums_over_the_table_are_those_of_the_result():
    result = await agent(Call("look", {"what": "a"}), "done").run("go")
    frame = result.events_frame()
    assert frame["tokens_in"].sum() == result.usage.input_tokens
    assert frame["tokens_out"].sum() == result.usage.output_tokens
    assert frame["cost"].sum() == result.cost


@pytest.mark.parametrize("costs", [(0.25, 0.5), (None, None)])
def test_the_cost_of_a_run_is_counted_once_whether_its_turns_tell_it_or_not(costs):
    log = entries(*turn(1, cost=costs[0]), *turn(2, cost=costs[1]), RunFinished("completed", cost=0.75))
    assert frames.events(log)["cost"].sum() == 0.75


def test_a_long_text_is_cut_and_an_answer_of_a_person_is_not_told():
    log = entries(RunStarted("m", "x" * 2_000), QuestionAnswered("q1", "person", value="my own words"))
    frame = frames.events(log)
    assert len(frame["text"][0]) == frames.TEXT
    assert "my own words" not in frame.to_csv()


def test_a_turn_tells_tokens_cost_time_calls_and_context():
    log = entries(
        RunStarted("m", "go"),
        turn(1)[0],
        RetryScheduled(2, 1.0, "overloaded", "busy"),
        turn(1, cost=0.25, seconds=2.0)[1],
        call(),
        call("error", 0.25),
        *turn(2, Usage(2000, 50), seconds=3.0),
        TurnStarted(3, 2500, 5000),
        RunFinished("failed", cost=None),
    )
    frame = frames.turns(log)

    assert frame[["turn", "calls", "failed", "retries"]].to_numpy().tolist() == [
        [1, 2, 1, 1],
        [2, 0, 0, 0],
        [3, 0, 0, 0],
    ]
    assert frame["tokens_in"].tolist()[:2] == [1000, 2000] and pd.isna(frame["tokens_in"][2])
    assert frame["cached"].tolist()[:2] == [800, 0]
    assert frame["model_seconds"].tolist()[:2] == [2.0, 3.0]
    assert frame["tool_seconds"].tolist() == [0.75, 0.0, 0.0]
    assert frame["context"].tolist() == [1000, 2000, 2500]
    assert frame["cost"][0] == 0.25 and frame["cost"][1:].isna().all()


def test_what_a_run_cost_is_what_its_only_turn_did_and_a_free_run_has_free_turns():
    alone = entries(*turn(1), RunFinished("completed", cost=0.5))
    free = entries(*turn(1), *turn(2), RunFinished("completed", cost=0.0), run="r2", start=10)
    split = entries(*turn(1), *turn(2), RunFinished("completed", cost=0.5), run="r3", start=20)
    frame = frames.turns([*alone, *free, *split])
    assert frame["cost"].tolist()[:3] == [0.5, 0.0, 0.0]
    assert frame["cost"][3:].isna().all()


async def test_a_session_a_result_and_entries_are_told_alike():
    chat = agent("one", "two").session()
    first = await chat.run("a")
    await chat.run("b")
    assert frames.turns(chat)["run"].tolist() == ["r1", "r2"]
    assert frames.turns(chat.events()).equals(frames.turns(chat))
    assert frames.events(first).equals(frames.events(iter(first.events)))
    await chat.close()


def test_tables_without_rows_have_the_same_columns_and_types():
    one = entries(*turn(1, cost=0.5), call(), RunFinished("completed"))
    for make in (frames.events, frames.turns):
        assert make([]).dtypes.equals(make(one).dtypes)
        assert len(make([])) == 0


# --- the figure


def long_log(turns):
    return entries(*(event for n in range(1, turns + 1) for event in (*turn(n, cost=0.01), call())))


def heights(panel):
    return [round(bar.get_height(), 3) for bars in panel.containers for bar in bars]


def test_the_figure_shows_tokens_cost_and_seconds_of_each_turn():
    figure = frames.plot(entries(*turn(1, cost=0.25), call(), *turn(2, Usage(2000, 50), 0.5, 3.0)))
    tokens, cost, seconds = figure.axes
    assert heights(tokens) == [800, 0, 200, 2000, 100, 50]
    assert heights(cost) == [0.25, 0.5]
    assert heights(seconds) == [1.0, 3.0, 0.5, 0.0]
    assert [text.get_text() for text in tokens.get_legend().get_texts()] == [
        "read from cache",
        "input",
        "output",
    ]
    assert [tick.get_text() for tick in seconds.get_xticklabels()] == ["1", "2"]


@pytest.mark.parametrize(
    ("log", "says"),
    [
        (entries(*turn(1), *turn(2), RunFinished("completed", cost=None)), "not known"),
        (entries(*turn(1), RunFinished("completed", cost=0.0)), "free of charge"),
        ([], "none"),
    ],
)
def test_a_cost_that_is_not_known_is_said_and_not_drawn(log, says):
    cost = frames.plot(log).axes[1]
    assert heights(cost) == []
    assert [text.get_text() for text in cost.texts] == [says]


def test_several_runs_stand_apart_and_are_named_whatever_they_are_called():
    log = [*entries(*turn(1), *turn(2), run="r1"), *entries(*turn(1), run="$x$ \\frac", start=9)]
    figure = frames.plot(log)
    assert [text.get_text() for text in figure.axes[0].texts] == ["r1", "$x$ \\frac"]
    assert all(len(panel.lines) == 1 for panel in figure.axes)
    assert drawn(figure).startswith(b"\x89PNG")


def drawn(figure):
    out = io.BytesIO()
    figure.savefig(out, dpi=40)
    return out.getvalue()


@pytest.mark.parametrize("turns", [0, 1, 15, 300])
def test_a_figure_of_any_length_is_drawn_with_few_numbers_below(turns):
    figure = frames.plot(long_log(turns))
    assert drawn(figure)
    assert len(figure.axes[2].get_xticks()) <= 16
    assert figure.get_figwidth() <= 12


def contrast(colour, page):
    from matplotlib.colors import to_rgb

    def light(rgb):
        return sum(
            w * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
            for w, c in zip((0.2126, 0.7152, 0.0722), rgb, strict=True)
        )

    high, low = sorted((light(to_rgb(colour)), light(to_rgb(page))), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("page", ["#ffffff", "#111111"])
def test_all_that_is_written_is_readable_on_light_and_dark_pages(page):
    from matplotlib.text import Text

    figure = frames.plot([*long_log(3), *entries(*turn(1), run="r2", start=50)])
    written = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert len(written) > 10
    assert min(contrast(text.get_color(), page) for text in written) > 4
    assert figure.patch.get_alpha() == 0


def test_a_figure_shows_itself_where_nobody_told_the_page_how():
    assert frames.plot(long_log(2))._repr_png_().startswith(b"\x89PNG")


def test_without_matplotlib_it_says_what_to_install_and_the_tables_still_work():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from loom_nb import Agent, MemoryStore, SetupError\n"
        "result = Agent(session_store=MemoryStore()).run_sync('hello')\n"
        "assert len(result.turns_frame()) == result.turns\n"
        "try: result.plot()\n"
        "except SetupError as error: print(error.fixes[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == '%pip install "loom-nb[plots]"\n', done.stderr
