"""What looking through a thousand skills costs, and what the guard costs."""

import pytest
from measure import interleaved

from loom_nb.capabilities.skills.choosing import best
from loom_nb.capabilities.skills.guard import _REPORTS, check
from loom_nb.capabilities.skills.places import Place
from loom_nb.capabilities.skills.shelf import Known, Shelf
from tests.capabilities.skills.corpus import samples
from tests.capabilities.skills.shelves import put

pytestmark = [pytest.mark.slow, pytest.mark.benchmark, pytest.mark.timeout(600)]

MANY = 1_000


def test_a_thousand_skills_are_looked_through_in_60_ms_once_they_are_known(tmp_path):
    for number in range(MANY):
        put(
            tmp_path,
            f"skill-{number}",
            "Do it.\n" * 40,
            f"handles case {number} of the archive, with its tables",
        )
    shelf = Shelf([Place(tmp_path, "user")], Known())
    skills = shelf.usable()

    warm, cold, chosen = interleaved(
        shelf.usable,
        lambda: Shelf([Place(tmp_path, "user")], Known()).usable(),
        lambda: best(skills, "what about case 77 of the archive?"),
    )

    print(
        f"\n{MANY:,} skills: warm {warm * 1e3:.1f} ms, cold {cold * 1e3:.0f} ms, chosen from {chosen * 1e3:.0f} ms"
    )
    assert len(skills) == MANY


def test_the_guard_reads_an_ordinary_skill_in_a_few_milliseconds():
    skills = [one.texts for half in "ab" for one in samples(f"benign_{half}")]

    def look():
        _REPORTS.clear()
        return [check(texts) for texts in skills]

    (seconds,) = interleaved(look)

    print(f"\nguard: {seconds / len(skills) * 1e3:.1f} ms for each skill")
