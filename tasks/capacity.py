"""Taking and returning what attempts reserve on their nodes. Always in the order of the nodes' keys."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from coordinator.values import Availability, Resources
from fogpanel.rows import change

NOTHING = Resources()

_TAKE = """
UPDATE nodes_node SET
    free_cpu_millis = free_cpu_millis - {cpu_millis}, free_memory_mb = free_memory_mb - {memory_mb},
    free_disk_mb = free_disk_mb - {disk_mb}, free_gpu_count = free_gpu_count - {gpus},
    open_attempts = open_attempts + {attempts}, last_assigned_at = {now}, changed_at = {now}
WHERE id = {node_id} AND archived_at IS NULL AND connected AND NOT said_goodbye
    AND availability = {schedulable}
    AND free_cpu_millis >= {cpu_millis} AND free_memory_mb >= {memory_mb}
    AND free_disk_mb >= {disk_mb} AND free_gpu_count >= {gpus}
"""

_GIVE_BACK = """
UPDATE nodes_node SET
    free_cpu_millis = free_cpu_millis + {cpu_millis}, free_memory_mb = free_memory_mb + {memory_mb},
    free_disk_mb = free_disk_mb + {disk_mb}, free_gpu_count = free_gpu_count + {gpus},
    open_attempts = open_attempts - {attempts}, changed_at = {now}
WHERE id = {node_id}
"""


def take(node_id: int, needs: Resources, attempts: int, now: datetime) -> bool:
    """Reserve, if the node still may get work and has the room; one statement, so nobody comes between."""
    schedulable = Availability.SCHEDULABLE.value
    taken = change(
        _TAKE, node_id=node_id, attempts=attempts, now=now, schedulable=schedulable, **_amounts(needs)
    )
    return taken == 1


def give_back(freed: Mapping[int, tuple[Resources, int]], now: datetime) -> None:
    """Return what ended attempts had reserved: node → (amount, number of attempts)."""
    for node_id in sorted(freed):
        needs, attempts = freed[node_id]
        change(_GIVE_BACK, node_id=node_id, attempts=attempts, now=now, **_amounts(needs))


def _amounts(needs: Resources) -> dict[str, int]:
    return {
        "cpu_millis": needs.cpu_millis,
        "memory_mb": needs.memory_mb,
        "disk_mb": needs.disk_mb,
        "gpus": needs.gpus,
    }
