"""The API of nodes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from django.http import HttpResponse
from django.utils import timezone
from ninja import Router, Schema
from pydantic import Field

from coordinator.values import Availability, NodeStatus, NodeType
from fogpanel.access import Role, require
from fogpanel.api_auth import SignedInRequest
from fogpanel.idempotency import answer_once
from fogpanel.keyset import Limit, find_page
from fogpanel.problems import Problem, not_found
from nodes import directory, joining, operations
from nodes.forms import DRAIN_MOST_S
from nodes.models import Node
from nodes.status import status_of

router = Router(tags=["nodes"])


class DrainOut(Schema):
    """A drain in progress: what has not ended by the deadline moves."""

    deadline_at: datetime
    left: int
    total: int


class NodeOut(Schema):
    """A node as lists show it. ``free_*`` is what no open attempt has reserved.

    ``drain`` is null unless a drain is in progress. An archived node comes back when its agent connects,
    a removed one only by joining anew.
    """

    id: int
    name: str
    type: str
    status: str
    reason: str
    availability: str
    drain: DrainOut | None
    connected: bool
    approved: bool
    archived: bool
    removed: bool
    region: str
    cpu_millis: int
    free_cpu_millis: int
    memory_mb: int
    free_memory_mb: int
    disk_mb: int
    free_disk_mb: int
    gpus: int
    free_gpus: int
    cpu_percent: float
    memory_used_mb: int
    open_attempts: int
    last_contact_at: datetime | None
    labels: dict[str, str]
    flags: list[str]


class DriverOut(Schema):
    name: str
    available: bool
    reason: str = ""
    version: str = ""


class NodeDetail(NodeOut):
    """A node with what its agent told of the machine."""

    hostname: str
    platform: str
    agent_version: str
    public_key: str
    group: str | None
    latitude: float | None
    longitude: float | None
    drivers: list[DriverOut]
    created_at: datetime
    heartbeat_s: float
    timeout_s: float
    round_trip_ms: float | None
    cached_inputs: list[str]


class Nodes(Schema):
    items: list[NodeOut]
    next: str | None


class AvailabilityIn(Schema):
    """``drain_s``: how long what runs there may go on when draining or in maintenance; 0 moves it at once."""

    availability: Availability
    drain_s: Annotated[float, Field(ge=0, le=DRAIN_MOST_S)] | None = None


@router.get("", response=Nodes)
def list_nodes(
    request: SignedInRequest,
    status: NodeStatus | None = None,
    type: NodeType | None = None,
    region: Annotated[str, Field(max_length=60)] = "",
    search: Annotated[str, Field(max_length=200)] = "",
    archived: bool = False,
    after: Annotated[str, Field(max_length=100)] = "",
    limit: Limit = 50,
) -> Nodes:
    """The nodes of the fleet by name, or those archived. ``after`` is the ``next`` of the page before."""
    require(request.user, Role.VIEWER)
    now = timezone.now()
    query = directory.Query(
        q=search, status=directory.ARCHIVED if archived else status or "", type=type or "", region=region
    )
    page = find_page([directory.matching(query, now)], "name", after=after or None, size=limit)
    return Nodes(
        items=[node_out(node, now) for node in page.rows], next=str(page.after) if page.after else None
    )


@router.get("/{int:node_id}", response=NodeDetail)
def get_node(request: SignedInRequest, node_id: int) -> NodeDetail:
    require(request.user, Role.VIEWER)
    return node_detail(_find(node_id))


@router.post("/{int:node_id}/availability", response=NodeDetail)
def change_availability(request: SignedInRequest, node_id: int, given: AvailabilityIn) -> HttpResponse:
    """Cordon, drain, maintain, or make schedulable again."""
    require(request.user, Role.OPERATOR)
    node = _find_present(node_id)

    def change() -> NodeDetail:
        operations.set_availability(node, given.availability, request.user, given.drain_s)
        return node_detail(_find(node_id))

    return answer_once(request, change, status=200)


@router.post("/{int:node_id}/approve", response=NodeDetail)
def approve_node(request: SignedInRequest, node_id: int) -> HttpResponse:
    """Let a node in whose group wants approval. Approving it again changes nothing."""
    require(request.user, Role.OPERATOR)
    node = _find_present(node_id)

    def approve() -> NodeDetail:
        joining.approve(node, request.user)
        return node_detail(_find(node_id))

    return answer_once(request, approve, status=200)


@router.delete("/{int:node_id}", response={204: None})
def remove_node(request: SignedInRequest, node_id: int) -> HttpResponse:
    """Take a node out of the fleet. Its history stays, its work runs elsewhere."""
    require(request.user, Role.OPERATOR)
    node = _find(node_id)
    if node.removed_at is not None:
        raise Problem(409, "removed", f"{node.name} was removed before.")
    operations.remove(node, request.user)
    return HttpResponse(status=204)


def _find(node_id: int) -> Node:
    node = Node.objects.select_related("group").filter(id=node_id).first()
    if node is None:
        raise not_found(f"node {node_id}")
    return node


def _find_present(node_id: int) -> Node:
    node = _find(node_id)
    if node.removed_at is not None:
        raise Problem(409, "removed", f"{node.name} was removed from the fleet; join the machine again.")
    if node.archived_at is not None:
        raise Problem(409, "archived", f"{node.name} is archived; it is back as soon as its agent connects.")
    return node


def node_out(node: Node, now: datetime) -> NodeOut:
    status = status_of(node, now)
    return NodeOut(
        id=node.id,
        name=node.name,
        type=node.node_type,
        status=status.status,
        reason=status.reason,
        availability=node.availability,
        drain=_drain_out(node),
        connected=node.connected,
        approved=node.approved_at is not None,
        archived=node.archived_at is not None,
        removed=node.removed_at is not None,
        region=node.region,
        cpu_millis=node.cpu_millis,
        free_cpu_millis=node.free_cpu_millis,
        memory_mb=node.memory_mb,
        free_memory_mb=node.free_memory_mb,
        disk_mb=node.disk_mb,
        free_disk_mb=node.free_disk_mb,
        gpus=node.gpu_count,
        free_gpus=node.free_gpu_count,
        cpu_percent=node.cpu_percent,
        memory_used_mb=node.memory_used_mb,
        open_attempts=node.open_attempts,
        last_contact_at=node.last_contact_at,
        labels=node.labels,
        flags=node.flags,
    )


def _drain_out(node: Node) -> DrainOut | None:
    if node.drain_deadline_at is None:
        return None
    return DrainOut(deadline_at=node.drain_deadline_at, left=node.open_attempts, total=node.drain_total)


def node_detail(node: Node) -> NodeDetail:
    return NodeDetail(
        **node_out(node, timezone.now()).model_dump(),
        hostname=node.hostname,
        platform=node.platform,
        agent_version=node.agent_version,
        public_key=node.public_key,
        group=node.group.name if node.group else None,
        latitude=node.latitude,
        longitude=node.longitude,
        drivers=[DriverOut(**driver) for driver in node.drivers],
        created_at=node.created_at,
        heartbeat_s=node.heartbeat_s,
        timeout_s=node.timeout_s,
        round_trip_ms=node.round_trip_ms,
        cached_inputs=node.cached_inputs,
    )
