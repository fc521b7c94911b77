"""Where things are: the checkout, and what the supervisor keeps in a data folder."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_DATA = ROOT / "var"

VENDOR = ROOT / "static" / "vendor"
"""Front-end files that are fetched, never committed."""

COMPILED = Path(sys.prefix) / "share" / "fogagent"
"""Compiled WebAssembly. It fits exactly the wasmtime that is installed beside it."""


@dataclass(frozen=True)
class DataFolder:
    """One panel's data. Everything here is private to the user who runs it."""

    path: Path

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def running(self) -> Path:
        """What runs on this folder now, as JSON: see `fogpanel.supervisor.running`."""
        return self.path / "running.json"

    @property
    def broker(self) -> Path:
        return self.path / "broker"

    @property
    def agent_wheel(self) -> Path:
        return self.path / "agent"

    @property
    def static_files(self) -> Path:
        return self.path / "static"

    def agent(self, name: str) -> Path:
        return self.path / "agents" / name
