"""Questions answered in JupyterLab while the cell runs: by mouse, by keyboard, after a reload."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from loom_nb.testing import Calls, Say, WireServer
from tests.browser.lab import THEMES, Lab, Notebook
from tests.browser.test_loom_cell import wired

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TOOLS = '''from loom_nb import tool
from loom_nb.protocols import current_call
from loom_nb.questions import Option, Question
from loom_nb.tools import Assessment
done = []

def save_report(path: str, rows: int = 3) -> str:
    """Save a report."""
    done.append([path, rows])
    return f"saved {path}"

@tool(read_only=True)
async def ask_person(kind: str) -> str:
    """Ask."""
    said = await current_call.get().ask(QUESTIONS[kind])
    done.append(len(said) if kind == "secret" else said)
    return "thank you" if kind == "secret" else f"the person says {said!r}"

FORM = {"type": "object", "required": ["name", "count", "size"], "properties": {
    "name": {"type": "string", "description": "As it is shown."},
    "count": {"type": "integer", "minimum": 1, "maximum": 9},
    "size": {"enum": ["small", "large"], "title": "Size"},
    "keep": {"type": "boolean"},
    "labels": {"type": "array", "items": {"type": "string"}},
    "more": {"type": "object"}}}
QUESTIONS = {
    "confirm": Question("", "confirm", "Shall I go on?", text="It takes a while."),
    "choice": Question("", "choice", "Which one?", options=(Option("a", "The first"), Option("b", "The second", "it is larger"))),
    "several": Question("", "choice", "Which ones?", options=(Option("a"), Option("b"), Option("c")), multiple=True),
    "text": Question("", "text", "What is it called?"),
    "form": Question("", "form", "Tell me more", schema=FORM),
    "secret": Question("", "secret", "What is the password of the printer?"),
}
'''
LOOM = "%%loom -m anthropic:wire -t {} -o answer\ngo on"
TOLD = "print(done)"
SECRET = "swordfish-8472"
KERNELS = [
    ("", "perCommTarget"),
    ("", "disabled"),
    ("6.31.0", "perCommTarget"),
    ("7.0.1", "perCommTarget"),
    ("7.3.0", "perCommTarget"),
    ("7.3.0", "disabled"),
]
SAVE = Calls(("save_report", {"path": "out/report.csv", "rows": 1180}))


def asking(lab: Lab, server: WireServer, tool: str = "save_report", **options: Any) -> Notebook:
    """A notebook whose cell 2 asks, and whose cell 3 waits behind it."""
    nb = lab.notebook([wired(server), TOOLS, LOOM.format(tool), TOLD], **options)
    nb.run_all()
    return nb


def card(nb: Notebook, name: str = "", index: int = 2) -> Locator:
    """The card of that name, once it takes answers."""
    found = nb.output(index).get_by_role("alertdialog", name=name)
    try:
        found.first.wait_for(timeout=60_000)
    except Exception as error:
        raise AssertionError(nb.output_text(index)) from error
    nb.page.wait_for_timeout(400)  # what comes in the first moment is no answer
    return found.first


def choose(shown: Locator, name: str) -> None:
    """Choose one of the answers by mouse."""
    shown.get_by_role("radio", name=re.compile(f"^{name}")).click()


def told(nb: Notebook) -> str:
    """What the tools have done, once all cells have run."""
    return nb.wait(3).output_text(3).strip()


def last_result(server: WireServer) -> str:
    """What the model was told last."""
    return json.dumps(server.requests[-1].json["messages"][-1]["content"])


# --- approvals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("application", ["lab", "notebook"])
def test_a_call_is_allowed_by_mouse_and_nothing_is_chosen_before(lab: Lab, application):
    with WireServer([SAVE, Say("Saved.")]) as server:
        nb = asking(lab, server, application=application)
        shown = card(nb, "Approval a1")
        text = shown.inner_text()
        nb.screenshot(f"approval-{application}")
        assert "save_report" in text
        assert '"out/report.csv"' in text
        assert "1180" in text
        assert "run r1, step 1" in text
        assert "expires in 10 min" in text
        assert "no answer: denied" in text
        assert shown.locator("input:checked").count() == 0
        confirm = shown.locator("button")
        confirm.click(force=True)  # nothing is chosen
        assert nb.prompt(2) == "[*]:"
        choose(shown, "Allow once")
        confirm.click()
        assert told(nb) == "[['out/report.csv', 1180]]"
    assert nb.output(2).get_by_role("alertdialog").count() == 0
    assert "a1 allowed once" in nb.output_text(2)


IMPATIENT = """const patient = AbortSignal.timeout;
AbortSignal.timeout = (ms) => patient.call(AbortSignal, ms === 2000 ? 0 : ms);"""
"""anywidget gives a page two seconds to load a widget, and is deaf for good where it takes longer."""


LOSES = """from loom_nb.notebook.widgets.live import LiveWidget
whole, lost = LiveWidget.take, []
def take(self, content):
    if content["type"] in lost:
        whole(self, content)
    else:
        lost.append(content["type"])
LiveWidget.take = take
"""
"""The first message of each kind never comes, as on a kernel that sleeps over it."""


def test_what_the_kernel_did_not_confirm_is_said_again(lab: Lab):
    with WireServer([SAVE, Say("Saved.")]) as server:
        nb = lab.notebook([wired(server), LOSES + TOOLS, LOOM.format("save_report"), TOLD])
        nb.run_all()
        shown = card(nb, "Approval a1")
        choose(shown, "Allow once")
        shown.locator("button").click()
        assert told(nb) == "[['out/report.csv', 1180]]"


def test_a_page_that_loads_a_card_slowly_hears_what_the_kernel_says(lab: Lab):
    with WireServer([SAVE, Say("Saved.")]) as server:
        nb = asking(lab, server, first=IMPATIENT)
        shown = card(nb, "Approval a1")
        choose(shown, "Allow once")
        shown.locator("button").click()
        assert told(nb) == "[['out/report.csv', 1180]]"
        assert nb.output(2).get_by_role("alertdialog").count() == 0
    assert lab.problems  # what anywidget says of it
    assert all("Failed to initialize model" in problem for problem in lab.problems)
    lab.problems.clear()


@pytest.mark.parametrize(("ipykernel", "comms"), KERNELS)
def test_an_answer_arrives_on_every_kernel_and_by_every_route(
    lab: Lab, older_kernel: Callable[[str], str], ipykernel, comms
):
    lab.server.set("@jupyterlab/apputils-extension:kernels-settings", {"commsOverSubshells": comms})
    spec = older_kernel(ipykernel) if ipykernel else "python3"
    with WireServer([SAVE, Say("Saved.")]) as server:
        nb = asking(lab, server, kernel=spec)
        assert nb.comms() == comms
        shown = card(nb, "Approval a1")
        choose(shown, "Allow once")
        shown.locator("button").click()
        shown.wait_for(state="detached")
        assert told(nb) == "[['out/report.csv', 1180]]"


def test_a_call_is_allowed_by_the_keyboard_alone(lab: Lab):
    with WireServer([SAVE, Say("Saved.")]) as server:
        nb = asking(lab, server)
        shown = card(nb, "Approval a1")
        assert shown.evaluate("node => node === document.activeElement")
        assert shown.evaluate("node => getComputedStyle(node).outlineStyle") != "none"
        keys = nb.page.keyboard
        keys.press("Enter")
        keys.press("?")
        assert shown.locator("details").get_attribute("open") is not None
        for key in ("a", "s", "o"):
            keys.press(key)
            assert shown.locator("input:checked").get_attribute("aria-keyshortcuts") == key
        nb.screenshot("approval-keys")
        keys.press("Enter")
        assert told(nb) == "[['out/report.csv', 1180]]"
    assert nb.count() == 4


def test_the_model_reads_why_a_call_was_denied(lab: Lab):
    with WireServer([SAVE, Say("Then not.")]) as server:
        nb = asking(lab, server)
        card(nb, "Approval a1")
        keys = nb.page.keyboard
        keys.press("d")
        keys.type("dd xx: wrong folder, use data/")  # as text, not as the notebook's shortcuts
        nb.screenshot("approval-deny")
        keys.press("Enter")
        nb.wait(2)
        assert nb.play(3).strip() == "[]"
        assert "dd xx: wrong folder, use data/" in last_result(server)
    assert nb.count() == 4
    assert "denied" in nb.output_text(2)


def test_arguments_are_edited_and_what_does_not_fit_is_said_at_the_field(lab: Lab):
    with WireServer([SAVE, Say("Saved.")]) as server:
        nb = asking(lab, server)
        shown = card(nb, "Approval a1")
        choose(shown, "Edit the arguments")
        shown.get_by_label("path", exact=True).fill("data/report.csv")
        shown.get_by_label("rows", exact=True).fill("many")
        shown.locator("button").click()
        expect(shown.locator(".loom-question-error").nth(1)).to_have_text(re.compile("not a number"))
        assert shown.get_by_label("path", exact=True).input_value() == "data/report.csv"
        nb.screenshot("approval-edit")
        shown.get_by_label("rows", exact=True).fill("12")
        shown.locator("button").click()
        assert told(nb) == "[['data/report.csv', 12]]"
    assert "edited: path, rows" in nb.output_text(2)


def test_two_approvals_at_once_are_answered_in_any_order(lab: Lab):
    one = LOOM.format("save_report")
    first, second = one.replace("-m", "--bg -m"), one.replace("-m", "--new -m")
    with WireServer([SAVE, SAVE, Say("Saved."), Say("Saved.")]) as server:
        nb = lab.notebook([wired(server), TOOLS, first, second, TOLD])
        nb.run_all()
        later, earlier = card(nb, "Approval a1", 3), card(nb, "Approval a1", 2)
        nb.screenshot("two-approvals")
        choose(later, "Allow once")
        later.locator("button").click()
        assert nb.wait(4).output_text(4).strip() == "[['out/report.csv', 1180]]"
        choose(earlier, "Allow once")
        earlier.locator("button").click()
        nb.wait_for_text(2, "allowed once")
        assert nb.play(4).strip() == "[['out/report.csv', 1180], ['out/report.csv', 1180]]"


def test_two_questions_of_one_run_are_two_cards(lab: Lab):
    both = Calls(("ask_person", {"kind": "choice"}), ("ask_person", {"kind": "confirm"}))
    with WireServer([both, Say("Good.")]) as server:
        nb = question(lab, server)
        cards = nb.output(2).get_by_role("alertdialog")
        expect(cards).to_have_count(2)
        nb.page.wait_for_timeout(400)
        nb.screenshot("two-questions")
        choose(cards.nth(0), "The first")
        cards.nth(1).get_by_role("button", name="Yes").click()
        expect(cards).to_have_count(1)
        assert cards.nth(0).locator("input:checked").count() == 1  # what was entered stays
        cards.nth(0).locator("button").click()
        assert told(nb) == "[True, 'a']"


def test_a_script_and_a_click_in_the_first_moment_are_no_answers(lab: Lab):
    watch = """() => new Promise(resolve => {
      const look = () => {
        const card = document.querySelector('.loom-question');
        if (!card) return setTimeout(look, 5);
        const press = () => { card.querySelector('input').click(); card.querySelector('button').click(); };
        press();
        setTimeout(() => { press(); setTimeout(() => resolve(card.isConnected), 300); }, 600);
      };
      look();
    })"""
    with WireServer([SAVE]) as server:
        nb = asking(lab, server)
        assert nb.page.evaluate(watch)
        shown = card(nb, "Approval a1")
        assert shown.locator("input:checked").count() == 0
        assert nb.prompt(2) == "[*]:"
        nb.interrupt()
        nb.wait(2)
        assert len(server.requests) == 1


@pytest.mark.parametrize("how", ["button", "interrupt"])
@pytest.mark.parametrize("ipykernel", ["", "6.31.0"])
def test_a_stop_takes_the_question_away_and_nothing_runs_after_it(
    lab: Lab, older_kernel: Callable[[str], str], how, ipykernel
):
    spec = older_kernel(ipykernel) if ipykernel else "python3"
    with WireServer([SAVE, Say("Saved.")], strict=False) as server:
        nb = asking(lab, server, kernel=spec)
        shown = card(nb, "Approval a1")
        if how == "button":
            nb.output(2).get_by_role("button", name="Stop").click()
        else:
            nb.interrupt()
        shown.wait_for(state="detached", timeout=60_000)
        nb.wait(2)
        assert "stopped" in nb.output_text(2).lower()
        assert nb.wait_until_dropped(3).output_text(3) == ""
        assert nb.play(3).strip() == "[]"
        assert len(server.requests) == 1


@pytest.mark.parametrize("saved", [True, False])
def test_a_card_is_answered_after_the_page_was_loaded_anew(lab: Lab, saved):
    with WireServer([SAVE, Say("Saved.")]) as server:
        nb = asking(lab, server)
        card(nb, "Approval a1")
        if saved:
            (*_, output) = nb.save().cells[2].outputs
            assert "%loom approve a1" in output.data["text/html"]
            assert not any("widget" in mime for mime in output.data)
        nb.open()
        nb.wait_for_session()
        shown = card(nb, "Approval a1")
        nb.screenshot(f"reloaded-{'saved' if saved else 'unsaved'}")
        choose(shown, "Allow once")
        shown.locator("button").click()
        shown.wait_for(state="detached")
        nb.wait_for_text(2, "allowed once")
        nb.screenshot(f"reloaded-answered-{'saved' if saved else 'unsaved'}")
        nb.wait_for_kernel()
        assert nb.play(3).strip() == "[['out/report.csv', 1180]]"


def test_hidden_characters_and_markup_are_seen_as_what_they_are(lab: Lab):
    evil = "out/\u202egpj.exe\u200b<img src=x onerror=alert(1)>\U000e0041"
    with WireServer([Calls(("save_report", {"path": evil}))]) as server:
        nb = asking(lab, server)
        shown = card(nb, "Approval a1")
        text = shown.locator(".loom-question-value").first.inner_text()
        nb.screenshot("approval-hidden")
        assert shown.locator("img").count() == 0
        nb.interrupt()
        nb.wait(2)
    assert text == '"out/⟨U+202E⟩gpj.exe⟨U+200B⟩<img src=x onerror=alert(1)>⟨U+E0041⟩"'


# --- questions ---------------------------------------------------------------------------------------


def question(lab: Lab, server: WireServer, **options: Any) -> Notebook:
    return asking(lab, server, "ask_person", **options)


def test_yes_and_no(lab: Lab):
    ask = Calls(("ask_person", {"kind": "confirm"}))
    with WireServer([ask, ask, Say("Good.")]) as server:
        nb = question(lab, server)
        shown = card(nb, "Question q1")
        nb.screenshot("confirm")
        nb.page.keyboard.press("y")
        assert nb.prompt(2) == "[*]:"  # the key goes to the button, and answers nothing yet
        shown.get_by_role("button", name="No").click()
        card(nb, "Question q2")
        nb.page.keyboard.press("y")
        nb.page.keyboard.press("Enter")
        assert told(nb) == "[False, True]"


def test_one_and_several_of_a_list(lab: Lab):
    script = [
        Calls(("ask_person", {"kind": "choice"})),
        Calls(("ask_person", {"kind": "several"})),
        Say("Good."),
    ]
    with WireServer(script) as server:
        nb = question(lab, server)
        shown = card(nb, "Question q1")
        nb.screenshot("choice")
        choose(shown, "The second")
        shown.locator("button").click()
        card(nb, "Question q2")
        for key in ("1", "2", "3", "2"):
            nb.page.keyboard.press(key)
        nb.page.keyboard.press("Enter")
        assert told(nb) == "['b', ['a', 'c']]"


def test_a_text_is_typed_without_waking_the_notebooks_shortcuts(lab: Lab):
    with WireServer([Calls(("ask_person", {"kind": "text"})), Say("Good.")]) as server:
        nb = question(lab, server)
        card(nb, "Question q1")
        nb.page.keyboard.type("dd xx\njk")
        nb.screenshot("text")
        nb.page.keyboard.press("Control+Enter")
        assert told(nb) == "['dd xx\\njk']"
    assert nb.count() == 4


def test_a_form_is_filled_in_and_keeps_what_was_entered_when_something_does_not_fit(lab: Lab):
    with WireServer([Calls(("ask_person", {"kind": "form"})), Say("Good.")]) as server:
        nb = question(lab, server)
        shown = card(nb, "Question q1")
        shown.get_by_label("name (needed)", exact=True).fill("a table")
        shown.get_by_label("count (needed)", exact=True).fill("12")
        shown.get_by_label("Size").select_option(label="large")
        shown.get_by_label("keep").select_option(label="Yes")
        shown.get_by_label("labels").fill("red\nblue, green")
        shown.get_by_label("more").fill("{not json")
        shown.locator("button").click()
        expect(shown.locator(".loom-question-error").last).to_have_text(re.compile("not valid JSON"))
        shown.get_by_label("more").fill('{"a": [1]}')
        shown.locator("button").click()
        expect(shown.locator(".loom-question-error").nth(1)).to_have_text(re.compile("12 is greater"))
        assert shown.get_by_label("name (needed)", exact=True).input_value() == "a table"
        nb.screenshot("form")
        shown.get_by_label("count (needed)", exact=True).fill("2")
        shown.get_by_label("count (needed)", exact=True).press("Enter")
        wanted = {
            "name": "a table",
            "count": 2,
            "size": "large",
            "keep": True,
            "labels": ["red", "blue, green"],
            "more": {"a": [1]},
        }
        assert told(nb) == str([wanted])


@pytest.mark.parametrize("ipykernel", ["", "6.31.0"])
def test_a_secret_is_left_nowhere(lab: Lab, older_kernel: Callable[[str], str], ipykernel):
    spec = older_kernel(ipykernel) if ipykernel else "python3"
    look = (
        "from IPython import get_ipython\nshell = get_ipython()\n"
        "print([e.event.payload for e in answer.events], list(shell.history_manager.get_range(output=True)),"
        " {k: v for k, v in shell.user_ns.items() if k.startswith(('_', 'Out'))})"
    )
    with WireServer([Calls(("ask_person", {"kind": "secret"})), Say("Good.")]) as server:
        nb = question(lab, server, kernel=spec)
        shown = card(nb, "Question q1")
        field = shown.locator("input[type=password]")
        assert field.get_attribute("autocomplete") == "off"
        nb.screenshot("secret")
        field.fill(SECRET)
        saved = [json.dumps(nb.save())]
        field.press("Enter")
        shown.wait_for(state="detached")
        assert told(nb) == f"[{len(SECRET)}]"
        page = nb.page.content()
        seen = nb.play(nb.append(look))
        saved.append(json.dumps(nb.save()))
        sent = [request.body.decode() for request in server.requests]
    assert "QuestionAnswered" in seen or "question_id" in seen
    for text in (page, seen, *saved, *sent, nb.lab.server.log):
        assert SECRET not in text
    widgets = nb.save().metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {})
    assert not widgets.get("state")


# --- it is seen --------------------------------------------------------------------------------------

ACTS = """
def look(path: str, text: str) -> Assessment:
    return Assessment(frozenset({"writes", "runs"}), destructive=True, reasons=("overwrites report.csv",),
        preview="--- report.csv\\n+++ report.csv\\n@@ -1,3 +1,3 @@\\n a,b\\n-1,2\\n+1,3\\n+4,5", preview_kind="diff",
        sandbox="none")

@tool
def overwrite(path: str, text: str) -> str:
    "Overwrite a file."
    return "done"

import dataclasses
overwrite = dataclasses.replace(overwrite, assess=look)
"""


def test_a_card_can_be_read_in_every_theme(lab: Lab):
    call = Calls(("overwrite", {"path": "re\u200bport.csv", "text": "a,b\n1,3\n4,5\n" + "x" * 200}))
    with WireServer([call]) as server:
        nb = lab.notebook([wired(server), TOOLS + ACTS, LOOM.format("overwrite"), TOLD])
        nb.run_all()
        shown = card(nb, "Approval a1 · runs, writes, cannot be undone")
        assert "2 lines added, 1 removed" in shown.inner_text()
        assert "none: it may do whatever you may do" in shown.inner_text()
        choose(shown, "Edit the arguments")
        for theme in THEMES:
            nb.theme(theme)
            nb.page.locator("#jupyterlab-splash").wait_for(state="detached")  # else it goes away twice
            nb.screenshot(f"approval-{theme}")
            assert nb.faint_words(2) == [], theme
        nb.interrupt()
        nb.wait(2)
