"""Run as ``python -m bench.fleet_rows``: fills a data folder's database with nodes, or times the sweep.

A process of its own, since Django is told once which database is meant.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fogpanel.settings")
django.setup()

from django.db import connection, transaction  # noqa: E402
from django.utils import timezone  # noqa: E402

from bench.crowd import FACTS, identity  # noqa: E402
from nodes.jobs import lose_silent_nodes  # noqa: E402
from nodes.models import Node  # noqa: E402

AT_ONCE = 500
RUNS = 11
LONG_AGO = timedelta(hours=1)

PLAIN_EVENTS = """
INSERT INTO fogpanel_event (at, level, kind, sentence, actor_name, subject_kind, subject_id)
SELECT %s, 'warning', 'node.lost', name || ' is offline', '', 'node', id FROM nodes_node
WHERE gone_at IS NULL AND archived_at IS NULL AND deadline_at < %s
"""
PLAIN_NODES = """
UPDATE nodes_node SET gone_at = %s, changed_at = %s, connected = FALSE
WHERE gone_at IS NULL AND archived_at IS NULL AND deadline_at < %s
"""


def enrol(numbers: Sequence[int], now: datetime) -> None:
    """The nodes of simulated agents, as if they had joined and been approved."""
    for start in range(0, len(numbers), AT_ONCE):
        Node.objects.bulk_create(node(number, now) for number in numbers[start : start + AT_ONCE])


def node(number: int, now: datetime) -> Node:
    keys = identity(number)
    return Node(
        name=f"simulated-{number}",
        public_key=keys.public_key.hex(),
        sealing_key=keys.sealing_key.hex(),
        approved_at=now,
        cpu_millis=FACTS.cpu_millis,
        memory_mb=FACTS.memory_mb,
        disk_mb=FACTS.disk_mb,
        free_cpu_millis=FACTS.cpu_millis,
        free_memory_mb=FACTS.memory_mb,
        free_disk_mb=FACTS.disk_mb,
        last_contact_at=now,
        deadline_at=now + timedelta(hours=1),
    )


def sweep_ms(silent: int) -> float:
    """Median time of a sweep that finds ``silent`` nodes past their deadline and stores their loss."""
    return statistics.median(
        _timed_ms(silent, lambda now: lose_silent_nodes(now, now - LONG_AGO)) for _ in range(RUNS)
    )


def bare_sweep_ms(silent: int) -> float:
    """The least that could be done: nodes and events written by two statements in one commit."""
    return statistics.median(_timed_ms(silent, _lose_in_plain_sql) for _ in range(RUNS))


def _lose_in_plain_sql(now: datetime) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(PLAIN_EVENTS, [now, now])
        cursor.execute(PLAIN_NODES, [now, now, now])


def _timed_ms(silent: int, sweep: Callable[[datetime], object]) -> float:
    now = timezone.now()
    # As if nothing had ever broken: with every run remembered, the last would cost more than the first.
    Node.objects.update(
        connected=True,
        gone_at=None,
        deadline_at=now + timedelta(hours=1),
        flaps=[],
        unstable_since=None,
        unstable_until=None,
        hold_s=0,
    )
    ids = list(Node.objects.values_list("id", flat=True))
    Node.objects.filter(id__in=ids[:: len(ids) // silent][:silent]).update(
        deadline_at=now - timedelta(seconds=1)
    )
    began = time.perf_counter()
    sweep(now)
    took = time.perf_counter() - began
    assert Node.objects.exclude(gone_at=None).count() == silent
    return 1000 * took


def main(arguments: list[str]) -> None:
    match arguments:
        case ["enrol", first, end]:
            enrol(range(int(first), int(end)), timezone.now())
        case ["sweep", silent]:
            print(json.dumps([sweep_ms(int(silent)), bare_sweep_ms(int(silent))]))
        case _:
            sys.exit("usage: python -m bench.fleet_rows enrol FIRST END | sweep SILENT")


if __name__ == "__main__":
    main(sys.argv[1:])
