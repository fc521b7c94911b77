"""`./fog test`: the parts of the test suite, each a few commands, and what became of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from fogpanel.supervisor import extras, frontend
from fogpanel.supervisor.places import ROOT

Command = tuple[str, ...]

LINT_IMPORTS = "from importlinter.cli import lint_imports_command; lint_imports_command()"
PYTEST = ("-m", "pytest", "-q")
# Without Django, and so without the settings that pyproject.toml names for its plugin.
PURE = (
    *PYTEST,
    "-p",
    "no:django",
    "-o",
    "addopts=-ra --strict-markers",
    "-W",
    "ignore::pytest.PytestConfigWarning",
)


@dataclass(frozen=True)
class Part:
    """Commands for our Python. ``needs`` fetch what they need and return a sentence if they cannot."""

    commands: tuple[Command, ...]
    needs: tuple[Callable[[], str | None], ...] = ()
    by_default: bool = True


@dataclass(frozen=True)
class Outcome:
    part: str
    passed: bool
    seconds: float

    def __str__(self) -> str:
        return f"{self.part:8} {'passed' if self.passed else 'FAILED'} in {self.seconds:.0f} s"


def ensure_vendor_files() -> None:
    frontend.install()


PARTS = {
    "lint": Part(
        (
            ("-m", "ruff", "check"),
            ("-m", "ruff", "format", "--check"),
            ("-m", "mypy", "."),
            ("-c", LINT_IMPORTS),
        )
    ),
    "core": Part(((*PURE, "coordinator", "fogagent"),), needs=(extras.ensure_sandbox,)),
    "apps": Part(((*PYTEST, "fogpanel", "nodes", "tasks", "services"),), needs=(ensure_vendor_files,)),
    "system": Part(((*PYTEST, "e2e/system"),)),
    "e2e": Part(
        ((*PYTEST, "e2e", "--ignore", "e2e/system", "--ignore", "e2e/soak"),), needs=(extras.ensure_browser,)
    ),
    "soak": Part(((*PYTEST, "e2e/soak"),), by_default=False),
}


def run(chosen: str | None, scale: float) -> int:
    """Run one part, or all but the soak; 0 if everything passed.

    ``scale``: how much of the soak, 1 being the whole of it.
    """
    names = [chosen] if chosen else [name for name, part in PARTS.items() if part.by_default]
    outcomes = [run_part(name, scale) for name in names]
    print("", *outcomes, sep="\n", flush=True)
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def run_part(name: str, scale: float) -> Outcome:
    began = time.monotonic()
    part = PARTS[name]
    for need in part.needs:
        if lack := need():
            print(f"fog: {lack}", file=sys.stderr, flush=True)
    results = [run_command(name, command, scale) for command in part.commands]
    return Outcome(name, all(results), time.monotonic() - began)


def run_command(name: str, command: Command, scale: float) -> bool:
    print(f"\n=== {name}: {' '.join(command)}", flush=True)
    env = {**os.environ, "FOG_SOAK_SCALE": str(scale)}
    return subprocess.run([sys.executable, *command], cwd=ROOT, env=env).returncode == 0
