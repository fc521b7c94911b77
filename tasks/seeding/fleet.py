"""Machines of every kind, region and status, as if they had joined over the past months."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from coordinator.geo import REGION_POINTS
from coordinator.values import Availability, NodeType
from nodes.models import Node, Sample
from tasks.seeding.rows import Rows

NAMES = (
    "alder", "amber", "aspen", "atlas", "basalt", "birch", "brook", "cedar", "cliff", "coral", "dune",
    "ember", "fern", "fjord", "flint", "gale", "grove", "harbor", "hazel", "heron", "iris", "juniper",
    "kelp", "lagoon", "larch", "linden", "maple", "marsh", "meadow", "mesa", "moss", "oak", "otter",
    "pebble", "pine", "quartz", "reed", "ridge", "sage", "shale", "spruce", "stone", "thorn", "tide",
    "vale", "willow", "wren", "yarrow",
)  # fmt: skip
KINDS = {  # type → (of a hundred, cores, GB of memory each core has)
    NodeType.EDGE_DEVICE: (45, (2, 4, 8), 1),
    NodeType.COMPUTE_NODE: (30, (8, 16, 32, 64), 4),
    NodeType.RELAY_NODE: (12, (2, 4), 2),
    NodeType.MIXNODE: (8, (4, 8), 2),
    NodeType.GATEWAY: (5, (4, 8, 16), 2),
}
PLATFORMS = ("Linux 6.1 x86_64", "Linux 6.6 aarch64", "Linux 6.12 x86_64", "Darwin 24.1 arm64")
DRIVERS = [{"name": name, "available": True, "reason": "", "version": "1"} for name in ("wasm", "python")]
BATCH = 500
SAMPLED_FOR = timedelta(minutes=15)
SAMPLED_EVERY = timedelta(seconds=60)
HEARTBEAT_S = 30.0


def make_fleet(count: int, rng: random.Random, now: datetime, heard_for: timedelta) -> list[Node]:
    """Nodes that are not stored yet, with their ids, all their resources free."""
    first = (Node.objects.order_by("-id").values_list("id", flat=True).first() or 0) + 1
    heartbeat_s = max(HEARTBEAT_S, count / settings.HEARTBEATS_PER_S_MAX)
    fleet = [_node(first + i, rng, now, heartbeat_s, heard_for) for i in range(count)]
    for node in fleet:
        _give_a_past(node, rng, now)
    return fleet


def works(node: Node) -> bool:
    """Whether it takes work now."""
    return node.connected and node.availability == Availability.SCHEDULABLE


def _node(node_id: int, rng: random.Random, now: datetime, heartbeat_s: float, heard_for: timedelta) -> Node:
    kind = rng.choices(list(KINDS), [share for share, _, _ in KINDS.values()])[0]
    _, cores, gb_a_core = KINDS[kind]
    cpu_millis = 1000 * rng.choice(cores)
    memory_mb = cpu_millis * gb_a_core
    disk_mb = rng.choice((32, 128, 512)) * 1024
    gpus = rng.choice((1, 2, 4)) if kind is NodeType.COMPUTE_NODE and rng.random() < 0.15 else 0
    region = rng.choice(list(REGION_POINTS))
    latitude, longitude = REGION_POINTS[region]
    name = f"{rng.choice(NAMES)}-{node_id:05}"
    joined_at = now - timedelta(days=rng.uniform(10, 200))
    heard_at = now - timedelta(seconds=rng.uniform(0, heartbeat_s))
    return Node(
        id=node_id,
        name=name,
        public_key=rng.randbytes(32).hex(),
        sealing_key=rng.randbytes(32).hex(),
        created_at=joined_at,
        approved_at=joined_at,
        node_type=kind,
        flags=["compute", "relay"] if kind in (NodeType.RELAY_NODE, NodeType.GATEWAY) else ["compute"],
        region=region,
        latitude=round(latitude + rng.gauss(0, 2), 4),
        longitude=round(longitude + rng.gauss(0, 3), 4),
        address=f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}",
        hostname=f"{name}.{region}.example.net",
        platform=rng.choice(PLATFORMS),
        agent_version=settings.VERSION,
        labels={"zone": rng.choice("abcd"), "owner": f"team-{rng.randrange(40)}"},
        drivers=DRIVERS,
        gpus=[{"name": "GPU", "memory_mb": 16_384}] * gpus,
        reputation=round(rng.uniform(0.6, 1.0), 3),
        cpu_millis=cpu_millis,
        memory_mb=memory_mb,
        disk_mb=disk_mb,
        gpu_count=gpus,
        free_cpu_millis=cpu_millis,
        free_memory_mb=memory_mb,
        free_disk_mb=disk_mb,
        free_gpu_count=gpus,
        last_assigned_at=now - timedelta(seconds=rng.uniform(0, 3600)),
        connected=True,
        epoch=rng.randrange(1, 40),
        connected_at=now - timedelta(hours=rng.uniform(1, 200)),
        last_contact_at=heard_at,
        deadline_at=now + heard_for,
        heartbeat_s=heartbeat_s,
        timeout_s=max(90.0, 3 * heartbeat_s),
        cpu_percent=round(rng.uniform(1, 30), 1),
        memory_used_mb=round(memory_mb * rng.uniform(0.1, 0.4)),
        memory_total_mb=memory_mb,
        disk_free_mb=round(disk_mb * rng.uniform(0.3, 0.9)),
        load_1m=round(rng.uniform(0, 2), 2),
        changed_at=heard_at,
    )


def _give_a_past(node: Node, rng: random.Random, now: datetime) -> None:
    """A few of every hundred do not work at the moment, each for a reason of its own."""
    lot = rng.random()
    if lot < 0.03:
        _leave(node, now - timedelta(hours=rng.uniform(0.1, 90)))
    elif lot < 0.035:
        _leave(node, now - timedelta(hours=rng.uniform(0.1, 90)))
        node.said_goodbye = True
    elif lot < 0.055:
        node.availability = Availability.MAINTENANCE
    elif lot < 0.065:
        node.availability = Availability.CORDONED
    elif lot < 0.07:
        _leave(node, now - timedelta(hours=rng.uniform(1, 90)))
        node.archived_at = node.gone_at
    elif lot < 0.072:
        node.approved_at = node.deadline_at = node.last_contact_at = node.connected_at = None
        node.connected = False


def _leave(node: Node, at: datetime) -> None:
    node.connected = False
    node.last_contact_at = at
    node.deadline_at = node.gone_at = node.changed_at = at + timedelta(seconds=node.timeout_s)
    node.disconnected_at = at


def store_fleet(fleet: list[Node], rng: random.Random, now: datetime) -> None:
    samples = Rows(Sample)
    moments = round(SAMPLED_FOR / SAMPLED_EVERY)
    for start in range(0, len(fleet), BATCH):
        batch = fleet[start : start + BATCH]
        for node in batch:
            for i in range(moments if node.connected else 0):
                samples.add(
                    node_id=node.id,
                    at=now - (moments - i) * SAMPLED_EVERY,
                    cpu_percent=round(min(100.0, max(0.0, rng.gauss(node.cpu_percent, 6))), 1),
                    memory_used_mb=round(node.memory_used_mb * rng.uniform(0.9, 1.1)),
                    memory_total_mb=node.memory_total_mb,
                    running=node.open_attempts,
                )
        with transaction.atomic():
            Node.objects.bulk_create(batch)
            samples.write()
