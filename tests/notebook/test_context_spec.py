"""What `--ctx` says, word by word."""

import pytest

from loom_nb.errors import LoomUsageError
from loom_nb.notebook import cell, context_spec
from loom_nb.notebook.context_spec import Cells, ContextSpec, parse


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("mentioned", ContextSpec()),
        ("above", ContextSpec("above")),
        ("NONE", ContextSpec("none")),
        ("all,outputs", ContextSpec("all", outputs=True)),
        ("cells:3-7", ContextSpec(cells=(Cells(3, 7),))),
        ("cells:3-7,9", ContextSpec(cells=(Cells(3, 7), Cells(9, 9)))),
        ("cell:In[3]", ContextSpec(cells=(Cells(3, 3),))),
        ("cells:a1b2-c3", ContextSpec(cells=(Cells(id="a1b2-c3"),))),
        ("above, -cell:12 ,+df", ContextSpec("above", without=(Cells(12, 12),), variables=("df",))),
        ("+cell:2", ContextSpec(cells=(Cells(2, 2),))),
        ("-df,+cfg.rows['a']", ContextSpec(variables=("cfg.rows['a']",), names=("df",))),
    ],
)
def test_words_are_combined_with_commas(text, spec):
    assert parse(text) == spec
    assert parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "says", "fix"),
    [
        ("abov", "no word 'abov'", "--ctx above"),
        ("mentionned", "no word", "--ctx mentioned"),
        ("df", "with a plus before it", "--ctx +df"),
        ("3-7", "cells are named so", "--ctx cells:3-7"),
        ("above,none", "exclude each other", "--ctx above"),
        ("cells:7-3", "no such cells", "--ctx cells:3-7"),
        ("cells:0", "no such cells", "--ctx cells:1-1"),
        ("cells:a b", "that is no cell", "--ctx cells:3-7"),
        ("outputs", "no cells are given", "--ctx above,outputs"),
        (",", "says nothing", "--ctx above"),
        ("none,outputs", "no cells are given", "--ctx above,outputs"),
    ],
)
def test_a_wrong_spec_says_what_may_have_been_meant(text, says, fix):
    with pytest.raises(LoomUsageError, match=says) as caught:
        parse(text, ["df", "cfg"])
    assert fix in caught.value.fixes


@pytest.mark.parametrize(
    ("line", "ctx"),
    [
        ("", None),
        ("--ctx above", "above"),
        ("--ctx=above -q", "above"),
        ("--ctx above +df -cell:12 -q", "above,+df,-cell:12"),
        ("-q --ctx -cell:12", "-cell:12"),
        ("--ctx all, -cells:3-7 --new", "all,-cells:3-7"),
    ],
)
def test_the_flag_takes_what_stands_apart_too(line, ctx):
    made = cell.parse(line, "x")
    assert made.ctx == ctx
    assert made.quiet is ("-q" in line)


def test_the_flag_without_a_word_is_refused_and_another_flag_is_none():
    for line in ("--ctx", "--ctx -q", "--ctx --new"):
        with pytest.raises(LoomUsageError, match="expected one argument"):
            cell.parse(line, "x")
    with pytest.raises(LoomUsageError, match="unexpected 'above'"):
        cell.parse("--ctx all above", "x")


def test_every_word_of_the_help_can_be_said():
    for word in context_spec.WORDS:
        parse("above,outputs" if word == "outputs" else word)
