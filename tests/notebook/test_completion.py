"""What Tab offers behind commands and flags, in a plain shell."""

import pytest
from IPython.core.completer import CompletionContext

from loom_nb.notebook import cell as cells
from loom_nb.notebook import completion
from loom_nb.notebook.line_magics import COMMANDS
from tests.notebook.shells import offered


def test_every_command_is_offered(shell):
    assert offered(shell, "%loom ") == list(COMMANDS)


@pytest.mark.parametrize(
    ("before", "first"),
    [
        ("%loom show ", "r3"),
        ("%loom resume ", "r3"),
        ("%loom fork ", "r3"),
        ("%loom diff r1 ", "r3"),
        ("%loom export r1 ", "--to"),
        ("%loom artifacts ", "r3"),
        ("%loom artifacts sa", "save"),
        ("%loom sessions ", "find"),
        ("%loom sessions --all fi", "find"),
        ("%loom replay st", "strict"),
        ("%loom approvals ", "ask"),
        ("%%loom --fork ", "r3"),
        ("%%loom --continue ", "r3"),
        ("%%loom --replay ", "auto"),
        ("%%loom --approve ", "ask"),
    ],
)
def test_what_may_follow_is_offered(talk, before, first):
    assert offered(talk, before)[0] == first


def test_recordings_are_offered_behind_replay(shell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("one.json", "two.json", "other.txt"):
        (tmp_path / name).touch()
    assert offered(shell, "%loom replay strict ") == ["one.json", "two.json"]
    assert offered(shell, "%loom replay strict t") == ["two.json"]


def test_where_nothing_may_follow_what_was_typed_stands(shell):
    assert offered(shell, "%loom replay strict an") == ["an"]
    assert offered(shell, "%loom diff r1 r2 ") == [""]


# -- the steps of a variable in braces -------------------------------------------------------------------

VALUES = """
import collections
import dataclasses
import pandas as pd
import numpy as np
df = pd.DataFrame({"city": ["a"], "unit price": [1.0], "2nd": [2], "it's": [3], "a]b": [4]})
d = {"one": {"deep": [1, 2]}, "two words": 2, 7: "seven", (1, 2): "pair", "x\\ny": 0}
rows = [{"id": 1}, {"id": 2}]
arr = np.zeros((2, 3))
told = []

@dataclasses.dataclass
class Config:
    depth: int = 3
    _hidden: int = 0

    @property
    def slow(self):
        told.append("slow ran")
        return 1

    def method(self): ...

    def __getattr__(self, name):
        told.append(name)
        raise AttributeError(name)

class Own(dict):
    def __getitem__(self, key):
        told.append(key)
    def keys(self):
        told.append("keys")
        return []

cfg, own = Config(), Own(secret=1)
counted = collections.defaultdict(lambda: told.append("made"), a=1)
"""


def in_prompt(shell, before, after=""):
    """What Tab offers in a prompt with the cursor between the two."""
    text = f"%%loom\nsay {before}"
    context = CompletionContext(
        token="", full_text=text + after, cursor_position=len(before) + 4, cursor_line=1, limit=None
    )
    made = completion.complete(context, shell.loom_workbench)
    return [one.text for one in made["completions"]]


@pytest.mark.parametrize(
    ("before", "names"),
    [
        ("{df.", ["city", "columns", "dtypes", "index", "ndim", "shape", "size"]),
        ("{df.ci", ["city"]),
        ("{df.city.", ["dtype", "dtypes", "index", "name", "ndim", "shape", "size"]),
        ("{df['", ["city']", "unit price']", "2nd']"]),
        ("{df['unit p", ["unit price']"]),
        ('{df["', ['city"]', 'unit price"]', '2nd"]', "it's\"]"]),
        ("{df[", ["'city']", "'unit price']", "'2nd']", '"it\'s"]']),
        ("{df['city'].sh", ["shape"]),
        ("{d['", ["one']", "two words']"]),
        ("{d[", ["'one']", "'two words']", "7]"]),
        ("{d['one']['", ["deep']"]),
        ("{d['one']['deep'][", ["0]", "1]", "-1]"]),
        ("{rows[0]['i", ["id']"]),
        ("{arr[", ["0]", "1]", "-1]"]),
        ("{arr.", ["dtype", "ndim", "shape", "size"]),
        ("{cfg.", ["depth"]),
        ("{counted['", ["a']"]),
        ("{own['", [""]),
        ("{nothing.", [""]),
        ("{df.city.na", ["name"]),
        ("both {rows} and {df.ci", ["city"]),
    ],
)
def test_the_steps_that_a_prompt_takes_are_offered_and_nothing_runs(shell, before, names):
    shell.run_cell(VALUES)
    assert in_prompt(shell, before) == names
    assert shell.user_ns["told"] == []


@pytest.mark.parametrize(
    ("before", "after", "first"),
    [
        ("{df['", "']}", "city"),
        ("{df['", "]}", "city'"),
        ("{df[", "]}", "'city'"),
        ("{d['one']['deep'][", "]", "0"),
    ],
)
def test_what_stands_behind_the_cursor_already_is_not_offered_again(shell, before, after, first):
    shell.run_cell(VALUES)
    assert in_prompt(shell, before, after)[0] == first


@pytest.mark.parametrize(
    "before", ["{df.", "{df[", '{df["', "{d[", "{d['", "{rows[", "{arr[", "{arr.", "{cfg."]
)
def test_every_step_that_is_offered_is_one_that_a_prompt_takes(shell, before):
    shell.run_cell(VALUES)
    begun = before
    for name in in_prompt(shell, before):
        request = cells.parse("", f"{begun}{name}}}", shell.user_ns)
        assert [one.path for one in request.references] == [f"{begun}{name}"[1:]]


def test_a_value_that_misbehaves_offers_nothing(shell):
    shell.run_cell("class Odd:\n    @property\n    def __dict__(self):\n        1 / 0\nodd = Odd()")
    assert in_prompt(shell, "{odd.") == [""]
