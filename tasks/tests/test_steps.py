"""The life of a task as steps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from nodes.models import Node
from tasks.models import Attempt, Task
from tasks.states import TaskState
from tasks.steps import Step, steps_of
from tasks.templatetags.task_words import took

START = datetime(2026, 5, 4, 15, 3, 29, tzinfo=UTC)
ATLAS, DUNE = Node(id=1, name="atlas-04"), Node(id=2, name="dune-07")


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def task(state: TaskState, **columns: object) -> Task:
    return Task(id=1, name="render", state=state, created_at=START, timeout_s=60, max_attempts=3, **columns)


def told(steps: list[Step]) -> list[tuple[str, str]]:
    return [(step.title, step.tone) for step in steps]


def test_a_waiting_task() -> None:
    assert told(steps_of(task(TaskState.QUEUED), [])) == [("Queued", "busy"), ("Result", "coming")]


def test_a_task_whose_node_fell_silent_and_its_replacement() -> None:
    silent = Attempt(
        node=DUNE, number=1, created_at=at(1), started_at=at(1.4), doubted_at=at(91), sentence="silent"
    )
    waiting = task(TaskState.QUEUED)
    assert told(steps_of(waiting, [silent]))[1:] == [
        ("In doubt on dune-07", "warn"),
        ("Queued again", "busy"),
        ("Result", "coming"),
    ]
    replacement = Attempt(node=ATLAS, number=2, created_at=at(92))
    assert told(steps_of(task(TaskState.ASSIGNED), [silent, replacement]))[1:3] == [
        ("In doubt on dune-07", "warn"),
        ("Assigned to atlas-04", "busy"),
    ]


def test_a_sealed_task_whose_nodes_are_gone() -> None:
    waits = task(TaskState.QUEUED, reseal_wanted_at=at(20))
    assert told(steps_of(waits, [])) == [
        ("Queued", "ok"),
        ("Needs resealing", "warn"),
        ("Result", "coming"),
    ]
    lost = Attempt(node=DUNE, number=1, created_at=at(1), ended_at=at(9), outcome="lost")
    assert told(steps_of(waits, [lost]))[2:4] == [("Queued again", "ok"), ("Needs resealing", "warn")]


def test_a_task_that_moved_and_runs() -> None:
    attempts = [
        Attempt(
            node=DUNE,
            number=1,
            created_at=at(1),
            started_at=at(1.4),
            ended_at=at(33),
            outcome="lost",
            sentence="dune-07 was silent for 90 s",
        ),
        Attempt(node=ATLAS, number=2, created_at=at(33), started_at=at(33.4)),
    ]
    steps = steps_of(task(TaskState.RUNNING), attempts)
    assert told(steps) == [
        ("Queued", "ok"),
        ("Assigned to dune-07", "ok"),
        ("Ran on dune-07, lost", "bad"),
        ("Assigned to atlas-04", "ok"),
        ("Running on atlas-04", "busy"),
        ("Result", "coming"),
    ]
    assert steps[1].note == "400 ms"
    assert steps[2].note == "dune-07 was silent for 90 s"
    assert steps[4].note == "attempt 2 of 3"


def test_a_run_whose_start_and_end_came_at_once_took_what_its_node_measured() -> None:
    """Nothing runs for 0 s."""
    short = Attempt(
        node=DUNE,
        number=1,
        created_at=at(1),
        started_at=at(2),
        ended_at=at(2),
        outcome="succeeded",
        usage={"wall_s": 0.062},
    )
    done = task(TaskState.SUCCEEDED, started_at=at(2), finished_at=at(2))
    assert steps_of(done, [short])[2].note == "62 ms"
    assert took(done) == ""


def test_a_lost_attempt_goes_back_to_the_queue() -> None:
    attempts = [
        Attempt(node=DUNE, number=1, created_at=at(1), ended_at=at(9), outcome="lost", sentence="it left")
    ]
    steps = steps_of(task(TaskState.QUEUED), attempts)
    assert told(steps)[1:3] == [("Assigned to dune-07, lost", "bad"), ("Queued again", "busy")]
    assert steps[2].at == at(9)


def test_a_finished_task() -> None:
    attempts = [
        Attempt(
            node=ATLAS,
            number=1,
            created_at=at(1),
            started_at=at(2),
            ended_at=at(11),
            outcome="succeeded",
        )
    ]
    steps = steps_of(task(TaskState.SUCCEEDED, finished_at=at(11)), attempts)
    assert told(steps)[-2:] == [("Ran on atlas-04", "ok"), ("Succeeded", "ok")]
    assert steps[-1].note.endswith("in all")


def test_a_task_cancelled_in_the_queue_says_why() -> None:
    cancelled = task(TaskState.CANCELLED, finished_at=at(5), reason="Cancelled by some-submitter")
    steps = steps_of(cancelled, [])
    assert told(steps) == [("Queued", "ok"), ("Cancelled", "mute")]
    assert steps[-1].note == "Cancelled by some-submitter"
