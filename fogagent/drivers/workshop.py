"""What a worker has at hand for the drivers: compiled modules, a scratch directory, captured streams."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fogagent.drivers.base import Job, Permissions
from fogagent.drivers.capture import Capture
from fogagent.drivers.engine import ModuleCache
from fogagent.drivers.wire import Setup


class Workshop:
    """One a worker. The scratch directory is the worker's alone; the pool removes it."""

    def __init__(self, setup: Setup) -> None:
        self.permissions: Permissions = setup.permissions
        self.agent_pid = setup.agent_pid
        self.capture = Capture()
        self.modules = ModuleCache(Path(setup.cache_dir))
        self._scratch = Path(setup.scratch)

    @contextmanager
    def stdin_file(self, job: Job) -> Iterator[Path | None]:
        """The job's standard input as a file, or None where it has none."""
        if not job.stdin:
            yield None
        elif job.sealed:
            with memory_file(job.stdin) as path:
                yield path
        else:
            path = self._scratch / "stdin"
            path.write_bytes(job.stdin)
            yield path

    def visible_directory(self, name: str, content: bytes) -> Path:
        """A directory with this one file in it, to be shown to a program read-only."""
        directory = self._scratch / "visible"
        directory.mkdir(mode=0o700, exist_ok=True)
        (directory / name).write_bytes(content)
        return directory


@contextmanager
def memory_file(content: bytes) -> Iterator[Path]:
    """A file that is on no disk, for as long as the context lasts."""
    with os.fdopen(os.memfd_create("fogagent"), "wb") as file:
        file.write(content)
        file.flush()
        yield Path(f"/proc/self/fd/{file.fileno()}")
