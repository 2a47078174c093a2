"""`%loom key` in JupyterLab: a secret goes in by a hidden question, and is left nowhere else."""

import base64
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.lab import THEMES, Lab, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CANARY = "loomcanary0Zq7-" + "k4Xw9" * 5
LOAD = """import os
os.environ["LOOM_NB_HOME"] = os.environ["LOOM_NB_HOME"] + "/{name}"
%load_ext loom_nb
bench = get_ipython().loom_workbench"""
HERE = """from pathlib import Path
from loom_nb.credentials.policies import Binding, CredentialPolicy
from loom_nb.credentials.uses import Use
from tests.notebook.kept_here import KeptHere
bench.secrets = kept = KeptHere(bench.settings.home)
"""
"""Secrets in this process, so that their audit can be written by a test."""
KEPT = """kept.put("anthropic", "api_key", {"value": "sk-one"}, binding=Binding(hosts=("api.anthropic.com",)),
    policy=CredentialPolicy(mode="autonomous"), grants=("model:anthropic",))
kept.put("github", "bearer_token", {"token": "ghp-two"}, binding=Binding(hosts=("api.github.com",), methods=("GET",), paths=("/repos/",)))
kept.put("lab.ssh", "ssh_private_key", {"key_pem": "-----BEGIN PRIVATE KEY-----\\nAAAA\\n-----END PRIVATE KEY-----"},
    binding=Binding(hosts=("lab.example:2222",)), policy=CredentialPolicy(mode="one_shot", uses=0), grants=("tool:ssh_call",))
kept.put("orphan", "password", {"value": "three"}, note="<b>not yet</b>")
kept.note("used", "anthropic", use=Use(scope="anthropic", who="model:anthropic", method="POST", scheme="https", host="api.anthropic.com", path="/v1/messages"))
kept.note("asked", "github", use=Use(scope="github", who="tool:http_request", method="GET", scheme="https", host="api.github.com", path="/repos/a/b"), reason="its policy asks before each use")
kept.note("refused", "github", use=Use(scope="github", who="tool:http_request", method="GET", scheme="https", host="evil.example", path="/"), reason="github may go to api.github.com, not to evil.example")"""


def encodings(secret: str) -> list[str]:
    """The forms in which a secret may hide: clear, hex, and base64 at each of its three phases."""
    raw = secret.encode()
    forms = [secret, raw.hex(), raw.hex().upper()]
    for ahead in range(3):
        whole = base64.b64encode(b"\0" * ahead + raw).decode().rstrip("=")
        forms.append(whole[4:-4])  # what does not hang on the neighbours
    return forms


class Echo(http.server.BaseHTTPRequestHandler):
    """Says back what it was shown, in clear and in base64."""

    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        shown = self.headers.get("Authorization", "")
        self.seen.append(shown)
        body = f"you are {shown} {base64.b64encode(shown.encode()).decode()}, welcome".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return None


@contextmanager
def echoing() -> Iterator[int]:
    """A server that gives away what it was shown; its port."""
    Echo.seen.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


class Traffic:
    """All that goes over the websockets of a page, as text; messages in Jupyter's binary frames too."""

    def __init__(self, page: Page) -> None:
        self.sent: list[str] = []
        self.received: list[str] = []
        page.on("websocket", self._listen)

    def _listen(self, socket: Any) -> None:
        socket.on("framesent", lambda frame: self.sent.append(_text(frame)))
        socket.on("framereceived", lambda frame: self.received.append(_text(frame)))

    @staticmethod
    def of(frames: list[str], secret: str) -> list[str]:
        return [frame for frame in frames if any(form in frame for form in encodings(secret))]


def _text(frame: Any) -> str:
    return frame.decode("utf-8", "replace") if isinstance(frame, bytes) else str(frame)


def opened(lab: Lab, *cells: str) -> tuple[Notebook, Traffic]:
    """A notebook whose traffic is heard from its first message on."""
    nb = lab.notebook([LOAD.replace("{name}", re.sub(r"\W+", "-", lab.name)), *cells])
    traffic = Traffic(nb.page)
    nb.page.reload()  # the socket of the kernel was there before anybody listened
    nb.open()
    nb.wait_for_kernel()
    return nb, traffic


def card(nb: Notebook, index: int, name: str) -> Locator:
    found = nb.output(index).get_by_role("alertdialog", name=name)
    found.wait_for(timeout=60_000)
    nb.page.wait_for_timeout(400)  # what comes in the first moment is no answer
    return found


def receipt(table: Locator, words: str) -> None:
    expect(table.locator(".loom-table-word")).to_contain_text(words)


def faint(nb: Notebook, index: int) -> list[str]:
    return [words for words in nb.faint_words(index) if not re.search(r"\[\d+\]:$", words)]


def everywhere(nb: Notebook, secret: str) -> list[str]:
    """Where a secret is found in what is saved, shown, remembered or logged."""
    look = (
        "shell = get_ipython()\n"
        "print([*shell.history_manager.get_range(output=True)], list(shell.history_manager.input_hist_raw),"
        " [f'{k}={v!r}' for k, v in shell.user_ns.items()], vars(bench))"
    )
    seen = nb.play(nb.append(look))
    places = {
        "file": json.dumps(nb.save()),
        "page": nb.page.content(),
        "kernel": seen,
        "server log": nb.lab.server.log,
        "widget state": json.dumps(nb.save().metadata.get("widgets", {})),
    }
    return [name for name, text in places.items() if any(form in text for form in encodings(secret))]


def test_a_key_is_set_by_a_hidden_field_and_is_left_nowhere(lab: Lab):
    nb, traffic = opened(lab, "%loom key set anthropic", "%loom key set anthropic")
    nb.play(0)
    nb.run(1)
    shown = card(nb, 1, "%loom key set anthropic")
    field = shown.locator("input[type=password]")
    expect(field).to_be_focused()
    nb.screenshot("key-set")
    assert "api.anthropic.com" in shown.inner_text()
    assert "kept encrypted" in shown.inner_text()
    field.press_sequentially(CANARY)
    saved_meanwhile = json.dumps(nb.save())
    field.press("Enter")
    nb.wait(1)
    nb.wait_for_text(1, "anthropic is kept, encrypted")
    assert nb.output(1).get_by_role("alertdialog").count() == 0
    nb.screenshot("key-is-kept")
    nb.run(2).wait_for_text(2, "nothing was asked")

    assert CANARY not in saved_meanwhile
    assert everywhere(nb, CANARY) == []
    assert Traffic.of(traffic.received, CANARY) == []  # nothing comes back from the kernel
    (answer,) = Traffic.of(traffic.sent, CANARY)  # the one message that hands it in
    assert "comm_msg" in answer
    assert len(traffic.received) > 20


def test_a_form_of_several_fields_hides_those_that_are_secret_and_says_what_is_wrong(lab: Lab):
    nb, traffic = opened(lab, "%loom key set erp --type basic_auth --host erp.example.com")
    nb.play(0)
    nb.run(1)
    shown = card(nb, 1, "%loom key set erp")
    expect(shown.get_by_label("username")).to_be_focused()
    keys = nb.page.keyboard
    keys.type("ada:lovelace")
    keys.press("Tab")
    expect(shown.get_by_label("password")).to_be_focused()
    assert shown.get_by_label("password").get_attribute("type") == "password"
    keys.type(CANARY)
    keys.press("Control+Enter")
    error = shown.locator(".loom-question-error").first
    expect(error).to_contain_text("must hold no colon")
    nb.screenshot("key-form-refused")
    expect(shown.get_by_label("username")).to_be_focused()
    keys.press("Control+a")
    keys.type("ada")
    keys.press("Control+Enter")
    nb.wait(1)
    nb.wait_for_text(1, "erp is kept, encrypted")
    whole = "'the word ' + '-'.join(['loomcanary0Zq7', 'k4Xw9' * 5])"  # so that it stands in no cell
    assert "'erp'" in nb.play(nb.append(f"print(bench.secrets.find([{whole}]))"))
    assert everywhere(nb, CANARY) == []
    assert Traffic.of(traffic.received, CANARY) == []


def kept(lab: Lab) -> tuple[Notebook, int, Locator]:
    nb, _ = opened(lab, HERE + KEPT, "%loom key")
    nb.play(0)
    nb.play(1)
    nb.run(2).wait(2)
    table = nb.output(2).locator(".loom-table")
    expect(table.locator("tr[data-row]")).to_have_count(4)
    return nb, 2, table


def row(table: Locator, name: str) -> Locator:
    return table.locator(f"tr[data-row='{name}']")


def test_the_table_shows_every_secret_and_its_log_in_every_theme(lab: Lab):
    nb, index, table = kept(lab)
    row(table, "github").locator("button").first.click()
    expect(table.locator(".loom-table-details pre").first).to_contain_text("evil.example")
    assert table.locator("b").count() == 0
    for theme in THEMES:
        nb.theme(theme)
        nb.page.locator("#jupyterlab-splash").wait_for(state="detached")
        nb.output(index).scroll_into_view_if_needed()
        table.screenshot(path=nb.screenshot(f"keys-table-{theme}"))
        assert faint(nb, index) == []
    nb.theme("light")
    table.get_by_label("Filter by words").fill("ssh")
    expect(table.locator("tr[data-row]")).to_have_count(1)


def test_a_policy_is_chosen_in_the_row_granted_here_and_forgotten_by_the_keyboard_alone(lab: Lab):
    nb, _, table = kept(lab)
    keys = nb.page.keyboard
    cells = nb.count()
    table.get_by_label("Filter by words").focus()
    keys.press("ArrowDown")
    expect(row(table, "anthropic")).to_be_focused()
    keys.press("ArrowDown")
    keys.press("p")
    choice = table.get_by_label("Policy of github")
    expect(choice).to_be_focused()
    nb.screenshot("keys-policy-in-place")
    keys.press("ArrowDown")
    keys.press("ArrowDown")
    keys.press("Escape")
    expect(row(table, "github")).to_be_focused()
    expect(row(table, "github")).to_contain_text("asks before each use")
    keys.press("p")
    keys.press("ArrowDown")
    keys.press("ArrowDown")
    keys.press("Enter")
    receipt(table, "github: used without asking")
    expect(row(table, "github")).to_contain_text("used without asking")
    expect(row(table, "github")).to_be_focused()
    keys.press("z")
    receipt(table, "github as before")
    expect(row(table, "github")).to_contain_text("asks before each use")

    keys.press("g")
    receipt(table, "github granted to this notebook")
    expect(row(table, "github")).to_contain_text("notebook")
    keys.press("x")
    line = table.get_by_label("Type yes to forget for good")
    expect(line).to_be_focused()
    keys.type("no")
    keys.press("Enter")
    receipt(table, "nothing was forgotten")
    keys.press("x")
    keys.type("yes")
    keys.press("Enter")
    receipt(table, "github forgotten for good")
    expect(table.locator("tr[data-row]")).to_have_count(3)
    assert nb.count() == cells
    nb.screenshot("keys-after-forgetting")


def test_a_policy_is_chosen_by_the_mouse(lab: Lab):
    nb, _, table = kept(lab)
    row(table, "github").click()
    table.get_by_role("button", name=re.compile("^Policy")).click()
    choice = table.get_by_label("Policy of github")
    choice.click()
    nb.page.keyboard.press("End")
    nb.page.keyboard.press("Enter")
    receipt(table, "github: until ")


def test_the_log_and_what_is_saved_say_who_what_and_why(lab: Lab):
    nb, index, _ = kept(lab)
    log = nb.append("%loom key log")
    nb.run(log).wait(log)
    table = nb.output(log).locator(".loom-table")
    expect(table.locator("tr[data-row]").first).to_contain_text("evil.example")
    for theme in ("light", "dark"):
        nb.theme(theme)
        nb.page.locator("#jupyterlab-splash").wait_for(state="detached")
        nb.output(log).scroll_into_view_if_needed()
        table.screenshot(path=nb.screenshot(f"keys-log-{theme}"))
        assert faint(nb, log) == []
    nb.save()
    for trusted in (True, False):
        nb.reopen(kernel=False, trusted=trusted)
        nb.wait_for_text(index, "api.github.com · GET · /repos/…")
        nb.wait_for_text(log, "✗ refused")
        nb.output(index).scroll_into_view_if_needed()
        nb.screenshot(f"keys-saved-{'trusted' if trusted else 'untrusted'}")
        assert faint(nb, index) == []


def test_forgetting_asks_once_and_tells_what_used_it(lab: Lab):
    nb, _, _ = kept(lab)
    index = nb.append("%loom key rm anthropic")
    nb.run(index)
    shown = card(nb, index, "%loom key rm anthropic")
    assert "used by: model anthropic" in shown.inner_text()
    nb.screenshot("key-rm")
    nb.page.keyboard.press("n")
    nb.page.keyboard.press("Enter")
    nb.wait(index)
    nb.wait_for_text(index, "anthropic stays")


def test_a_form_with_a_key_of_several_lines_can_be_read_in_every_theme(lab: Lab):
    nb, _ = opened(lab, "%loom key set lab --type ssh_private_key --host lab.example --user ada")
    nb.play(0)
    nb.run(1)
    shown = card(nb, 1, "%loom key set lab")
    field = shown.get_by_label("private key")
    field.fill("-----BEGIN PRIVATE KEY-----\\nAAAA\\n-----END PRIVATE KEY-----".replace("\\n", "\n"))
    assert field.evaluate("node => getComputedStyle(node).webkitTextSecurity") == "disc"
    for theme in THEMES:
        nb.theme(theme)
        nb.page.locator("#jupyterlab-splash").wait_for(state="detached")
        nb.output(1).scroll_into_view_if_needed()
        nb.screenshot(f"key-form-{theme}")
        assert faint(nb, 1) == []
    field.focus()
    nb.page.keyboard.press("Control+Enter")
    nb.wait(1)
    nb.wait_for_text(1, "lab is kept, encrypted")


def test_a_script_on_the_page_cannot_choose_a_policy_or_forget(lab: Lab):
    nb, _, table = kept(lab)
    row(table, "github").click()
    for name in ("Policy", "Forget"):
        button = table.get_by_role("button", name=re.compile(f"^{name}"))
        button.evaluate("node => node.click()")
        button.evaluate("node => node.dispatchEvent(new MouseEvent('click', { bubbles: true }))")
    assert table.locator(".loom-table-choice, .loom-table-ask").count() == 0
    table.get_by_role("button", name=re.compile("^Policy")).click()
    choice = table.get_by_label("Policy of github")
    choice.evaluate(
        "node => { node.dispatchEvent(new PointerEvent('pointerdown')); node.value = 'autonomous';"
        " node.dispatchEvent(new Event('change')); }"
    )
    nb.page.keyboard.press("Escape")
    assert (
        nb.play(nb.append("print(kept.facts('github').policy.mode, len(kept.list()))")).strip()
        == "notify_before 4"
    )


def test_an_agent_uses_a_secret_once_a_person_said_yes_to_that_very_request(lab: Lab):
    with echoing() as port:
        use = {
            "url": f"http://127.0.0.1:{port}/list?page=1",
            "credential": "github",
            "why": "to read the list",
        }
        model = (
            "from loom_nb import Model\nfrom loom_nb.models.scripted import Call\n"
            f"model = Model.scripted([Call('http_request', {use!r}), 'I have read it.'])"
        )
        nb, traffic = opened(
            lab,
            model,
            f"%loom key set github --host 127.0.0.1:{port} --plain --here",
            "%%loom -t http -m model\nread the list",
            "%loom key log github",
        )
        nb.play(0)
        nb.play(1)
        nb.run(2)
        field = card(nb, 2, "%loom key set github").locator("input[type=password]")
        field.press_sequentially(CANARY)
        field.press("Enter")
        nb.wait(2)
        nb.run(3)
        asked = card(nb, 3, "Approval a1")
        text = asked.inner_text()
        for words in (
            "github",
            "http_request",
            "GET",
            f"127.0.0.1:{port}/list",
            "to read the list",
            "ask before each use",
        ):
            assert words in text
        for theme in ("light", "dark"):
            nb.theme(theme)
            nb.page.locator("#jupyterlab-splash").wait_for(state="detached")
            asked.scroll_into_view_if_needed()
            nb.screenshot(f"key-approval-{theme}")
            assert faint(nb, 3) == []
        asked.focus()
        nb.page.keyboard.press("o")
        nb.page.keyboard.press("Enter")
        nb.wait(3)
        assert Echo.seen == [f"Bearer {CANARY}"]
        nb.wait_for_text(3, f"used github for GET 127.0.0.1:{port}/list")
        nb.screenshot("key-was-used")
        result = nb.play(nb.append("print(list(bench.session.conversation))"))
        assert "welcome" in result
        assert "[secret github]" in result
        nb.run(4).wait_for_text(4, "allowed")
        assert everywhere(nb, CANARY) == []
        assert Traffic.of(traffic.received, CANARY) == []
        assert len(Traffic.of(traffic.sent, CANARY)) == 1
