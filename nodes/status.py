"""The status of a node: one rule, in Python for one node and in SQL for lists. A test holds them equal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypedDict

from django.db.models import Case, CharField, F, Q, QuerySet, Value, When

from coordinator.status import derive_status, status_reason
from coordinator.values import Availability, NodeStatus
from nodes.models import Node
from nodes.routing_view import as_fog_node

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations

    class _Annotated(TypedDict):
        status: str

    NodeWithStatus = WithAnnotations[Node, _Annotated]


@dataclass(frozen=True)
class Status:
    status: NodeStatus
    reason: str


def status_of(node: Node, now: datetime) -> Status:
    if node.removed_at is not None:
        return Status(NodeStatus.OFFLINE, f"Removed on {node.removed_at:%F}: its key is refused.")
    if node.archived_at is not None:
        sentence = f"Archived on {node.archived_at:%F}, offline for long. It is back when its agent connects."
        return Status(NodeStatus.OFFLINE, sentence)
    fog_node = as_fog_node(node)
    return Status(derive_status(fog_node, now.timestamp()), status_reason(fog_node, now.timestamp()))


def with_status(nodes: QuerySet[Node], now: datetime) -> QuerySet[NodeWithStatus]:
    """Annotate ``status``, so that lists can filter and count by it."""
    return nodes.annotate(
        status=Case(
            When(availability=Availability.MAINTENANCE, then=Value(NodeStatus.MAINTENANCE.value)),
            When(
                Q(said_goodbye=True) | Q(deadline_at=None) | Q(deadline_at__lt=now),
                then=Value(NodeStatus.OFFLINE.value),
            ),
            When(
                free_cpu_millis__gte=F("cpu_millis"),
                free_memory_mb__gte=F("memory_mb"),
                free_disk_mb__gte=F("disk_mb"),
                free_gpu_count__gte=F("gpu_count"),
                then=Value(NodeStatus.IDLE.value),
            ),
            When(Q(free_cpu_millis__lte=0) | Q(free_memory_mb__lte=0), then=Value(NodeStatus.BUSY.value)),
            default=Value(NodeStatus.ACTIVE.value),
            output_field=CharField(),
        )
    )
