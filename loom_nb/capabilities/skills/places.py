"""Where skills lie. The place, and nothing in a file, says how far a skill is trusted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Tier: TypeAlias = Literal["builtin", "user", "project", "agent"]
TRUSTED: frozenset[str] = frozenset({"builtin", "user"})
"""All others are asked about before they are activated: they came with a project, or an agent wrote them."""

AGENT_FOLDER = "agent_skills"
"""Below the home of settings: the only place where an agent writes skills."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder whose folders are skills."""

    path: Path
    tier: Tier

    @property
    def words(self) -> str:
        """How a reader is told of it."""
        return f"{_SAYS[self.tier]}"

    @property
    def trusted(self) -> bool:
        """Whether its skills may be activated unasked."""
        return self.tier in TRUSTED


_SAYS = {
    "builtin": "shipped with loom_nb",
    "user": "yours",
    "project": "came with the project",
    "agent": "written by an agent",
}


def usual_places(home: Path, here: Path, named: Sequence[str | Path] = ()) -> tuple[Place, ...]:
    """The places in which skills are looked for; of two skills of one name the first place's counts.

    What is local comes before what is shared. What agents wrote comes last: it can shadow nothing.

    Args:
        home: of settings.
        here: the folder of the project.
        named: folders that the user named: what lies there is the user's.
    """
    own = [Place((here / Path(one).expanduser()).absolute(), "user") for one in named]
    project = [Place(here / "skills", "project"), Place(here / ".loom" / "skills", "project")]
    shared = [Place(home / "skills", "user"), Place(builtin_folder(), "builtin")]
    places = [*own, *project, *shared, Place(agent_folder(home), "agent")]
    kept: dict[Path, Place] = {}
    for place in places:
        kept.setdefault(place.path.resolve(), place)
    return tuple(kept.values())


def builtin_folder() -> Path:
    """The skills that are shipped."""
    return Path(__file__).parent / "builtin"


def agent_folder(home: Path) -> Path:
    """The skills that agents wrote."""
    return home / AGENT_FOLDER
