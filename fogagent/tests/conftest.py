"""What several test modules of the agent need."""

from __future__ import annotations

from pathlib import Path

import pytest

from fogagent.drivers import command
from fogagent.drivers.prepare import prepare
from fogagent.tests.driven import Driven, connected


@pytest.fixture(scope="session")
def driver_cache(pytestconfig: pytest.Config) -> Path:
    """A cache with the Python interpreter compiled: seconds the first time, kept between test runs."""
    directory = pytestconfig.cache.mkdir("fogagent-drivers") / "compiled"
    prepare(directory)
    return directory


@pytest.fixture(scope="session")
def sandbox_works() -> bool:
    """Whether commands can be tested here: bubblewrap is there, and may make namespaces."""
    return command.why_unusable() == ""


@pytest.fixture
def agent() -> Driven:
    """A state machine that is connected."""
    return connected()
