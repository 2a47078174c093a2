"""How the tests are dealt out to several processes: `pytest -n auto --dist loadgroup`.

Kernels choose free ports some time before they bind them, so that two that start at once may choose the
same: all tests that start kernels are one group. Any other file is a group of its own.
"""

import re
from functools import cache
from pathlib import Path

import pytest

_STARTS_KERNELS = re.compile(
    r"tests\.(?:notebook\.kernels|played)|KernelManager|nbclient|compare_notebook|nbval|\"run\""
)


@cache
def _group(path: Path) -> str:
    starts = _STARTS_KERNELS.search(path.read_text(encoding="utf-8"))
    return "kernels" if starts else path.stem


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its group."""
    for item in items:
        if item.path.suffix == ".py":
            item.add_marker(pytest.mark.xdist_group(_group(item.path)))
