"""Documents cannot rot: every block of the README and every notebook runs, with the network blocked."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
NOTEBOOKS = sorted([*ROOT.glob("tutorial/*.ipynb"), *ROOT.glob("notebooks/*.ipynb")])
OFFLINE = ROOT / "tests" / "offline"


def environment(home: Path) -> dict[str, str]:
    """No network (see tests/offline/sitecustomize.py), no key, a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return {
        **kept,
        "PATH": path,
        "PYTHONPATH": str(OFFLINE),
        "LOOM_NB_HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
    }


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_readme_has_exactly_two_commands_of_one_line_each():
    assert [block.count("\n") for block in blocks("bash")] == [1, 1]
    for heading in ("## Run it", "## Test it"):
        assert README.count(f"\n{heading}\n") == 1


def test_the_network_really_is_blocked(tmp_path):
    code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert "this test has no network" in done.stderr


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.split("\n", 1)[0][:40])
def test_every_python_block_of_the_readme_runs(block, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_answer_of_the_readmes_agent_is_the_one_it_should_be(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", blocks("python")[0]],
        env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "completed 1106\n"


def test_there_are_notebooks_and_they_carry_no_widget_state_and_no_paths():
    assert len(NOTEBOOKS) >= 4
    for path in NOTEBOOKS:
        text = path.read_text()
        assert "widget-view" not in text
        assert str(ROOT) not in text
        assert "widgets" not in nbformat.reads(text, 4).metadata


@pytest.mark.timeout(300)
def test_every_notebook_gives_what_it_shows(tmp_path):
    """nbval: each cell is run in a real kernel and its outputs compared with the saved ones."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval", "-q", "-p", "no:cacheprovider", "-c", str(OFFLINE / "nbval.ini"),
         "--rootdir", str(ROOT), *map(str, NOTEBOOKS)],
        env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert re.search(r"\d+ passed", done.stdout)
