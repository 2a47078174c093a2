"""No test keeps anything in the home of whoever runs the tests, or finds there what another one keeps."""

import gc
import os
import sys
from collections.abc import Iterator

import pytest

from loom_nb.credentials.used_secrets import USED


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Ten thousand tests are half a gigabyte that stays: no garbage collection looks through it for each test."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def home_of_this_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where sessions are kept that name no store: a folder of this process, also for what it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOM_NB_HOME", str(tmp_path_factory.mktemp("loom-home")))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_key_of_this_machine() -> Iterator[None]:
    """No model is reached with a key of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.endswith("_API_KEY") or name == "LOOM_NB_MODEL"]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="module", autouse=True)
def no_secret_of_other_tests() -> Iterator[None]:
    """What the brokers of one file have used is looked for in the sessions of that file, and of no other."""
    yield
    client = sys.modules.get("loom_nb.credentials.broker.client")
    if client is not None:
        client._BROKERS.clear()
        client._AT.clear()
        USED.in_use = False
