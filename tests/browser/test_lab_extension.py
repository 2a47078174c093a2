"""The lab extension colours `%%loom` cells as Markdown, in JupyterLab and in Notebook 7."""

import json
import re
import urllib.request

import pytest

from tests.browser.lab import EXTENSION, Lab

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.usefixtures("whole_lab")]

MARKDOWN = "text/x-ipythongfm"


@pytest.mark.parametrize("application", ["lab", "notebook"])
def test_a_loom_cell_is_coloured_as_markdown_and_others_stay_python(lab: Lab, application):
    nb = lab.notebook(["x = 1", "%%loom -m offline\nSay **hello** to `df`."], application=application)
    nb.wait_for_mime(1, MARKDOWN)
    assert nb.play(0) == ""

    assert nb.mime(1) == MARKDOWN
    assert nb.mime(0) == "text/x-ipython"
    assert "loom-Prompt" in nb.cell(1).get_attribute("class")
    assert "loom-Prompt" not in nb.cell(0).get_attribute("class")
    bold = nb.cell(1).locator(".cm-content span", has_text="hello").first
    assert bold.evaluate("node => getComputedStyle(node).fontWeight") in ("700", "bold")
    content = nb.cell(1).locator(".cm-content")
    assert content.evaluate("node => getComputedStyle(node).whiteSpace") == "break-spaces"
    nb.screenshot(f"prompt-cell-{application}")


def test_the_colour_follows_the_first_line_as_it_is_typed_and_survives_a_restart(lab: Lab):
    nb = lab.notebook(["", "%%loom\nhello"])
    nb.wait_for_mime(1, MARKDOWN)

    nb.cell(0).locator(".cm-content").click()
    nb.page.keyboard.type("%%loom")
    nb.wait_for_mime(0, MARKDOWN)
    nb.page.keyboard.press("Backspace")
    nb.wait_for_mime(0, "text/x-ipython")
    assert "loom-Prompt" not in nb.cell(0).get_attribute("class")

    nb.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    nb.wait_for_kernel()
    nb.set_source(0, "2 + 2")
    assert nb.play(0) == "4"
    assert nb.mime(1) == MARKDOWN


def test_a_cell_that_is_added_moved_or_changes_its_type_is_coloured(lab: Lab):
    nb = lab.notebook(["1"])
    nb.wait_for_mime(nb.append("%%loom -m offline\nhello"), MARKDOWN)
    nb.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.moveCell(1, 0)")
    nb.wait_for_mime(0, MARKDOWN)

    nb.command("notebook:change-cell-to-markdown", 0)
    nb.command("notebook:change-cell-to-code", 0)
    nb.wait_for_mime(0, MARKDOWN)
    assert "loom-Prompt" in nb.cell(0).get_attribute("class")
    assert nb.mime(1) == "text/x-ipython"


@pytest.mark.parametrize(
    "source", ["%%loomy\nx", "x = '%%loom'", "%loom model", "%%time\n%%loom", "x\n%%loom"]
)
def test_what_only_looks_like_a_loom_cell_stays_python(source):
    script = (EXTENSION / "static" / "remoteEntry.js").read_text()
    magic = re.search(r"const MAGIC = /(.*)/;", script)[1]
    assert not re.search(magic, source)
    for prompt in ("%%loom", "%%loom -m offline\nhello", "\n# why not\n  %%loom\nhello"):
        assert re.search(magic, prompt)


def test_the_extension_describes_itself_as_jupyterlab_reads_it(jupyter_server):
    described = json.loads((EXTENSION / "package.json").read_text())
    build = described["jupyterlab"]["_build"]
    assert (EXTENSION / build["load"]).is_file()
    assert (EXTENSION / "static" / "style.css").is_file()
    page = urllib.request.urlopen(jupyter_server.url + "/lab", timeout=60)
    with page:
        config = re.search(r'id="jupyter-config-data"[^>]*>(.*?)</script>', page.read().decode(), re.DOTALL)[
            1
        ]
    served = {entry["name"]: entry for entry in json.loads(config)["federated_extensions"]}
    assert served["loom-nb"]["load"] == build["load"]
