"""Beat's schedule: the registered jobs, whatever the database remembers of earlier versions."""

from __future__ import annotations

from typing import Any

from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler

from fogpanel.jobs import registry

QUEUES = ("clock", "work")


class JobScheduler(DatabaseScheduler):  # type: ignore[misc]
    """Named by `settings.CELERY_BEAT_SCHEDULER`."""

    def setup_schedule(self) -> None:
        """Store the jobs' intervals, and forget jobs that are gone: they must not stay for ever.

        A message that was not taken within one interval expires, since the next one says the same.
        """
        self.app.loader.import_default_modules()
        PeriodicTask.objects.filter(queue__in=QUEUES).exclude(name__in=registry).delete()
        self.update_from_dict({job.name: _entry(job.name) for job in registry.values()})


def _entry(name: str) -> dict[str, Any]:
    job = registry[name]
    return {
        "task": job.name,
        "schedule": job.every_s,
        "options": {"queue": job.queue, "expires": max(1, round(job.every_s))},
    }
