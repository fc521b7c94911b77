"""Every registered job is scheduled, and none that is gone."""

from __future__ import annotations

import pytest
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from fogpanel.beat import JobScheduler
from fogpanel.celery import app
from fogpanel.jobs import registry


@pytest.mark.django_db(transaction=True)  # the scheduler looks after its connection itself
def test_the_schedule_is_what_is_registered() -> None:
    every_second = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.SECONDS)
    PeriodicTask.objects.create(name="gone", task="nodes.jobs.gone", queue="clock", interval=every_second)
    JobScheduler(app=app)
    scheduled = {task.name: task.queue for task in PeriodicTask.objects.filter(queue__in=["clock", "work"])}
    assert scheduled == {job.name: job.queue for job in registry.values()}
    assert "nodes.jobs.sweep_heartbeats" in scheduled
