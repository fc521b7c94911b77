"""Placing: from the queue to a node, with capacity, order and decision; or waiting, with reasons."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone
from pytest_django.fixtures import Settings

from conftest import MakeNode
from coordinator.values import Availability, RoutingStrategy
from fogagent.messages import INLINE_BLOB_BYTES, Run
from fogpanel.parameters import changing, store
from nodes.models import Node, Order
from nodes.outbox import with_number
from tasks import placement
from tasks.closing import Ending, close, open_attempts
from tasks.models import Attempt, Decision, Task
from tasks.outcomes import LOST
from tasks.placement import POLL_S, Placer
from tasks.queue_view import QueueView
from tasks.routing_view import as_routing_tasks
from tasks.specification import validate
from tasks.tests.conftest import MakeTask

Place = Callable[[], int]


def test_a_task_gets_a_node_an_attempt_an_order_and_a_decision(
    make_node: MakeNode, make_task: MakeTask, place: Place
) -> None:
    node, task = make_node(), make_task(cores=0.5, memory_mb=256)
    assert place() == 1

    task.refresh_from_db()
    node.refresh_from_db()
    attempt = Attempt.objects.get()
    assert (task.state, task.node_id, task.attempts_made) == ("assigned", node.id, 1)
    assert (attempt.task_id, attempt.node_id, attempt.number) == (task.id, node.id, 1)
    assert (node.free_cpu_millis, node.free_memory_mb, node.open_attempts) == (500, 768, 1)
    order = Order.objects.get()
    run = msgspec.json.decode(with_number(order.id, bytes(order.body)), type=Run)
    assert (run.order, run.attempt, run.driver) == (order.id, attempt.id, "python")
    assert run.payload is not None and run.payload.inline == b"print(1)"


def test_the_decision_names_every_node_and_the_other_strategies(
    make_node: MakeNode, make_task: MakeTask, place: Place
) -> None:
    chosen = make_node(name="free")
    make_node(name="full", free_cpu_millis=100)
    make_node(name="away", connected=False)
    make_task(strategy="round_robin")
    place()
    decision = Decision.objects.select_related("explanation").get()
    assert decision.explanation is not None
    reasons = {row["name"]: row["reason"] for row in decision.explanation.rows}
    assert reasons == {"free": None, "full": "cpu", "away": "disconnected"}
    assert (decision.chosen_id, decision.considered, decision.eligible) == (chosen.id, 3, 1)
    assert decision.rejected == {"cpu": 1, "disconnected": 1}
    assert set(decision.others) == set(RoutingStrategy) - {"round_robin"}


def test_what_nothing_can_take_waits_with_its_reasons(
    make_node: MakeNode, make_task: MakeTask, place: Place
) -> None:
    make_node()
    task = make_task(cores=8)
    assert place() == 0
    task.refresh_from_db()
    assert (task.state, task.wait_reasons) == ("queued", {"cpu": 1})
    assert Decision.objects.get(task=task).chosen_id is None


def test_a_waiting_task_is_placed_when_capacity_appears(make_node: MakeNode, make_task: MakeTask) -> None:
    placer = Placer()
    task = make_task(cores=8)
    assert placer.place_waiting(timezone.now()) == 0
    make_node(cpu_millis=8000)
    assert placer.place_waiting(timezone.now()) == 1
    task.refresh_from_db()
    assert (task.state, task.wait_reasons) == ("assigned", {})


def test_what_waits_does_not_block_what_fits(make_node: MakeNode, make_task: MakeTask, place: Place) -> None:
    make_node()
    make_task(cores=8, priority=10)
    small = make_task(cores=0.25, priority=1)
    assert place() == 1
    small.refresh_from_db()
    assert small.state == "assigned"


def test_priority_then_age(make_node: MakeNode, make_task: MakeTask, place: Place) -> None:
    make_node(cpu_millis=1000)
    low, high, late = make_task(cores=0.5), make_task(cores=0.5, priority=9), make_task(cores=0.5)
    assert place() == 2
    states = dict(Task.objects.values_list("id", "state"))
    assert states == {high.id: "assigned", low.id: "assigned", late.id: "queued"}


def test_who_has_waited_long_goes_before_urgent_newcomers(
    make_node: MakeNode, make_task: MakeTask, place: Place, settings: Settings
) -> None:
    make_node(cpu_millis=1000)
    patient = make_task(cores=1, priority=1)
    nine_steps = timedelta(seconds=9 * settings.AGEING_S)
    Task.objects.filter(id=patient.id).update(created_at=timezone.now() - nine_steps)
    urgent = make_task(cores=1, priority=10)
    assert place() == 1
    states = dict(Task.objects.values_list("id", "state"))
    assert states == {patient.id: "assigned", urgent.id: "queued"}


def test_a_queue_is_put_in_its_turn_anew_when_ageing_is_changed(make_task: MakeTask) -> None:
    patient = make_task(priority=1)
    Task.objects.filter(id=patient.id).update(created_at=timezone.now() - timedelta(hours=1))
    urgent = make_task(priority=10)
    queue = QueueView()
    turns = []
    for ageing_s in (300, 3600):
        changing.change({"ageing_s": ageing_s}, None, timezone.now())
        store.copy.forget()
        queue.refresh(timezone.now())
        turns.append([task.task_id for task in queue.in_order(set())])
    assert turns == [[patient.id, urgent.id], [urgent.id, patient.id]]
    queue.drop(urgent.id)
    assert [task.task_id for task in queue.in_order(set())] == [patient.id]


def test_a_large_task_that_has_waited_long_gets_a_node_kept_free(
    make_node: MakeNode, make_task: MakeTask, place: Place, settings: Settings
) -> None:
    make_node(free_cpu_millis=600)
    large = make_task(cores=1)
    patience = timedelta(seconds=settings.AGEING_S + 1)
    Task.objects.filter(id=large.id).update(created_at=timezone.now() - patience)
    small, urgent = make_task(cores=0.25), make_task(cores=0.25, priority=10)
    assert place() == 1  # who comes before it in turn is not held up
    small.refresh_from_db()
    urgent.refresh_from_db()
    assert (small.state, small.wait_reasons, urgent.state) == ("queued", {"kept": 1}, "assigned")


def test_a_stale_view_never_oversubscribes(make_node: MakeNode, make_task: MakeTask) -> None:
    node = make_node(cpu_millis=1000)
    slow = Placer()
    assert slow.place_waiting(timezone.now()) == 0
    make_task(cores=0.8)
    slow._view.refresh(timezone.now())
    # Another process takes the room that this placer still sees.
    Node.objects.filter(id=node.id).update(
        free_cpu_millis=100, changed_at=timezone.now() - timedelta(hours=1)
    )
    assert slow.place_waiting(timezone.now()) == 0
    node.refresh_from_db()
    assert (node.free_cpu_millis, Attempt.objects.count()) == (100, 0)


def test_two_placers_place_a_task_once(make_node: MakeNode, make_task: MakeTask) -> None:
    make_node()
    first, second = Placer(), Placer()
    make_task()
    now = timezone.now()
    for placer in (first, second):
        placer._queue.refresh(now)
        placer._view.refresh(now)
    plans = [placer._plan_batch(set(), now) for placer in (first, second)]
    placed = [placer._commit(batch) for placer, batch in zip((first, second), plans, strict=True)]
    assert placed == [1, 0]
    assert Attempt.objects.count() == 1


def test_a_node_it_was_lost_on_is_avoided_while_another_will_do(
    make_node: MakeNode, make_task: MakeTask, place: Place
) -> None:
    make_node(name="first")
    task = make_task()
    place()
    other = make_node(name="other", cpu_millis=600)
    attempts = open_attempts()
    close(attempts, [Ending(attempt_id=attempts[0].id, outcome=LOST)], timezone.now())
    place()
    task.refresh_from_db()
    assert task.node_id == other.id


@pytest.mark.parametrize(
    "columns",
    [{"availability": Availability.CORDONED}, {"archived_at": timezone.now()}, {"approved_at": None}],
)
def test_nodes_that_take_no_work(
    make_node: MakeNode, make_task: MakeTask, place: Place, columns: dict[str, object]
) -> None:
    make_node(**columns)
    make_task()
    assert place() == 0


def test_a_preview_asks_all_strategies_and_reserves_nothing(make_node: MakeNode) -> None:
    node = make_node()
    decisions = placement.preview(validate({"driver": "python", "cores": 0.5}, content=False))
    assert set(decisions) == set(RoutingStrategy)
    assert decisions[RoutingStrategy.LEAST_LOADED].chosen == node.id
    assert decisions[RoutingStrategy.PRIVACY_AWARE].rejected == {"onion": 1}
    node.refresh_from_db()
    assert node.free_cpu_millis == node.cpu_millis


@pytest.mark.django_db(transaction=True)
def test_the_coordinator_of_the_panel_places_stored_tasks(make_node: MakeNode, make_task: MakeTask) -> None:
    node, task = make_node(), make_task(cores=0.5)
    coordinator = placement.get_coordinator()
    [routed] = as_routing_tasks([task])
    chosen = async_to_sync(coordinator.route_task)(routed)
    assert chosen is not None
    task.refresh_from_db()
    assert (chosen.node_id, task.state, task.node_id) == (node.id, "assigned", node.id)


def test_a_changed_weight_decides_the_next_placement(make_node: MakeNode, make_task: MakeTask) -> None:
    near = make_node(name="near", region="eu-west", cpu_percent=50)
    far = make_node(name="far", region="ap-east")
    placer = Placer()
    for _ in range(2):
        make_task(strategy="proximity_based", region="eu-west", cores=0.1)
    placer.place_waiting(timezone.now())
    changing.change({"proximity_region": 0, "proximity_nearness": 0}, None, timezone.now())
    store.copy.forget()
    make_task(strategy="proximity_based", region="eu-west", cores=0.1)
    placer.place_waiting(timezone.now())
    assert list(Attempt.objects.order_by("id").values_list("node_id", flat=True)) == [
        near.id,
        near.id,
        far.id,
    ]


def test_a_woken_turn_reads_new_tasks_and_freed_nodes_only(make_node: MakeNode, make_task: MakeTask) -> None:
    placer, start = Placer(), timezone.now()
    freed, other = make_node(free_cpu_millis=0), make_node(free_cpu_millis=0)
    placer._refresh(start, 0.0)
    Node.objects.update(free_cpu_millis=500, changed_at=timezone.now())
    make_task(cores=0.5)
    placer.wake_freed(frozenset({freed.id}))
    placer._refresh(timezone.now(), 0.01)
    free = {node.node_id: node.free.cpu_millis for node in placer._view.fleet.nodes()}
    assert free == {freed.id: 500, other.id: 0}
    assert placer._place(timezone.now()) == 1


def test_a_task_meets_its_node_as_it_is_though_all_was_looked_at_just_now(
    make_node: MakeNode, make_task: MakeTask
) -> None:
    placer, start = Placer(), timezone.now()
    make_node(region="eu-west")
    gone = make_node(region="af-south")
    placer._refresh(start, 0.0)
    Node.objects.filter(id=gone.id).update(connected=False, gone_at=start, changed_at=timezone.now())
    near = make_node(region="af-south")
    make_task(strategy="proximity_based", region="af-south")
    placer.wake_changed(frozenset({gone.id, near.id}))
    placer._refresh(timezone.now(), 0.01)
    assert placer._place(timezone.now()) == 1
    assert Attempt.objects.get().node_id == near.id


def test_a_look_finds_what_nobody_told_of(make_node: MakeNode, make_task: MakeTask) -> None:
    placer = Placer()
    task = make_task(cores=2)
    placer._refresh(timezone.now(), 0.0)
    assert placer._place(timezone.now()) == 0
    node = make_node(cpu_millis=2000)
    Task.objects.filter(id=task.id).update(state="cancelled")
    back = make_task(cores=2)
    placer._refresh(timezone.now(), POLL_S)
    assert node.id in placer._view.fleet
    assert placer._place(timezone.now()) == 1
    assert Task.objects.get(id=back.id).state == "assigned"


def test_what_came_back_to_the_queue_is_found_by_a_look(make_node: MakeNode, make_task: MakeTask) -> None:
    placer = Placer()
    make_node()
    make_task()
    assert placer.place_waiting(timezone.now()) == 1
    attempts = open_attempts()
    close(attempts, [Ending(attempt_id=attempts[0].id, outcome=LOST)], timezone.now())
    placer.wake()
    placer._refresh(timezone.now(), 0.0)
    assert len(placer._queue) == 1


def test_affinity_prefers_the_node_that_has_the_input_already(
    make_node: MakeNode, make_task: MakeTask, place: Place
) -> None:
    source = "x = 1\n" * INLINE_BLOB_BYTES
    make_node(name="first")
    holder = make_node(name="holder", cached_inputs=[hashlib.sha256(source.encode()).hexdigest()])
    task = make_task(strategy="affinity_based", source=source)
    previewed = placement.preview(validate({"source": source}))
    assert previewed[RoutingStrategy.AFFINITY_BASED].chosen == holder.id
    place()
    task.refresh_from_db()
    assert task.node_id == holder.id


def test_inputs_that_travel_in_their_order_are_nobodys_advantage(make_task: MakeTask) -> None:
    [routed] = as_routing_tasks([make_task(strategy="affinity_based")])
    assert routed.inputs == frozenset()


def test_tasks_are_placed_while_somebody_keeps_asking(make_node: MakeNode, make_task: MakeTask) -> None:
    placer, asked = Placer(), []

    def ask_again() -> None:
        asked.append(Attempt.objects.count())
        if len(asked) < 100:
            placer._questions.put(ask_again)

    make_node()
    make_task()
    placer._questions.put(ask_again)
    placer.wake()
    placer.turn()
    assert Attempt.objects.count() == 1
    assert len(asked) < 5
