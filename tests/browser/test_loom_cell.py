"""A `%%loom` cell in JupyterLab: it streams, it is stopped, it is saved, it is read again."""

import re
from collections.abc import Callable
from importlib.metadata import version

import pytest

from loom_nb.testing import Calls, Say, WireServer
from tests.browser.lab import THEMES, Lab, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LOAD = "%load_ext loom_nb"
DATA = """import pandas as pd
df = pd.DataFrame({'city': ['Bern', 'Basel', 'Brig'], 'people': [134, 173, 13]})
limit = 20"""
ASK = "%%loom\nwhat data do I have here?"
MARKDOWN = """# A title

Some `code`, a [link](https://example.org), **bold**.

```python
x = 1  # one
```

| a | b |
| --- | --- |
| 1 | 2 |

> quoted
"""
LONG = " ".join(f"word{number}" for number in range(2_000))
OTHER = LONG.replace("word", "tale")


def wired(server: WireServer) -> str:
    """The first cell of a notebook whose model is the server of this test."""
    return (
        f"import os\nos.environ['ANTHROPIC_BASE_URL'] = '{server.url}'\n"
        f"os.environ['ANTHROPIC_API_KEY'] = 'a-test-key'\n{LOAD}"
    )


def begun(lab: Lab, server: WireServer, **options) -> Notebook:
    """A notebook whose cell 1 is in the middle of a long answer; cell 2 waits behind it."""
    cells = [wired(server), "%%loom -m anthropic:wire\ntell me a long story", "print('the next cell')"]
    nb = lab.notebook(cells, **options)
    nb.run_all().wait_for_text(1, "word5")
    return nb


# --- it runs -----------------------------------------------------------------------------------------


def test_loading_shows_a_card_and_the_offline_model_looks_at_the_variables(lab: Lab):
    nb = lab.notebook([LOAD, DATA, ASK])
    card = nb.play(0)
    assert "loom_nb" in card
    assert re.search(r"model\s+offline \(demo, free\)", card)
    assert "%%loom" in card
    assert len(card.splitlines()) <= 12
    assert [output["output_type"] for output in nb.outputs(0)] == ["display_data"]
    nb.screenshot("load-card")

    nb.run(1).run(2).wait(2)
    assert "DEMO" in nb.output_text(2)
    assert "df" in nb.output_text(2)
    tools = nb.output(2).locator("details", has=nb.page.locator("summary", has_text="list_variables"))
    assert tools.count() == 1
    assert tools.get_attribute("open") is None
    tools.locator("summary").first.click()
    assert "DataFrame" in tools.inner_text()
    nb.screenshot("tool-card-open")


@pytest.mark.parametrize("application", ["lab", "notebook"])
def test_words_appear_while_the_cell_runs_and_the_next_cell_waits(lab: Lab, application):
    with WireServer([Say(LONG).slow(0.008)]) as server:
        nb = begun(lab, server, application=application)
        assert nb.prompt(1) == "[*]:"
        assert "word1999" not in nb.output_text(1)
        assert nb.output_text(2) == ""
        nb.wait(2)

    assert "word1999" in nb.output_text(1)
    assert nb.output_text(2).strip() == "the next cell"
    nb.screenshot(f"streamed-{application}")


def test_a_function_of_the_notebook_is_called_and_its_card_is_kept(lab: Lab):
    tool = 'from loom_nb import tool\n@tool(read_only=True)\ndef add(a: int, b: int) -> int:\n    """Add two numbers."""\n    print("adding")\n    return a + b'
    with WireServer([Calls(("add", {"a": 2, "b": 3})), Say("It is **5**.")]) as server:
        nb = lab.notebook([wired(server), tool, "%%loom -m anthropic:wire -t add\nadd two and three"])
        nb.run_all().wait(2)
        results = server.requests[1].json["messages"][-1]["content"]

    assert [part["type"] for part in results] == ["tool_result"]
    assert "5" in str(results)
    assert nb.output(2).locator("strong", has_text="5").count() == 1
    assert nb.output(2).locator("summary", has_text="add").count() == 1


# --- it is stopped -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("application", "ipykernel", "comms"),
    [
        ("lab", "", "perCommTarget"),
        ("lab", "", "disabled"),
        ("notebook", "", "perCommTarget"),
        ("lab", "6.31.0", "perCommTarget"),
        ("lab", "7.3.0", "perCommTarget"),
        ("lab", "7.3.0", "disabled"),
    ],
)
def test_a_click_on_stop_and_an_interrupt_end_the_run_and_run_all(
    lab: Lab, older_kernel: Callable[[str], str], application, ipykernel, comms
):
    """Also where the front end sends clicks by another way, and where the kernel holds them back."""
    lab.server.set("@jupyterlab/apputils-extension:kernels-settings", {"commsOverSubshells": comms})
    spec = older_kernel(ipykernel) if ipykernel else "python3"
    with WireServer([Say(LONG).slow(0.05), Say(OTHER).slow(0.05)], strict=False) as server:
        nb = begun(lab, server, application=application, kernel=spec)
        assert nb.comms() == comms
        button = nb.output(1).get_by_role("button", name="Stop")
        button.wait_for()
        nb.screenshot(f"stop-button-{application}")
        button.click()
        nb.wait(1)
        assert server.requests[0].wait() != "answered"
        assert_stopped(nb, "word")
        tried = nb.play(nb.append("import ipykernel\nprint(ipykernel.__version__)")).strip()
        assert tried == (ipykernel or version("ipykernel"))

        nb.run(1).run(2).wait_for_text(1, "tale5")
        nb.interrupt()
        nb.wait(1)
    assert_stopped(nb, "tale")
    nb.screenshot(f"interrupted-{application}")


def assert_stopped(nb: Notebook, word: str) -> None:
    """The words so far are kept, it says that it was stopped, no traceback, and Run All ended here."""
    text = nb.output_text(1)
    assert f"{word}5" in text
    assert f"{word}1999" not in text
    assert "stopped" in text.lower()
    assert "Traceback" not in text
    assert nb.output(1).get_by_role("button").count() == 0
    assert nb.wait_until_dropped(2).output_text(2) == ""
    assert nb.play(2).strip() == "the next cell"


def test_after_a_stop_the_conversation_goes_on(lab: Lab):
    with WireServer([Say(LONG).slow(0.05), Say("Here is a short one.")]) as server:
        nb = begun(lab, server)
        nb.interrupt()
        nb.wait(1)
        again = nb.append("%%loom -m anthropic:wire\na shorter one, please")
        assert "Here is a short one." in nb.play(again)
        roles = [message["role"] for message in server.requests[1].json["messages"]]
    assert roles == ["user", "assistant", "user"]


def test_the_keyboard_alone_runs_a_cell_and_stops_it(lab: Lab):
    with WireServer([Say(LONG).slow(0.05)], strict=False) as server:
        nb = lab.notebook([wired(server), "", "print('the next cell')"])
        nb.play(0)
        nb.command("notebook:enter-command-mode", 1)
        keys = nb.page.keyboard
        keys.press("Enter")
        keys.type("%%loom -m anthropic:wire\ntell me a long story")
        keys.press("Control+Enter")
        button = nb.output(1).get_by_role("button", name="Stop")
        button.wait_for()
        for _ in range(40):
            keys.press("Tab")
            if button.evaluate("node => node === document.activeElement"):
                break
        else:
            raise AssertionError("Tab never reached the Stop button")
        outline = button.evaluate("node => getComputedStyle(node).outlineStyle")
        nb.screenshot("stop-button-focus")
        keys.press("Enter")
        nb.wait(1)
    assert outline != "none"
    assert "stopped" in nb.output_text(1).lower()


# --- it is saved and read again ----------------------------------------------------------------------


def test_the_saved_file_holds_one_bundle_and_no_widget(lab: Lab):
    with WireServer([Calls(("list_variables", {})), Say(f"{LONG}\n\nDone.").slow(0.001)]) as server:
        nb = lab.notebook([wired(server), "%%loom -m anthropic:wire\nlook around"])
        nb.run(0).wait(0).run(1)
        nb.output(1).get_by_role("button", name="Stop").wait_for()
        nb.wait(1)
        saved = nb.save()

    (output,) = saved.cells[1].outputs
    assert {"text/plain", "text/html", "text/markdown"} <= set(output.data)
    assert not any("widget" in mime for mime in output.data)
    assert "Done." in output.data["text/plain"]
    widgets = saved.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {})
    assert not widgets.get("state")
    assert "a-test-key" not in nb.path.read_text().replace("'a-test-key'", "", 1)


def test_the_answer_is_there_without_a_kernel_also_in_someone_else_s_notebook(lab: Lab):
    nb = lab.notebook([LOAD, DATA, ASK])
    nb.run_all().wait(2)
    live = nb.output_text(2)
    nb.save()
    for trusted in (True, False):
        nb.reopen(kernel=False, trusted=trusted)
        assert nb.wait_for_text(2, live).output_text(2) == live
        card = nb.output(2).locator("details", has=nb.page.locator("summary", has_text="list_variables"))
        card.locator("summary").first.click()
        assert "DataFrame" in card.inner_text()
        nb.screenshot(f"reopened-{'trusted' if trusted else 'untrusted'}")


def test_what_was_saved_in_the_middle_of_a_run_is_readable_when_the_kernel_is_gone(lab: Lab):
    with WireServer([Say(LONG).slow(0.05)], strict=False) as server:
        nb = begun(lab, server)
        nb.output(1).get_by_role("button", name="Stop").wait_for()
        saved = nb.save()
        assert nb.output(1).get_by_role("button", name="Stop").count() == 1
        seen = []
        for kernel in (True, False):
            nb.reopen(kernel=kernel)
            seen.append(nb.wait_for_text(1, "word5").output_text(1))
            nb.screenshot(f"saved-mid-run-{'new-kernel' if kernel else 'no-kernel'}")
    assert not any("widget" in mime for output in saved.cells[1].outputs for mime in output.data)
    for text in seen:
        assert text.startswith("word0 ")
        assert "word5" in text
        assert "widget" not in text


def test_a_reload_in_the_middle_of_a_run_leaves_the_kernel_usable(lab: Lab):
    with WireServer([Say(LONG).slow(0.05)], strict=False) as server:
        nb = begun(lab, server)
        nb.save()
        nb.open()
        nb.page.wait_for_function(
            "() => window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel"
        )
        nb.interrupt()
        nb.wait_for_kernel()
        assert nb.play(2).strip() == "the next cell"


# --- it is seen --------------------------------------------------------------------------------------


def test_every_word_can_be_read_in_every_theme(lab: Lab):
    thing = "from loom_nb import tool\n@tool(read_only=True)\ndef fails(x: int) -> int:\n    'Fail.'\n    raise ValueError('no such thing')"
    script = [Calls(("fails", {"x": 1}), ("nowhere", {})), Say(MARKDOWN)]
    with WireServer(script) as server:
        nb = lab.notebook([wired(server), thing, "%%loom -m anthropic:wire -t fails\nshow all", "%loom"])
        nb.run_all().wait(3)
    nb.output(2).locator("summary").first.click()
    for theme in THEMES:
        nb.theme(theme)
        nb.screenshot(f"theme-{theme}")
        assert nb.faint_words(2) == [], theme
        assert nb.faint_words(3) == [], theme


def test_a_failed_run_is_short_and_ends_run_all(lab: Lab):
    nb = lab.notebook([LOAD, "%%loom -m anthropic:claude-x\nhello", "print('never')"])
    nb.run_all().wait(1)

    text = nb.output_text(1)
    assert "ANTHROPIC_API_KEY" in text
    assert "Traceback" not in text
    assert nb.wait_until_dropped(2).output_text(2) == ""
    nb.screenshot("no-key")


def test_prices_are_words_and_formulas_are_formulas(lab: Lab):
    thing = "from loom_nb import tool\n@tool(read_only=True)\ndef price() -> str:\n    'What it costs.'\n    return 'between $5 and $10'"
    answer = "It costs $5 today and $10 tomorrow, see `$HOME` and $$x^2$$."
    with WireServer([Calls(("price", {})), Say(answer)]) as server:
        nb = lab.notebook([wired(server), thing, "%%loom -m anthropic:wire -t price\nwhat does it cost?"])
        nb.run_all().wait(2)
    nb.output(2).locator("summary").first.click()
    formula = nb.output(2).locator("mjx-container")
    formula.first.wait_for()
    nb.screenshot("prices")

    assert formula.count() == 1
    text = nb.output_text(2)
    assert "$5 today and $10 tomorrow" in text
    assert "between $5 and $10" in text
