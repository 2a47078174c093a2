"""Skills on a disk for tests, and agents that use them."""

import os
from pathlib import Path

from loom_nb import Agent, GovernancePolicy, MemoryStore, Model, Runtime
from loom_nb.capabilities.skills import SkillsCapability


def put(
    folder: Path, name: str, body: str = "Do it.", description: str = "does it", head: str = "", **files: str
) -> Path:
    """A skill in a folder of skills; its other files by name, `__` for a slash and `_dot_` for a dot."""
    path = folder / name
    path.mkdir(parents=True)
    (path / "SKILL.md").write_text(f"---\nname: {name}\ndescription: {description}\n{head}---\n{body}\n")
    for file, text in files.items():
        target = path / file.replace("__", "/").replace("_dot_", ".")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return path


def without_a_way_in(folder: Path) -> None:
    """Makes a folder within that cannot be listed, whoever asks: its path is longer than a path may be."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(17):
        os.mkdir("n" * 250, dir_fd=here)
        inner = os.open("n" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


def skills_in(tmp_path: Path, **given) -> SkillsCapability:
    """The capability over a home and a project below a folder."""
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "here").mkdir(exist_ok=True)
    return SkillsCapability(home=tmp_path / "home", here=tmp_path / "here", **given)


def agent_with(tmp_path: Path, *answers, capabilities=(), tools=(), rules=(), store=None, **given) -> Agent:
    """An agent that says these things, with the skills below a folder."""
    return Agent(
        Model.scripted(list(answers)),
        capabilities=[skills_in(tmp_path, **given), *capabilities],
        tools=tools,
        session_store=store or MemoryStore(),
        runtime=Runtime(governance=GovernancePolicy(tuple(rules))),
    )
