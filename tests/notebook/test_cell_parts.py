"""Cells as parts of a prompt: which, in which words, how much, and what is withheld."""

import pytest

from loom_nb.capabilities.cells import CellView
from loom_nb.errors import LoomUsageError
from loom_nb.messages import Origin
from loom_nb.notebook import cell_parts
from loom_nb.notebook.cell_parts import choose, refuse_absent
from loom_nb.notebook.cell_secrets import secret_texts, without_secrets
from loom_nb.notebook.context_spec import parse


def code(number, source, output="", *tags):
    return CellView(f"c{number}", number, "code", source, output, frozenset(tags))


CELLS = (
    CellView("title", None, "markdown", "# Report"),
    code(1, "%load_ext loom_nb\n# ours\n%loom doctor"),
    code(2, "df = load()", "loaded"),
    code(3, "secret_plan()", "hush", "loom:hide"),
    code(4, "%%loom\nwhat is in df?", "an answer"),
    code(5, "df.describe()", "statistics"),
    code(6, "%%loom --ctx above\nand now?"),
    CellView("later", None, "code", "plot(df)", "saved output"),
    code(7, "below()", "x"),
)
HERE = 6


def names(spec, here=HERE, cells=CELLS):
    return [one.part.name for one in choose(parse(spec), cells, here).given]


@pytest.mark.parametrize(
    ("spec", "given"),
    [
        ("mentioned", []),
        ("none", []),
        ("above", ["In[2]", "In[5]"]),
        ("above,outputs", ["In[2]", "output of In[2]", "In[5]", "output of In[5]"]),
        ("above,-cell:2", ["In[5]"]),
        ("all", ["title", "In[2]", "In[5]", "later", "In[7]"]),
        ("all,-cells:2-5,-cell:later", ["title", "In[7]"]),
        ("cells:2-7", ["In[2]", "In[5]", "In[7]"]),
        ("cells:5,2", ["In[2]", "In[5]"]),
        ("cells:later", ["later"]),
        ("above,cells:7", ["In[2]", "In[5]", "In[7]"]),
    ],
)
def test_a_spec_chooses_cells_in_the_order_of_the_notebook(spec, given):
    assert names(spec) == given


def test_where_the_place_is_not_known_above_is_all_that_has_run():
    assert names("above", None) == ["In[2]", "In[5]", "In[7]"]


def test_a_cell_travels_with_where_it_comes_from():
    given = {one.part.name: one.part for one in choose(parse("all,outputs"), CELLS, HERE).given}
    assert given["In[2]"].text == "df = load()"
    assert given["In[2]"].origin == Origin("notebook", "In[2]")
    assert given["output of In[2]"].origin == Origin("tool", "output of In[2]")
    assert given["later"].origin == Origin("file", "later")
    assert "has not run here" in given["later"].summary
    assert not any(part.origin.trusted for part in given.values())


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("cells:99", "there is no cell 99"),
        ("cells:3", "there is no cell 3"),
        ("cells:c3", "there is no cell c3"),
        ("cells:latr", "there is no cell latr"),
        ("cells:4", "asks the agent itself"),
    ],
)
def test_a_cell_that_cannot_be_given_is_refused_and_a_hidden_one_is_as_good_as_absent(spec, says):
    with pytest.raises(LoomUsageError, match=says) as caught:
        choose(parse(spec), CELLS, HERE)
    assert "hush" not in str(caught.value)
    assert "cells:c3" not in " ".join(caught.value.fixes)
    if spec == "cells:latr":
        assert "--ctx cells:later" in caught.value.fixes


@pytest.mark.parametrize("spec", ["all,-cell:latr", "-cell:99", "-cell:zzz", "above,-cells:90-99"])
def test_a_cell_that_is_left_out_and_never_was_there_is_refused(spec):
    with pytest.raises(LoomUsageError, match="there is no such cell") as caught:
        refuse_absent(parse(spec), CELLS)
    assert ("--ctx -cell:later" in caught.value.fixes) == ("latr" in spec)


@pytest.mark.parametrize("spec", ["all,-cell:later", "all,-cell:7,-cell:3", "all,-cells:2-99", "above"])
def test_a_cell_that_is_left_out_may_be_any_that_there_is_or_was(spec):
    refuse_absent(parse(spec), CELLS)


def test_nothing_to_be_given_is_said():
    assert choose(parse("above"), CELLS, 0).notices == ("--ctx above: there is no cell to be given",)


def test_a_long_cell_keeps_its_head_and_both_are_told_that_it_is_cut():
    (one,) = choose(parse("cells:1"), [code(1, "x = 1\n" + "y" * 9_000)], None).given
    assert one.part.text.startswith("x = 1\nyyy")
    assert one.part.text.endswith("[cut here: 3,006 more characters are not shown]")
    assert one.part.summary == "code, 2 lines, cut"


@pytest.mark.parametrize("word", ["y", "a1", "1", "-", "a-", "_'"])
@pytest.mark.timeout(150)  # a moment where the work grows with the length, hours where with its square
def test_a_word_of_a_megabyte_is_looked_through_for_secrets_in_linear_time(word):
    text = word * (1_000_000 // len(word)) + "\npassword = 'hunter22'"
    assert "hunter22" not in without_secrets(text, (), code=False)[0]


def test_where_there_is_no_room_for_all_the_farthest_go_and_both_are_told():
    cells = [code(n, f"# {n}\n" + "y" * 5_900) for n in range(1, 13)]
    made = choose(parse("above"), cells, 12)
    kept = [one.part.name for one in made.given]
    assert kept == [*(f"In[{n}]" for n in range(5, 13)), "cells left out"]
    assert made.given[-1].part.text.endswith("In[1], In[2], In[3], In[4]")
    assert "cut, In[1], In[2], In[3], In[4] left out" in made.notices[0]
    assert sum(len(one.part.text) for one in made.given[:-1]) <= cell_parts.ALL_CHARS


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("password = 'hunter22'", "password = "),
        ("connect(host='db', password=\"hunter22\", n=1)", "host='db'"),
        ("cfg = {'api_key': 'hunter22', 'n': 'ok'}", "'n': 'ok'"),
        ("os.environ['DB_PASSWORD'] = 'hunter22'", "os.environ"),
        ("a = 'ä'; secret: str = '''hunter22\nhunter22'''  # end", "# end"),
        ("%env API_KEY=hunter22\nx = 1", "x = 1"),
        ("!curl -H 'Authorization: Bearer hunter22hunter22'", "curl"),
        ("this is no Python; password = 'hunter22'", "no Python"),
        ("x = 'sk-hunter22hunter22hunter22'", "x = "),
        ("token = 'sk-' + 'hunter22'", "token = "),
        ("os.environ.setdefault('DB_PASSWORD', 'hunter22')", "setdefault('DB_PASSWORD'"),
        ("u = 'postgres://bob:hunter22@host/db'", "'postgres://bob:"),
        ("!psql postgres://bob:hunter22@host/db", "@host/db"),
        ("passwords = ['hunter22', 'hunter22b']", "passwords = ["),
        ("# password: hunter22\ny = 1", "y = 1"),
        ("if password == 'hunter22': pass", "if password =="),
        ("if 'hunter22' == cfg['password']: pass", "cfg['password']"),
        ("user, password = 'bob', 'hunter22'", "user, password = "),
        ("password = os.getenv('PW') or 'hunter22'", "os.getenv('PW')"),
        ("password = 'hunter22'.strip()", ".strip()"),
        ("def f(host='db', password='hunter22'): pass", "host='db'"),
        ("print((password := 'hunter22'))", "print("),
        ("setattr(cfg, 'password', b'hunter22')", "setattr(cfg"),
    ],
)
def test_texts_with_the_name_or_the_form_of_a_secret_are_withheld(source, kept):
    made, hidden = without_secrets(source, (), code=True)
    assert hidden
    assert "hunter22" not in made
    assert kept in made


@pytest.mark.parametrize(
    "source",
    [
        "df.sort_values(key='name')",
        "x = os.getenv('API_KEY')",
        "print('password')",
        "max_tokens = 5",
        "k = {'key': 'a'}",
        "tokens = ['hello', 'world', 'again']",
        "keys = ('name', 'age')",
        "if token == 'EOF' or key == 'name': pass",
        "password = os.getenv('DB_PASSWORD')",
        "password = getpass('Your password: ')",
        "# password: ask the person for it",
        "# key: column3",
        "class Settings:\n    password: Base64Str\n    host: str",
        "password = decoded2",
        "df.get('name', 'unknown'); os.environ.setdefault('MODE', 'fast2')",
        "url = 'http://localhost:8080/a@b'",
        "url = f'postgres://{user}:{password}@host'",
        "git = 'git@github.com:some/one.git'",
        "def f(a, *, sort_key='name', n_tokens=5): return a",
        "errors = {'password': 1}",
    ],
)
def test_what_is_no_secret_stays_as_it_is(source):
    assert without_secrets(source, (), code=True) == (source, False)


def test_the_value_of_a_secret_variable_is_taken_out_of_code_and_outputs():
    secrets = secret_texts(
        {"db_password": "correct horse", "city": "Oslo in Norway", "token": "abc", "n_tokens": 5}
    )
    assert secrets == ["correct horse"]
    cells = [code(1, "print('correct horse')", "it is correct horse")]
    given = choose(parse("cells:1,outputs"), cells, None, secrets).given
    assert all("horse" not in one.part.text and "withheld" in one.part.summary for one in given)


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("%env DB_PASSWORD=hunter22", "env: DB_PASSWORD=hunter22"),
        ("password = b'hunter22'\nprint(password)", "b'hunter22'"),
        ("password = 'hunter22'\nprint(password)\ndel password", "hunter22"),
        ("os.environ.setdefault('DB_PASSWORD', 'hunter22')", "'hunter22'"),
        ("cfg", "{'password': 'hunter22', 'n': 1}"),
        ("!cat settings", "user: bob\npassword: hunter22"),
    ],
)
def test_what_a_cell_puts_out_is_without_its_secrets(source, output):
    first, second = choose(parse("cells:1,outputs"), [code(1, source, output)], None).given
    assert "hunter22" not in first.part.text + second.part.text
    assert "withheld" in second.part.summary


@pytest.mark.parametrize(
    "output",
    [
        "accuracy=0.93\nepochs=12",
        "token: EOF\npassword: required\nkey: column3",
        "{'key': 'abc', 'tokens': ['hello']}",
        "https://example.org:443/path@2",
    ],
)
def test_what_a_cell_puts_out_stays_where_it_holds_no_secret(output):
    assert without_secrets(output, (), code=False) == (output, False)


def test_texts_in_secret_variables_are_found_in_bytes_and_in_containers():
    held = {"password": b"hunter22", "passwords": ["correct horse"], "tokens": ["a word", "another"]}
    assert secret_texts(held) == ["correct horse", "hunter22"]
    environment = {"DB_PASSWORD": "hunter22", "SSH_AUTH_SOCK": "/tmp/socket", "KEY": "no secret"}
    assert secret_texts(environment, nested=True) == ["hunter22"]


def test_a_secret_that_is_a_word_of_the_notice_does_not_spoil_it():
    assert without_secrets("password = 'secret'\nsecret", ["secret"], code=True)[0] == (
        "password = '[withheld: it looks like a secret]'\n[withheld: it looks like a secret]"
    )
