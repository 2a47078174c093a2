"""The wheel carries every asset: types, the widget's scripts, the lab extension, the lessons."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_wheel_carries_every_asset_and_nothing_else(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)],
        capture_output=True, text=True, check=True, timeout=280,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()

    source = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "loom_nb").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    lessons = {
        f"loom_nb/{path.relative_to(ROOT)}"
        for kind in ("*.ipynb", "*.loom-replay.json")
        for path in (ROOT / "tutorial").glob(kind)
    }
    assert lessons
    packaged = {name for name in names if name.startswith("loom_nb/")}
    assert packaged == source | lessons
    assert "loom_nb/py.typed" in packaged
    data = {name.split(".data/data/", 1)[1] for name in names if ".data/data/" in name}
    shipped = {
        str(path.relative_to(ROOT / "loom_nb/notebook/labextension"))
        for path in (ROOT / "loom_nb/notebook/labextension").rglob("*")
        if path.is_file()
    }
    assert data == {f"share/jupyter/labextensions/loom-nb/{name}" for name in shipped}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith("tests/") for name in names)
