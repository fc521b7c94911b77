"""What operators do to nodes."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from coordinator.values import Availability
from fogagent.messages import Watch, encode_message
from fogpanel import audit, live
from fogpanel.access import AnyUser
from fogpanel.parameters.catalogue import DRAIN_S
from fogpanel.parameters.store import current
from fogpanel.wakes import Key, on_wake, wake
from nodes import draining, outbox, sockets
from nodes.gone import give_work_away
from nodes.locks import with_nodes
from nodes.models import Node

WATCH_EVERY_S = 2.0
WATCH_FOR_S = 30.0

DRAINS = {Availability.DRAINING, Availability.MAINTENANCE}


def set_availability(
    node: Node, availability: Availability, actor: AnyUser, drain_s: float | None = None
) -> None:
    """Say what is wanted of a node. Draining and maintenance let it finish what it has within ``drain_s``
    (DRAIN_S where not given, 0: it moves now); anything else calls a drain off.

    Saying it again changes nothing, unless with another ``drain_s``.
    """
    with_nodes([node.id], lambda: _set_availability(node.id, availability, actor, drain_s, timezone.now()))


def _set_availability(
    node_id: int, availability: Availability, actor: AnyUser, drain_s: float | None, now: datetime
) -> None:
    node = Node.objects.get(id=node_id)
    drains = availability in DRAINS
    if node.availability == availability and not (drains and drain_s is not None):
        return
    goes_on = drains and drain_s is None and node.availability in DRAINS
    wanted_s = current(DRAIN_S) if drain_s is None else drain_s
    deadline = now + timedelta(seconds=wanted_s) if drains else None
    if goes_on:
        deadline = node.drain_deadline_at
    Node.objects.filter(id=node_id).update(
        availability=availability, drain_deadline_at=deadline, changed_at=now
    )
    audit.record(
        "node.availability",
        _told(node, availability, deadline),
        actor=actor,
        subject=node,
        before=_wish(node.availability, node.drain_deadline_at),
        after=_wish(availability, deadline),
    )
    if deadline is not None and not goes_on:
        draining.begin(node, deadline, now)
    wake("node-changed", node_id)
    live.changed("nodes", "fleet", "topology", f"node:{node_id}")


def _told(node: Node, availability: Availability, deadline: datetime | None) -> str:
    sentence = f"{node.name} is now {availability}"
    if deadline is not None:
        return f"{sentence}; what runs there may go on until {deadline:%H:%M:%S} UTC"
    return f"{sentence}; its drain is called off" if node.drain_deadline_at else sentence


def _wish(availability: str, deadline: datetime | None) -> dict[str, str]:
    wish = {"availability": str(availability)}
    return wish | ({"drain_deadline_at": deadline.isoformat(timespec="seconds")} if deadline else {})


def remove(node: Node, actor: AnyUser) -> None:
    """Take a node out of the fog for good: its work moves, its connection closes, its history stays.

    Its name is free again, and its key is refused until the machine is joined anew.
    """
    with_nodes([node.id], lambda: _remove(node, actor, timezone.now()))


def _remove(node: Node, actor: AnyUser, now: datetime) -> None:
    present = Node.objects.filter(id=node.id, removed_at=None)
    removed = present.update(
        archived_at=now,
        removed_at=now,
        gone_at=now,
        connected=False,
        drain_deadline_at=None,
        changed_at=now,
        name=f"{node.name[:80]} (removed {node.id})",
    )
    if not removed:
        return
    audit.record("node.removed", f"{node.name} was removed", actor=actor, subject=node)
    give_work_away({node.id: "its node was removed"}, now, silent=False)
    outbox.withdraw_all(node.id, now)
    wake("node-removed", node.id)
    wake("node-changed", node.id)
    live.changed("nodes", "fleet", "topology", f"node:{node.id}")


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
