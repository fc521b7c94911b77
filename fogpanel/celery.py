"""Celery: two queues, `clock` for sweeps and probes, `work` for what takes long.

`celery -A fogpanel` finds ``app`` here. Beat's schedule is made from the registered jobs; a message
that was not taken within one interval expires, since the next one says the same.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import beat_init, setup_logging, worker_ready

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fogpanel.settings")

app = Celery("fogpanel")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(related_name="jobs")


@app.on_after_finalize.connect
def schedule_jobs(sender: Celery, **_: Any) -> None:
    sender.loader.import_default_modules()
    from fogpanel.jobs import registry

    sender.conf.beat_schedule = {
        job.name: {
            "task": job.name,
            "schedule": job.every_s,
            "options": {"queue": job.queue, "expires": max(1, job.every_s)},
        }
        for job in registry.values()
    }


@setup_logging.connect
def keep_our_logging(**_: Any) -> None:
    """Receiving this signal is what stops Celery from setting logging up itself."""


@worker_ready.connect
def carry_wakes(**_: Any) -> None:
    from fogpanel import wakes

    wakes.start()


@beat_init.connect
def drop_jobs_that_are_gone(**_: Any) -> None:
    """The schedule is stored in the database; a job that was renamed must not stay there for ever."""
    from django_celery_beat.models import PeriodicTask

    from fogpanel.jobs import registry

    PeriodicTask.objects.filter(task__regex=r"\.jobs\.").exclude(name__in=registry).delete()
