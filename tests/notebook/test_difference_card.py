"""Two runs side by side, drawn: one set of facts on every surface, nothing foreign in it is more than text."""

import json
import re

import pytest

from loom_nb import Agent, Model, tool
from loom_nb.models.scripted import Call
from loom_nb.notebook.difference_card import DIFFERENCE_TYPE, difference_card
from loom_nb.runtime.difference import RunDifference, Side
from tests.notebook.kernels import kernel


@tool(effects={"reads"})
def look(place: str) -> str:
    """Looks."""
    return place


@pytest.fixture
async def told():
    agent = Agent(
        Model.scripted(
            [Call("look", {"place": "x|y"}), "It is *three*.", Call("look", {"place": "z"}), "It is *two*."]
        ),
        tools=[look],
    )
    async with agent.session() as session:
        return (await session.run("count there")).diff(await session.run("count here"))


async def test_every_surface_has_the_same_facts(told):
    bundle = difference_card(told)._repr_mimebundle_()

    plain, html, markdown = (bundle[kind] for kind in ("text/plain", "text/html", "text/markdown"))
    assert "[-three-]{+two+}" in plain and "[-three-]{+two+}" in markdown
    assert "<del>three</del><ins>two</ins>" in html
    for surface in (plain, html, markdown, bundle["text/llm+plain"]):
        for fact in ("r1 and r2", "other prompt", "completed", "other arguments", "tokens in"):
            assert fact in surface.replace("\\", ""), fact
    assert bundle[DIFFERENCE_TYPE]["differs"] == ["prompt", "calls", "answer"]
    json.dumps(bundle[DIFFERENCE_TYPE])
    assert all(len(line) <= 100 for line in plain.splitlines())


async def test_without_times_nothing_in_it_differs_from_run_to_run(told):
    assert "time" not in re.findall(r"[a-z]+", str(difference_card(told)))
    assert "time" in re.findall(r"[a-z]+", str(difference_card(told, times=True)))


def test_foreign_words_are_text_on_every_surface():
    bad = "<img src=x onerror=alert(1)>\u202e</del>```\n| a |"
    side = Side(bad, "s", bad, bad, bad, ((bad, bad),), ((bad, bad),), (), bad, "completed", bad, bad)
    other = Side("r2", "s", "m", "", "words", status="failed")

    bundle = difference_card(RunDifference(side, other))._repr_mimebundle_()

    assert "<img" not in bundle["text/html"]
    assert "\u202e" not in bundle["text/plain"] + bundle["text/html"] + bundle["text/markdown"]
    assert "<img" not in re.sub(r"(`{3,}).*?\n\1", "", bundle["text/markdown"], flags=re.S).replace(
        "&lt;img", ""
    )


def test_the_line_and_the_method_show_two_runs_of_a_notebook(tmp_path):
    with kernel(tmp_path, LOOM_NB_RENDER="static") as one:
        one.run("%load_ext loom_nb\nfrom loom_nb import Model\nm = Model.scripted(['three', 'two', 'one'])")
        one.run("%%loom -m m -o first\ncount there")
        one.run("%%loom -m m -o second\ncount here")
        one.run("%%loom -m m --new\ncount there")

        card = one.run("%loom diff r1 r2").text
        assert "r1 and r2: other prompt, settings, answer" in card
        assert "%loom context diff r1 r2" in card
        assert "[-three-]{+two+}" in one.run("first.diff(second)").text
        far = one.run("%loom diff r1 r3").text
        assert "other settings, answer" in far and "context diff" not in far
        assert "takes two runs" in one.run("%loom diff r1").error
        assert "there is no run 'r9'" in one.run("%loom diff r1 r9").error
