"""Starts one Jupyter server and one Chromium for the tests of this folder."""

import functools
import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.browser import lab as harness
from tests.notebook.environments import environment_with

FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Remember a failure, so that the fixture takes a screenshot while the page is still open."""
    report = yield
    if report.failed and call.when == "call":
        item.stash[FAILED] = True
    return report


# Not for the session: Playwright's loop occupies the thread, and the async tests elsewhere need it free.
@pytest.fixture(scope="package")
def jupyter_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[harness.Server]:
    """One JupyterLab 4 and Notebook 7 for all tests."""
    with harness.server(tmp_path_factory.mktemp("jupyter")) as running:
        yield running


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """One headless Chromium for all tests."""
    with harness.browser() as opened:
        yield opened


@pytest.fixture(scope="package")
def profile(chromium: Browser) -> Iterator[BrowserContext]:
    """What all pages share: JupyterLab's code is fetched and compiled once, not for each test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    yield context
    context.close()


@pytest.fixture(scope="package")
def older_kernel(
    jupyter_server: harness.Server, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], str]:
    """Gives the name of a kernel with this version of ipykernel; made when it is first asked for."""

    @functools.cache
    def named(version: str) -> str:
        name = f"ipykernel-{version}"
        python = environment_with(version, tmp_path_factory.mktemp(name) / "environment")
        jupyter_server.add_kernel(name, python)
        return name

    return named


@pytest.fixture
def lab(
    request: pytest.FixtureRequest, jupyter_server: harness.Server, profile: BrowserContext
) -> Iterator[harness.Lab]:
    """No page is open and nothing is stored; page errors and foreign requests fail the test."""
    name = re.sub(r"\W+", "-", request.node.name).strip("-")
    opened = harness.Lab(jupyter_server, profile, name)
    try:
        yield opened
        if request.node.stash.get(FAILED, False):
            opened.screenshot_all(f"failed-{name}")
    finally:
        opened.forget()
        jupyter_server.tidy()
    assert not opened.problems, "\n".join(opened.problems)


@pytest.fixture
def whole_lab(jupyter_server: harness.Server, lab: harness.Lab) -> harness.Lab:
    """The same, with all parts of JupyterLab as it is installed."""
    jupyter_server.offer(everything=True)
    return lab
