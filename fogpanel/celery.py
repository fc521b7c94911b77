"""Celery: two queues, `clock` for sweeps and probes, `work` for what takes long.

`celery -A fogpanel` finds ``app`` here. Beat's schedule is made from the registered jobs by
`fogpanel.beat`.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_ready

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fogpanel.settings")

app = Celery("fogpanel")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(related_name="jobs")


@setup_logging.connect
def keep_our_logging(**_: Any) -> None:
    """Receiving this signal is what stops Celery from setting logging up itself."""


@worker_ready.connect
def carry_wakes(**_: Any) -> None:
    from fogpanel import wakes

    wakes.start()
