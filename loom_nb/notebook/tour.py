"""The cells that `%loom tour` inserts, one at a time."""

from collections.abc import Mapping
from dataclasses import dataclass

NAMES = ("tour_df", "tour_answer")
"""The variables of the lessons; each is called otherwise where the reader has one of that name."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One cell to run."""

    title: str
    cell: str
    look_for: str

    def cell_for(self, names: Mapping[str, str]) -> str:
        """The cell, with these names for its variables."""
        return _renamed(self.cell, names)

    def look_for_in(self, names: Mapping[str, str]) -> str:
        """What to look for, with these names for its variables."""
        return _renamed(self.look_for, names)


def _renamed(text: str, names: Mapping[str, str]) -> str:
    for name, one in names.items():
        text = text.replace(name, one)
    return text


LESSONS = (
    Lesson(
        "ask about your data",
        "import pandas as pd\n\n"
        "tour_df = pd.DataFrame({'city': ['Oslo', 'Lima', 'Cairo'], 'visits': [12, 30, 7]})\n"
        "print('now run:  %loom tour')",
        "a small table in the variable tour_df",
    ),
    Lesson("the first prompt", "%%loom\nwhat data do I have here?", "the tool card, the answer, the footer"),
    Lesson(
        "hand over a variable",
        "%%loom -o tour_answer\nhow many rows and columns has {tour_df}?",
        "the line that says what of tour_df was used; the result is in the variable tour_answer",
    ),
    Lesson(
        "look before you send",
        "%%loom -n\nsummarise {tour_df}",
        "the exact request and what it is made of; nothing is sent",
    ),
    Lesson(
        "the result is a value",
        "print(tour_answer.status, tour_answer.turns, tour_answer.usage.total_tokens)\n"
        "tour_answer.to_frame().head()",
        "status, counts and the log of the run",
    ),
)
