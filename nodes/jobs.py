"""Sweeps over nodes: who fell silent, who beats too often for the fleet's size, who is a relay,
which rows are old."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import chain

from django.db import transaction
from django.db.models import Q

from fogagent.messages import Configure
from fogpanel import audit, live, retention
from fogpanel.jobs import Run, job
from fogpanel.models import Event
from fogpanel.parameters.catalogue import HEARTBEAT_S, REPLACE_AFTER_S, SWEEP_S
from fogpanel.parameters.store import current
from fogpanel.rows import pieces
from fogpanel.wakes import wake
from nodes import archive, behaviour, draining, leases, outbox, telling
from nodes.gone import give_work_away
from nodes.locks import lock_nodes, with_nodes
from nodes.models import DirectoryVersion, Node, Order, Sample
from nodes.presence import listening_since
from nodes.relay_directory import names, publishing

SAMPLES_KEPT = timedelta(days=2)
SAMPLES_WHOLE = timedelta(hours=1)
ORDERS_KEPT = timedelta(days=1)
VERSIONS_KEPT = timedelta(days=7)
AT_ONCE = 300  # nodes in one commit
BEAT_TOLERANCE = 1.25  # stretched intervals are told anew only when off by more than this factor


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
    before = now - timedelta(seconds=current(REPLACE_AFTER_S))
    silent = Q(gone_at=None, archived_at=None, deadline_at__lt=before)
    ids = [
        node_id
        for node_id, timeout_s in Node.objects.filter(silent).order_by("id").values_list("id", "timeout_s")
        if listening + timedelta(seconds=timeout_s) <= before
    ]

    def lose(some: Sequence[int]) -> list[int]:
        # Heard after all since we looked? Then it stays.
        still = Node.objects.filter(silent, id__in=some).order_by("id")
        return _lose(list(still.only("last_contact_at", "connected", *behaviour.FLAPPING)), now)

    lost = [with_nodes(some, partial(lose, some)) for some in pieces(ids, AT_ONCE)]
    return list(chain.from_iterable(lost))


def _lose(nodes: Sequence[Node], now: datetime) -> list[int]:
    """Give up these nodes, which are locked; their ids."""
    if not nodes:
        return []
    ids = [node.id for node in nodes]
    Node.objects.filter(id__in=ids).update(connected=False, gone_at=now, changed_at=now)
    # Of the others it was noted when their connections ended.
    behaviour.note_flaps((node for node in nodes if node.connected), now)
    silence = {node: f"silent for {_silent_s(node, now):.0f} s" for node in nodes}
    give_work_away({node.id: f"{node.name} was {silence[node]}" for node in nodes}, now, silent=True)
    audit.record_each(
        "node.lost",
        # Of an unstable node that was told once.
        ((f"{node.name} is offline: {silence[node]}", node) for node in nodes if node.unstable_since is None),
        level=Event.Level.WARNING,
    )
    wake("node-lost", *ids)
    wake("node-changed", *ids)
    live.changed("nodes", "fleet", "topology", *(f"node:{node_id}" for node_id in ids))
    return ids


def _silent_s(node: Node, now: datetime) -> float:
    return (now - node.last_contact_at).total_seconds() if node.last_contact_at else 0.0


@job(every_s=SWEEP_S)
def end_drains(run: Run) -> None:
    """Nodes that have finished their work, or had the time to, are drained."""
    draining.end_due(run.now)


@job(every_s=SWEEP_S)
def release_held_back(run: Run) -> None:
    """Nodes that were steady for long enough, or have cooled down, may get work again."""
    behaviour.release_due(run.now)


@job(every_s=60)
def tell_left_out(run: Run) -> None:
    """Say how many entries were left out of the audit trail, since nodes caused too many."""
    telling.tell_left_out(run.now)


@job(every_s=600)
def archive_nodes(run: Run) -> None:
    """Take nodes long gone out of the lists. Silence counts only while the panel could have heard."""
    listening = listening_since(run.now)
    if listening is not None:
        archive.archive_long_gone(run.now, max(run.since, listening))


@job(every_s=30)
def stretch_heartbeats(run: Run) -> None:
    """Tell agents a new beat when a parameter was changed, or the fleet has outgrown (or shrunk below) the
    one they keep."""
    heartbeat_s, timeout_s = leases.beat()
    kept = Q(heartbeat_s=heartbeat_s, timeout_s=timeout_s)
    if heartbeat_s > current(HEARTBEAT_S):  # stretched, so that it changes with every node that comes
        kept = Q(heartbeat_s__range=(heartbeat_s / BEAT_TOLERANCE, heartbeat_s * BEAT_TOLERANCE))
    off = Node.objects.filter(connected=True, archived_at=None).exclude(kept)
    ids = list(off.order_by("id").values_list("id", flat=True))
    for start in range(0, len(ids), AT_ONCE):
        _tell_beat(ids[start : start + AT_ONCE], heartbeat_s, timeout_s, run.now)


def _tell_beat(node_ids: Sequence[int], heartbeat_s: float, timeout_s: float, now: datetime) -> None:
    configure = Configure(heartbeat_s=heartbeat_s, timeout_s=timeout_s)
    with transaction.atomic():
        lock_nodes(node_ids)
        Node.objects.filter(id__in=node_ids).update(
            heartbeat_s=heartbeat_s, timeout_s=timeout_s, changed_at=now
        )
        subjects = {node_id: leases.beat_subject(node_id) for node_id in node_ids}
        outbox.withdraw(subjects.values(), now)
        outbox.put([outbox.NewOrder(node_id, configure, about) for node_id, about in subjects.items()], now)


@job(every_s=30)
def publish_directory(run: Run) -> None:
    """Make a new version of the relay directory where one is due; the web process does so at once."""
    publishing.publish(run.now)


@job(every_s=30, queue="work")
def look_up_names(run: Run) -> None:
    """Find out in which networks relays are that say names for their addresses."""
    names.look_up_due(run.now)


@job(every_s=300)
def forget_old_rows(run: Run) -> None:
    """Keep finished orders for a day, and samples for two, of which only some after the first hour.

    Who asks for what changed since a version of the relay directory that is forgotten, after a week, gets the
    whole.
    """
    retention.delete(Sample.objects.filter(at__lt=run.now - SAMPLES_KEPT).order_by("at"))
    thin_samples(run.now, run.previous)
    finished = Order.objects.filter(created_at__lt=run.now - ORDERS_KEPT).exclude(
        acked_at=None, withdrawn_at=None
    )
    retention.delete(finished)
    versions = DirectoryVersion.objects.filter(version__lt=publishing.newest_number())
    retention.delete(versions.filter(made_at__lt=run.now - VERSIONS_KEPT))


def thin_samples(now: datetime, previous: datetime | None) -> int:
    """Of samples that have come of age since the ``previous`` run, leave those of one minute in five."""
    aged = Sample.objects.filter(at__lt=now - SAMPLES_WHOLE).exclude(at__minute__in=range(0, 60, 5))
    if previous is not None:
        aged = aged.filter(at__gte=previous - SAMPLES_WHOLE)
    return retention.delete(aged.order_by("at"))
