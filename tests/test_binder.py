"""The folder `binder/`: what mybinder.org needs to open the first lesson with the offline model."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
BINDER = ROOT / "binder"
POST_BUILD = BINDER / "postBuild"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BASH = shutil.which("bash")


def wanted() -> list[str]:
    """The lines of requirements.txt that say something."""
    lines = (
        line.partition("#")[0].strip() for line in (BINDER / "requirements.txt").read_text().splitlines()
    )
    return [line for line in lines if line]


def extras() -> set[str]:
    """The extras of this project that are installed."""
    (here,) = [line for line in wanted() if line.startswith(".")]
    return set(Requirement(f"{PROJECT['name']}{here.removeprefix('.')}").extras)


def names(requirements: list[str]) -> set[str]:
    return {Requirement(one).name.lower() for one in requirements}


def test_this_project_is_installed_with_extras_that_there_are():
    assert wanted(), "nothing would be installed"
    assert extras() <= set(PROJECT["optional-dependencies"])
    assert names([line for line in wanted() if not line.startswith(".")]) == set(), "all come with it"


def test_what_is_installed_is_what_the_lesson_needs():
    """A page that shows it, and every library that its cells import."""
    optional = PROJECT["optional-dependencies"]
    there = names(PROJECT["dependencies"]) | names([one for extra in extras() for one in optional[extra]])
    assert {"jupyterlab", "ipykernel", "pandas"} <= there

    needed: set[str] = set()
    for path in sorted(ROOT.glob("tutorial/*.ipynb")):
        for cell in nbformat.read(path, 4).cells:
            if cell.cell_type == "code" and not cell.source.lstrip().startswith(("%", "!")):
                needed |= imported(cell.source)
    assert {"loom_nb", "pandas"} <= needed
    assert needed - set(sys.stdlib_module_names) - {"loom_nb"} <= {one.replace("-", "_") for one in there}


def imported(source: str) -> set[str]:
    found: set[str] = set()
    plain = "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())
    for node in ast.walk(ast.parse(plain)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_its_python_is_one_that_this_project_runs_on():
    major, minor = (BINDER / "runtime.txt").read_text().strip().removeprefix("python-").split(".")
    least = PROJECT["requires-python"].removeprefix(">=").split(".")
    assert (int(major), int(minor)) >= (int(least[0]), int(least[1]))
    assert f"Programming Language :: Python :: {major}.{minor}" in PROJECT["classifiers"]


@pytest.mark.skipif(BASH is None, reason="there is no bash here")
def test_post_build_is_a_script_that_bash_can_read_and_the_builder_may_start():
    assert POST_BUILD.read_text().startswith("#!/usr/bin/env bash\n")
    assert os.access(POST_BUILD, os.X_OK)
    read = subprocess.run([str(BASH), "-n", str(POST_BUILD)], capture_output=True, text=True, check=False)
    assert (read.returncode, read.stderr) == (0, "")


@pytest.mark.skipif(BASH is None, reason="there is no bash here")
def test_post_build_runs_and_fails_where_one_of_its_commands_does(tmp_path: Path):
    """With a `jupyter` that writes down what it is called with."""
    for folder in ("tutorial", "notebooks"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.ipynb").write_text("{}")
    stand_in = tmp_path / "bin" / "jupyter"
    stand_in.parent.mkdir()
    stand_in.write_text('#!/bin/sh\necho "$@" >> calls\nexit "${JUPYTER_FAILS:-0}"\n')
    stand_in.chmod(0o755)
    environment = {**os.environ, "PATH": f"{stand_in.parent}{os.pathsep}{os.environ.get('PATH', '')}"}

    def build(**more: str) -> int:
        return subprocess.run(
            [str(BASH), str(POST_BUILD)], cwd=tmp_path, env={**environment, **more}, check=False
        ).returncode

    assert build() == 0
    assert "trust tutorial/a.ipynb notebooks/a.ipynb" in (tmp_path / "calls").read_text()
    assert build(JUPYTER_FAILS="1") != 0


def test_the_link_opens_a_lesson_that_is_there():
    link = next(line for line in POST_BUILD.read_text().splitlines() if "urlpath=lab/tree/" in line)
    lesson = ROOT / link.partition("urlpath=lab/tree/")[2].split()[0]
    assert lesson.is_file()
    assert sorted(ROOT.glob("tutorial/*.ipynb"))[0] == lesson
