"""Taking and returning what attempts reserve on their nodes. Always in the order of the nodes' keys."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.db.models import F

from coordinator.values import Availability, Resources
from nodes.models import Node

NOTHING = Resources()


def take(node_id: int, needs: Resources, attempts: int, now: datetime) -> bool:
    """Reserve, if the node still may get work and has the room; one statement, so nobody comes between."""
    fits = Node.objects.filter(
        id=node_id,
        archived_at=None,
        connected=True,
        said_goodbye=False,
        availability=Availability.SCHEDULABLE,
        free_cpu_millis__gte=needs.cpu_millis,
        free_memory_mb__gte=needs.memory_mb,
        free_disk_mb__gte=needs.disk_mb,
        free_gpu_count__gte=needs.gpus,
    )
    return bool(
        fits.update(
            free_cpu_millis=F("free_cpu_millis") - needs.cpu_millis,
            free_memory_mb=F("free_memory_mb") - needs.memory_mb,
            free_disk_mb=F("free_disk_mb") - needs.disk_mb,
            free_gpu_count=F("free_gpu_count") - needs.gpus,
            open_attempts=F("open_attempts") + attempts,
            last_assigned_at=now,
            changed_at=now,
        )
    )


def give_back(freed: Mapping[int, tuple[Resources, int]], now: datetime) -> None:
    """Return what ended attempts had reserved: node → (amount, number of attempts)."""
    for node_id in sorted(freed):
        needs, attempts = freed[node_id]
        Node.objects.filter(id=node_id).update(
            free_cpu_millis=F("free_cpu_millis") + needs.cpu_millis,
            free_memory_mb=F("free_memory_mb") + needs.memory_mb,
            free_disk_mb=F("free_disk_mb") + needs.disk_mb,
            free_gpu_count=F("free_gpu_count") + needs.gpus,
            open_attempts=F("open_attempts") - attempts,
            changed_at=now,
        )
