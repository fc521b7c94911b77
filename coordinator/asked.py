"""What a task asks of its node, as hashable keys: tasks with equal keys share what is worked out for them."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import NamedTuple

from coordinator.geo import region_point
from coordinator.values import NodeId, Task

Pairs = tuple[tuple[str, str], ...]


class Requirements(NamedTuple):
    """What a node must have. Everything here decides who is eligible, and nothing else does."""

    cpu_millis: int
    memory_mb: int
    disk_mb: int
    gpus: int
    driver: str
    region: str  # empty: anywhere
    labels: Pairs
    onion: bool
    among: tuple[NodeId, ...] | None = None  # in order


class Wishes(NamedTuple):
    """What makes one eligible node better than another. A strategy fills in only what it looks at."""

    prefers: Pairs = ()
    inputs: tuple[str, ...] = ()
    region: str = ""
    point: tuple[float, float] | None = None  # degrees
    near_panel: bool = False  # it has no place of its own, so it is where it was handed in
    network: str = ""


class Asked(NamedTuple):
    requirements: Requirements
    wishes: Wishes


NO_WISHES = Wishes()


def no_wishes(task: Task) -> Wishes:
    return NO_WISHES


def requirements_of(task: Task, onion_only: bool) -> Requirements:
    """``onion_only``: the strategy admits no other nodes, whatever the task says."""
    needs = task.needs
    return Requirements(
        needs.cpu_millis,
        needs.memory_mb,
        needs.disk_mb,
        needs.gpus,
        task.driver,
        task.region if task.region_required else "",
        pairs(task.labels),
        task.onion_required or onion_only,
        None if task.among is None else tuple(sorted(task.among, key=str)),
    )


def pairs(labels: Mapping[str, str]) -> Pairs:
    return tuple(sorted(labels.items())) if labels else ()


def point_of(task: Task) -> tuple[float, float] | None:
    """Where the work should be near to: the submitter's place where known, else its region's."""
    if task.latitude is not None and task.longitude is not None:
        return task.latitude, task.longitude
    return region_point(task.region)


def shape_name(requirements: Requirements) -> str:
    """A short name that is the same in every process."""
    return blake2b(repr(tuple(requirements)).encode(), digest_size=6).hexdigest()
