"""The harness itself, on plain cells: what the other tests lean on."""

import pytest

from tests.browser.lab import Lab

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_cells_run_are_saved_and_read_without_a_kernel_and_untrusted(lab: Lab):
    html = "<b>kept</b><script>window.bad=1</script>"
    nb = lab.notebook([f"from IPython.display import HTML\nHTML('{html}')", "1 / 0", "print('never')"])
    nb.run_all().wait(1)
    assert "ZeroDivisionError" in nb.output_text(1)
    assert nb.wait_until_dropped(2).output_text(2) == ""

    saved = nb.save()
    assert saved.cells[0].outputs[0].data["text/html"].startswith("<b")

    for trusted in (True, False):
        nb.reopen(kernel=False, trusted=trusted)
        assert nb.wait_for_text(0, "kept").output_text(0).strip() == "kept"
        assert "No Kernel" in nb.page.locator(".jp-NotebookPanel-toolbar").inner_text()
        assert nb.page.evaluate("() => window.bad") is (1 if trusted else None)


def test_the_stop_button_of_the_toolbar_interrupts_and_themes_change(lab: Lab):
    nb = lab.notebook(["import time\nprint('begun', flush=True)\ntime.sleep(600)", "print('never')"])
    nb.run_all().wait_for_text(0, "begun")
    assert nb.prompt(0) == "[*]:"
    nb.interrupt()
    assert "KeyboardInterrupt" in nb.wait(0).output_text(0)
    assert nb.wait_until_dropped(1).output_text(1) == ""

    nb.theme("dark")
    dark = nb.page.evaluate(
        "() => getComputedStyle(document.body).getPropertyValue('--jp-layout-color0').trim()"
    )
    nb.theme("high contrast")
    contrast = nb.page.evaluate("() => document.body.dataset.jpThemeName")
    assert (dark, contrast) == ("#111", "JupyterLab Dark High Contrast")


def test_a_page_error_and_a_foreign_request_are_problems(lab: Lab):
    page = lab.page()
    page.set_content("<img src='https://example.invalid/x'>")
    page.evaluate("() => { setTimeout(() => { throw new Error('broken page'); }, 0); }")
    for _ in range(600):
        if len(lab.problems) >= 2:
            break
        page.wait_for_timeout(100)

    told, lab.problems = lab.problems, []
    assert any("broken page" in problem for problem in told)
    assert any("https://example.invalid/x" in problem for problem in told)


def test_what_the_pages_of_one_test_stored_those_of_the_next_do_not_find(lab: Lab):
    stored = "async () => [document.cookie, localStorage.length, (await indexedDB.databases()).length]"
    page = lab.page()
    page.goto(f"{lab.server.url}/api/status")
    page.evaluate("() => { document.cookie = 'a=b'; localStorage.a = 'b'; }")
    page.evaluate("() => new Promise(done => { indexedDB.open('a').onsuccess = done; }).then(() => null)")
    before = page.evaluate(stored)
    lab.forget()
    assert page.is_closed()

    page = lab.page()
    page.goto(f"{lab.server.url}/api/status")
    assert (before, page.evaluate(stored)) == (["a=b", 1, 1], ["", 0, 0])
