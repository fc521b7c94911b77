"""What a service is to the panel: a name, a place in the grid, and a way to find out how it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from fogpanel.parameters.parameter import Parameter
from fogpanel.parameters.store import current
from services.models import State


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured number. ``value`` is in ``unit``; None where there was nothing to measure."""

    label: str
    value: float | None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe measured. The first figure is the key figure, drawn as the sparkline."""

    state: State
    sentence: str
    figures: tuple[Figure, ...] = ()


Probe: TypeAlias = Callable[[datetime, datetime | None], Probed | None]
"""Given now and when it last had a result: does a step of measuring and returns at once, with None
while the measurement is still under way."""


@dataclass(frozen=True, slots=True)
class Service:
    slug: str
    title: str
    category: str
    icon: str  # of Lucide
    line: str  # what it does, in one line
    probe_every: float | Parameter  # seconds
    probe: Probe
    template: str  # of its page, which extends services/service.html
    page: Callable[[datetime], dict[str, Any]]  # what its page shows besides the card
    when_disabled: str = ""  # a sentence: what does not happen then, and what goes on
    restart: Callable[[], None] = lambda: None  # has its processes start over, once committed
    when_restarted: str = "It is probed at once."
    needs: tuple[str, ...] = ()  # slugs of the services without which it cannot do its job

    @property
    def probe_every_s(self) -> float:
        return current(self.probe_every)
