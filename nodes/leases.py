"""Which connection a node belongs to: a row with an epoch. The newest connection owns the node."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F

from fogpanel import audit, live
from fogpanel.parameters.catalogue import HEARTBEAT_S, HEARTBEATS_PER_S_MAX, TIMEOUT_S
from fogpanel.parameters.store import current
from fogpanel.wakes import wake
from nodes.models import Node


class NotWelcome(Exception):
    """This agent may not connect. ``retry`` says whether coming back later can help."""

    def __init__(self, code: str, sentence: str, *, retry: bool) -> None:
        super().__init__(sentence)
        self.code, self.sentence, self.retry = code, sentence, retry


@dataclass(frozen=True)
class Lease:
    node_id: int
    name: str
    epoch: int
    heartbeat_s: float
    timeout_s: float


def take(public_key: str, address: str | None, now: datetime) -> Lease:
    """Make the caller's connection the owner of the node with this key (hexadecimal).

    Raises:
        NotWelcome: nobody enrolled with this key, the node was removed, or it waits for approval.
    """
    with transaction.atomic():
        node = Node.objects.select_for_update().filter(public_key=public_key).first()
        if node is None or node.removed_at is not None:
            raise NotWelcome(
                "not-enrolled",
                "This machine is not (or no longer) part of the fog: join it again.",
                retry=False,
            )
        if node.approved_at is None:
            raise NotWelcome(
                "waiting-for-approval", f"{node.name} waits for an operator's approval.", retry=True
            )
        heartbeat_s, timeout_s = beat()
        was_connected, was_gone = node.connected, node.gone_at is not None
        was_archived = node.archived_at is not None
        Node.objects.filter(id=node.id).update(
            epoch=F("epoch") + 1,
            connected=True,
            connected_at=now,
            last_contact_at=now,
            deadline_at=now + timedelta(seconds=timeout_s),
            heartbeat_s=heartbeat_s,
            timeout_s=timeout_s,
            said_goodbye=False,
            gone_at=None,
            archived_at=None,
            address=address,
            changed_at=now,
        )
        if was_archived:
            audit.record("node.connected", f"{node.name} is back from the archive", subject=node)
        elif was_gone or not was_connected:
            sentence = f"{node.name} is back" if node.connected_at else f"{node.name} connected"
            audit.record("node.connected", sentence, subject=node)
        wake("took-over", f"{node.id}:{node.epoch + 1}")
    wake("placer")
    live.changed("nodes", "fleet", f"node:{node.id}")
    return Lease(node.id, node.name, node.epoch + 1, heartbeat_s, timeout_s)


def release(node_id: int, epoch: int, now: datetime) -> None:
    """The connection is gone. Changes nothing if a newer one owns the node already."""
    mine = Node.objects.filter(id=node_id, epoch=epoch, connected=True)
    if mine.update(connected=False, disconnected_at=now, changed_at=now):
        wake("placer")
        live.changed("nodes", "fleet", f"node:{node_id}")


def beat() -> tuple[float, float]:
    """Heartbeat interval and timeout in seconds for a fleet of the present size.

    The interval is stretched so that the fleet together stays below a rate; the timeout is three intervals,
    never less than its parameter.
    """
    fleet = Node.objects.filter(archived_at=None).count()
    heartbeat_s = max(current(HEARTBEAT_S), fleet / current(HEARTBEATS_PER_S_MAX))
    return heartbeat_s, max(current(TIMEOUT_S), 3 * heartbeat_s)
