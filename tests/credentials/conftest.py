"""Each test of brokers stands alone: what the one before it used is not looked for in its texts."""

from collections.abc import Iterator

import pytest

from loom_nb.credentials.broker import client
from loom_nb.credentials.used_secrets import USED


@pytest.fixture(autouse=True)
def no_broker_of_another_test() -> Iterator[None]:
    yield
    client._BROKERS.clear()
    USED.in_use = False
