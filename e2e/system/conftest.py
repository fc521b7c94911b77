"""One panel for all tests that leave it as they found it; those that do not start their own."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from e2e.system.cluster import Cluster
from e2e.system.panel import Panel


@pytest.fixture(scope="session")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    with Panel(tmp_path_factory.mktemp("panel")) as started:
        yield started


@pytest.fixture(autouse=True)
def tell_the_log(request: pytest.FixtureRequest) -> Iterator[None]:
    """What the processes said goes with a failure."""
    yield
    if request.node.stash.get(FAILED, False):
        for given in request.node.funcargs.values():
            started = getattr(given, "panel", given)  # what a fog is of
            if isinstance(started, Panel | Cluster):
                print(started.tail(20_000))


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report
