"""Settings: four sources, one order, and an origin for every value."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loom_nb.errors import SetupError
from loom_nb.settings import MOST_TOKENS, NAMES, Cap, ProjectFile, Settings, load, project_files, read

LOOM = Path("/project/loom.toml")
PYPROJECT = Path("/project/pyproject.toml")


def test_without_any_source_every_value_is_the_default():
    settings = read({})

    assert (settings.model, settings.render, settings.ascii) == ("offline", "auto", False)
    assert (settings.max_steps, settings.timeout, settings.paint_hz) == (50, None, 12.0)
    assert settings.home.is_absolute()
    assert dict(settings.origins) == dict.fromkeys(NAMES, "default")


def test_the_caller_beats_the_environment_beats_the_file_beats_the_default():
    file = ProjectFile(LOOM, 'model = "a:file"\nmax_steps = 3\nrender = "plain"\npaint_hz = 5')
    environment = {"LOOM_NB_MODEL": "a:env", "LOOM_NB_MAX_STEPS": "4"}

    settings = read(environment, [file], {"model": "a:given", "timeout": None})

    assert (settings.model, settings.max_steps, settings.render, settings.ascii) == (
        "a:given",
        4,
        "plain",
        False,
    )
    assert settings.paint_hz == 5.0
    assert isinstance(settings.paint_hz, float)
    assert settings.origins["model"] == "given"
    assert settings.origins["max_steps"] == "LOOM_NB_MAX_STEPS"
    assert settings.origins["render"] == str(LOOM)
    assert settings.origins["timeout"] == "default"


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("LOOM_NB_ASCII", "1", "ascii", True),
        ("LOOM_NB_ASCII", "off", "ascii", False),
        ("LOOM_NB_TIMEOUT", "2.5", "timeout", 2.5),
        ("LOOM_NB_TIMEOUT", "none", "timeout", None),
        ("LOOM_NB_RENDER", "static", "render", "static"),
        ("LOOM_NB_PAINT_HZ", "4", "paint_hz", 4.0),
        ("LOOM_NB_MODEL", "", "model", "offline"),
    ],
)
def test_the_environment_is_read_as_text(variable, text, name, value):
    assert getattr(read({variable: text}), name) == value


@pytest.mark.parametrize(
    ("environment", "text", "told"),
    [
        ({"LOOM_NB_ASCII": "perhaps"}, "", "ascii must be true or false"),
        ({"LOOM_NB_MAX_STEPS": "many"}, "", "max_steps must be a whole number"),
        ({"LOOM_NB_RENDER": "loud"}, "", "render must be auto, live, static or plain"),
        ({"LOOM_NB_TIMEOUT": "nan"}, "", "timeout must be seconds"),
        ({}, "max_steps = 0", "max_steps must be a whole number"),
        ({}, "max_steps = true", "max_steps must be a whole number"),
        ({}, "ascii = 1", "ascii must be true or false"),
        ({}, "paint_hz = 200", "paint_hz must be more than 0 and at most 30"),
        ({}, "model = 3", "model must be the name of a model"),
    ],
)
def test_a_value_of_the_wrong_kind_says_where_it_stands_and_what_is_wanted(environment, text, told):
    with pytest.raises(SetupError) as caught:
        read(environment, [ProjectFile(LOOM, text)])
    assert told in str(caught.value)
    assert (next(iter(environment), None) or str(LOOM)) in str(caught.value)


def test_an_unknown_key_names_the_file_and_what_was_meant():
    with pytest.raises(SetupError) as caught:
        read({}, [ProjectFile(PYPROJECT, '[tool.loom_nb]\nmodle = "offline"')])
    assert f"no setting 'modle' in {PYPROJECT} [tool.loom_nb]" in str(caught.value)
    assert "did you mean 'model'?" in str(caught.value)


def test_an_unknown_name_in_a_call_is_an_error_too():
    with pytest.raises(SetupError, match="no setting 'colour'"):
        read({}, [], {"colour": "red"})


def test_a_file_that_is_not_toml_is_named():
    with pytest.raises(SetupError, match=r"loom\.toml is not TOML"):
        read({}, [ProjectFile(LOOM, "model = ")])


def test_a_near_miss_in_the_environment_is_told_and_a_stranger_is_not():
    settings = read({"LOOM_NB_MODLE": "x", "LOOM_NB_ARTIFACTS": "y"})
    assert settings.notices == ("LOOM_NB_MODLE is not a setting; did you mean LOOM_NB_MODEL?",)


def test_a_relative_home_is_relative_to_its_file():
    settings = read({}, [ProjectFile(LOOM, 'home = ".loom"')])
    assert settings.home == Path("/project/.loom")


def test_the_nearest_file_upward_is_read_and_the_search_ends_at_git(tmp_path):
    inner = tmp_path / "outer" / "repository" / "notebooks"
    inner.mkdir(parents=True)
    (tmp_path / "outer" / "loom.toml").write_text('model = "a:outer"')
    assert load(folder=inner).model == "a:outer"

    (tmp_path / "outer" / "repository" / ".git").mkdir()
    assert project_files(inner) == ()

    (tmp_path / "outer" / "repository" / "pyproject.toml").write_text(
        '[tool.loom_nb]\nmodel = "a:repository"'
    )
    settings = load(folder=inner)
    assert settings.model == "a:repository"
    assert settings.origins["model"].endswith("pyproject.toml [tool.loom_nb]")


def test_a_pyproject_that_is_not_about_us_is_passed_by_even_when_broken(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("[project")
    (tmp_path / "loom.toml").write_text("max_steps = 7")
    assert load(folder=inner).max_steps == 7


def test_load_takes_given_values_and_settings_are_frozen(tmp_path):
    settings = load(folder=tmp_path, model="a:b")
    assert settings.model == "a:b"
    with pytest.raises(AttributeError):
        settings.model = "other"
    assert isinstance(settings, Settings)


def test_reading_settings_loads_no_heavy_library():
    code = (
        "import sys, loom_nb.settings as settings\n"
        "settings.read({})\n"
        "print(sorted({'pydantic', 'IPython', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("line", ["approve = 'all'", "approve = 'edits'", "allow = '*'"])
def test_a_file_cannot_loosen_what_is_asked(line):
    with pytest.raises(SetupError) as caught:
        read({}, [ProjectFile(Path("loom.toml"), line)])
    assert "in the environment" in str(caught.value)


def test_the_environment_says_what_runs_unasked_and_a_file_may_be_stricter():
    assert read({"LOOM_NB_APPROVE": "all", "LOOM_NB_ALLOW": "a, b_*"}).approve == "all"
    assert read({"LOOM_NB_ALLOW": "a, b_*"}).allow == ("a", "b_*")
    assert read({}, [ProjectFile(Path("loom.toml"), "approve = 'read-only'")]).approve == "read-only"


@given(
    st.one_of(
        st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False).map(
            lambda dollars: Cap(dollars=dollars)
        ),
        st.integers(min_value=1, max_value=MOST_TOKENS).map(lambda tokens: Cap(tokens=tokens)),
    )
)
@example(Cap(dollars=1500.0))
@example(Cap(dollars=1e-7))
@example(Cap(tokens=1_800))
def test_a_cap_as_it_is_printed_can_be_pasted(cap):
    assert Cap.of(cap.typed) == cap
    assert re.fullmatch(r"[0-9a-z.]+", cap.typed)  # one word, for a shell as well


@pytest.mark.parametrize(
    "amount", ["9" * 350, "9" * 350 + "k", "$" + "9" * 350, "9" * 5_000, pytest.param(10**5_000, id="int")]
)
def test_an_amount_beyond_all_numbers_is_refused_in_words(amount):
    with pytest.raises(SetupError) as caught:
        Cap.of(amount)
    assert len(str(caught.value)) < 1_000


def test_a_large_number_without_a_unit_says_how_both_are_written():
    with pytest.raises(SetupError) as caught:
        Cap.of(1e6)
    assert [Cap.of(fix) for fix in caught.value.fixes] == [Cap(tokens=1_000_000), Cap(dollars=1e6)]


@pytest.mark.parametrize(
    ("dollars", "told"),
    [
        (0, "$0"), (0.00001, "<$0.0001"), (0.0001, "$0.0001"), (0.0042, "$0.0042"), (0.01, "$0.01"),
        (0.0512, "$0.0512"), (0.5, "$0.50"), (0.99996, "$1.00"), (1, "$1.00"), (1234.567, "$1,234.57"),
    ],
)  # fmt: skip
def test_money_has_one_wording_everywhere(dollars, told):
    from loom_nb.runtime.run import RunFinished, RunResult
    from loom_nb.settings import money

    assert money(dollars) == told
    finished = RunFinished("completed", cost=dollars)
    assert repr(RunResult("r1", "s", "m", finished, ())).endswith(f" {told}>")
