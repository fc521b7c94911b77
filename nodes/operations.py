"""What operators do to nodes."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.utils import timezone

from coordinator.values import Availability
from fogagent.messages import Watch, encode_message
from fogpanel import audit, live
from fogpanel.access import AnyUser
from fogpanel.wakes import Key, on_wake, wake
from nodes import sockets
from nodes.gone import give_work_away
from nodes.models import Node

WATCH_EVERY_S = 2.0
WATCH_FOR_S = 30.0

MOVES_WORK = {Availability.DRAINING, Availability.MAINTENANCE}


def set_availability(node: Node, availability: Availability, actor: AnyUser) -> None:
    """Say what is wanted of a node. Draining and maintenance give its work to others at once."""
    now = timezone.now()
    with transaction.atomic():
        before = Node.objects.select_for_update().get(id=node.id).availability
        if before == availability:
            return
        Node.objects.filter(id=node.id).update(availability=availability, changed_at=now)
        audit.record(
            "node.availability",
            f"{node.name} is now {availability}",
            actor=actor,
            subject=node,
            before={"availability": before},
            after={"availability": availability},
        )
        if availability in MOVES_WORK:
            move_work(node, f"its node was set to {availability}", now)
        wake("placer")
        live.changed("nodes", "fleet", "topology", f"node:{node.id}")


def remove(node: Node, actor: AnyUser) -> None:
    """Take a node out of the fog for good: its work moves, its connection closes, its history stays."""
    now = timezone.now()
    with transaction.atomic():
        gone = Node.objects.filter(id=node.id, archived_at=None)
        if not gone.update(
            archived_at=now, connected=False, changed_at=now, name=f"{node.name[:80]} (removed {node.id})"
        ):
            return
        audit.record("node.removed", f"{node.name} was removed", actor=actor, subject=node)
        give_work_away([node.id], "its node was removed", now, silent=False)
        wake("node-removed", node.id)
        wake("placer")
        live.changed("nodes", "fleet", "topology", f"node:{node.id}")


def move_work(node: Node, sentence: str, now: datetime) -> None:
    """Give what a living node runs to others. It stays part of the fleet."""
    give_work_away([node.id], sentence, now, silent=False)
    Node.objects.filter(id=node.id).update(gone_at=None)


def watch(node_id: int) -> None:
    """Somebody looks at this node: have it beat faster for a while. Not worth an order: a wake."""
    wake("watch", node_id)


def _pass_watch_on(node_ids: frozenset[Key]) -> None:
    message = encode_message(Watch(every_s=WATCH_EVERY_S, for_s=WATCH_FOR_S))
    for node_id in node_ids:
        if (socket := sockets.get(int(node_id))) is not None:
            socket.post([message])


def _close_removed(node_ids: frozenset[Key]) -> None:
    for node_id in node_ids:
        if (socket := sockets.get(int(node_id))) is not None:
            socket.refuse("not-enrolled", "This node was removed from the fog.", retry=False)


def _close_lost(node_ids: frozenset[Key]) -> None:
    for node_id in node_ids:
        if (socket := sockets.get(int(node_id))) is not None:
            socket.refuse("taken-for-lost", "This node was silent for too long: connect again.", retry=True)


on_wake("watch", _pass_watch_on)
on_wake("node-lost", _close_lost)
on_wake("node-removed", _close_removed)
