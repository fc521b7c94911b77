"""Beat's schedule: the registered jobs, whatever the database remembers of earlier versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from django.db import DatabaseError
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler

from fogpanel.jobs import registry

log = structlog.get_logger(__name__)

QUEUES = ("clock", "work")


class JobScheduler(DatabaseScheduler):  # type: ignore[misc]
    """Named by `settings.CELERY_BEAT_SCHEDULER`."""

    _planned: Mapping[str, float] = {}

    def setup_schedule(self) -> None:
        """Store the jobs' intervals, and forget jobs that are gone: they must not stay for ever.

        A message that was not taken within one interval expires, since the next one says the same.
        """
        self.app.loader.import_default_modules()
        PeriodicTask.objects.filter(queue__in=QUEUES).exclude(name__in=registry).delete()
        self._plan(_intervals())

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        """Follow intervals that are parameters before doing what is due."""
        self.follow_parameters()
        return super().tick(*args, **kwargs)

    def follow_parameters(self) -> None:
        """Plan anew those jobs whose interval was changed."""
        try:
            intervals = _intervals().items()
            changed = {name: every_s for name, every_s in intervals if every_s != self._planned[name]}
            if changed:
                self._plan(changed)
        except DatabaseError as error:
            log.warning("Intervals cannot be read; keeping those known", error=str(error))

    def _plan(self, intervals: dict[str, float]) -> None:
        self.update_from_dict({name: _entry(name, every_s) for name, every_s in intervals.items()})
        self._planned = {**self._planned, **intervals}


def _intervals() -> dict[str, float]:
    return {job.name: job.every_s for job in registry.values()}


def _entry(name: str, every_s: float) -> dict[str, Any]:
    return {
        "task": name,
        "schedule": every_s,
        "options": {"queue": registry[name].queue, "expires": max(1, round(every_s))},
    }
