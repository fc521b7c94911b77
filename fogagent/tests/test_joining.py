"""What an agent asks of the operating system before it does anything else."""

from __future__ import annotations

import subprocess
import sys

import pytest

SAY = """
import resource
from fogagent.joining import allow_many_connections
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
allow_many_connections()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(("soft", "hard", "then"), [(256, 1000, 1000), (256, 6000, 4096), (5000, 6000, 5000)])
def test_an_agent_may_open_more_files_than_a_process_usually_may(soft: int, hard: int, then: int) -> None:
    """In a process of its own: a limit once lowered cannot be raised again."""
    said = subprocess.run(
        [sys.executable, "-c", SAY.format(soft=soft, hard=hard)], check=True, capture_output=True, text=True
    ).stdout
    assert said.split() == [str(then), str(hard)]
