"""Makes a test somebody who may not write everything: root may, whatever a folder says."""

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534


@contextmanager
def usual_user() -> Iterator[Path]:
    """Within it files are refused as to other people; gives a folder of its own that everybody may enter."""
    if os.name != "posix":
        pytest.skip("folders are shut otherwise here")
    ThreadPoolExecutor(1).shutdown()  # imported before, for the Python of root may be for root alone
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        root = os.geteuid() == 0
        if root:
            os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            if root:
                os.seteuid(0)
