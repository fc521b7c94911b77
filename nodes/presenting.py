"""What the node pages say of a node: its status, shares, course of load, orders. Same for everyone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet

from fogpanel.models import Event
from nodes.models import JoinKey, Node, Order
from nodes.status import Status, status_of

CHART_SPAN = timedelta(minutes=15)
CHART_POINTS = 450
RECENT = 10


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node with what is derived from its facts at one moment."""

    node: Node
    status: Status

    @property
    def state(self) -> str:
        """The status, or that the node is not part of the fleet any more."""
        if self.node.removed_at:
            return "removed"
        return "archived" if self.node.archived_at else self.status.status

    @property
    def is_in_doubt(self) -> bool:
        """Whether it fell silent with work that may still run there."""
        return bool(self.node.gone_at and self.node.open_attempts and not self.node.archived_at)

    @property
    def drained(self) -> int:
        """How much of what ran there when its drain began is over."""
        return max(0, self.node.drain_total - self.node.open_attempts)

    @property
    def reserved_cpu_millis(self) -> int:
        return self.node.cpu_millis - self.node.free_cpu_millis

    @property
    def reserved_memory_mb(self) -> int:
        return self.node.memory_mb - self.node.free_memory_mb

    @property
    def memory_percent(self) -> float:
        total_mb = self.node.memory_total_mb
        return 100 * self.node.memory_used_mb / total_mb if total_mb else 0.0

    @property
    def fingerprint(self) -> str:
        """The identity key in groups of four, as people compare it."""
        return " ".join(self.node.public_key[i : i + 4] for i in range(0, len(self.node.public_key), 4))


def view_of(node: Node, now: datetime) -> NodeView:
    return NodeView(node, status_of(node, now))


def views_of(nodes: Iterable[Node], now: datetime) -> list[NodeView]:
    return [view_of(node, now) for node in nodes]


def course_of(node: Node, now: datetime) -> dict[str, list[float | None]]:
    """The load of the last quarter of an hour, for the chart.

    ``at`` is in milliseconds since the epoch. Where the node was silent for longer than two beats
    there is a None, so that the line breaks there instead of inventing values.
    """
    newest = node.samples.filter(at__gte=now - CHART_SPAN).order_by("-at")[:CHART_POINTS]
    course: dict[str, list[float | None]] = {"at": [], "cpu": [], "memory": []}
    gap_s = 2 * node.heartbeat_s + 5
    previous: datetime | None = None
    for sample in reversed(newest):
        if previous and (sample.at - previous).total_seconds() > gap_s:
            _append(course, previous + timedelta(seconds=1), None, None)
        share = 100 * sample.memory_used_mb / sample.memory_total_mb if sample.memory_total_mb else 0.0
        _append(course, sample.at, round(sample.cpu_percent, 1), round(share, 1))
        previous = sample.at
    return course


def _append(
    course: dict[str, list[float | None]], at: datetime, cpu: float | None, memory: float | None
) -> None:
    course["at"].append(round(at.timestamp() * 1000))
    course["cpu"].append(cpu)
    course["memory"].append(memory)


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order with where it stands, in a word that the page shows."""

    order: Order
    state: str
    at: datetime


def outbox_of(node: Node) -> list[OrderView]:
    """The newest orders; what is still on its way comes first."""
    return [_order_view(order) for order in node.orders.order_by("-id").defer("body")[:RECENT]]


def _order_view(order: Order) -> OrderView:
    if order.acked_at:
        return OrderView(order, "acknowledged", order.acked_at)
    if order.withdrawn_at:
        return OrderView(order, "withdrawn", order.withdrawn_at)
    if order.sent_at:
        return OrderView(order, "sent", order.sent_at)
    return OrderView(order, "pending", order.created_at)


def page_of(node: Node, now: datetime) -> dict[str, Any]:
    """Everything that the node's page shows and pushes."""
    return {
        "node": node,
        "view": view_of(node, now),
        "course": json.dumps(course_of(node, now)),
        "tasks": node.tasks.filter(canary=False).order_by("-id")[:RECENT],
        "orders": outbox_of(node),
        "events": events_of(node),
    }


def events_of(node: Node) -> QuerySet[Event]:
    return Event.objects.filter(subject_kind="node", subject_id=node.id).order_by("-id")[:RECENT]


def key_state(key: JoinKey, now: datetime) -> str:
    """Why a join key lets nobody in any more; empty while it does."""
    if key.revoked_at:
        return "revoked"
    if key.uses_left == 0:
        return "used up"
    return "expired" if key.expires_at <= now else ""


def join_keys(now: datetime) -> list[tuple[JoinKey, str]]:
    """The newest join keys, each with its state (see `key_state`)."""
    newest = JoinKey.objects.select_related("group", "created_by").order_by("-id")[:50]
    return [(key, key_state(key, now)) for key in newest]


def working_keys(now: datetime) -> QuerySet[JoinKey]:
    return JoinKey.objects.filter(revoked_at=None, uses_left__gt=0, expires_at__gt=now)
