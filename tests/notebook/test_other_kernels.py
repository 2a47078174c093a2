"""What cells and tools do in the newest ipykernel, they do in older ones too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.notebook.environments import OTHERS, environment_with

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TRIED = ("tests/notebook/test_kernel.py", "tests/notebook/test_tools_in_cells.py")
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("version", OTHERS)
def test_a_cell_behaves_the_same_in_an_older_ipykernel(version, tmp_path, capsys):
    python = environment_with(version, tmp_path / "environment")
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    environment["LOOM_TEST_KERNEL_PYTHON"] = str(python)
    command = [sys.executable, "-m", "pytest", "-q", "-rfP", *TRIED]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    (seen,) = [line for line in done.stdout.splitlines() if line.startswith("in the kernel: ")]
    assert seen == f"in the kernel: ipykernel {version}"
    with capsys.disabled():
        print(f"\n{seen}, {done.stdout.strip().splitlines()[-1].strip('= ')}")
