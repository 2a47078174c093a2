"""Which skills a request names: all of them where there is room, else those that fit the task."""

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from loom_nb.capabilities.skills.shelf import Skill
from loom_nb.retrieval.analysis import stem, stems, terms
from loom_nb.tokens import estimate

_NAME_WEIGHT = 3.0
_LEAST = 0.3
"""The share of the best one's score that another one must have."""


def line(skill: Skill) -> str:
    """How a skill is offered: `- name: what it is for`."""
    return f"- {skill.name}: {skill.description}"


def within(skills: Sequence[Skill], budget: int) -> list[Skill]:
    """As many of the skills, from the first on, as their lines have room for in so many tokens."""
    kept: list[Skill] = []
    for skill in skills:
        budget -= estimate(line(skill)) + 1
        if budget < 0:
            break
        kept.append(skill)
    return kept


@lru_cache(maxsize=10_000)
def _words(text: str) -> tuple[frozenset[str], int]:
    """The stems of a text, and of how many words it is: each run asks about the same descriptions."""
    found = list(stems(text))
    return frozenset(found), len(found)


def best(skills: Sequence[Skill], text: str, most: int = 20) -> list[Skill]:
    """The skills that share words with a text, the best first; none where none does.

    A word counts by how few of the skills have it, ``log(1 + n / n_with)``, three times in a name, and less
    in a long description, divided by ``1 + log(1 + words)``; less than 0.3 of the best one's sum is no match.

    Args:
        skills: to choose from.
        text: the task, or a question.
        most: how many at most.
    """
    asked = {stem(word) for word in terms(text)}
    if not asked:
        return []
    read = [(_words(one.description), _words(one.name)[0]) for one in skills]
    spread = Counter(word for (bag, _), name in read for word in asked & (bag | name))
    scored = []
    for skill, ((bag, length), name) in zip(skills, read, strict=True):
        found = asked & (bag | name)
        weight = sum(
            math.log(1 + len(skills) / spread[word]) * (_NAME_WEIGHT if word in name else 1.0)
            for word in found
        )
        if found:
            scored.append((-weight / (1 + math.log(1 + length)), skill.name, skill))
    scored.sort(key=lambda one: one[:2])
    return [skill for score, _, skill in scored[:most] if score <= _LEAST * scored[0][0]]
