"""The limit of open files is raised as far as it may be, and few are said to be few."""

from __future__ import annotations

import subprocess
import sys

import pytest

SAY = """
import resource
from fogpanel.open_files import allow_many_agents
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
allow_many_agents()
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(("hard", "warns"), [(3000, True), (4096, False)])
def test_the_soft_limit_is_raised_to_the_hard_one(hard: int, warns: bool) -> None:
    """In a process of its own: a limit once lowered cannot be raised again."""
    said = subprocess.run(
        [sys.executable, "-c", SAY.format(soft=256, hard=hard)], check=True, capture_output=True, text=True
    ).stdout
    assert said.endswith(f"({hard}, {hard})\n")
    assert ("lets a process open 3000 files, enough for about 2000 agents" in said) == warns
