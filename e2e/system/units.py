"""The commands of docs/deploy/*.service, so that tests start what the deployment guide tells people to."""

from __future__ import annotations

import shlex
import sys

from fogpanel.supervisor.places import ROOT

UNITS = ROOT / "docs" / "deploy"
INSTALLED_PYTHON = "/opt/fogpanel/.venv/bin/python"
DOCUMENTED_PORT = "8000"


def unit(name: str) -> dict[str, list[str]]:
    """The settings of a unit file, each with its values in order."""
    settings: dict[str, list[str]] = {}
    for line in (UNITS / f"{name}.service").read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals:
            settings.setdefault(key, []).append(value)
    return settings


def command(name: str, port: int) -> list[str]:
    """What the unit starts, in this checkout and on another port."""
    (line,) = unit(name)["ExecStart"]
    first, *rest = shlex.split(line)
    assert first == INSTALLED_PYTHON, f"{name}: {first}"
    return [sys.executable, *(str(port) if word == DOCUMENTED_PORT else word for word in rest)]


def environment(name: str) -> dict[str, str]:
    """What the unit itself sets; the rest is in the environment file."""
    words = [word for line in unit(name).get("Environment", []) for word in shlex.split(line)]
    return dict(word.split("=", 1) for word in words)
