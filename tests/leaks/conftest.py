"""One world for the channels that change nothing in it, and the table at the end of the run."""

from collections.abc import Iterator

import pytest

from tests.leaks.matrix import ROWS, table
from tests.leaks.world import World, world


@pytest.fixture(scope="package")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A broker that keeps a canary of each type."""
    with world(tmp_path_factory.mktemp("leaks")) as made:
        yield made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """With -s or -v: what was driven, and what was found."""
    config = terminalreporter.config
    if ROWS and (config.getoption("capture") == "no" or config.getoption("verbose") > 0):
        terminalreporter.section("leak matrix")
        terminalreporter.write_line(table(ROWS))
