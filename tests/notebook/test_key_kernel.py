"""`%loom key` in a real kernel with the real broker: the value goes in hidden, and is found nowhere after."""

import base64
import json
import time
from pathlib import Path

import pytest
from nbclient.exceptions import CellExecutionError

from tests.notebook.kernels import Kernel, kernel, waits_for
from tests.notebook.test_asking import card_of, heard
from tests.notebook.test_nbclient import client, environment, notebook

CANARY = "loomcanary0Zq7-" + "k4Xw9" * 5
EVERYWHERE = """
import gc, json
shell = get_ipython()
history = [*shell.history_manager.get_range(output=True)]
print(json.dumps([repr(history), repr(shell.history_manager.input_hist_raw), repr(shell.user_ns.get('Out')),
    repr({k: v for k, v in shell.user_ns.items() if k != 'history'}), repr(vars(shell.loom_workbench))]))
%history -n
"""


def forms(secret: str) -> list[bytes]:
    """The forms in which a secret may hide: clear, hex, and base64 at each of its three phases."""
    raw = secret.encode()
    shifted = [base64.b64encode(b"\0" * ahead + raw).rstrip(b"=")[4:-4] for ahead in range(3)]
    return [raw, raw.hex().encode(), *shifted]


def holds(text: str | bytes, secret: str = CANARY) -> bool:
    data = text if isinstance(text, bytes) else text.encode()
    return any(form in data for form in forms(secret))


@pytest.fixture
def typing(tmp_path):
    """A kernel whose cells are answered by typing, as in a console."""
    with kernel(tmp_path, LOOM_NB_RENDER="static") as running:
        assert running.run("%load_ext loom_nb").status == "ok"
        yield running


@pytest.fixture
def pages(tmp_path):
    """A kernel whose cells are answered on cards."""
    with kernel(tmp_path) as running:
        assert running.run("%load_ext loom_nb").status == "ok"
        yield running


def typed(running: Kernel, line: str, *answers: str) -> tuple[str, list[dict], list[dict]]:
    """Run a line and type answers: (what stays, the requests for input, all messages of the cell)."""
    request = running.submit(line)
    asked = []
    for answer in answers:
        asked.append(running.client.get_stdin_msg(timeout=60)["content"])
        running.client.input(answer)
    cell = running.collect(request)
    assert cell.status == "ok", cell.error
    return cell.text, asked, [*cell.messages, cell.reply, *running.strays]


def traces(running: Kernel, home: Path, messages: list) -> list[str]:
    """Where the canary is found."""
    look = running.run(EVERYWHERE)
    assert look.status == "ok", look.error
    found = [] if not holds(json.dumps(messages, default=str)) else ["messages"]
    found += ["kernel"] if holds(json.dumps([look.messages, look.reply], default=str)) else []
    return found + [str(path) for path in home.rglob("*") if path.is_file() and holds(path.read_bytes())]


def test_a_value_that_is_typed_hidden_is_kept_and_found_nowhere(typing, tmp_path):
    text, asked, messages = typed(typing, "%loom key set github --host api.github.com", CANARY)
    assert [one["password"] for one in asked] == [True]
    assert "github is kept, encrypted" in text
    assert "bound to: api.github.com" in text  # said before it was typed
    assert traces(typing, tmp_path, messages) == []
    found = typing.said(
        "print(get_ipython().loom_workbench.secrets.find(['the key is " + CANARY[:-3] + "' + 'k4Xw9'[-3:]]))"
    )
    assert found == "[(0, 'github')]"  # it is there, whole
    again, asked, _ = typed(typing, "%loom key set github --host api.github.com")
    assert asked == []
    assert "nothing was asked" in again


def test_fields_are_asked_one_by_one_and_only_the_secret_ones_are_hidden(typing, tmp_path):
    text, asked, messages = typed(
        typing, "%loom key set erp --type basic_auth --host erp.example", "a:b", CANARY, "ada", CANARY
    )
    assert [one["password"] for one in asked] == [False, True, False, True]
    assert "username: must hold no colon" in text
    assert traces(typing, tmp_path, messages) == []


def test_what_is_typed_on_a_card_travels_once_and_never_back(pages, tmp_path):
    pages.run("import loom_nb.notebook.widgets.question as card; card.BURST = 0")
    request = pages.submit("%loom key set anthropic")
    seen: list = []
    comm = card_of(pages, request)
    pages.send_comm(comm, {"type": "ready"})
    shown = heard(pages, comm, "show")
    seen.append(shown)
    pages.send_comm(comm, {"type": "answer", "nonce": shown["nonce"], "entries": {"text": "two words"}})
    refused = heard(pages, comm, "refused")
    assert "printable ASCII without blanks" in refused["text"]
    assert "two words" not in json.dumps(refused)
    pages.send_comm(comm, {"type": "answer", "nonce": refused["nonce"], "entries": {"text": CANARY}})
    cell = pages.collect(request)
    assert "anthropic is kept, encrypted" in cell.text
    assert traces(pages, tmp_path, [seen, cell.messages, cell.reply, pages.strays]) == []
    assert all("widget-view" not in json.dumps(output.get("data", {})) for output in cell.saved)


def test_the_interrupt_button_leaves_the_question_and_changes_nothing(typing):
    request = typing.submit("%loom key set github --host api.github.com")
    typing.client.get_stdin_msg(timeout=60)
    typing.press()
    cell = typing.collect(request)
    assert "nothing was changed" in cell.error
    assert "no secret is kept yet" in typing.run("%loom key").text


def test_forgetting_asks_once_and_no_leaves_it(typing):
    typed(typing, "%loom key set github --host api.github.com", CANARY)
    text, asked, _ = typed(typing, "%loom key rm github", "n")
    assert (len(asked), "github stays" in text) == (1, True)
    text, asked, _ = typed(typing, "%loom key rm github", "y")
    assert "github is forgotten" in text
    assert "nobody has used it" in text


def test_a_passphrase_opens_the_store_and_keeps_it_locked_until_it_is_typed(typing, tmp_path):
    words = "correct horse " + CANARY
    text, asked, messages = typed(
        typing, "%loom key unlock --passphrase", "short", "short", words, "other " + words, words, words
    )
    assert all(one["password"] for one in asked)
    assert "8 characters or more" in text and "the two are not the same" in text
    typed(typing, "%loom key set github --host api.github.com", "first-value")
    assert "locked" in typing.run("%loom key lock").text
    assert "github" in typing.run("%loom key").text  # facts need no key
    failed = typing.run("%loom key set gitlab --host gitlab.com --from-env HOME", allow_stdin=False)
    assert "KeyLocked" in failed.error and "L-KEY-02" in failed.error
    typed(typing, "%loom key policy github autonomous", words)
    assert traces(typing, tmp_path, messages) == []


def test_a_wrong_passphrase_is_an_error_and_nothing_is_lost(typing):
    typed(typing, "%loom key unlock --passphrase", "right words", "right words")
    typed(typing, "%loom key set github --host api.github.com", "value")
    typing.run("%loom key lock")
    request = typing.submit("%loom key unlock")
    typing.client.get_stdin_msg(timeout=60)
    typing.client.input("wrong words")
    assert "SecretsLocked" in typing.collect(request).error
    text, _, _ = typed(typing, "%loom key unlock", "right words")
    assert "the secrets are open" in text


def test_a_program_that_executes_a_notebook_is_told_at_once_and_helps_itself_with_the_environment(tmp_path):
    environment = {"LOOM_NB_HOME": str(tmp_path), "MY_TOKEN": CANARY}
    with kernel(tmp_path, **environment) as running:
        running.run("%load_ext loom_nb", allow_stdin=False)
        began = time.monotonic()
        failed = running.run("%loom key set anthropic", allow_stdin=False)
        assert "NobodyToAsk" in failed.error
        assert "%loom key set anthropic --from-env VARIABLE" in failed.error
        assert time.monotonic() - began < 30  # it did not wait for anybody
        kept = running.run("%loom key set anthropic --from-env MY_TOKEN", allow_stdin=False)
        assert "anthropic is kept, encrypted" in kept.text
        assert not holds(json.dumps([kept.messages, kept.reply], default=str))


async def test_nbclient_stops_at_the_line_that_would_ask(tmp_path):
    cells = ("%load_ext loom_nb", "%loom key set anthropic", "1 + 1")
    home = tmp_path / "home"
    node = notebook(cells)
    with pytest.raises(CellExecutionError, match="NobodyToAsk"), client(node, home) as one:
        await one.async_execute(env=environment(home), cleanup_kc=True)
    assert node.cells[2].execution_count is None


def test_the_broker_of_a_kernel_ends_with_it(tmp_path):
    with kernel(tmp_path, MY_TOKEN="x") as running:
        running.run("%load_ext loom_nb")
        running.run("%loom key set anthropic --from-env MY_TOKEN")
        pid = int(running.said("print(get_ipython().loom_workbench.secrets.pid)"))
        assert Path(f"/proc/{pid}").exists()
    waits_for(lambda: not Path(f"/proc/{pid}").exists())
