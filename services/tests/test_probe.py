"""The coordinator's probe over rows: what it sends, and what it makes of what comes back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import wasmtime
from django.contrib.auth.models import User

from coordinator.values import RoutingStrategy
from fogpanel import wakes
from fogpanel.models import JobState
from nodes.models import Node
from services.canaries import FOG_COORDINATOR, account, program
from services.fog_coordinator import canary
from services.fog_coordinator.probe import PROBING, decisions_per_s, probe, sweeps
from services.models import State
from tasks.models import Attempt, Decision, LogChunk, Task
from tasks.states import TaskState

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def node(make_node: Callable[..., Node]) -> Node:
    return make_node()


def finish(task: Task, node: Node, printed: bytes, state: TaskState = TaskState.SUCCEEDED) -> None:
    """As a node's report does."""
    attempt = Attempt.objects.create(task=task, node=node, number=1)
    middle = len(printed) // 2
    for offset, content in ((0, printed[:middle]), (middle, printed[middle:])):
        LogChunk.objects.create(attempt=attempt, stream="stdout", offset=offset, content=content)
    task.state, task.accepted_attempt, task.assigned_at = state, attempt, task.created_at + SECOND / 100
    task.save()


def sent() -> list[Task]:
    return list(Task.objects.filter(canary=True).order_by("id"))


def test_the_canary_prints_its_argument(tmp_path: object) -> None:
    """The program really runs, under the engine that nodes use."""
    engine = wasmtime.Engine()
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    store = wasmtime.Store(engine)
    config = wasmtime.WasiConfig()
    config.argv = ["module.wasm", "a1b2c3"]
    printed = bytearray()
    config.stdout_custom = lambda data: printed.extend(data) or len(data)  # type: ignore[func-returns-value]
    store.set_wasi(config)
    instance = linker.instantiate(store, wasmtime.Module(engine, program()))
    start = instance.exports(store)["_start"]
    assert isinstance(start, wasmtime.Func)
    start(store)
    assert bytes(printed) == b"a1b2c3"


def test_without_nodes_there_is_nothing_to_send() -> None:
    found = probe(NOW, None)
    assert found is not None
    assert found.state == State.DEGRADED
    assert sent() == []


def test_one_canary_for_each_strategy_and_the_placer_is_woken(
    node: Node, django_capture_on_commit_callbacks: Callable[..., object]
) -> None:
    woken: list[object] = []
    wakes.on_wake("placer", woken.append)
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[attr-defined]
        assert probe(NOW, None) is None
    assert {task.strategy for task in sent()} == set(RoutingStrategy)
    assert all(task.canary and task.state == TaskState.QUEUED for task in sent())
    assert len({task.args[0] for task in sent()}) == len(RoutingStrategy)
    assert woken


def test_it_waits_without_sending_more(node: Node) -> None:
    probe(NOW, None)
    assert probe(NOW + SECOND, None) is None
    assert len(sent()) == len(RoutingStrategy)


def test_all_back_and_right(node: Node) -> None:
    probe(NOW, None)
    for task in sent():
        finish(task, node, task.args[0].encode())
    found = probe(NOW + SECOND, None)
    assert found is not None
    assert (found.state, found.sentence) == (
        State.OPERATIONAL,
        "Every strategy placed its canary within 10 ms",
    )


def test_a_wrong_word_is_a_failure(node: Node) -> None:
    probe(NOW, None)
    first, *rest = sent()
    finish(first, node, b"something else")
    for task in rest:
        finish(task, node, task.args[0].encode())
    found = probe(NOW + SECOND, None)
    assert found is not None
    assert found.state == State.DEGRADED
    assert "printed something else" in found.sentence


def test_late_canaries_say_what_they_wait_for(node: Node) -> None:
    probe(NOW, None)
    Task.objects.filter(canary=True).update(wait_reasons={"disconnected": 1})
    assert probe(NOW + canary.DEADLINE_S * SECOND, None) is None
    found = probe(NOW + (canary.DEADLINE_S + 0.1) * SECOND, None)
    assert found is not None
    assert found.state == State.DOWN
    assert "found no node (1 × disconnected)" in found.sentence


def test_after_a_result_the_next_call_sends_anew(node: Node) -> None:
    probe(NOW, None)
    for task in sent():
        finish(task, node, task.args[0].encode())
    result_at = NOW + SECOND
    assert probe(result_at, None) is not None
    assert probe(result_at + 30 * SECOND, result_at) is None
    assert len(sent()) == 2 * len(RoutingStrategy)


def test_the_owner_cannot_sign_in(client: object) -> None:
    owner = account(FOG_COORDINATOR)
    assert account(FOG_COORDINATOR) == owner
    assert not owner.is_active
    assert not User.objects.get(pk=owner.pk).has_usable_password()


def test_old_canaries_are_deleted_and_nobody_elses_task(node: Node, submitter: User) -> None:
    probe(NOW, None)
    first, *rest = sent()
    for task in rest:
        finish(task, node, task.args[0].encode())
    other = Task.objects.create(
        name="mine", owner=submitter, driver="wasm", state=TaskState.SUCCEEDED, created_at=NOW
    )
    canary.clean_up(NOW + canary.KEPT_S * SECOND)
    assert len(sent()) == len(RoutingStrategy)
    canary.clean_up(NOW + (canary.KEPT_S + 1) * SECOND)
    # One that still holds capacity on a node stays until it is over.
    assert sent() == [first]
    assert Task.objects.filter(pk=other.pk).exists()


def test_decisions_of_the_last_minute_without_canaries(submitter: User) -> None:
    work = Task.objects.create(name="work", owner=submitter, driver="wasm")
    probing = Task.objects.create(name="canary", owner=account(FOG_COORDINATOR), driver="wasm", canary=True)
    ages_s = [300, 200, 61, 59, 30, 20, 1]
    for task, age_s in [(work, age_s) for age_s in ages_s] + [(probing, 0)]:
        Decision.objects.create(
            task=task,
            strategy=RoutingStrategy.ROUND_ROBIN,
            considered=1,
            eligible=1,
            decided_at=NOW - age_s * SECOND,
            took_us=1,
        )
    assert decisions_per_s(NOW) == pytest.approx(4 / 60)
    assert decisions_per_s(NOW + timedelta(hours=1)) == 0.0


def test_no_decisions_at_all() -> None:
    assert decisions_per_s(NOW) == 0.0


def test_no_job_is_late_for_the_time_when_the_panel_was_away() -> None:
    hour = timedelta(hours=1)
    JobState.objects.create(name="nodes.jobs.sweep_heartbeats", due_at=NOW - hour)
    assert [round(sweep.lag_s) for sweep in sweeps(NOW)] == [3600]
    JobState.objects.create(name=PROBING, due_at=NOW, since=NOW - 4 * SECOND)
    assert [round(sweep.lag_s) for sweep in sweeps(NOW)] == [4, 0]
