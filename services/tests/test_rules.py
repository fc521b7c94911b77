"""What the coordinator's measurements mean."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from coordinator.values import RoutingStrategy
from services.fog_coordinator.rules import Canary, Measured, Sweep, judge
from services.models import State

SENT_AT = datetime(2026, 1, 1, tzinfo=UTC)


def canary(strategy: RoutingStrategy, placed_after_s: float = 0.004) -> Canary:
    return Canary(
        strategy=strategy, sent_at=SENT_AT, over=True, right=True, placed_after_s=placed_after_s, trouble=""
    )


WELL = Measured(
    nodes=5,
    decisions_per_s=12.5,
    sweeps=[Sweep("nodes.jobs.sweep", 5, 0.4, "")],
    canaries=[canary(strategy) for strategy in RoutingStrategy],
)
LOST = replace(WELL.canaries[0], right=False, placed_after_s=None, trouble="found no node (5 × memory)")


def test_all_is_well() -> None:
    found = judge(WELL)
    assert found.state == State.OPERATIONAL
    assert found.sentence == "Every strategy placed its canary within 4 ms"
    assert [(f.label, f.value, f.unit) for f in found.figures] == [
        ("decisions", 12.5, "/s"),
        ("placement, median", 4.0, "ms"),
        ("sweep lag", 0.4, "s"),
        ("nodes", 5, ""),
    ]


def test_without_nodes_it_says_what_to_do() -> None:
    found = judge(replace(WELL, nodes=0, canaries=[]))
    assert found.state == State.DEGRADED
    assert found.sentence.startswith("No node has joined yet. Add one")
    assert {f.label: f.value for f in found.figures}["placement, median"] is None


def test_one_lost_canary_names_its_strategy_and_reason() -> None:
    found = judge(replace(WELL, canaries=[LOST, *WELL.canaries[1:]]))
    assert found.state == State.DEGRADED
    assert found.sentence == "1 of 5 canaries failed. Round robin: found no node (5 × memory)."


def test_no_canary_back_means_down() -> None:
    found = judge(
        replace(WELL, canaries=[replace(one, right=False, trouble="failed") for one in WELL.canaries])
    )
    assert found.state == State.DOWN


@pytest.mark.parametrize(
    ("sweep", "says"),
    [
        (Sweep("nodes.jobs.sweep", 5, 20.1, ""), "20 s late"),
        (Sweep("nodes.jobs.sweep", 5, 0, "OperationalError: locked"), "OperationalError: locked"),
    ],
)
def test_a_sweep_that_is_late_or_fails_is_told(sweep: Sweep, says: str) -> None:
    found = judge(replace(WELL, sweeps=[sweep]))
    assert found.state == State.DEGRADED
    assert says in found.sentence


def test_a_sweep_may_be_a_little_late() -> None:
    assert judge(replace(WELL, sweeps=[Sweep("nodes.jobs.sweep", 5, 20.0, "")])).state == State.OPERATIONAL


def test_a_sentence_fits_its_column() -> None:
    long = replace(LOST, trouble="x" * 1000)
    assert len(judge(replace(WELL, canaries=[long] * 5)).sentence) <= 300
    wordy = Sweep("a.job", 5, 0, "y" * 1000)
    assert len(judge(replace(WELL, sweeps=[wordy])).sentence) <= 300
