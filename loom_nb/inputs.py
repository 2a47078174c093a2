"""All that goes into a session: a task, what it may use, an answer, and a stop."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from loom_nb.checks import check, mapping, several, text, texts
from loom_nb.messages import Part

_VALUES = mapping(such_as='{"table": df}')
_TASK = {
    "goal": text(such_as='"find the outliers"'),
    "input": _VALUES,
    "criteria": texts(such_as='["tests stay green"]'),
    "metadata": mapping(such_as='{"ticket": 7}'),
    "attachments": several(
        get_args(Part), "a list of images, files and data parts", such_as="[loom_nb.attach('photo.png')]"
    ),
}
_CONTEXT = {"inputs": _VALUES}
_STOP = {"reason": text(such_as='"I have seen enough"')}
_CONFIG = {"id": text(such_as='"study-7"'), "metadata": mapping(such_as='{"ticket": 7}')}


@dataclass(frozen=True, slots=True)
class RuntimeTask:
    """Structured work. A plain string is a task with just a goal.

    Raises:
        LoomUsageError: a field is of a wrong type.
    """

    goal: str
    input: Mapping[str, Any] = field(default_factory=dict)
    """Values by name; each travels as a data part, apart from the goal."""
    criteria: tuple[str, ...] | list[str] = ()
    """What the result must meet; shown to the model."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Kept with the run in the log; the model does not see it."""
    attachments: tuple[Part, ...] = ()
    """Images, files and data parts that travel with the goal."""

    def __post_init__(self) -> None:
        check(self, _TASK)


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a single run may use beside its task."""

    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Values by name; each travels as a data part."""
    knowledge: tuple[Any, ...] | list[Any] = ()
    """`Evidence` that travels with the task; `KnowledgeSource`s in which passages for it are looked for."""

    def __post_init__(self) -> None:
        check(self, _CONTEXT)


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """Which conversation: the same id in the same store is the same session."""

    id: str = ""
    """Empty: a new id is made."""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(self, _CONFIG)


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask a run to end now; what had been done is kept."""

    reason: str = "stopped by the caller"

    def __post_init__(self) -> None:
        check(self, _STOP)


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply to a question. It must fit: see `questions.checked`."""

    question: str
    """The id of the question."""
    value: Any = field(repr=False)
    by: str = "you"
    """Who answers."""
