"""The folder in which the workers of one pool have their scratch directories."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import psutil


class Scratch:
    """Several pools, even in one process, may share a cache directory: each has a folder of its own there."""

    def __init__(self, cache_dir: Path) -> None:
        self._of_all = cache_dir / "scratch"
        self.folder = self._of_all / f"{os.getpid()}-{id(self):x}"
        self._numbers = itertools.count(1)

    def next(self) -> Path:
        """For another worker, which makes it."""
        return self.folder / str(next(self._numbers))

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def remove_stale(self) -> None:
        """Remove what agents left behind that were killed."""
        for path in self._of_all.glob("*-*"):
            if not psutil.pid_exists(int(path.name.partition("-")[0])):
                shutil.rmtree(path, ignore_errors=True)
