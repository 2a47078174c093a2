"""How a widget talks with the kernel: what was not confirmed is said again, and nothing is done late or twice."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext

from loom_nb.notebook.widgets.sources import script

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SCENE = """(story) => {
  let now = 0;
  const timers = new Map();
  const setTimeout = (act, ms) => (timers.set(timers.size + 1, [now + ms, act]), timers.size);
  const clearTimeout = (id) => timers.has(id) && timers.set(id, [Infinity, null]);
  const after = (seconds) => {
    const until = now + seconds * 1000;
    for (;;) {
      const next = [...timers].filter(([, [due]]) => due <= until).sort((a, b) => a[1][0] - b[1][0])[0];
      if (!next) break;
      now = next[1][0];
      timers.set(next[0], [Infinity, null]);
      next[1][1]();
    }
    now = until;
  };
  let hears = null;
  const came = [];
  const model = { on: (_, listener) => { hears = listener; }, off: () => { hears = null; }, get: () => "",
                  send: (message) => came.push(message) };
  const heard = [];
  PARTS
  const talk = talking(model, (message) => heard.push(message.type));
  const names = () => came.map((one) => one.text ?? one.type);
  const confirm = (type) => hears({ type: "heard", said: came.findLast((one) => one.type === type).said });
  STORY
}"""
"""A page and a kernel, with a clock that is turned by hand."""


@pytest.fixture
def told(profile: BrowserContext) -> Callable[[str], Any]:
    def play(story: str) -> Any:
        parts = script("stop").split("// The Stop button")[0]
        page = profile.new_page()
        try:
            return page.evaluate(f"({SCENE.replace('PARTS', parts).replace('STORY', story)})()")
        finally:
            page.close()

    return play


def test_what_was_not_confirmed_is_said_again_and_what_was_is_not(told):
    story = """talk.say({ type: "open" }); after(2); after(4); confirm("open"); after(600);
    return [names(), new Set(came.map((one) => one.said)).size, heard]"""
    assert told(story) == [["open"] * 3, 1, []]


def test_what_comes_from_the_kernel_is_passed_on(told):
    assert told('hears({ type: "show" }); return heard') == ["show"]


def test_what_was_given_up_is_not_done_later(told):
    story = """talk.say({ type: "delete" }); after(600); const before = names().length;
    talk.say({ type: "undo" }); confirm("undo"); after(600); return [before, names().slice(before)]"""
    assert told(story) == [6, ["undo"]]


def test_an_answer_takes_the_place_of_one_that_was_not_heard(told):
    story = """talk.say({ type: "answer", nonce: "n", text: "allow" });
    talk.say({ type: "answer", nonce: "n", text: "deny" }); came.length = 0; after(2); return names()"""
    assert told(story) == ["deny"]


def test_steady_talk_does_not_keep_what_was_lost_from_being_said_again(told):
    story = """talk.say({ type: "act" });
    for (let n = 0; n < 20; n++) { talk.say({ type: "query" }); confirm("query"); after(0.5); }
    return names().filter((name) => name === "act").length"""
    assert told(story) == 3


def test_who_has_left_says_nothing_more(told):
    assert told('talk.say({ type: "ready" }); talk.end(); after(600); return names()') == ["ready"]
