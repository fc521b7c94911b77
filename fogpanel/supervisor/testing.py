"""`./fog test`: the parts of the test suite, each a few commands, and what became of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from fogpanel.supervisor.places import ROOT

PYTEST = ("pytest", "-q")
NO_DJANGO = ("-p", "no:django", "-o", "DJANGO_SETTINGS_MODULE=")

PARTS: dict[str, list[Sequence[str]]] = {
    "lint": [("ruff", "check"), ("mypy", "."), ("importlinter.cli", "lint")],
    "core": [(*PYTEST, *NO_DJANGO, "coordinator", "fogagent")],
    "apps": [(*PYTEST, "fogpanel", "nodes", "tasks", "services")],
    "system": [(*PYTEST, "e2e/system")],
    "e2e": [(*PYTEST, "e2e", "--ignore=e2e/system", "--ignore=e2e/soak")],
    "soak": [(*PYTEST, "e2e/soak")],
}
NOT_BY_DEFAULT = {"soak"}


@dataclass(frozen=True)
class Outcome:
    part: str
    passed: bool
    seconds: float


def run(part: str | None, scale: float) -> int:
    """Run one part, or all but the soak; 0 if everything passed."""
    chosen = [part] if part else [name for name in PARTS if name not in NOT_BY_DEFAULT]
    outcomes = [run_part(name, scale) for name in chosen]
    print()
    for outcome in outcomes:
        print(f"{outcome.part:8} {'passed' if outcome.passed else 'FAILED'} in {outcome.seconds:.0f} s")
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def run_part(name: str, scale: float) -> Outcome:
    began = time.monotonic()
    passed = True
    for command in PARTS[name]:
        print(f"\n=== {name}: {' '.join(command)}", flush=True)
        passed = run_command(command, scale) and passed
    return Outcome(name, passed, time.monotonic() - began)


def run_command(command: Sequence[str], scale: float) -> bool:
    env = {**os.environ, "FOG_SOAK_SCALE": str(scale)}
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=env).returncode == 0
