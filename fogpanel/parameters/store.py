"""Reading parameters. The database is the truth; each process keeps a copy that is some seconds old at most.

A change wakes the copies of all processes. A wake that is lost, or a process that hears none, costs
`STALE_S`. While the database does not answer, the last copy is what there is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import InterfaceError, OperationalError

from fogpanel.models import ParameterValue
from fogpanel.parameters.parameter import Parameter
from fogpanel.wakes import Key, on_wake, wake

STALE_S = 3.0
WAKE = "parameters"


class Copy:
    """The rows as they were read last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: Mapping[str, float] | None = None
        self._read_at = 0.0

    def values(self, now: float) -> Mapping[str, float]:
        """Values by name, of parameters that are not at their default; ``now`` never goes back."""
        with self._lock:
            if self._values is not None and now - self._read_at < STALE_S:
                return self._values
            # Noted before the rows are read: a change that comes meanwhile makes the copy old again.
            self._read_at = now
            before = self._values
        try:
            values = stored_values()
        except (OperationalError, InterfaceError):
            if before is None:
                raise
            return before
        with self._lock:
            self._values = values
        return values

    def forget(self, _: frozenset[Key] = frozenset()) -> None:
        with self._lock:
            self._read_at = float("-inf")


def stored_values() -> dict[str, float]:
    rows = ParameterValue.objects.values_list("name", "value")
    return {name: value for name, value in rows if value is not None}


def current(parameter: Parameter | float) -> float:
    """What the parameter is worth now; a plain number is worth itself."""
    if not isinstance(parameter, Parameter):
        return parameter
    return copy.values(time.monotonic()).get(parameter.name, parameter.default)


def changed_since(parameter: Parameter, moment: datetime) -> bool:
    """Whether somebody may have read it since then as it is no more."""
    since = moment - timedelta(seconds=STALE_S)
    return ParameterValue.objects.filter(name=parameter.name, changed_at__gte=since).exists()


def tell_all() -> None:
    """Have every process read anew once the present transaction is committed."""
    wake(WAKE)


copy = Copy()
on_wake(WAKE, copy.forget)
