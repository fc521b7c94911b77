"""Which connection a node belongs to: a row with an epoch. The newest connection owns the node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F

from fogpanel import live
from fogpanel.parameters.catalogue import HEARTBEAT_S, HEARTBEATS_PER_S_MAX, TIMEOUT_S
from fogpanel.parameters.store import current
from fogpanel.rows import update_each
from fogpanel.wakes import wake
from nodes import behaviour, outbox, telling
from nodes.connected import tell_connected
from nodes.locks import locked_nodes
from nodes.models import Node

READ = (
    "name",
    "public_key",
    "address",
    "approved_at",
    "archived_at",
    "removed_at",
    "epoch",
    "connected",
    "connected_at",
    "gone_at",
    "unstable_since",
)


RETURNS_PER_S = 100


class NotWelcome(Exception):
    """This agent may not connect. ``retry`` says whether coming back later can help."""

    def __init__(self, code: str, sentence: str, *, retry: bool) -> None:
        super().__init__(sentence)
        self.code, self.sentence, self.retry = code, sentence, retry


@dataclass(frozen=True)
class Claim:
    """A connection that proved to hold this key (hexadecimal) and wants its node."""

    public_key: str
    address: str | None


@dataclass(frozen=True)
class Lease:
    node_id: int
    name: str
    epoch: int
    heartbeat_s: float
    timeout_s: float
    spread_s: float


def take(claims: Sequence[Claim], now: datetime) -> Mapping[str, Lease | NotWelcome]:
    """Make these connections the owners of the nodes with their keys, all of which are different.

    By key: the lease, or why there is none: nobody enrolled with this key, the node was removed, or it
    waits for approval.
    """
    with transaction.atomic():
        keys = [claim.public_key for claim in claims]
        known = locked_nodes().only(*READ).filter(public_key__in=keys).order_by("id")
        nodes = {node.public_key: node for node in known}
        refused = {key: reason for key in keys if (reason := _objection(nodes.get(key)))}
        welcome = [node for key, node in nodes.items() if key not in refused]
        leases = _give_leases(welcome, now)
        _note_addresses(welcome, claims)
        behaviour.note_connected([node.id for node in welcome], now)
        # The welcome says it anew; an older order that was never acknowledged would contradict it.
        outbox.withdraw([beat_subject(node.id) for node in welcome], now)
        tell_connected([node.id for node in welcome], now)
        returns = [telling.Told(node.id, told, node) for node in welcome if (told := _return_of(node))]
        telling.record_each("node.connected", returns, now)
        wake("took-over", *(f"{lease.node_id}:{lease.epoch}" for lease in leases.values()))
        wake("node-changed", *(node.id for node in welcome))
        live.changed("nodes", "fleet", *(f"node:{node.id}" for node in welcome))
    return {**refused, **leases}


def _objection(node: Node | None) -> NotWelcome | None:
    if node is None or node.removed_at is not None:
        sentence = "This machine is not (or no longer) part of the fog: join it again."
        return NotWelcome("not-enrolled", sentence, retry=False)
    if node.approved_at is None:
        sentence = f"{node.name} waits for an operator's approval."
        return NotWelcome("waiting-for-approval", sentence, retry=True)
    return None


def _give_leases(nodes: Sequence[Node], now: datetime) -> dict[str, Lease]:
    heartbeat_s, timeout_s = beat()
    spread_s = spread(timeout_s)
    Node.objects.filter(id__in=[node.id for node in nodes]).update(
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
        changed_at=now,
    )
    return {
        node.public_key: Lease(node.id, node.name, node.epoch + 1, heartbeat_s, timeout_s, spread_s)
        for node in nodes
    }


def _note_addresses(nodes: Sequence[Node], claims: Sequence[Claim]) -> None:
    addresses = {claim.public_key: claim.address for claim in claims}
    moved = [node for node in nodes if node.address != addresses[node.public_key]]
    update_each(Node, ("address",), [(addresses[node.public_key], node.id) for node in moved])


def _return_of(node: Node) -> str:
    """What is told of its return; empty where that is nothing to tell."""
    if node.archived_at is not None:
        return f"{node.name} is back from the archive"
    if node.unstable_since is not None:
        return ""  # that was told once, and the next that is told is that it is steady
    if node.gone_at is not None or not node.connected:
        return f"{node.name} is back" if node.connected_at else f"{node.name} connected"
    return ""


def release(ended: Sequence[tuple[int, int]], now: datetime) -> None:
    """These connections (node, epoch) are gone. Changes nothing where a newer one owns the node already."""
    epochs = dict(sorted(ended))  # of two of one node the newer counts
    with transaction.atomic():
        nodes = locked_nodes().filter(id__in=epochs, connected=True).order_by("id")
        owned = [node for node in nodes.only("epoch", *behaviour.FLAPPING) if epochs[node.id] == node.epoch]
        if owned:
            Node.objects.filter(id__in=[node.id for node in owned]).update(
                connected=False, disconnected_at=now, changed_at=now
            )
            behaviour.note_flaps(owned, now)
            wake("node-changed", *(node.id for node in owned))
            live.changed("nodes", "fleet", *(f"node:{node.id}" for node in owned))


def beat_subject(node_id: int) -> str:
    """What the orders are about that tell this node its beat."""
    return f"beat:{node_id}"


def beat() -> tuple[float, float]:
    """Heartbeat interval and timeout in seconds for a fleet of the present size.

    The interval is stretched so that the fleet together stays below a rate; the timeout is three intervals,
    never less than its parameter.
    """
    fleet = Node.objects.filter(archived_at=None).count()
    heartbeat_s = max(current(HEARTBEAT_S), fleet / current(HEARTBEATS_PER_S_MAX))
    return heartbeat_s, max(current(TIMEOUT_S), 3 * heartbeat_s)


def spread(timeout_s: float) -> float:
    """Over how many seconds agents are to spread their return when their connections are lost, which for all
    together means that the panel was started anew: about as fast as one process can let them in, and soon
    enough for none to be taken for lost."""
    return min(Node.objects.filter(archived_at=None).count() / RETURNS_PER_S, timeout_s / 3)
