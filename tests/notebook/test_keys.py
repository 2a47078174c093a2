"""`%loom key` in a plain shell: what is kept, changed, granted and removed; what is never shown."""

import re
from pathlib import Path

import nbformat
import pytest

from loom_nb.credentials.uses import Use
from loom_nb.errors import KeyNotGranted, LoomKeyError, LoomUsageError, NobodyToAsk
from loom_nb.models import key_errors
from loom_nb.testing import Say, WireServer
from tests.notebook.kept_here import KeptHere
from tests.notebook.shells import facts, offered, typed

CANARY = "loomcanary0Zq7"
NOTEBOOK = "/home/ada/my notes/a.ipynb"


@pytest.fixture
def kept(shell, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", CANARY)
    monkeypatch.setenv("JPY_SESSION_NAME", NOTEBOOK)
    one = shell.loom_workbench.secrets = KeptHere(tmp_path / "secrets")
    yield one
    one.store.close()


def refused(shell, line: str) -> LoomUsageError:
    with pytest.raises(LoomUsageError) as caught:
        typed(shell, line)
    assert CANARY not in str(caught.value)
    return caught.value


# --- setting -----------------------------------------------------------------------------------------


def test_the_key_of_a_vendor_needs_nothing_but_its_name(shell, kept):
    card = typed(shell, "key set anthropic --from-env MY_TOKEN")
    assert CANARY not in str(card) + card.to_html()
    assert facts(card)["bound to"] == "api.anthropic.com · as header:x-api-key"
    assert facts(card)["policy"] == "used without asking"
    assert facts(card)["who may use it"] == "model anthropic"
    known, value = kept.store.get("anthropic")
    assert (known.type, known.policy.mode, known.grants) == ("api_key", "autonomous", ("model:anthropic",))
    assert value.reveal() == CANARY


@pytest.mark.parametrize(
    ("vendor", "host"),
    [
        ("openai", "api.openai.com"),
        ("gemini", "generativelanguage.googleapis.com"),
        ("qwen", "dashscope.aliyuncs.com"),
    ],
)
def test_the_key_of_each_vendor_is_bound_to_its_own_host(shell, kept, vendor, host):
    typed(shell, f"key set {vendor} --from-env MY_TOKEN")
    assert kept.facts(vendor).binding.hosts == (host,)


def test_the_key_of_a_vendor_behind_a_gateway_is_bound_to_the_gateway(shell, kept, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:4000/v1")
    typed(shell, "key set openai --from-env MY_TOKEN")
    binding = kept.facts("openai").binding
    assert (binding.hosts, binding.plain) == (("localhost:4000",), True)


def test_any_other_secret_asks_before_each_use_and_is_bound_as_it_says(shell, kept):
    line = "key set github --type bearer-token --host https://api.github.com --method get --path /repos/"
    card = typed(shell, f"{line} --from-env MY_TOKEN --here --note 'the bot'")
    assert facts(card)["bound to"] == "api.github.com · GET · /repos/…"
    assert facts(card)["policy"] == "asks before each use"
    assert facts(card)["who may use it"] == "notebook a.ipynb"
    assert facts(card)["note"] == "the bot"
    assert kept.facts("github").grants == (f"notebook:{NOTEBOOK}",)


def test_a_secret_of_several_fields_comes_from_several_places(shell, kept, tmp_path):
    env = tmp_path / "my.env"
    env.write_text(f"PASSWORD='{CANARY} with blanks'\n")
    typed(
        shell,
        f"key set erp --type basic_auth --host erp.example --field username=ada --from-dotenv password={env}:PASSWORD",
    )
    _, value = kept.store.get("erp")
    assert (value.reveal("username"), value.reveal("password")) == ("ada", f"{CANARY} with blanks")
    pem = tmp_path / "id"
    pem.write_text(f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n")
    typed(shell, f"key set lab --type ssh_private_key --host lab.example --user ada --from-file {pem}")
    assert CANARY in kept.store.get("lab")[1].reveal("key_pem")
    assert kept.facts("lab").binding.user == "ada"


def test_what_is_kept_is_not_asked_for_again_and_stays_as_it_is(shell, kept):
    typed(shell, "key set github --host api.github.com --from-env MY_TOKEN")
    before = kept.store.get("github")
    for _ in range(2):
        card = typed(shell, "key set github --host gitlab.com --policy autonomous --tool x")
        assert card.title == "github is kept already: nothing was asked"
    assert kept.store.get("github") == before
    assert [step for step, _ in card.steps] == [
        "%loom key rotate github",
        "%loom key bind github --host gitlab.com",
        "%loom key policy github autonomous",
        "%loom key grant github …",
    ]


def test_a_new_value_is_another_version_and_all_else_stays(shell, kept, monkeypatch):
    typed(shell, "key set github --host api.github.com --from-env MY_TOKEN --policy one_shot:2")
    monkeypatch.setenv("MY_TOKEN", "another")
    assert "version 2" in typed(shell, "key rotate github --from-env MY_TOKEN").title
    known, value = kept.store.get("github")
    assert (value.reveal(), known.version, known.policy.uses) == ("another", 2, 2)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("key set github --from-env NOT_THERE", "not set in the environment"),
        ("key set github --from-env MY_TOKN", "MY_TOKEN"),
        (f"key set github --from-env sk-ant-{CANARY}-abcdefghij", "name of a variable"),
        ("key set github --from-dotenv MY_TOKEN", "FILE:NAME"),
        ("key set github --from-file /not/there", "cannot be read"),
        (f"key set github {CANARY}", "never a value"),
        (f"key {CANARY}_0123456789_0123456789", "never a value"),
        (f"key set erp --type basic_auth --field password={CANARY}", "is secret"),
        ("key set erp --type basic_auth --field color=red", "username"),
        ("key set github --type api-kei --from-env MY_TOKEN", "--type api_key"),
        ("key set antropic", "%loom key set anthropic"),
        ("key set ollama", "needs no key"),
        ("key set github --polcy autonomous", "--policy"),
        ("key sett github", "%loom key set"),
        ("key githb", "words: set"),
        ("key rotate githb", "no secret is kept"),
        ("key lock github", "takes nothing more"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_fix_and_without_the_value(shell, kept, line, words):
    assert words in str(refused(shell, line))
    assert kept.list() == ()


def test_a_name_that_is_nearly_right_is_told(shell, kept):
    typed(shell, "key set github --host api.github.com --from-env MY_TOKEN")
    assert "%loom key rotate github" in refused(shell, "key rotate githb").fixes
    assert "%loom key show github" in refused(shell, "key github").fixes


def test_a_value_that_does_not_fit_its_type_is_refused_by_the_name_of_its_field(shell, kept, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", f"{CANARY} with blanks")
    error = refused(shell, "key set github --from-env MY_TOKEN")
    assert error.title == "value of a secret of type api_key must be printable ASCII without blanks"


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("key set anthropic", "%loom key set anthropic --from-env VARIABLE"),
        ("key set x --type basic_auth", "%loom key set x --from-env password=VARIABLE"),
        ("key rotate github", "%loom key rotate github --from-env VARIABLE"),
        ("key rm github", "%loom key rm github --yes"),
    ],
)
def test_where_nobody_is_there_it_says_so_at_once(shell, kept, line, fix):
    typed(shell, "key set github --host api.github.com --from-env MY_TOKEN")
    with pytest.raises(NobodyToAsk) as caught:
        typed(shell, line)
    assert caught.value.fixes[0] == fix
    assert caught.value.code == "L-KEY-04"
    assert [one.scope for one in kept.list()] == ["github"]


# --- looking -----------------------------------------------------------------------------------------


def test_the_list_tells_all_but_values(shell, kept):
    assert typed(shell, "key").title == "no secret is kept yet"
    typed(shell, "key set anthropic --from-env MY_TOKEN")
    typed(shell, "key set github --host api.github.com --from-env MY_TOKEN --policy one_shot:3 --here")
    use = Use(
        scope="github",
        who="tool:http_request",
        method="GET",
        scheme="https",
        host="api.github.com",
        path="/user",
    )
    kept.note("used", "github", use=use)
    kept.note("refused", "github", use=use, reason="it has no uses left")
    card = typed(shell, "key")
    (table,) = card.tables
    assert [row[0] for row in table.rows] == ["anthropic", "github"]
    assert table.rows[1][1:6] == (
        "api_key",
        "api.github.com",
        "3 more uses, then never",
        "notebook a.ipynb",
        "1",
    )
    assert re.fullmatch(r"\d\d:\d\d", table.rows[1][6])
    assert table.rows[0][6] == "never"
    assert CANARY not in str(card) + card.to_html()

    log = typed(shell, "key log").tables[0].rows
    assert [(row[1], row[4]) for row in log] == [
        ("github", "✗ refused"), ("github", "✓ allowed"), ("github", "kept"), ("anthropic", "kept"),
    ]  # fmt: skip
    assert log[0][2:4] == ("tool http_request", "GET https://api.github.com/user")
    assert log[0][5] == "it has no uses left"
    assert [row[4] for row in typed(shell, "key log github --refused").tables[0].rows] == ["✗ refused"]
    assert "used by: tool http_request" not in str(card)
    assert "last used" in facts(typed(shell, "key show github"))


def test_the_log_of_what_is_gone_can_still_be_read(shell, kept):
    typed(shell, "key set github --host api.github.com --from-env MY_TOKEN")
    typed(shell, "key rm github --yes")
    assert [row[4] for row in typed(shell, "key log github").tables[0].rows] == ["removed", "kept"]
    assert kept.list() == ()


def test_foreign_words_in_the_audit_are_made_visible(shell, kept):
    typed(shell, "key set github --host api.github.com --from-env MY_TOKEN")
    use = Use(
        scope="github",
        who="tool:x",
        method="GET",
        scheme="https",
        host="a.example",
        path="/\u202egnp",
        why="<b>x</b>\u200b",
    )
    kept.note("asked", "github", use=use)
    card = typed(shell, "key log")
    assert "\u202e" not in str(card)
    assert "<b>x" not in card.to_html()


# --- changing ----------------------------------------------------------------------------------------


def test_policy_binding_and_grants_are_changed_and_the_card_says_how_it_was(shell, kept):
    typed(shell, "key set github --host api.github.com --from-env MY_TOKEN")
    assert facts(typed(shell, "key policy github one_shot:2"))["policy before"] == "asks before each use"
    assert kept.facts("github").policy.uses == 2
    card = typed(shell, "key bind github --method get --path /repos/")
    assert facts(card)["binding before"] == "api.github.com"
    assert kept.facts("github").binding.paths == ("/repos/",)
    card = typed(shell, "key grant github --here")
    assert card.steps[0][0] == "%loom key grant github --any notebook"
    card = typed(shell, "key grant github --here --revoke")
    assert facts(card)["who may use it"] == "no notebook"
    assert card.steps[0][0] == "%loom key grant github --here"
    typed(shell, card.steps[0][0].removeprefix("%loom "))
    assert kept.facts("github").grants == (f"notebook:{NOTEBOOK}",)
    typed(shell, "key grant github --any notebook")
    assert kept.facts("github").grants == ()


def test_what_was_granted_to_a_notebook_ends_with_it(shell, kept, tmp_path, monkeypatch):
    first, second = tmp_path / "first.ipynb", tmp_path / "second.ipynb"
    for path in (first, second):
        path.write_text("{}")
        monkeypatch.setenv("JPY_SESSION_NAME", str(path))
        if path == first:
            typed(shell, "key set github --host api.github.com --from-env MY_TOKEN --here")
        else:
            typed(shell, "key grant github --here")
    typed(shell, "key")
    assert len(kept.facts("github").grants) == 2
    first.unlink()
    assert "first.ipynb is gone" in str(typed(shell, "key"))
    assert kept.facts("github").grants == (f"notebook:{second}",)
    second.unlink()  # renamed, say: this kernel still goes by that name
    typed(shell, "key")
    assert kept.facts("github").grants == (f"notebook:{second}",)
    monkeypatch.setenv("JPY_SESSION_NAME", NOTEBOOK)
    typed(shell, "key")
    assert kept.facts("github").grants == ("notebook:(none)",)
    first.write_text("{}")  # another one of that name is not granted anything
    monkeypatch.setenv("JPY_SESSION_NAME", str(first))
    assert "no notebook" in str(typed(shell, "key"))


def test_what_the_card_says_takes_a_grant_back_does(shell, kept):
    typed(shell, "key set github --host api.github.com --from-env MY_TOKEN --tool first")
    card = typed(shell, "key grant github --tool 'a b'")
    assert kept.facts("github").grants == ("tool:first", "tool:a b")
    typed(shell, card.steps[0][0].removeprefix("%loom "))
    assert kept.facts("github").grants == ("tool:first",)


@pytest.mark.parametrize(
    "line",
    [
        "key grant github",
        "key grant github --tool x --revoke",
        "key policy github",
        "key bind github",
        "key policy github x",
    ],
)
def test_a_change_that_says_nothing_or_nonsense_changes_nothing(shell, kept, line):
    typed(shell, "key set github --host api.github.com --from-env MY_TOKEN")
    before = kept.facts("github")
    assert refused(shell, line).fixes or refused(shell, line).cause
    assert kept.facts("github") == before


def test_sealing_anew_and_locking_say_what_they_did(shell, kept):
    typed(shell, "key set github --host api.github.com --from-env MY_TOKEN")
    assert typed(shell, "key rekey").title == "1 secret sealed anew with a fresh key"
    assert "out of memory" in typed(shell, "key lock").title  # a key file asks nobody
    assert typed(shell, "key unlock").title == "the secrets are open"


# --- models ------------------------------------------------------------------------------------------


def test_the_state_of_a_key_is_told_wherever_a_model_is(shell, kept, monkeypatch):
    assert facts(typed(shell, "model openai"))["key"] == "none: OPENAI_API_KEY is not set"
    assert "%loom key set openai" in str(typed(shell, ""))
    assert "%loom key set openai" in str(typed(shell, "doctor"))
    typed(shell, "key set openai --from-env MY_TOKEN")
    assert facts(typed(shell, "model"))["key"] == "kept here"
    rows = {row[0].partition(":")[0]: row for row in typed(shell, "models").tables[0].rows}
    assert rows["openai"][1] == "kept here"
    assert (rows["anthropic"][1], rows["anthropic"][3]) == ("none", "%loom key set anthropic")
    monkeypatch.setenv("OPENAI_API_KEY", "sk")
    assert (
        facts(typed(shell, "model"))["key"] == "OPENAI_API_KEY is set; the one that is kept here is not used"
    )


def test_a_key_that_is_granted_to_another_notebook_is_told_with_its_fix(shell, kept, monkeypatch):
    typed(shell, "key set openai --from-env MY_TOKEN --here")
    typed(shell, "model openai")
    monkeypatch.setenv("JPY_SESSION_NAME", "/home/ada/other.ipynb")
    told = facts(typed(shell, ""))["key"]
    assert "kept here, not for this" in told
    assert told.endswith("%loom key grant openai --here")
    typed(shell, "key grant openai --here")
    assert facts(typed(shell, ""))["key"] == "kept here"


def test_a_key_whose_policy_asks_is_no_key_for_a_model_and_the_fix_says_so(shell, kept):
    typed(shell, "key set openai --from-env MY_TOKEN --policy notify_before")
    typed(shell, "model openai")
    assert facts(typed(shell, ""))["key"].endswith("%loom key policy openai autonomous")


def test_a_run_without_a_key_says_what_is_kept_and_how_to_set_it(shell, kept):
    typed(shell, "key set openai --from-env MY_TOKEN")
    done = shell.run_cell("%%loom -m anthropic:claude-sonnet-4-5\nhello")
    error = done.error_in_exec
    assert isinstance(error, LoomKeyError)
    assert error.cause == "kept: openai · the environment has no ANTHROPIC_API_KEY"
    assert error.fixes[0].startswith("%loom key set anthropic")


def test_each_way_to_have_no_key_has_a_class_a_code_and_a_fix():
    told = [
        key_errors.no_key("openai", ["OPENAI_API_KEY"]), key_errors.locked("openai"),
        key_errors.not_granted("openai", "it is granted to notebook b"), key_errors.nobody("openai", "asks"),
    ]  # fmt: skip
    assert [error.code for error in told] == ["L-KEY-01", "L-KEY-02", "L-KEY-03", "L-KEY-04"]
    assert [error.fixes[0].split("   ")[0] for error in told] == [
        "%loom key set openai", "%loom key unlock", "%loom key grant openai --here", "%loom key policy openai autonomous",
    ]  # fmt: skip
    assert isinstance(told[2], KeyNotGranted) and isinstance(told[2], LoomKeyError)


def test_loading_and_looking_around_begin_no_store(shell, tmp_path):
    for line in ("", "models", "model anthropic", "doctor"):
        typed(shell, line)
    assert not (tmp_path / "secrets").exists()
    assert not shell.loom_workbench.has_secrets


# --- agents ------------------------------------------------------------------------------------------


def test_an_agent_may_name_the_secrets_that_are_granted_to_it_here_and_no_others(shell, kept):
    typed(shell, "key set open --host a.example --from-env MY_TOKEN")
    typed(shell, "key set here --host a.example --from-env MY_TOKEN --here --tool http_request")
    typed(shell, "key set elsewhere --host a.example --from-env MY_TOKEN --notebook /home/ada/b.ipynb")
    typed(shell, "key set other-tool --host a.example --from-env MY_TOKEN --tool fetch")
    typed(shell, "key set unbound --from-env MY_TOKEN")
    typed(shell, "key set anthropic --from-env MY_TOKEN")
    equipment = shell.loom_workbench.equipment
    assert equipment.named("http").credentials == ("here", "open")
    assert equipment.named("http") is equipment.named("http")
    typed(shell, "key rm open --yes")
    assert equipment.named("http").credentials == ("here",)
    with pytest.raises(LoomUsageError, match="no secret for another machine"):
        equipment.named("ssh")
    line = "key set db --type password --host db.example --user ada --host-key SHA256:" + "A" * 43
    typed(shell, f"{line} --from-env MY_TOKEN")
    assert equipment.named("ssh").scopes == ("db",)
    assert equipment.named("http").credentials == ("here",)


# --- looking for keys --------------------------------------------------------------------------------


def test_a_scan_names_each_cell_with_a_key_and_what_to_do(shell, kept, tmp_path, monkeypatch):
    token = "ghp_" + "aB3dE6gH9jK2mN5pQ8sT1vW4xY7zA0cD3fG6"
    file = tmp_path / "mine.ipynb"
    node = nbformat.v4.new_notebook(metadata={"note": f"token = {token}"})
    node.cells = [
        nbformat.v4.new_code_cell("1 + 1"),
        nbformat.v4.new_code_cell(
            f"token = '{token}'", outputs=[nbformat.v4.new_output("stream", text=f"{CANARY}\n")]
        ),
    ]
    nbformat.write(node, file)
    monkeypatch.setenv("JPY_SESSION_NAME", str(file))
    typed(shell, "key set github --host api.github.com --from-env MY_TOKEN")
    shell.run_cell(f"password = 'q{token[4:20]}'", store_history=True)
    card = typed(shell, "key scan")
    rows = card.tables[0].rows
    assert [row[0] for row in rows] == [
        "the notebook, metadata",
        "cell 2, source",
        "cell 2, output",
        "In[2], source",
    ]
    assert rows[2][1] == "stored secret github"
    assert all(row[3] for row in rows)
    for secret in (token, CANARY, token[4:20]):
        assert secret not in str(card) + card.to_html()
    assert "history file of IPython" in str(card)
    assert typed(shell, f"key scan {file}").tables[0].rows[0][0] == "mine.ipynb, the notebook, metadata"


def test_what_a_saved_cell_calls_a_password_is_found_in_what_it_puts_out_before_that_is_saved(
    shell, kept, tmp_path, monkeypatch
):
    code = "password = 'correct-horse-battery'\nprint('in with', password)"
    file = tmp_path / "mine.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]), file)
    monkeypatch.setenv("JPY_SESSION_NAME", str(file))
    shell.run_cell(code, store_history=True)
    shell.run_cell("password = 'another-horse-battery'", store_history=True)
    rows = [row[0] for row in typed(shell, "key scan").tables[0].rows]
    assert rows[:2] == ["cell 1, source", "In[1], output"]
    assert rows[2:] == ["In[2], source"]


def test_a_notebook_without_keys_is_told_so_and_a_file_that_is_none_too(shell, kept, tmp_path):
    assert typed(shell, "key scan").title == "nothing in a.ipynb looks like a secret"
    (tmp_path / "other.ipynb").write_text("[]")
    assert "is no notebook" in refused(shell, f"key scan {tmp_path / 'other.ipynb'}").title
    assert "can be read" in refused(shell, "key scan /not/there.ipynb").title


# --- with the broker itself --------------------------------------------------------------------------


@pytest.fixture
def broker(shell, monkeypatch):
    """The secrets of this shell in their own process, and a vendor that is a server of this test."""
    monkeypatch.setenv("MY_TOKEN", CANARY)
    monkeypatch.setenv("JPY_SESSION_NAME", NOTEBOOK)
    with WireServer([Say("I am here.")], key=CANARY) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        yield server


ASK = "%%loom -q -m anthropic:wire\nhello"


def test_a_model_just_works_once_its_key_is_kept(shell, broker):
    typed(shell, "key set anthropic --from-env MY_TOKEN")
    done = shell.run_cell(ASK)
    assert done.error_in_exec is None
    assert done.result.output == "I am here."
    assert len(broker.requests) == 1
    row = typed(shell, "key log anthropic").tables[0].rows[0]
    assert (row[2], row[4]) == ("model anthropic", "✓ allowed")
    assert CANARY not in repr(vars(shell.loom_workbench))


@pytest.mark.parametrize(
    ("line", "code", "fix"),
    [
        ("key rm anthropic --yes", "L-KEY-01", "%loom key set anthropic"),
        ("key grant anthropic --notebook /home/ada/b.ipynb", "L-KEY-03", "%loom key grant anthropic --here"),
        ("key policy anthropic notify_before", "L-KEY-04", "%loom key policy anthropic autonomous"),
    ],
)
def test_what_keeps_a_model_from_its_key_is_an_error_with_its_fix_and_the_fix_helps(
    shell, broker, line, code, fix
):
    typed(shell, "key set anthropic --from-env MY_TOKEN")
    typed(shell, line)
    error = shell.run_cell(ASK).error_in_exec
    assert isinstance(error, LoomKeyError)
    assert error.code == code
    assert error.fixes[0].startswith(fix)
    assert CANARY not in str(error)
    assert broker.requests == []
    more = " --from-env MY_TOKEN" if code == "L-KEY-01" else ""
    typed(shell, fix.removeprefix("%loom ") + more)
    assert shell.run_cell(ASK).error_in_exec is None


# --- completion --------------------------------------------------------------------------------------


def test_words_names_flags_and_values_are_offered_and_never_a_secret(shell, kept):
    typed(shell, "key set github --host api.github.com --from-env MY_TOKEN")
    assert offered(shell, "%loom key ")[:2] == ["set", "rotate"]
    assert offered(shell, "%loom key set an") == ["anthropic"]
    assert offered(shell, "%loom key rotate ") == ["github"]
    assert offered(shell, "%loom key set github --ho") == ["--host", "--host-key"]
    assert "one_shot:3" in offered(shell, "%loom key set github --policy ")
    assert "basic_auth" in offered(shell, "%loom key set github --type ")
    assert "time_boxed" in offered(shell, "%loom key policy github ")
    assert "MY_TOKEN" in offered(shell, "%loom key set github --from-env ")
    for before in ("%loom key ", "%loom key set github --from-env ", "%loom key show "):
        assert CANARY not in str(offered(shell, before))


def test_the_extension_leaves_nothing_of_it_behind(shell, kept, tmp_path):
    typed(shell, "key set github --host api.github.com --from-env MY_TOKEN")
    texts = [path.read_bytes() for path in Path(tmp_path).rglob("*") if path.is_file()]
    assert not any(CANARY.encode() in text for text in texts)
    assert CANARY not in repr(vars(shell.loom_workbench))
    assert CANARY not in repr(shell.user_ns.get("Out", ""))
