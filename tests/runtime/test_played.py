"""A replay costs nothing, wherever that is told; what was recorded stays known."""

from pathlib import Path
from typing import Any

import pytest

from loom_nb import Agent, Limits, MemoryStore, Model, RetryPolicy, Runtime, frames, tool
from loom_nb.events import Played, RunFinished, TurnFinished, event_from_json
from loom_nb.messages import Usage
from loom_nb.models.cassette import Mode
from loom_nb.notebook import render
from loom_nb.notebook.transcript import Transcript
from loom_nb.protocols import Spent
from loom_nb.runtime.session_facts import facts_in
from loom_nb.runtime.spending import day_account, notebook_account
from loom_nb.stores.spending import book_beside
from loom_nb.testing import Calls, Say, WireCall, WireServer

KEY = "sk-played-0123456789abcdef"
STEPS = (Calls(WireCall("look", '{"place": "x"}')), Say("found"))


@tool(read_only=True)
def look(place: str) -> str:
    """Looks."""
    return f"at {place}"


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    return tmp_path / "tape.json"


async def asked(tape: Path, mode: Mode, *steps: Any, limits: Limits | None = None, prompt: str = "go"):
    """A run of a model whose price is known; without steps there is no server at all."""
    store = MemoryStore()
    runtime = Runtime(limits=limits or Limits(), retry=RetryPolicy(max_attempts=1))
    with WireServer(steps) as server:
        real = Model.anthropic("claude-sonnet-4-5", base_url=server.url, key_env="PLAYED_KEY")
        spec = Agent(Model.cassette(tape, real, mode), tools=(look,), session_store=store, runtime=runtime)
        async with spec.session() as session:
            result = await session.run(prompt)
        return result, store, len(server.requests)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAYED_KEY", KEY)


@pytest.mark.parametrize("mode", ["strict", "replay", "auto"])
async def test_a_replay_has_cost_nothing_and_tells_what_the_recording_had(tape: Path, mode: Mode):
    first, _, _ = await asked(tape, "record", *STEPS)
    again, store, requests = await asked(tape, mode)

    assert requests == 0
    assert first.cost is not None and first.cost > 0
    assert first.played == Played()
    assert (again.cost, again.usage, again.turns) == (0.0, first.usage, 2)
    assert again.played == Played(2, first.usage, first.cost, whole=True)
    assert again.finished.spent_tokens == 0
    accounts = [notebook_account(again.session_id), day_account(again.events[0].time)]
    assert book_beside(store).change(Spent(), accounts) == [Spent(), Spent()]
    assert repr(again).endswith("· $0 · replayed>")
    assert "replayed" not in repr(first)


async def test_what_is_played_and_what_is_asked_are_counted_apart(tape: Path):
    first, _, _ = await asked(tape, "record", STEPS[0], limits=Limits(max_iterations=1))
    again, store, requests = await asked(tape, "auto", STEPS[1])

    assert (first.status, first.turns, requests) == ("limit", 1, 1)
    assert again.played == Played(1, first.usage, first.cost, whole=False)
    turns = [entry.event for entry in again.events if isinstance(entry.event, TurnFinished)]
    assert [turn.played for turn in turns] == [True, False]
    assert again.cost == pytest.approx(turns[1].cost)
    assert turns[0].spent == 0.0
    assert turns[0].cost == first.cost
    (spent,) = book_beside(store).change(Spent(), [notebook_account(again.session_id)])
    assert (spent.tokens, spent.dollars) == (again.finished.spent_tokens, pytest.approx(again.cost))


async def test_a_limit_is_reached_where_it_was_when_it_was_recorded(tape: Path):
    tight = Limits(max_cost=0.000_000_1)
    first, _, _ = await asked(tape, "record", STEPS[0], limits=tight)
    again, _, requests = await asked(tape, "strict", limits=tight)

    assert requests == 0
    assert (again.status, again.fault, again.reason) == (first.status, "cost", first.reason)
    assert again.cost == 0.0


async def test_frames_sessions_and_differences_agree_that_it_cost_nothing(tape: Path):
    first, _, _ = await asked(tape, "record", *STEPS)
    again, store, _ = await asked(tape, "strict")

    assert list(frames.turns(again)["cost"]) == [0.0, 0.0]
    assert sum(frames.turns(first)["cost"]) == pytest.approx(first.cost)
    assert frames.events(again)["cost"].sum() == 0.0
    (row,) = [facts_in(store, one) for one in store.sessions()]
    assert (row.tokens, row.cost, row.unknown) == (0, 0.0, 0)
    assert (first.diff(again).left.cost, first.diff(again).right.cost) == (first.cost, 0.0)


# -- the badge -------------------------------------------------------------------------------------


WHOLE = RunFinished(
    "completed",
    "found",
    usage=Usage(400, 96),
    cost=0.0,
    turns=2,
    played=Played(2, Usage(400, 96), 0.02, True),
)


def test_every_surface_bears_the_badge_and_the_recorded_usage():
    bundle = render.bundle(Transcript.of([WHOLE]))

    footer = "replayed from recording · 2 steps · 400→96 tok · $0 (recorded: $0.02)"
    assert footer in bundle["text/plain"]
    assert "replayed from recording" in bundle["text/markdown"]
    assert "400→96 tok" in bundle["text/markdown"]
    assert ">replayed from recording</span> · 2 steps" in bundle["text/html"]
    assert (
        "[replayed from recording | 2 steps | 400->96 tok | $0 (recorded: $0.02)]" in bundle["text/llm+plain"]
    )
    assert bundle[render.RECORD_TYPE]["played"] == {
        "calls": 2, "usage": {"input_tokens": 400, "output_tokens": 96}, "cost": 0.02, "whole": True,
    }  # fmt: skip
    assert (bundle[render.RECORD_TYPE]["cost"], bundle[render.RECORD_TYPE]["usage"]["input_tokens"]) == (
        0,
        400,
    )


def test_a_run_that_was_played_in_part_says_how_many_calls():
    half = RunFinished("completed", "x", cost=0.01, turns=2, played=Played(1, Usage(4, 9), None))

    assert render.plain(Transcript.of([half])).endswith("1 call replayed from recording · 2 steps · $0.01\n")


def test_no_other_run_bears_it_and_old_logs_are_read():
    old = event_from_json(b'{"type":"RunFinished","status":"completed","cost":0.02,"turns":1}')
    turn = event_from_json(b'{"type":"TurnFinished","turn":1,"usage":{},"stop_reason":"end","cost":0.02}')

    assert "replayed" not in str(render.bundle(Transcript.of([old])))
    assert (turn.played, turn.spent) == (False, 0.02)
