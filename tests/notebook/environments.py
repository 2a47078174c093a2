"""Throwaway environments with another ipykernel; all else is what the tests themselves run with."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

OTHERS = ("6.31.0", "7.3.0")
"""The last of the 6s, and the last that holds clicks back; the tests' own is newer."""

_NEEDS = ("psutil", "nest-asyncio")
"""What these import and the newest ipykernel does not."""


def environment_with(ipykernel: str, folder: Path) -> Path:
    """Make an environment whose ipykernel is of this version; its Python.

    Raises:
        RuntimeError: it could not be installed.
    """
    uv = _uv()
    _call([sys.executable, "-m", "venv", *(["--without-pip"] if uv else []), str(folder)])
    scripts, name = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    python = folder / scripts / name
    install = (
        [*uv, "pip", "install", "--python", str(python)] if uv else [str(python), "-m", "pip", "install"]
    )
    _call([*install, "--quiet", "--no-deps", f"ipykernel=={ipykernel}", *_NEEDS])
    ours = sysconfig.get_path("purelib")
    theirs = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    # behind its own packages, and with the .pth files in it: that is where an editable install is
    (theirs / "all_else.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    return python


def _uv() -> list[str]:
    """The command uv, or nothing where there is none."""
    if importlib.util.find_spec("uv"):
        return [sys.executable, "-m", "uv"]
    beside = Path(sys.executable).parent  # where the README's command puts it
    found = os.environ.get("UV") or shutil.which("uv", path=beside) or shutil.which("uv")
    return [found] if found else []


def _call(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
