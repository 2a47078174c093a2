"""The `loom-nb` command, as a person types it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest

from loom_nb import cli
from loom_nb.cli import FIRST_LESSON, TUTORIAL_COPY, is_prompt, lab_command, main, plain_outputs

# A stand-in for the extension, so that these tests are about the command: it answers with the prompt.
ECHO = """
import os
def loom(line, cell):
    print(f"model {os.environ.get('LOOM_NB_MODEL')} heard: {cell.strip()}")
get_ipython().register_magic_function(loom, "cell", "loom")
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty working directory, and no settings of the person who runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LOOM_NB_") or name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LOOM_NB_HOME", str(tmp_path / "home"))
    (tmp_path / ".git").mkdir()  # the search for a project file ends here
    return tmp_path


def written(path: Path, *sources: str, **metadata) -> Path:
    node = nbformat.v4.new_notebook(metadata=metadata)
    node.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(node, path)
    return path


def test_run_prints_what_each_loom_cell_was_asked_and_answered_and_writes_the_notebook(here, capsys):
    notebook = written(
        here / "lessons" / "one.ipynb", ECHO, "%%loom -m offline\nhow many rows?", "print('quiet')"
    )

    code = main(["run", str(notebook)])

    told = capsys.readouterr().out
    assert code == 0
    assert "%%loom -m offline" in told
    assert told.index("how many rows?") < told.index("model None heard: how many rows?")
    assert "quiet" not in told
    assert "Executed notebook: executed/one.ipynb" in told
    assert "loom-nb lab" in told
    executed = nbformat.read("executed/one.ipynb", as_version=4)
    assert executed.cells[1].outputs[0].text == "model None heard: how many rows?\n"
    assert [cell.execution_count for cell in executed.cells] == [1, 2, 3]


def test_run_runs_beside_the_notebook_with_the_model_it_is_told(here, capsys):
    (here / "lessons").mkdir()
    (here / "lessons" / "rows.txt").write_text("3 rows")
    notebook = written(here / "lessons" / "one.ipynb", ECHO + "\nopen('rows.txt')", "%%loom\nhello")

    assert main(["run", str(notebook), "-m", "anthropic:some", "-o", "here.ipynb"]) == 0

    assert "model anthropic:some heard: hello" in capsys.readouterr().out
    assert Path("here.ipynb").is_file()


def test_a_cell_that_fails_ends_the_run_with_1_and_the_partial_notebook_is_written(here, capsys):
    notebook = written(here / "one.ipynb", "print('first')", "1 / 0", "print('never')")

    code = main(["run", str(notebook)])

    told = capsys.readouterr().out
    assert code == 1
    assert "Stopped: ZeroDivisionError: division by zero" in told
    assert "What ran until then: executed/one.ipynb" in told
    executed = nbformat.read("executed/one.ipynb", as_version=4)
    assert executed.cells[0].outputs[0].text == "first\n"
    assert executed.cells[1].outputs[0].ename == "ZeroDivisionError"
    assert not executed.cells[2].outputs


def test_a_cell_that_takes_too_long_and_a_kernel_that_dies_are_told(here, capsys):
    slow = written(here / "slow.ipynb", "import time; time.sleep(600)")
    assert main(["run", str(slow), "--cell-timeout", "0.5"]) == 1
    assert "a cell took longer than 1 s" in capsys.readouterr().out

    dead = written(here / "dead.ipynb", "import os; os._exit(3)")
    assert main(["run", str(dead)]) == 1
    assert "the kernel died" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is a signal to a process group here")
def test_ctrl_c_keeps_what_ran_and_ends_with_1(here):
    slow = "print('half', flush=True)\nopen('begun', 'w').close()\nimport time; time.sleep(600)"
    notebook = written(here / "slow.ipynb", "print('first')", slow, "print('never')")
    process = subprocess.Popen(
        [sys.executable, "-m", "loom_nb", "run", str(notebook)], stdout=subprocess.PIPE, text=True
    )
    with process:
        while not Path("begun").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "Stopped: KeyboardInterrupt" in told
    cells = nbformat.read("executed/slow.ipynb", as_version=4).cells
    assert cells[0].outputs[0].text == "first\n"
    assert cells[1].outputs[0].text == "half\n"
    assert not cells[2].outputs


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("gone.ipynb", None, "no notebook gone.ipynb"),
        ("text.ipynb", "hello", "text.ipynb is not a notebook"),
        ("empty.ipynb", "{}", "empty.ipynb is not a notebook"),
        ("bare.ipynb", '{"nbformat": 4, "nbformat_minor": 5}', "bare.ipynb is not a notebook"),
    ],
)
def test_what_is_no_notebook_is_a_mistake_of_use(name, content, told, capsys):
    if content is not None:
        Path(name).write_text(content)
    assert main(["run", name]) == 2
    assert told in capsys.readouterr().out


def test_a_notebook_of_another_language_is_refused(here, capsys):
    notebook = written(here / "r.ipynb", "1", kernelspec={"name": "ir", "display_name": "R", "language": "R"})
    assert main(["run", str(notebook)]) == 2
    assert "is a notebook for R" in capsys.readouterr().out


def test_the_kernel_is_this_python_whatever_python3_means_elsewhere(here, capsys, monkeypatch):
    fake = here / "jupyter" / "kernels" / "python3"
    fake.mkdir(parents=True)
    (fake / "kernel.json").write_text(
        json.dumps({"argv": ["false", "{connection_file}"], "display_name": "other", "language": "python"})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(here / "jupyter"))
    notebook = written(here / "one.ipynb", "import sys\nopen('which', 'w').write(sys.executable)")
    assert main(["run", str(notebook)]) == 0
    assert (here / "which").read_text() == sys.executable


@pytest.mark.parametrize(
    ("source", "kind", "expected"),
    [
        ("%%loom\nx", "code", True),
        ("\n# note\n%%loom -m offline\nx", "code", True),
        ("%%loomy\nx", "code", False),
        ("x\n%%loom", "code", False),
        ("%%loom\nx", "markdown", False),
    ],
)
def test_a_prompt_is_a_code_cell_that_starts_with_the_magic(source, kind, expected):
    cell = nbformat.v4.new_code_cell(source) if kind == "code" else nbformat.v4.new_markdown_cell(source)
    assert is_prompt(cell) is expected


def test_outputs_are_told_as_text_whatever_their_kind():
    cell = nbformat.v4.new_code_cell("x")
    cell.outputs = [
        nbformat.v4.new_output("stream", name="stdout", text="printed\n"),
        nbformat.v4.new_output("display_data", {"text/plain": "plain", "text/html": "<b>html</b>"}),
        nbformat.v4.new_output("display_data", {"image/png": ""}),
        nbformat.v4.new_output("error", ename="E", evalue="v", traceback=["line 1", "line 2"]),
    ]
    assert plain_outputs(cell) == ["printed", "plain", "line 1\nline 2"]


# --- lab ---------------------------------------------------------------------------------------------


def test_lab_opens_the_first_lesson_in_its_folder(here):
    (here / FIRST_LESSON).touch()
    command = lab_command(here, port=9999, browser=False)
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert f"--ServerApp.root_dir={here}" in command
    assert f"--LabApp.default_url=/lab/tree/{FIRST_LESSON}" in command
    assert "--ServerApp.port=9999" in command
    assert "--no-browser" in command

    plain = lab_command(here / "elsewhere")
    assert not any("port" in word or "browser" in word or FIRST_LESSON in word for word in plain)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def end_by_signal(server: subprocess.Popen[str]) -> None:
    """As a person does, more than once if need be: a server that is writing its log may lose the first."""
    try:
        for _ in range(12):
            server.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                server.communicate(timeout=10)
                return
        pytest.fail("it does not end")
    finally:
        server.kill()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_lab_serves_the_folder_on_its_port_and_a_signal_ends_all_of_it(here):
    (here / "lessons").mkdir()
    (here / "lessons" / FIRST_LESSON).write_text("{}")
    environment = os.environ | {name: str(here / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    for _ in range(3):  # a port may be taken between its choice and its use
        port = free_port()
        command = [sys.executable, "-m", "loom_nb", "lab", "lessons", "--no-browser", f"--port={port}"]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as lab:
            seen = []
            for line in lab.stdout:
                seen.append(line)
                if f":{port}/lab" in line:
                    break
            end_by_signal(lab)
        if "already in use" not in "".join(seen):
            break
    address = seen[-1]
    assert f"/lab/tree/{FIRST_LESSON}" in address
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_a_folder_that_is_not_there_is_a_mistake_of_use(capsys):
    assert main(["lab", "nowhere"]) == 2
    assert "no folder nowhere" in capsys.readouterr().out


def test_an_installed_tutorial_is_copied_once_and_edits_are_kept(here):
    shipped = here / "site" / "loom_nb" / "tutorial"
    (shipped / "data").mkdir(parents=True)
    (shipped / FIRST_LESSON).write_text("lesson")
    (shipped / "data" / "rows.csv").write_text("a,b")

    copy = cli.tutorial_folder(here, package=shipped.parent)
    assert copy == here / TUTORIAL_COPY
    (copy / FIRST_LESSON).write_text("edited")
    (copy / "data" / "rows.csv").unlink()
    cli.tutorial_folder(here, package=shipped.parent)

    assert (copy / FIRST_LESSON).read_text() == "edited"
    assert (copy / "data" / "rows.csv").read_text() == "a,b"


def test_the_source_tree_s_own_tutorial_is_opened_in_place(here):
    (here / "loom_nb").mkdir()
    (here / "tutorial").mkdir()
    (here / "tutorial" / FIRST_LESSON).touch()
    (here / "pyproject.toml").touch()
    assert cli.tutorial_folder(here / "w", package=here / "loom_nb") == here / "tutorial"


def test_without_a_tutorial_the_error_says_what_to_do(here):
    with pytest.raises(cli.SetupError, match="has no tutorial"):
        cli.tutorial_folder(here, package=here / "loom_nb")


def test_without_jupyterlab_the_error_names_the_extra(here):
    # a Python that sees loom_nb and rich, and no JupyterLab: its finder says there is none
    code = (
        "import sys\n"
        "class Blind:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'jupyterlab': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Blind())\n"
        "from loom_nb.cli import main\n"
        "sys.exit(main(['lab']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "JupyterLab is not installed" in done.stdout
    assert 'pip install "loom-nb[lab]"' in done.stdout


# --- runs and doctor ---------------------------------------------------------------------------------


def test_runs_says_that_there_are_none_and_makes_no_file(here, capsys):
    assert main(["runs"]) == 0
    assert "No runs in" in capsys.readouterr().out
    assert not (here / "home").exists()


async def test_runs_lists_what_was_run(here, capsys):
    from loom_nb import Agent, Model

    await Agent(Model.scripted(["It is done."])).run("clean the\n[table]")

    assert main(["runs"]) == 0
    told = capsys.readouterr().out
    assert "completed" in told
    assert "clean the [table]" in told


def test_doctor_is_content_with_the_offline_model(capsys, here):
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "doctor: 0 blocked" in told
    assert "JupyterLab" in told


def test_doctor_blocks_on_a_model_without_its_key_and_never_shows_one(monkeypatch, capsys):
    monkeypatch.setenv("LOOM_NB_MODEL", "anthropic:claude-x")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    assert main(["doctor"]) == 1
    told = capsys.readouterr().out
    assert "ANTHROPIC_API_KEY is not set" in told
    assert "OPENAI_API_KEY" in told
    assert "sk-secret" not in told


# --- the command as a whole ----------------------------------------------------------------------------


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("loom-nb 0.")


@pytest.mark.parametrize("arguments", [[], ["sing"], ["run"]])
def test_a_mistyped_command_ends_with_2_and_shows_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: loom-nb" in capsys.readouterr().err


def test_help_names_every_command_and_loads_no_heavy_library():
    code = (
        "import sys\nfrom loom_nb import cli\n"
        "try: cli.main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'rich.console', 'nbclient', 'IPython', 'pydantic', 'anthropic'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in ("lab", "run", "runs", "doctor"))


# --- scan


def test_a_scan_names_the_cell_and_the_way_out_and_ends_with_1_but_shows_no_secret(here, capsys):
    token = "ghp_" + "a1B2c3D4" * 5
    dirty, clean = written(here / "dirty.ipynb", "1", f"t = '{token}'"), written(here / "clean.ipynb", "1")

    assert main(["scan", str(clean)]) == 0
    assert capsys.readouterr().out == ""

    assert main(["scan", str(clean), str(dirty)]) == 1
    told = capsys.readouterr().out
    assert "dirty.ipynb: cell 2, source: GitHub token: t = 'ghp_" in told
    assert "%loom key set" in told
    assert token not in told


def test_a_scan_of_what_cannot_be_read_is_a_mistake_of_use(here, capsys):
    (here / "a.ipynb").write_text("not JSON")

    assert main(["scan", "a.ipynb"]) == 2
    assert main(["scan", "missing.ipynb"]) == 2
