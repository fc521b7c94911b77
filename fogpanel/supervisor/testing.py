"""`./fog test`: the parts of the test suite, each a few commands, and what became of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from fogpanel.supervisor import extras, frontend, postgres
from fogpanel.supervisor.places import ROOT

Command = tuple[str, ...]

LINT_IMPORTS = "from importlinter.cli import lint_imports_command; lint_imports_command()"
PYTEST = ("-m", "pytest", "-q")
APPS = ("fogpanel", "nodes", "tasks", "services")
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
    """Commands for our Python. ``needs`` fetch what they need and return a sentence if they cannot.

    ``on_postgres`` are run with a database on a throw-away server, where PostgreSQL is to be had.
    """

    commands: tuple[Command, ...]
    on_postgres: tuple[Command, ...] = ()
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
    "apps": Part(
        ((*PYTEST, *APPS),),
        on_postgres=((*PYTEST, *APPS, "--ignore-glob", "*/test_supervisor_*"),),
        needs=(ensure_vendor_files, extras.ensure_postgres),
    ),
    "system": Part(((*PYTEST, "e2e/system"),), needs=(extras.ensure_broker, extras.ensure_postgres)),
    "e2e": Part(
        ((*PYTEST, "e2e", "--ignore", "e2e/system", "--ignore", "e2e/soak"),), needs=(extras.ensure_browser,)
    ),
    "soak": Part(
        ((*PYTEST, "e2e/soak"),), needs=(extras.ensure_broker, extras.ensure_postgres), by_default=False
    ),
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
    env = {"FOG_SOAK_SCALE": str(scale)}
    results = [run_command(name, command, env) for command in part.commands]
    if part.on_postgres:
        results += run_on_postgres(f"{name} on PostgreSQL", part.on_postgres, env)
    return Outcome(name, all(results), time.monotonic() - began)


def run_on_postgres(title: str, commands: tuple[Command, ...], env: dict[str, str]) -> list[bool]:
    with postgres.throw_away() as server:
        if server is None:
            print(f"\n=== {title}: skipped, PostgreSQL is not installed", flush=True)
            return []
        return [run_command(title, command, {**env, "DATABASE_URL": server.url}) for command in commands]


def run_command(title: str, command: Command, env: dict[str, str]) -> bool:
    print(f"\n=== {title}: {' '.join(command)}", flush=True)
    # Importing the project named its settings to us; the tests without Django must not hear of them.
    ours = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return subprocess.run([sys.executable, *command], cwd=ROOT, env={**ours, **env}).returncode == 0
