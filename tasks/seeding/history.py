"""Tasks from the oldest to those at work now, each with its attempts, decision, output and events."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from coordinator.values import RoutingStrategy
from fogagent.messages import Outcome
from fogpanel.models import Event
from nodes.models import Node
from tasks.models import Attempt, Decision, Explanation, LogChunk, Task
from tasks.outcomes import LOST
from tasks.seeding.fleet import works
from tasks.seeding.rows import Rows
from tasks.seeding.work import Batch, Work
from tasks.states import TaskState

COMMITTED = 5000  # tasks; a seeded panel has no other writer yet
OPEN_SHARE = 200  # one task in so many is on a node now; as many wait
OPEN_MOST = 5000
ON_THEIR_WAY = 20  # one open task in so many has not started yet
FULL_SHARE = 25  # one node in so many has no room left
LIMIT_S = 86_400.0  # of open tasks: nobody will report their end
GPUS_NOBODY_HAS = 16
SECOND = timedelta(seconds=1)

# Of a thousand finished tasks: how many ended so.
ENDS = {TaskState.SUCCEEDED: 930, TaskState.FAILED: 40, TaskState.CANCELLED: 15, TaskState.EXPIRED: 15}
FAILURES = {
    Outcome.EXIT_CODE: "It ended with exit code 1.",
    Outcome.TIMEOUT: "It ran longer than its limit.",
    Outcome.MEMORY: "It asked for more memory than its limit.",
}
STRATEGIES = [strategy.value for strategy in RoutingStrategy]
LOST_SENTENCE = "its node was silent for 90 s"
TRIED_TWICE = 0.03
PRINTED = 0.12  # the share of tasks of which output is kept
TOLD = 0.06  # the share of tasks that leave an event


@dataclass(frozen=True, slots=True)
class Reserved:
    node: Node
    cpu_millis: int
    memory_mb: int
    running: bool


class History:
    def __init__(self, fleet: Sequence[Node], rng: random.Random, now: datetime, span: timedelta) -> None:
        self._fleet = [node for node in fleet if node.approved_at and not node.archived_at]
        self._rng = rng
        self._now = now
        self._span = span
        self._tasks = Rows(Task, driver="python", canary=False)
        self._attempts = Rows(Attempt)
        self._explanations = Rows(Explanation, created_at=now)
        self._decisions = Rows(Decision)
        self._chunks = Rows(LogChunk, stream="stdout", offset=0)
        self._events = Rows(Event)

    def reserve(self, tasks: int) -> list[Reserved]:
        """Take room on the nodes for the tasks that are there now; the nodes are not stored yet."""
        working = [node for node in self._fleet if works(node)]
        wanted = min(OPEN_MOST, tasks // OPEN_SHARE)
        full = working[:: max(FULL_SHARE, 2 * len(working) // max(1, wanted))]
        reserved = [
            self._take(node, node.free_cpu_millis, node.free_memory_mb, running=i % ON_THEIR_WAY > 0)
            for i, node in enumerate(full[:wanted])
        ]
        while working and len(reserved) < wanted:
            node = self._rng.choice(working)
            if node.free_cpu_millis >= 1000 and node.free_memory_mb >= 256:
                running = len(reserved) % ON_THEIR_WAY > 0
                reserved.append(self._take(node, 500, 256, running=running))
            else:
                working.remove(node)
        return reserved

    def _take(self, node: Node, cpu_millis: int, memory_mb: int, *, running: bool) -> Reserved:
        node.free_cpu_millis -= cpu_millis
        node.free_memory_mb -= memory_mb
        node.open_attempts += 1
        node.cpu_percent = round(min(100.0, node.cpu_percent + 100 * cpu_millis / node.cpu_millis), 1)
        return Reserved(node, cpu_millis, memory_mb, running)

    def write(self, tasks: int, reserved: Sequence[Reserved], tell: Callable[[str], None]) -> None:
        work = Work(self._fleet, self._rng, self._explanations)
        lately = range(max(0, tasks - 6 * len(reserved)), tasks)
        now_at = self._rng.sample(lately, min(len(lately), 2 * len(reserved)))
        at_work: Mapping[int, Reserved] = dict(zip(now_at, reserved, strict=False))
        waiting = frozenset(now_at[len(reserved) :])
        self._joined()
        batch, left = work.next_batch(), 0
        for i in range(tasks):
            if left == 0:
                batch = work.next_batch()
                left = batch.size
            left -= 1
            self._task(batch, i, self._now - self._span * (1 - i / tasks), at_work.get(i), i in waiting)
            if (i + 1) % COMMITTED == 0:
                self._store()
            if (i + 1) % 100_000 == 0:
                tell(f"{i + 1:,} of {tasks:,} tasks")
        self._store()

    def _store(self) -> None:
        with transaction.atomic():
            for rows in (
                self._explanations, self._tasks, self._attempts, self._decisions, self._chunks, self._events
            ):  # fmt: skip
                rows.write()

    def _joined(self) -> None:
        for node in self._fleet:
            self._tell("node.joined", f"{node.name} joined with key seeded", "node", node.id, node.created_at)

    def _tell(
        self, kind: str, sentence: str, subject: str, subject_id: int, at: datetime, actor: str = "",
        actor_id: int | None = None, level: str = Event.Level.INFO.value,
    ) -> None:  # fmt: skip
        self._events.add(
            at=at, level=level, kind=kind, sentence=sentence, subject_kind=subject, subject_id=subject_id,
            actor_name=actor, actor_id=actor_id,
        )  # fmt: skip

    # --- One task ----------------------------------------------------------------------------------

    def _task(self, batch: Batch, i: int, at: datetime, reserved: Reserved | None, waits: bool) -> None:
        name = f"{batch.name} {i:07}"
        common = {
            "name": name,
            "owner_id": batch.owner.id,
            "payload_id": batch.payload,
            "args": f'["{i}"]',
            "strategy": batch.strategy.value,
            "created_at": at,
        }
        if reserved is not None:
            self._at_work(batch, common, at, reserved)
        elif waits:
            self._waiting(batch, common, at)
        else:
            self._finished(batch, common, at)
        if self._rng.random() < TOLD:
            who = batch.owner
            sentence = f"{who.username} handed in “{name}”"
            self._tell("task.submitted", sentence, "task", self._tasks.next_id - 1, at, who.username, who.id)

    def _at_work(self, batch: Batch, common: dict[str, object], at: datetime, reserved: Reserved) -> None:
        started_at = at + SECOND if reserved.running else None
        task_id = self._tasks.add(
            **common,
            state=(TaskState.RUNNING if reserved.running else TaskState.ASSIGNED).value,
            cpu_millis=reserved.cpu_millis,
            memory_mb=reserved.memory_mb,
            timeout_s=LIMIT_S,
            attempts_made=1,
            node_id=reserved.node.id,
            assigned_at=at,
            started_at=started_at,
            changed_at=started_at or at,
        )
        attempt_id = self._attempts.add(
            task_id=task_id, node_id=reserved.node.id, number=1, created_at=at, started_at=started_at
        )
        self._decide(batch, task_id, attempt_id, reserved.node.id, at)

    def _waiting(self, batch: Batch, common: dict[str, object], at: datetime) -> None:
        """For what nobody has: the placer would send it to a node whose agent never answers."""
        reasons = {"gpu": batch.considered}
        task_id = self._tasks.add(
            **common, state=TaskState.QUEUED.value, gpu_count=GPUS_NOBODY_HAS, wait_reasons=reasons,
            cpu_millis=batch.cpu_millis, memory_mb=batch.memory_mb, changed_at=at,
        )  # fmt: skip
        self._decisions.add(
            task_id=task_id, strategy=batch.strategy.value, considered=batch.considered, eligible=0,
            rejected=reasons, others={}, explanation_id=batch.explanation, decided_at=at, took_us=180.0,
        )  # fmt: skip

    def _finished(self, batch: Batch, common: dict[str, object], at: datetime) -> None:
        rng = self._rng
        state = rng.choices(list(ENDS), list(ENDS.values()))[0]
        assigned_at = min(self._now, at + SECOND * rng.uniform(0.01, 2))
        started_at = min(self._now, assigned_at + SECOND * rng.uniform(0.005, 0.2))
        finished_at = min(self._now, started_at + SECOND * batch.median_s * rng.lognormvariate(0, 0.6))
        ran = state in (TaskState.SUCCEEDED, TaskState.FAILED) or (
            state is TaskState.CANCELLED and rng.random() < 0.5
        )
        twice = ran and rng.random() < TRIED_TWICE
        node_id = rng.choice(self._fleet).id if ran else None
        outcome = _outcome(state, rng) if ran else None
        sentence = FAILURES.get(outcome, "") if outcome else ""
        task_id = self._tasks.add(
            **common,
            state=state.value,
            cpu_millis=batch.cpu_millis,
            memory_mb=batch.memory_mb,
            attempts_made=ran + twice,
            node_id=node_id,
            assigned_at=assigned_at if ran else None,
            started_at=started_at if ran else None,
            finished_at=finished_at,
            changed_at=finished_at,
            cancel_requested_at=assigned_at if state is TaskState.CANCELLED else None,
            reason=sentence or _why(state),
            exit_code=_exit_code(outcome),
            accepted_attempt_id=(
                self._attempts.next_id + twice if state in (TaskState.SUCCEEDED, TaskState.FAILED) else None
            ),
        )
        if node_id is None or outcome is None:
            return
        if twice:
            self._lost(batch, task_id, at, assigned_at)
        attempt_id = self._attempts.add(
            task_id=task_id, node_id=node_id, number=1 + twice, created_at=assigned_at,
            started_at=started_at, ended_at=finished_at, outcome=outcome.value, sentence=sentence,
            exit_code=_exit_code(outcome), usage=_usage(finished_at - started_at),
        )  # fmt: skip
        self._decide(batch, task_id, attempt_id, node_id, assigned_at)
        if rng.random() < PRINTED:
            printed = "".join(f"row {row} of {task_id}\n" for row in range(rng.randrange(1, 30)))
            self._chunks.add(attempt_id=attempt_id, content=printed.encode())

    def _lost(self, batch: Batch, task_id: int, at: datetime, ended_at: datetime) -> None:
        node = self._rng.choice(self._fleet)
        attempt_id = self._attempts.add(
            task_id=task_id, node_id=node.id, number=1, created_at=at, started_at=at, ended_at=ended_at,
            outcome=LOST, sentence=LOST_SENTENCE,
        )  # fmt: skip
        self._decide(batch, task_id, attempt_id, node.id, at)
        sentence = f"{batch.name} goes back to the queue: {node.name} was silent for 90 s"
        self._tell("task.moved", sentence, "task", task_id, ended_at, level=Event.Level.WARNING.value)

    def _decide(self, batch: Batch, task_id: int, attempt_id: int, node_id: int, at: datetime) -> None:
        asked = batch.size == 1
        others = (
            {s: self._rng.choice(self._fleet).id for s in STRATEGIES if s != batch.strategy} if asked else {}
        )
        self._decisions.add(
            task_id=task_id, attempt_id=attempt_id, strategy=batch.strategy.value, chosen_id=node_id,
            considered=batch.considered, eligible=batch.eligible, rejected=batch.rejected,
            others=others or "{}",
            explanation_id=batch.explanation, decided_at=at, took_us=self._rng.uniform(20, 200),
        )  # fmt: skip


def _outcome(state: TaskState, rng: random.Random) -> Outcome:
    if state is TaskState.SUCCEEDED:
        return Outcome.SUCCEEDED
    return rng.choice(list(FAILURES)) if state is TaskState.FAILED else Outcome.CANCELLED


def _why(state: TaskState) -> str:
    return {
        TaskState.CANCELLED: "cancelled on request",
        TaskState.EXPIRED: "No node could take it in time.",
    }.get(state, "")


def _exit_code(outcome: Outcome | None) -> int | None:
    return {Outcome.SUCCEEDED: 0, Outcome.EXIT_CODE: 1}.get(outcome) if outcome else None


def _usage(took: timedelta) -> str:
    wall_s = took.total_seconds()
    return f'{{"wall_s": {wall_s:.3f}, "cpu_s": {0.9 * wall_s:.3f}, "memory_peak_mb": 42}}'
