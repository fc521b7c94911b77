"""What this machine is and has, and how busy it is: measured, never assumed.

The one exception is the share: an owner may offer less (or, knowingly, more) than the machine has.
"""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from fogagent import __version__
from fogagent.messages import DriverFact, Facts, Heartbeat
from fogagent.nvml import gpus

MB = 1024 * 1024
CGROUP = Path("/sys/fs/cgroup")


def fingerprint(
    *,
    state_dir: Path,
    drivers: Sequence[DriverFact],
    cpu_millis: int | None = None,
    memory_mb: int | None = None,
    region: str = "",
    latitude: float | None = None,
    longitude: float | None = None,
    node_type: str = "compute_node",
    flags: Sequence[str] = ("compute",),
    labels: Mapping[str, str] | None = None,
) -> Facts:
    """The facts of this machine; ``cpu_millis`` and ``memory_mb`` are the owner's share of it.

    Disk is what is free where ``state_dir`` lives: that is where payloads and results go.
    """
    return Facts(
        hostname=socket.gethostname()[:200],
        platform=f"{platform.system()} {platform.machine()}"[:200],
        version=__version__,
        cpu_millis=cpu_millis or machine_cpu_millis(),
        memory_mb=memory_mb or machine_memory_mb(),
        disk_mb=psutil.disk_usage(str(state_dir)).free // MB,
        gpus=gpus(),
        drivers=list(drivers),
        region=region,
        latitude=latitude,
        longitude=longitude,
        node_type=node_type,
        flags=list(flags),
        labels=dict(labels or {}),
    )


def heartbeat_sample(
    *, at: float, running: int, state_dir: Path, round_trip_ms: float | None = None
) -> Heartbeat:
    """How busy the machine is now. CPU use is the mean since the last call; the first says 0."""
    memory = psutil.virtual_memory()
    return Heartbeat(
        at=at,
        cpu_percent=min(100.0, psutil.cpu_percent(interval=None)),
        memory_used_mb=(memory.total - memory.available) // MB,
        memory_total_mb=memory.total // MB,
        disk_free_mb=psutil.disk_usage(str(state_dir)).free // MB,
        load_1m=psutil.getloadavg()[0],
        running=running,
        uptime_s=max(0.0, at - psutil.boot_time()),
        round_trip_ms=round_trip_ms,
    )


def machine_cpu_millis(cgroup: Path = CGROUP) -> int:
    """The cores we may use, in thousandths: of the scheduler's mask, or less in a limited container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _limit(cgroup / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        return max(1, min(1000 * cores, 1000 * int(quota) // int(period)))
    return 1000 * cores


def machine_memory_mb(cgroup: Path = CGROUP) -> int:
    """The memory of the machine, or of the container where that is less."""
    total = psutil.virtual_memory().total
    limit = _limit(cgroup / "memory.max")
    return max(1, min(total, int(limit) if limit.isdigit() else total) // MB)


def _limit(path: Path) -> str:
    """What a control group's file says; "" where there is none (no container, or version 1)."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
