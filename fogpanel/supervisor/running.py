"""One supervisor a data folder, and a file that tells others what it runs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from fogpanel.supervisor.broker import write_private
from fogpanel.supervisor.places import DataFolder
from fogpanel.supervisor.problems import CannotStart


@dataclass(frozen=True)
class Running:
    """What runs on a data folder. ``children``: name → process id, or None while it is down."""

    pid: int
    url: str
    broker_url: str
    ready: bool = False
    children: dict[str, int | None] = field(default_factory=dict)


def read_running(data: DataFolder) -> Running | None:
    """What the last supervisor on this folder wrote; it may be gone by now: see `is_running`."""
    try:
        return Running(**json.loads(data.running.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write_running(data: DataFolder, running: Running) -> None:
    write_private(data.running, json.dumps(asdict(running), indent=2) + "\n")


@contextlib.contextmanager
def sole_supervisor(data: DataFolder) -> Iterator[None]:
    """Hold the folder's lock, which the kernel gives back however this process ends.

    Raises:
        CannotStart: another supervisor holds it, or the folder cannot be written.
    """
    try:
        data.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(data.lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise CannotStart(f"Cannot write to the data folder {data.path}: {error.strerror}.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise CannotStart(already_running(data)) from None
    try:
        yield
    finally:
        data.running.unlink(missing_ok=True)
        os.close(lock)


def is_running(data: DataFolder) -> bool:
    """Whether a supervisor holds the folder now."""
    try:
        lock = os.open(data.lock, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def already_running(data: DataFolder) -> str:
    running = read_running(data)
    where = f" at {running.url} (process {running.pid})" if running else ""
    return f"A panel already runs on {data.path}{where}; open it, or stop it first, or choose another --data."
