"""The cells that `%loom tour` inserts, one at a time."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lesson:
    """One cell to run."""

    title: str
    cell: str
    look_for: str


LESSONS = (
    Lesson(
        "ask about your data",
        "import pandas as pd\n\n"
        "df = pd.DataFrame({'city': ['Oslo', 'Lima', 'Cairo'], 'visits': [12, 30, 7]})\n"
        "print('now run:  %loom tour')",
        "a small table in the variable df",
    ),
    Lesson("the first prompt", "%%loom\nwhat data do I have here?", "the tool card, the answer, the footer"),
    Lesson(
        "hand over a variable",
        "%%loom -o answer\nhow many rows and columns has {df}?",
        "the line that says what of df was used; the result is in the variable answer",
    ),
    Lesson(
        "look before you send",
        "%%loom -n\nsummarise {df}",
        "the exact request and what it is made of; nothing is sent",
    ),
    Lesson(
        "the result is a value",
        "print(answer.status, answer.turns, answer.usage.total_tokens)\nanswer.to_frame().head()",
        "status, counts and the log of the run",
    ),
)
