"""Documents cannot rot: every block of the README and every notebook runs, with the network blocked."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from loom_nb.sandbox import probe
from tests.played import ANSWERS, differences, needs_a_person, play
from tests.recorded import KEY, record, recording_of

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
NOTEBOOKS = sorted([*ROOT.glob("tutorial/*.ipynb"), *ROOT.glob("notebooks/*.ipynb")])
RECORDED = [path for path in NOTEBOOKS if recording_of(path) is not None]
ASKING = [path for path in NOTEBOOKS if needs_a_person(path)]
OFFLINE = ROOT / "tests" / "offline"


def environment(home: Path) -> dict[str, str]:
    """No network (see tests/offline/sitecustomize.py), no key, a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return {
        **kept,
        "PATH": path,
        "PYTHONPATH": f"{OFFLINE}{os.pathsep}{ROOT}",  # this checkout, whichever is installed
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


def test_the_first_cells_of_the_readme_work_as_two_cells(tmp_path):
    first, second = (nbformat.v4.new_code_cell(block) for block in blocks("ipython"))
    notebook = nbformat.v4.new_notebook(cells=[first, second])
    show = play(notebook, tmp_path, environment(tmp_path / "home"))
    assert show.problems == []
    (shown,) = show.notebook.cells[1].outputs
    assert "✓" not in shown.data["text/plain"], "nothing but the prompt and its data was needed"
    assert "missing values are in `people` (1)" in shown.data["text/plain"]


def test_the_first_cells_of_the_readme_pasted_as_one_say_what_is_wrong(tmp_path):
    cell = nbformat.v4.new_code_cell("\n".join(blocks("ipython")))
    show = play(nbformat.v4.new_notebook(cells=[cell]), tmp_path, environment(tmp_path / "home"))
    (problem,) = show.problems
    assert "%%loom has to be the first line of its cell" in problem


def test_the_answer_of_the_readmes_agent_is_the_one_it_should_be(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", blocks("python")[0]],
        env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "completed 1106\n"


def test_the_cases_of_the_readme_are_judged_as_it_says(tmp_path):
    (cases,) = blocks("jsonl")
    project = tmp_path / "project"
    project.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "loom_nb", "policy", "check", "-"],
        input=cases, env=environment(tmp_path / "home"), cwd=project,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('"ok": true') == cases.count("expect") == 3


def test_there_are_notebooks_and_they_carry_no_widget_state_and_no_paths():
    assert len(NOTEBOOKS) >= 8
    assert len(ASKING) >= 5
    assert RECORDED
    for path in NOTEBOOKS:
        text = path.read_text()
        assert "widget-view" not in text
        assert str(ROOT) not in text
        assert "/tmp/" not in text
        assert "widgets" not in nbformat.reads(text, 4).metadata


def copy_of_the_documents(folder: Path) -> Path:
    """Notebooks write beside themselves; they may do it in a copy."""
    for name in ("tutorial", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(".*"))
    return folder


def as_everywhere(text: str) -> str:
    """Without what is another thing each time or on each computer."""
    text = re.sub(r"trash/[\w-]+", "trash/…", text)
    text = re.sub(r"expires in \d+ \w+", "expires in …", text)
    text = re.sub(r"\d{4}-\d\d-\d\d\)", "…)", text)  # "(until …)", which a narrow column breaks
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d( \(UTC[^)]*\))?|\b\d\d:\d\d(:\d\d)?\b", "(time)", text)
    text = re.sub(r"opened by  .*", "opened by …", text)  # the keychain, where there is one
    if "run_command" in text:  # its description to the model names the level of the sandbox
        text = re.sub(r"[\d,]+→", "…→", text)
    return re.sub(r"\b(bubblewrap|landlock|none)\b", "sandbox", text)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("asking", [False, True], ids=["nobody is asked", "nobody answers"])
def test_every_notebook_gives_what_it_shows(asking, tmp_path):
    """nbval: each cell is run in a real kernel and its outputs compared with the saved ones.

    Those that ask are let run, to their ends; what they show a person who answers is compared below.
    """
    copy = copy_of_the_documents(tmp_path / "copy")
    notebooks = [str(copy / path.relative_to(ROOT)) for path in NOTEBOOKS if (path in ASKING) == asking]
    for _ in range(3):  # nbval chooses ports some time before its kernel binds them
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--nbval-lax" if asking else "--nbval", "-q", "-p", "no:cacheprovider",
             "-c", str(OFFLINE / "nbval.ini"), "--rootdir", str(copy), *notebooks],
            env=environment(tmp_path / "home") | ({"LOOM_NB_APPROVE": "all"} if asking else {}),
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=290,
        )  # fmt: skip
        if "Address already in use" not in done.stdout + done.stderr:
            break
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert re.search(r"\d+ passed", done.stdout)


@pytest.mark.parametrize("path", ASKING, ids=lambda path: path.stem)
def test_a_notebook_that_asks_gives_what_it_shows_to_a_person_who_answers(path, tmp_path):
    """Each prompt is answered by what stands in the cell, and the receipts and cards are the saved ones."""
    folder = copy_of_the_documents(tmp_path / "copy") / path.parent.name
    for made in folder.glob("data/clean_*"):
        if made.name in path.read_text():  # it makes it anew
            made.unlink()
    saved = nbformat.read(path, as_version=4)
    show = play(saved, folder, environment(tmp_path / "home"), name=path.name)
    assert show.problems == []
    found = differences(saved, show.notebook, as_everywhere)
    if probe().level == "none":  # cards of commands warn of it, and say more
        found = [one for one in found if "-t shell" not in one.source]
    assert found == [], "\n".join(map(str, found))
    assert [typed for _, _, typed in show.prompts] == [
        answer for cell in saved.cells for answer in cell.metadata.get(ANSWERS, ())
    ]
    for file in path.parent.glob("data/*"):
        assert (folder / "data" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recording_that_a_lesson_plays_is_what_the_vendors_client_gives_anew(path, tmp_path):
    """`python -m tests.save_notebooks PATH` makes it anew where this fails; read the difference first."""
    folder = copy_of_the_documents(tmp_path / "copy") / path.parent.name
    made = recording_of(folder / path.name)
    made.unlink()
    home = environment(tmp_path / "home")
    assert record(path, nbformat.read(path, as_version=4), folder, home) == []
    assert made.read_bytes() == recording_of(path).read_bytes()


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recording_holds_no_key_and_is_played_for_a_real_model(path):
    recorded = json.loads(recording_of(path).read_text())["interactions"]
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if "%%loom" in cell.source]
    vendor = {interaction["request"]["model"].partition(":")[0] for interaction in recorded}
    assert vendor <= {"anthropic", "openai"}
    assert KEY not in recording_of(path).read_text()
    assert any(f"-m {one['request']['model']}" in cell for cell in cells for one in recorded)
    assert any("script played the vendor's part" in text for text in told_by(path)), "it says who speaks"


def told_by(path: Path) -> list[str]:
    return [" ".join(cell.source.split()) for cell in nbformat.read(path, as_version=4).cells]


def test_a_played_person_has_an_answer_to_each_prompt_and_no_more(tmp_path):
    """The player itself: what nobody answers, and what nobody asks for, is told."""

    def problems(source, *answers, tags=()):
        cell = nbformat.v4.new_code_cell(source, metadata={ANSWERS: list(answers), "tags": list(tags)})
        notebook = nbformat.v4.new_notebook(cells=[cell])
        return play(notebook, tmp_path, environment(tmp_path / "home")).problems

    assert problems("input('name? ')", "Ada") == []
    assert problems("input('name? ')") == ["cell 1 (input('name? ')): 'name? ' has no answer"]
    assert problems("1", "Ada") == ["cell 1 (1): nobody asked for ['Ada']"]
    assert problems("1 / 0") == ["cell 1 (1 / 0): raised ZeroDivisionError: division by zero"]
    assert problems("1", tags=["raises-exception"]) == ["cell 1 (1): was to raise and did not"]


def test_the_worked_examples_data_is_messy_in_the_ways_it_says():
    text = (ROOT / "notebooks" / "data" / "messy_sales.csv").read_text()
    lines = text.splitlines()
    assert len(lines) != len(set(lines))
    assert ",,,," in lines
    assert '"$1,200"' in text
    assert re.search(r", \w", text)
