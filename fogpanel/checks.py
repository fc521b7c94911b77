"""System checks: settings that break a rule are all named by one `manage.py check`."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from fogpanel import env


@register()
def environment_values(**_: Any) -> list[CheckMessage]:
    return [Error(problem, id="fogpanel.E001") for problem in env.problems]


@register()
def heartbeat_rule(**_: Any) -> list[CheckMessage]:
    """A node must be able to miss one beat without being taken for dead."""
    if settings.HEARTBEAT_TIMEOUT_S >= 2 * settings.HEARTBEAT_S:
        return []
    return [
        Error(
            "FOGPANEL_TIMEOUT_S: must be at least twice FOGPANEL_HEARTBEAT_S "
            f"({settings.HEARTBEAT_S:g} s), was {settings.HEARTBEAT_TIMEOUT_S:g} s.",
            id="fogpanel.E002",
        )
    ]
