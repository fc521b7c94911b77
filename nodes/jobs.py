"""Sweeps over nodes: who fell silent, who beats too often for the fleet's size, which rows are old."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from fogagent.messages import Configure
from fogpanel import audit, live, retention
from fogpanel.jobs import Run, job
from fogpanel.parameters.catalogue import SWEEP_S
from fogpanel.wakes import wake
from nodes import archive, behaviour, draining, leases, outbox
from nodes.gone import give_work_away
from nodes.locks import locked_nodes
from nodes.models import Node, Order, Sample
from nodes.presence import listening_since

SAMPLES_KEPT = timedelta(days=2)
SAMPLES_WHOLE = timedelta(hours=1)
ORDERS_KEPT = timedelta(days=1)
BEAT_TOLERANCE = 1.25  # intervals are told anew only when they are off by more than this factor


@job(every_s=SWEEP_S)
def sweep_heartbeats(run: Run) -> None:
    """Declare silent nodes gone. Silence counts only while the panel could have heard."""
    listening = listening_since(run.now)
    if listening is not None:
        lose_silent_nodes(run.now, max(run.since, listening))


def lose_silent_nodes(now: datetime, listening: datetime) -> list[int]:
    """Have the work of nodes past their deadline (and the grace after it) replaced.

    Silence counts only if the panel listened for all of that time.
    """
    before = now - timedelta(seconds=settings.REPLACE_AFTER_S)
    silent = Node.objects.filter(gone_at=None, archived_at=None, deadline_at__lt=before)
    lost = [node for node in silent if listening + timedelta(seconds=node.timeout_s) <= before]
    for node in lost:
        with transaction.atomic():
            # Heard after all since we looked? Then it stays.
            still = locked_nodes().filter(id=node.id, gone_at=None, deadline_at__lt=before)
            if not still.update(connected=False, gone_at=now, changed_at=now):
                continue
            if node.connected:  # else it was noted when its connection ended
                behaviour.note_flaps([node.id], now)
            silent_s = (now - node.last_contact_at).total_seconds() if node.last_contact_at else 0
            give_work_away([node.id], f"{node.name} was silent for {silent_s:.0f} s", now, silent=True)
            wake("node-lost", node.id)
            if node.unstable_since is None:  # of an unstable node that was told once
                sentence = f"{node.name} is offline: silent for {silent_s:.0f} s"
                audit.record("node.lost", sentence, subject=node, level="warning")
            wake("placer")
            live.changed("nodes", "fleet", "topology", f"node:{node.id}")
    return [node.id for node in lost]


@job(every_s=settings.SWEEP_S)
def end_drains(run: Run) -> None:
    """Nodes that have finished their work, or had the time to, are drained."""
    draining.end_due(run.now)


@job(every_s=settings.SWEEP_S)
def release_held_back(run: Run) -> None:
    """Nodes that were steady for long enough, or have cooled down, may get work again."""
    behaviour.release_due(run.now)


@job(every_s=600)
def archive_nodes(run: Run) -> None:
    """Take nodes long gone out of the lists. Silence counts only while the panel could have heard."""
    listening = listening_since(run.now)
    if listening is not None:
        archive.archive_long_gone(run.now, max(run.since, listening))


@job(every_s=30)
def stretch_heartbeats(run: Run) -> None:
    """Tell agents a new interval when the fleet has outgrown (or shrunk below) the one they keep."""
    heartbeat_s, timeout_s = leases.beat()
    off = [
        node
        for node in Node.objects.filter(connected=True, archived_at=None).only("id", "heartbeat_s")
        if not 1 / BEAT_TOLERANCE <= node.heartbeat_s / heartbeat_s <= BEAT_TOLERANCE
    ]
    if off:
        with transaction.atomic():
            ids = [node.id for node in off]
            Node.objects.filter(id__in=ids).update(
                heartbeat_s=heartbeat_s, timeout_s=timeout_s, changed_at=run.now
            )
            outbox.put(
                [
                    outbox.NewOrder(node_id, Configure(heartbeat_s=heartbeat_s, timeout_s=timeout_s), "beat")
                    for node_id in ids
                ],
                run.now,
            )


@job(every_s=300)
def forget_old_rows(run: Run) -> None:
    """Keep finished orders for a day, and samples for two, of which only some after the first hour."""
    retention.delete(Sample.objects.filter(at__lt=run.now - SAMPLES_KEPT).order_by("at"))
    thin_samples(run.now, run.previous)
    finished = Order.objects.filter(created_at__lt=run.now - ORDERS_KEPT).exclude(
        acked_at=None, withdrawn_at=None
    )
    retention.delete(finished)


def thin_samples(now: datetime, previous: datetime | None) -> int:
    """Of samples that have come of age since the ``previous`` run, leave those of one minute in five."""
    aged = Sample.objects.filter(at__lt=now - SAMPLES_WHOLE).exclude(at__minute__in=range(0, 60, 5))
    if previous is not None:
        aged = aged.filter(at__gte=previous - SAMPLES_WHOLE)
    return retention.delete(aged.order_by("at"))
