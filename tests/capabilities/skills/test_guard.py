"""The guard of skills: how much of a corpus it finds, and what it lets pass."""

import pytest

from loom_nb.capabilities.skills.guard import check
from tests.capabilities.skills.corpus import samples


def flagged(file):
    return [one.name for one in samples(file) if check(one.texts).verdict != "pass"]


@pytest.mark.parametrize(("half", "least"), [("a", 39), ("b", 38)])
def test_at_least_nineteen_of_twenty_hostile_skills_are_asked_about_or_refused(half, least):
    assert len(samples(f"hostile_{half}")) == 40
    assert len(flagged(f"hostile_{half}")) >= least


@pytest.mark.parametrize("half", ["a", "b"])
def test_at_most_one_of_forty_ordinary_skills_is_asked_about_and_none_is_refused(half):
    skills = samples(f"benign_{half}")

    assert len(skills) == 40
    assert len(flagged(f"benign_{half}")) <= 1
    assert [one.name for one in skills if check(one.texts).verdict == "block"] == []
