"""No test keeps anything in the home of whoever runs the tests, or finds there what another one keeps."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def home_of_this_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where sessions are kept that name no store: a folder of this process, also for what it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOM_NB_HOME", str(tmp_path_factory.mktemp("loom-home")))
        yield
