"""A decision says why: every filter has a sentence, and large fleets are told by counts and the nearest."""

from __future__ import annotations

import random
from typing import Any

import pytest

from coordinator.filters import FILTERS
from coordinator.fleet import Fleet
from coordinator.planning import BY_COUNTS, FULLY, IF_CHOSEN, decide, plan
from coordinator.standing import excerpt, standing
from coordinator.tests.fleets import NOW, a_node, a_task
from coordinator.values import Availability, Candidate, Resources, RoutingStrategy

SENTENCES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    (
        "sealed",
        {},
        {"among": frozenset({2})},
        "the task is not sealed for it, or cannot be brought there",
    ),
    (
        "maintenance",
        {"availability": Availability.MAINTENANCE},
        {},
        "taken out for maintenance by its operator",
    ),
    ("draining", {"availability": Availability.DRAINING}, {}, "being drained by its operator"),
    ("cordoned", {"availability": Availability.CORDONED}, {}, "cordoned by its operator"),
    ("goodbye", {"said_goodbye": True}, {}, "said goodbye"),
    ("silent", {"last_contact": NOW - 130}, {}, "silent for 130 s, longer than its timeout of 90 s"),
    ("disconnected", {"connected": False, "last_contact": NOW - 41}, {}, "silent for 41 s (disconnected)"),
    (
        "unstable",
        {"unstable_until": NOW + 60},
        {},
        "its connection broke too often: must be steady for another 60 s",
    ),
    (
        "cooling",
        {"cooling_until": NOW + 10},
        {},
        "attempts failed there by its own fault: cools down for another 10 s",
    ),
    ("kept", {"kept": True}, {}, "kept free for a larger task that has waited for long"),
    ("compute", {"computes": False}, {}, "its owner does not let it run tasks"),
    ("driver", {}, {"driver": "container"}, "driver container is not available there"),
    ("onion", {}, {"onion_required": True}, "not onion-capable"),
    (
        "region",
        {"region": "us-east"},
        {"region": "eu-west", "region_required": True},
        "region eu-west asked, is in us-east",
    ),
    ("label", {}, {"labels": {"gpu": "a100"}}, "label gpu=a100 missing"),
    (
        "cpu",
        {"free": Resources(cpu_millis=100, memory_mb=999)},
        {},
        "cpu: 100 of 4000 millicores free, 500 asked",
    ),
    (
        "memory",
        {"free": Resources(cpu_millis=999, memory_mb=12)},
        {},
        "memory: 12 of 8192 MB free, 256 asked",
    ),
    (
        "disk",
        {},
        {"needs": Resources(disk_mb=100_001)},
        "disk: 100000 of 100000 MB free, 100001 asked",
    ),
    ("gpu", {}, {"needs": Resources(gpus=2)}, "gpu: 0 of 0 free, 2 asked"),
]


def only_candidate(facts: dict[str, Any], asked: dict[str, Any]) -> Candidate:
    fleet = Fleet()
    fleet.upsert([a_node(1, **facts)])
    (decision,) = plan(fleet, [a_task(1, **asked)], NOW, random.Random(0), explain=FULLY).decisions
    (candidate,) = decision.candidates
    assert decision.rejected == {candidate.reason: 1}
    return candidate


@pytest.mark.parametrize(("name", "facts", "asked", "sentence"), SENTENCES)
def test_each_filter_rejects_by_name_and_sentence(
    name: str, facts: dict[str, Any], asked: dict[str, Any], sentence: str
) -> None:
    candidate = only_candidate(facts, asked)
    assert (candidate.reason, candidate.detail, candidate.score) == (name, sentence, None)


def test_every_filter_is_shown_above_and_names_differ() -> None:
    names = [each.name for each in FILTERS]
    assert [name for name, *_ in SENTENCES] == names
    assert len(set(names)) == len(names)


def test_a_small_fleet_is_shown_wholly_and_a_large_one_by_the_best_and_the_nearest() -> None:
    for size, shown in ((200, 200), (201, 40)):
        fleet = Fleet()
        fleet.upsert(
            a_node(each, free=Resources() if each % 2 else Resources(cpu_millis=4000, memory_mb=4000))
            for each in range(size)
        )
        fleet.upsert([a_node(1, said_goodbye=True)])
        (decision,) = plan(fleet, [a_task(1)], NOW, random.Random(0), explain=FULLY).decisions
        assert len(decision.candidates) == shown
        assert decision.considered == size
        assert decision.eligible + sum(decision.rejected.values()) == size
        assert decision.candidates[0].node_id == decision.chosen
        # The node that left is the farthest from serving: shown last, or not at all.
        reasons = [each.reason for each in decision.candidates]
        assert reasons[-1] == ("goodbye" if size == 200 else "cpu")


def test_a_single_decision_asks_all_others_and_a_batch_only_now_and_then() -> None:
    fleet = Fleet()
    fleet.upsert(a_node(each) for each in range(100))
    single = plan(fleet, [a_task(1)], NOW, random.Random(0), explain=FULLY).decisions[0]
    assert set(single.others) == set(RoutingStrategy) - {RoutingStrategy.LEAST_LOADED}
    assert single.others[RoutingStrategy.PRIVACY_AWARE] is None
    batch = plan(
        fleet,
        [a_task(each, needs=Resources()) for each in range(1000)],
        NOW,
        random.Random(0),
        explain=BY_COUNTS,
    )
    asked = [each for each in batch.decisions if each.others]
    assert 0 < len(asked) < 30  # one in a hundred
    assert not any(each.candidates for each in batch.decisions)


def test_where_only_choices_are_explained_a_wait_is_told_by_its_counts() -> None:
    fleet = Fleet()
    fleet.upsert([a_node(1)])
    asked = [a_task(1), a_task(2, driver="container")]
    chosen, waits = plan(fleet, asked, NOW, random.Random(0), explain=IF_CHOSEN).decisions
    assert (chosen.chosen, [candidate.node_id for candidate in chosen.candidates]) == (1, [1])
    assert len(chosen.others) == 4
    assert (waits.chosen, waits.rejected) == (None, {"driver": 1})
    assert (waits.candidates, waits.others) == ((), {})


def test_equal_tasks_share_a_shape_in_every_process() -> None:
    fleet = Fleet()
    made = plan(fleet, [a_task(1), a_task(2), a_task(3, driver="wasm")], NOW, random.Random(0)).decisions
    assert made[0].shape == made[1].shape != made[2].shape
    assert plan(Fleet(), [a_task(1)], NOW, random.Random(9)).decisions[0].shape == made[0].shape
    assert all(each.chosen is None and each.considered == 0 for each in made)


class TestStandings:
    """How every node stands to a task, however many there are."""

    def fleet(self, size: int = 500) -> Fleet:
        fleet = Fleet()
        fleet.upsert(
            a_node(
                each,
                name=f"node-{each}",
                free=Resources() if each % 2 else Resources(cpu_millis=4000 - each, memory_mb=4000),
                onion_capable=each % 3 == 0,
            )
            for each in range(size)
        )
        return fleet

    @pytest.mark.parametrize("strategy", list(RoutingStrategy))
    def test_pages_show_each_node_once_from_the_chosen_on(self, strategy: RoutingStrategy) -> None:
        fleet = self.fleet()
        task = a_task(1, strategy=strategy)
        decision = decide(fleet, task, NOW, random.Random(0))
        pages = [excerpt(fleet, task, NOW, start=start, size=100) for start in range(0, 600, 100)]
        rows = [row for page in pages for row in page.rows]
        assert [row.place for row in rows] == list(range(1, 501))
        assert {row.candidate.node_id for row in rows} == set(range(500))
        eligible = [row.candidate for row in rows if row.candidate.reason is None]
        assert len(eligible) == decision.eligible
        assert rows[: len(eligible)] == [row for row in rows if row.candidate.reason is None]
        if eligible:
            assert eligible[0].node_id == decision.chosen
            scores = [each.score or 0 for each in eligible]
            assert scores == sorted(scores, reverse=True)

    def test_a_search_keeps_the_places_in_the_whole(self) -> None:
        fleet = self.fleet()
        found = excerpt(fleet, a_task(1), NOW, name="NODE-49", size=50)
        assert found.matching == 11  # 49 and 490 to 499
        whole = excerpt(fleet, a_task(1), NOW, size=500)
        assert all(row in whole.rows for row in found.rows)

    def test_one_nodes_standing_is_its_row_of_the_table(self) -> None:
        fleet = self.fleet()
        whole = excerpt(fleet, a_task(1), NOW, size=500)
        for row in (whole.rows[0], whole.rows[100], whole.rows[400]):
            found = standing(fleet, a_task(1), row.candidate.node_id, NOW)
            assert found is not None
            assert found.candidate == row.candidate
            assert found.place == (row.place if row.candidate.reason is None else None)
            assert (found.eligible, found.best) == (250, whole.rows[0].candidate)

    def test_a_node_that_is_gone_has_none(self) -> None:
        assert standing(Fleet(), a_task(1), 7, NOW) is None

    def test_looking_reserves_nothing(self) -> None:
        fleet = self.fleet()
        before = fleet.version
        decided = decide(fleet, a_task(1), NOW, random.Random(0))
        excerpt(fleet, a_task(1), NOW, size=5)
        assert fleet.version == before
        assert set(decided.others) == set(RoutingStrategy) - {RoutingStrategy.LEAST_LOADED}
        assert decided.candidates == ()
