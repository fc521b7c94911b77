"""Whatever happens to a fleet, the indexed planner agrees with the plain one and promises nothing twice."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from coordinator.explain import others
from coordinator.fleet import Fleet
from coordinator.planning import BY_COUNTS, FULLY, plan, preview
from coordinator.tests.fleets import NOW, nodes, tasks
from coordinator.tests.reference import ReferencePlanner
from coordinator.values import FogNode, NodeId, Resources, Task


class Routing(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet()
        self.reference = ReferencePlanner()
        self.now = NOW
        self.rng = random.Random(0)
        self.running: list[tuple[NodeId, Resources]] = []

    @initialize(kinds=st.lists(tasks(), min_size=3, max_size=6))
    def work_comes_in_kinds(self, kinds: list[Task]) -> None:
        """The same requirements come again and again, so what is kept for them is used."""
        self.kinds = kinds

    @initialize(some=st.lists(nodes(), min_size=6, max_size=12, unique_by=lambda node: node.node_id))
    def a_fleet_is_there(self, some: list[FogNode]) -> None:
        self.nodes_are_stated(some)

    @rule(some=st.lists(nodes(), min_size=1, max_size=4, unique_by=lambda node: node.node_id))
    def nodes_are_stated(self, some: list[FogNode]) -> None:
        self.fleet.upsert(some)
        self.reference.upsert(some)

    @rule(node_id=st.integers(0, 12))
    def a_node_leaves(self, node_id: int) -> None:
        self.fleet.remove([node_id])
        self.reference.remove(node_id)

    @rule(seconds=st.sampled_from([0.5, 30.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def work_ends(self, data: st.DataObject) -> None:
        node_id, needs = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.fleet.release(node_id, needs)
        self.reference.release(node_id, needs)

    @rule(numbers=st.lists(st.integers(0, 5), min_size=1, max_size=12), fully=st.booleans())
    def tasks_are_planned(self, numbers: list[int], fully: bool) -> None:
        some = [self.kinds[number % len(self.kinds)] for number in numbers]
        made = plan(self.fleet, some, self.now, self.rng, explain=FULLY if fully else BY_COUNTS)
        for task, decision in zip(some, made.decisions, strict=True):
            chosen, rejected = self.reference.place(task, self.now)
            assert decision.chosen == chosen
            assert dict(decision.rejected) == rejected
            assert decision.eligible + sum(rejected.values()) == decision.considered
            if chosen is not None:
                self.running.append((chosen, task.needs))

    @rule(number=st.integers(0, 5))
    def a_preview_agrees_with_what_others_would_choose(self, number: int) -> None:
        task = self.kinds[number % len(self.kinds)]
        before = self.fleet.version
        seen = preview(self.fleet, task, self.now, self.rng)
        assert self.fleet.version - before <= len(self.fleet)  # silence may have begun; nothing else
        chosen = {strategy: decision.chosen for strategy, decision in seen.items()}
        second_opinion = others(self.fleet, task)
        assert {**chosen, **second_opinion} == chosen
        assert set(chosen) - set(second_opinion) == {task.strategy}

    @invariant()
    def what_is_free_agrees(self) -> None:
        assert {node.node_id: node.free for node in self.fleet.nodes()} == {
            node_id: node.free for node_id, node in self.reference.nodes.items()
        }


TestRouting = Routing.TestCase
TestRouting.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


@settings(max_examples=40, deadline=None)
@given(
    some=st.lists(nodes(), max_size=8, unique_by=lambda node: node.node_id),
    work=st.lists(tasks(), max_size=60, unique_by=lambda task: task.task_id),
)
def test_no_node_is_ever_oversubscribed(some: list[FogNode], work: list[Task]) -> None:
    fleet = Fleet()
    fleet.upsert(some)
    made = plan(fleet, work, NOW, random.Random(0))
    needs = {task.task_id: task.needs for task in work}
    for node in some:
        reserved = sum(
            (needs[each.task_id] for each in made.placed if each.chosen == node.node_id), Resources()
        )
        assert reserved.fits_in(node.free)
        assert fleet.get(node.node_id) is not None
        assert replace(fleet.get(node.node_id) or node, last_assigned=0).free == node.free - reserved
