"""Typed reading of environment variables.

A value that breaks its rule is not raised where it is read, half-way through the settings: it is
collected here and reported by `manage.py check` (ids `fogpanel.E0xx`), so one run names them all.
"""

from __future__ import annotations

import os

problems: list[str] = []


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def names(name: str) -> list[str]:
    """A comma-separated list; empty parts are dropped."""
    return [part.strip() for part in os.environ.get(name, "").split(",") if part.strip()]


def flag(name: str, default: bool = False) -> bool:
    raw = text(name).lower()
    if raw in {"1", "true", "yes", "on"}:
        return True
    if raw in {"0", "false", "no", "off"}:
        return False
    if raw:
        problems.append(f"{name}: must be 1 or 0, was {raw!r}.")
    return default


def number(name: str, default: float, *, least: float, most: float) -> float:
    raw = text(name)
    if not raw:
        return default
    try:
        value = float(raw)
    except ValueError:
        problems.append(f"{name}: must be a number, was {raw!r}.")
        return default
    if not least <= value <= most:
        problems.append(f"{name}: must be between {least:g} and {most:g}, was {value:g}.")
        return default
    return value
