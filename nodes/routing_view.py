"""A node's row as routing sees it."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from ipaddress import ip_address

from coordinator.values import Availability, FogNode, NodeType, Resources
from nodes.models import Node

IPV4_NETWORK_BITS = 16
IPV6_NETWORK_BITS = 32


COLUMNS = (
    "id", "name", "node_type", "cpu_millis", "memory_mb", "disk_mb", "gpu_count", "free_cpu_millis",
    "free_memory_mb", "free_disk_mb", "free_gpu_count", "region", "latitude", "longitude", "address",
    "drivers", "labels", "cached_inputs", "flags", "reputation", "cpu_percent", "round_trip_ms",
    "availability", "connected", "last_contact_at", "timeout_s", "last_assigned_at", "said_goodbye",
    "unstable_since", "unstable_until", "cooling_until",
)  # fmt: skip
"""What `as_fog_node` reads. Each heartbeat has every placer read its node again, so it reads no more."""


def as_fog_node(node: Node) -> FogNode:
    return FogNode(
        node_id=node.id,
        name=node.name,
        node_type=NodeType(node.node_type),
        total=Resources(
            cpu_millis=node.cpu_millis,
            memory_mb=node.memory_mb,
            disk_mb=node.disk_mb,
            gpus=node.gpu_count,
        ),
        free=Resources(
            cpu_millis=node.free_cpu_millis,
            memory_mb=node.free_memory_mb,
            disk_mb=node.free_disk_mb,
            gpus=node.free_gpu_count,
        ),
        region=node.region,
        latitude=node.latitude,
        longitude=node.longitude,
        network=network_of(node.address),
        computes=not node.flags or "compute" in node.flags,
        drivers=frozenset(fact["name"] for fact in node.drivers if fact.get("available")),
        labels=node.labels,
        cached_inputs=frozenset(node.cached_inputs),
        onion_capable="relay" in node.flags,
        reputation=node.reputation,
        measured_load=node.cpu_percent / 100,
        round_trip_ms=node.round_trip_ms,
        availability=Availability(node.availability),
        connected=node.connected,
        last_contact=node.last_contact_at.timestamp() if node.last_contact_at else 0.0,
        timeout_s=node.timeout_s,
        last_assigned=node.last_assigned_at.timestamp() if node.last_assigned_at else 0.0,
        said_goodbye=node.said_goodbye,
        unstable_until=_seconds(node.unstable_until) if node.unstable_since else None,
        cooling_until=_seconds(node.cooling_until),
    )


def _seconds(at: datetime | None) -> float | None:
    return at.timestamp() if at else None


@lru_cache(maxsize=10_000)
def network_of(address: str | None) -> str:
    """The network that an address shares fate with: its IPv4 /16 or IPv6 /32; empty if unknown."""
    if not address:
        return ""
    ip = ip_address(address)
    bits = IPV4_NETWORK_BITS if ip.version == 4 else IPV6_NETWORK_BITS
    prefix = int(ip) >> (ip.max_prefixlen - bits) << (ip.max_prefixlen - bits)
    return f"{type(ip)(prefix)}/{bits}"
