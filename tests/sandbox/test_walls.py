"""Which places a child may reach."""

import sys
from pathlib import Path

import pytest

from loom_nb.errors import SetupError
from loom_nb.sandbox.walls import Walls, child_environment


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home" / "ann"
    for name in (".ssh", ".config", "project", ".local/share/jupyter/runtime", "py/bin", "runs"):
        (home / name).mkdir(parents=True)
    (home / ".netrc").write_text("password")
    return home


def around(root: Path, home: Path, **given) -> Walls:
    environ = {"HOME": str(home), "LOOM_NB_HOME": str(home / "runs"), "PATH": f"{home}/py/bin:/usr/bin"}
    return Walls.around(root, environ=environ, **given)


def test_no_key_of_the_environment_reaches_a_child():
    environ = {"PATH": "/bin", "LC_ALL": "C", "OPENAI_API_KEY": "sk", "JUPYTER_TOKEN": "t", "MINE": "m"}
    assert child_environment(environ) == {"PATH": "/bin", "LC_ALL": "C"}
    assert child_environment(environ, ["MINE", "NOT_SET"]) == {"PATH": "/bin", "LC_ALL": "C", "MINE": "m"}


def test_home_is_hidden_and_the_root_in_it_is_shown(home: Path):
    mounts = around(home / "project", home, writable=True).mounts()
    closed = [place for kind, place in mounts if kind == "empty"]
    assert any(place in (home, *home.parents) for place in closed)
    assert ("write", home / "project") in mounts
    assert ("read", home / "py" / "bin") in mounts
    assert not any(place == home / ".ssh" for _, place in mounts)  # hidden with home already


def test_a_root_that_is_the_home_itself_hides_what_is_secret_in_it(home: Path):
    mounts = around(home, home).mounts()
    assert ("read", home) in mounts
    for name in (".ssh", ".config", ".local/share/jupyter/runtime", "runs"):
        assert ("empty", home / name) in mounts
    assert ("blank", home / ".netrc") in mounts
    assert mounts.index(("read", home)) < mounts.index(("empty", home / ".ssh"))


def test_a_secret_that_is_a_link_is_hidden_where_it_leads(home: Path, tmp_path: Path):
    real = home / "project" / "keys"
    real.mkdir()
    (home / ".aws").symlink_to(real)
    assert ("empty", real) in around(home / "project", home).mounts()


@pytest.mark.parametrize("name", [".ssh", "runs", ".config", "runs/deeper"])
def test_a_root_where_keys_are_kept_is_refused(home: Path, name: str):
    (home / name).mkdir(exist_ok=True)
    with pytest.raises(SetupError, match="cannot be the root"):
        around(home / name, home)


def test_a_root_that_does_not_exist_is_refused(home: Path):
    with pytest.raises(SetupError, match="is no folder"):
        around(home / "nowhere", home)


def test_the_connection_file_of_this_kernel_is_secret_wherever_it_lies(home: Path, monkeypatch):
    file = home / "project" / "kernel-1234.json"
    file.write_text("{}")
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", str(file)])
    assert ("blank", file) in around(home / "project", home).mounts()


def test_a_folder_of_path_that_holds_everything_is_not_shown(home: Path):
    environ = {"HOME": str(home), "PATH": f"{home}:{home.parent}:{home}/.ssh"}
    walls = Walls.around(home / "project", environ=environ)
    assert not {home, home.parent, home / ".ssh"} & set(walls.readable)


def test_trees_that_hold_nothing_hidden_are_listed_whole(home: Path):
    (home / "data").mkdir()
    (home / "leads_out").symlink_to(home / ".ssh")
    trees = set(around(home, home).open_trees(home))
    assert {str(home / "data"), str(home / "project")} <= trees
    assert not trees & {str(home), str(home / ".ssh"), str(home / "leads_out"), str(home / ".netrc")}
    assert str(home / ".local") not in trees
