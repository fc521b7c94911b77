"""One rule says what state a node is in; over columns it counts the same."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.fleet import Fleet
from coordinator.geo import REGION_POINTS, great_circle_km, region_point
from coordinator.status import derive_status, status_counts, status_reason
from coordinator.tests.fleets import BIG, NOW, SMALL, a_node, nodes
from coordinator.values import Availability, FogNode, NodeStatus, Resources


@pytest.mark.parametrize(
    ("facts", "status", "reason"),
    [
        ({}, NodeStatus.IDLE, "Nothing is reserved on it."),
        ({"free": BIG - SMALL}, NodeStatus.ACTIVE, "Working, with 3500 of 4000 millicores"),
        ({"free": BIG - Resources(cpu_millis=4000)}, NodeStatus.BUSY, "all its cores are reserved"),
        ({"free": BIG - Resources(memory_mb=8192)}, NodeStatus.BUSY, "all its memory is reserved"),
        ({"last_contact": NOW - 90}, NodeStatus.IDLE, "Nothing"),
        ({"last_contact": NOW - 91}, NodeStatus.OFFLINE, "Silent for 91 s, longer than its timeout of 90 s"),
        ({"last_contact": 0.0}, NodeStatus.OFFLINE, "Never heard of yet."),
        ({"said_goodbye": True}, NodeStatus.OFFLINE, "Said goodbye."),
        ({"connected": False, "last_contact": NOW - 12}, NodeStatus.IDLE, "Disconnected, silent for 12 s"),
        ({"unstable_until": NOW + 60}, NodeStatus.IDLE, "Gets no new work: its connection broke too often."),
        ({"cooling_until": NOW + 10}, NodeStatus.IDLE, "Gets no new work: it cools down"),
        ({"availability": Availability.CORDONED}, NodeStatus.IDLE, "Gets no new work: cordoned"),
        (
            {"availability": Availability.MAINTENANCE, "said_goodbye": True},
            NodeStatus.MAINTENANCE,
            "Taken out",
        ),
        ({"last_contact": NOW + 500}, NodeStatus.IDLE, "Nothing"),
    ],
)
def test_status_follows_from_facts(facts: dict[str, Any], status: NodeStatus, reason: str) -> None:
    node = a_node(1, **facts)
    assert derive_status(node, NOW) is status
    assert reason in status_reason(node, NOW)


@given(st.lists(nodes(), max_size=12, unique_by=lambda node: node.node_id))
def test_counting_over_columns_agrees_with_asking_each(some: list[FogNode]) -> None:
    fleet = Fleet()
    fleet.upsert([*some, a_node("gone")])
    fleet.remove(["gone"])
    assert status_counts(fleet.table, NOW) == Counter(derive_status(node, NOW) for node in fleet.nodes())


def test_regions_have_points_and_zones_belong_to_them() -> None:
    assert region_point("eu-west") == REGION_POINTS["eu-west"] == region_point("eu-west-1")
    assert region_point("moon") is None
    assert region_point("") is None


def test_great_circles_are_those_of_the_atlas() -> None:
    vienna, sydney = (48.2082, 16.3738), (-33.8688, 151.2093)
    away = great_circle_km(
        np.array([sydney[0], vienna[0], np.nan]), np.array([sydney[1], vienna[1], 0.0]), vienna
    )
    assert away[0] == pytest.approx(15_975, abs=15)
    assert away[1] == 0
    assert np.isnan(away[2])
