"""Hours of bad luck in minutes: streams of tasks while one process after the other is killed."""

from __future__ import annotations

import os
import random
from pathlib import Path

import psutil
import pytest

from e2e.system.panel import Panel
from e2e.system.stream import Stream, check_streams

SCALE = float(os.environ.get("FOG_SOAK_SCALE", "1"))
TASKS = max(200, round(10_000 * SCALE))
CLIENTS = 2
KILL_EVERY = 100
"""Acknowledged tasks between two kills."""
GROWTH_MB = 200
"""How much more memory the panel's processes may hold at the end than after the first tenth."""

pytestmark = pytest.mark.soak


def test_nothing_is_lost_or_done_twice_whatever_is_killed(tmp_path: Path) -> None:
    chance = random.Random(20_260)
    with Panel(tmp_path, agents=5) as panel:
        streams = start_streams(panel)
        for killed in range(1, TASKS // KILL_EVERY):
            wait_for_together(streams, killed * KILL_EVERY)
            panel.kill(chance.choice([*panel.agents, "web", "worker", "beat", "broker"]))
        check_streams(panel, streams)


def test_a_long_stream_does_not_fill_the_memory(tmp_path: Path) -> None:
    with Panel(tmp_path, agents=2) as panel:
        streams = start_streams(panel)
        wait_for_together(streams, TASKS // 10)
        before = resident_mb(panel)
        check_streams(panel, streams)
        grown = {name: now - before[name] for name, now in resident_mb(panel).items()}
        assert max(grown.values()) < GROWTH_MB, grown


def start_streams(panel: Panel) -> list[Stream]:
    share = TASKS // CLIENTS
    streams = [Stream(panel, share, first=client * share) for client in range(CLIENTS)]
    for stream in streams:
        stream.start()
    return streams


def wait_for_together(streams: list[Stream], number: int) -> None:
    """Until they were acknowledged that many tasks, each its part."""
    for stream in streams:
        stream.wait_for(min(number // len(streams), stream.number))


def resident_mb(panel: Panel) -> dict[str, float]:
    return {name: psutil.Process(pid).memory_info().rss / 2**20 for name, pid in panel.pids().items()}
