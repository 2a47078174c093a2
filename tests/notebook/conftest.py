"""A plain IPython shell with the extension loaded, for the tests of this folder that need no kernel."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from tests.notebook.shells import ASK, TOOL


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """A shell whose home is this test's folder and whose model is the offline one."""
    monkeypatch.setenv("LOOM_NB_HOME", str(tmp_path))
    monkeypatch.setenv("LOOM_NB_RENDER", "plain")
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "LOOM_NB_MODEL"):
        monkeypatch.delenv(name, raising=False)
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    one = InteractiveShell.instance(config=config)
    one.run_cell("%load_ext loom_nb")
    yield one
    one.run_cell("%unload_ext loom_nb")
    one.reset(new_session=True)
    InteractiveShell.clear_instance()


@pytest.fixture
def talk(shell: InteractiveShell) -> InteractiveShell:
    """A conversation of three prompts: m1 to m12."""
    for cell in (TOOL, *(ASK.format(page) for page in (1, 2, 3))):
        assert shell.run_cell(cell).success
    return shell
