"""A fog in which anything may happen in any order: agents, two planners, people and sweeps.

Hypothesis chooses the steps; each drives the panel's own code against the real database, and after each
the invariants are checked. Time passes by ageing the rows, since the code reads the real clock.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from itertools import islice
from typing import Any

import msgspec
from django.contrib.auth.models import Group, User
from django.db import models, transaction
from django.db.models import F
from django.utils import timezone
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from coordinator import planning, values
from coordinator.values import Availability, RoutingStrategy
from fogagent.identity import ENROL, Identity, enrolment_text
from fogagent.messages import (
    Acknowledge,
    Cancel,
    DriverFact,
    Facts,
    Finished,
    FromPanel,
    Goodbye,
    Heartbeat,
    Holding,
    Outcome,
    Run,
    Started,
)
from fogpanel.jobs import Run as JobRun
from fogpanel.jobs import registry
from fogpanel.models import PanelPresence
from nodes import joining, leases, operations, sockets
from nodes.identity import panel_identity
from nodes.inbox import Arrival, store
from nodes.models import Node, Order
from nodes.outbox import with_number
from nodes.presence import note_presence
from tasks.commit import commit
from tasks.fleet_view import FleetView
from tasks.models import Attempt, Task
from tasks.operations import cancel
from tasks.queue_view import QueueView
from tasks.specification import validate
from tasks.states import FINAL
from tasks.submission import submit_many
from tasks.tests.invariants import Result, check_capacity, check_results, check_tasks

NODES_MOST = 6
PLAN_MOST = 8
OPEN_MOST = 12  # tasks that have not ended: with more of them only the same happens again
SETTLING_ROUNDS = 60
A_WHILE = timedelta(minutes=10)

some_cores = st.sampled_from([0.25, 0.5, 1.0, 1.5])
some_share = st.sampled_from([250, 500, 1000, 2000])
some_number = st.integers(0, 10_000)
some_outcome = st.sampled_from([Outcome.SUCCEEDED, Outcome.SUCCEEDED, *Outcome])


class Socket:
    """An agent's connection that keeps what it was sent."""

    def __init__(self, node_id: int, epoch: int) -> None:
        self.node_id, self.epoch = node_id, epoch
        self.sent: list[FromPanel] = []

    def post(self, encoded: list[bytes]) -> None:
        self.sent += [msgspec.json.decode(one, type=FromPanel) for one in encoded]

    def refuse(self, code: str, sentence: str, *, retry: bool) -> None:
        """The agent takes no notice: what it goes on saying must do no harm."""


@dataclass(eq=False)
class Agent:
    """A machine as it sees itself."""

    identity: Identity
    node_id: int
    socket: Socket
    online: bool = True
    holds: set[int] = field(default_factory=set)  # attempts that it runs, or whose end it has not told
    unacknowledged: set[int] = field(default_factory=set)  # orders
    told: list[Finished] = field(default_factory=list)


class Planner:
    """One process of the panel that places tasks: views of its own, which may be out of date."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._rng = random.Random(seed)
        self._queue = QueueView()
        self._view = FleetView(seed)
        self.plan: list[values.Decision] = []

    def look(self) -> None:
        now = timezone.now()
        self._queue.refresh(now)
        self._view.refresh(now)

    def decide(self, most: int, skipped: int = 0) -> None:
        """Choose nodes for the next tasks but for the first few: another planner has seen others."""
        now = timezone.now().timestamp()
        planned = {decision.task_id for decision in self.plan}
        for task in islice(self._queue.in_order(set()), skipped, None):
            if len(self.plan) >= most:
                return
            if task.task_id in planned:
                continue
            decided = planning.plan(self._view.fleet, [task], now, self._rng).decisions[0]
            if decided.chosen is not None:
                self.plan.append(decided)

    def commit(self) -> None:
        plan, self.plan = self.plan, []
        won = commit(plan)
        for decision in plan:
            if decision.task_id in won:
                self._queue.drop(int(decision.task_id))
        if len(won) < len(plan):
            self._queue, self._view = QueueView(), FleetView(self._seed)


class Fog(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.undone = transaction.atomic()
        self.undone.__enter__()
        self.user = User.objects.create_user("model")
        self.user.groups.add(Group.objects.get(name="operator"), Group.objects.get(name="submitter"))
        _, self.join_key = joining.create_join_key(
            actor=None, note="", group=None, labels={}, uses=1000, lifetime_s=86_400
        )
        note_presence(timezone.now())
        self.agents: list[Agent] = []
        self.planners = [Planner(1), Planner(2)]
        self.acknowledged: set[int] = set()
        self.shrunk: set[int] = set()
        self.ended: dict[int, Result] = {}
        self.first_told: dict[int, Finished] = {}  # attempt → what its node said first
        self.numbers = iter(range(1, 10**9))

    def teardown(self) -> None:
        try:
            if self.agents:
                self.settle()
        finally:
            for agent in self.agents:
                sockets.drop(agent.socket)
            transaction.set_rollback(True)
            self.undone.__exit__(None, None, None)

    # --- Machines ----------------------------------------------------------------------------------

    @initialize()
    def two_machines(self) -> None:
        self.join(1000)
        self.join(500)

    def join(self, share: int) -> None:
        identity = Identity.generate()
        node_id = self.enrol(identity, share)
        agent = Agent(identity, node_id, Socket(node_id, 0))
        self.agents.append(agent)
        self.connect(agent)

    def enrol(self, identity: Identity, share: int) -> int:
        text = enrolment_text(
            panel_key=panel_identity().public_key,
            agent_key=identity.public_key,
            sealing_key=identity.sealing_key,
            join_key=self.join_key,
        )
        request = joining.EnrolRequest(
            join_key=self.join_key,
            public_key=identity.public_key,
            sealing_key=identity.sealing_key,
            signature=identity.sign(ENROL, text),
            name="",
            facts=facts(share),
        )
        return joining.enrol(request, "10.0.0.1").node.id

    def connect(self, agent: Agent) -> None:
        """A new connection; says what it holds, as every agent does."""
        claim = leases.Claim(agent.identity.public_key.hex(), "10.0.0.1")
        lease = leases.take([claim], timezone.now())[claim.public_key]
        if isinstance(lease, leases.NotWelcome):
            return
        agent.socket, agent.online = Socket(agent.node_id, lease.epoch), True
        sockets.put(agent.socket)
        self.say(agent, Holding(attempts=sorted(agent.holds)))

    # Hypothesis draws few of many rules in one run, so what is seldom shares one: work must get done, too.
    @rule(
        number=some_number,
        share=some_share,
        what=st.sampled_from(["comes", "breaks", "is back", "restarts", "leaves", "joins again", "offers"]),
    )
    def machine(self, number: int, share: int, what: str) -> None:
        agent = self.agent(number)
        match what:
            case "comes":
                if len(self.agents) < NODES_MOST:
                    self.join(share)
            case "breaks":
                self.connection_breaks(agent)
            case "is back":
                self.connect(agent)
            case "restarts":
                self.restart(agent)
            case "leaves":
                self.say(agent, Goodbye())
            case "joins again":
                self.enrol(agent.identity, 1000)
                self.connect(agent)
            case "offers":
                self.shrunk.add(agent.node_id)
                self.say(agent, facts(share))

    def connection_breaks(self, agent: Agent) -> None:
        agent.online = False
        leases.release([(agent.node_id, agent.socket.epoch)], timezone.now())

    def restart(self, agent: Agent) -> None:
        """Killed and started again: it has forgotten what it ran."""
        agent.holds.clear()
        agent.unacknowledged.clear()
        self.connect(agent)

    # --- What they do with orders and say of work --------------------------------------------------

    @rule(
        number=some_number,
        which=some_number,
        outcome=some_outcome,
        step=st.sampled_from(["takes", "acknowledges", "starts", "ends"]),
    )
    def work(self, number: int, which: int, outcome: Outcome, step: str) -> None:
        """An agent gets on with what it was ordered; what it says comes by its newest connection."""
        agent = self.agent(number)
        if agent.online:
            self.deliver(agent)
        if step == "acknowledges":
            self.acknowledge(agent)
        attempt = pick(agent.holds, which)
        if attempt and step == "starts":
            self.say(agent, Started(seq=next(self.numbers), attempt=attempt, at=0.0))
        elif attempt and step == "ends":
            self.tell_end(agent, attempt, outcome)

    def deliver(self, agent: Agent) -> None:
        """What the outbox would send on this connection."""
        for order in Order.objects.filter(node_id=agent.node_id, acked_at=None, withdrawn_at=None):
            message = msgspec.json.decode(with_number(order.id, bytes(order.body)), type=FromPanel)
            agent.unacknowledged.add(order.id)
            if isinstance(message, Run) and message.attempt not in self.first_told:
                agent.holds.add(message.attempt)
            elif isinstance(message, Cancel) and message.attempt in agent.holds:
                self.tell_end(agent, message.attempt, Outcome.CANCELLED)

    def acknowledge(self, agent: Agent) -> None:
        if agent.unacknowledged:
            self.say(agent, Acknowledge(orders=sorted(agent.unacknowledged)))
            agent.unacknowledged.clear()

    @rule(first=some_number, second=some_number)
    def finish_all_in_one_batch(self, first: int, second: int) -> None:
        """Two agents' frames, stored together."""
        agents = list(dict.fromkeys([self.agent(first), self.agent(second)]))
        frames = [[self.end(agent, attempt) for attempt in sorted(agent.holds)] for agent in agents]
        arrivals = [Arrival(agent.socket, frame) for agent, frame in zip(agents, frames, strict=True)]
        self.hear(arrival for arrival in arrivals if arrival.messages)

    @rule(
        number=some_number,
        which=some_number,
        outcome=some_outcome,
        kind=st.sampled_from(["repeated", "of another", "forged"]),
    )
    def false_report(self, number: int, which: int, outcome: Outcome, kind: str) -> None:
        """Said twice, said of an attempt of another node (or one whose work was moved), or made up."""
        agent = self.agent(number)
        if kind == "repeated" and agent.told:
            self.say(agent, agent.told[which % len(agent.told)])
        elif kind == "of another":
            others = Attempt.objects.exclude(node_id=agent.node_id).order_by("-id")[:10]
            if attempt := pick({attempt.id for attempt in others}, which):
                self.say(agent, self.finished(attempt, outcome))
        elif kind == "forged":
            self.say(agent, self.finished(10**9 + number, outcome))

    def tell_end(self, agent: Agent, attempt: int, outcome: Outcome) -> None:
        self.say(agent, self.end(agent, attempt, outcome))

    def end(self, agent: Agent, attempt: int, outcome: Outcome = Outcome.SUCCEEDED) -> Finished:
        message = self.finished(attempt, outcome)
        agent.holds.discard(attempt)
        agent.told.append(message)
        self.first_told.setdefault(attempt, message)
        return message

    def finished(self, attempt: int, outcome: Outcome) -> Finished:
        """``exit_code`` is another each time, so that results can be told apart."""
        number = next(self.numbers)
        return Finished(seq=number, attempt=attempt, at=0.0, outcome=outcome, exit_code=number)

    def say(self, agent: Agent, message: Any) -> None:
        self.hear([Arrival(agent.socket, [message])])

    def hear(self, arrivals: Iterable[Arrival]) -> None:
        if batch := list(arrivals):
            store(batch)

    # --- People ------------------------------------------------------------------------------------

    def submit(self, number: int, cores: float, attempts: int, strategy: RoutingStrategy) -> None:
        spec = validate(
            {
                "driver": "python",
                "source": "print(1)",
                "cores": cores,
                "max_attempts": attempts,
                "strategy": strategy.value,
            }
        )
        self.acknowledged |= {task.id for task in submit_many(self.user, [spec] * number)}

    @rule(
        number=some_number,
        wish=st.sampled_from([*Availability, Availability.SCHEDULABLE, "removed", "a task cancelled"]),
    )
    def people(self, number: int, wish: Availability | str) -> None:
        if wish == "a task cancelled":
            if task := pick(self.acknowledged, number):
                cancel(Task.objects.get(id=task), self.user)
            return
        node = Node.objects.get(id=self.agent(number).node_id)
        if isinstance(wish, Availability):
            operations.set_availability(node, wish, self.user)
        else:
            operations.remove(node, self.user)

    # --- The panel ---------------------------------------------------------------------------------

    @rule(
        number=st.integers(1, 4),
        cores=some_cores,
        attempts=st.integers(1, 4),
        strategy=st.sampled_from(RoutingStrategy),
        first=st.integers(0, 1),
        skipped=st.integers(0, 4),
    )
    def both_planners_at_once(
        self,
        number: int,
        cores: float,
        attempts: int,
        strategy: RoutingStrategy,
        first: int,
        skipped: int,
    ) -> None:
        """Tasks are handed in, and the second planner plans for other ones on the same free room."""
        if Task.objects.exclude(state__in=FINAL).count() < OPEN_MOST:
            self.submit(number, cores, attempts, strategy)
        one, other = self.planners[first], self.planners[1 - first]
        one.look()
        other.look()
        one.decide(PLAN_MOST)
        other.decide(PLAN_MOST, skipped)
        one.commit()
        other.commit()

    @rule(which=st.integers(0, 1), step=st.sampled_from(["looks", "decides", "commits", "all of it"]))
    def planner(self, which: int, step: str) -> None:
        """One planner's steps, with anything else in between."""
        planner = self.planners[which]
        match step:
            case "looks":
                planner.look()
            case "decides":
                planner.decide(PLAN_MOST)
            case "commits":
                planner.commit()
            case "all of it":
                self.place(planner)

    def place(self, planner: Planner) -> None:
        planner.look()
        planner.decide(PLAN_MOST)
        planner.commit()

    @rule(
        by=st.sampled_from([timedelta(seconds=50), timedelta(seconds=200), timedelta(hours=1)]),
        away=st.booleans(),
        silent=st.none() | some_number,
        sweep=some_number,
    )
    def time_passes(self, by: timedelta, away: bool, silent: int | None, sweep: int) -> None:
        """The panel listened all the while, or was away for it; one agent may have stopped to beat."""
        age_everything(by)
        if away:
            note_presence(timezone.now())
        else:
            PanelPresence.objects.update(seen_at=timezone.now())
        frozen = None if silent is None else self.agent(silent)
        beating = [agent for agent in self.agents if agent.online and agent is not frozen]
        self.hear(Arrival(agent.socket, [heartbeat()]) for agent in beating)
        if silent is None:
            chosen = sorted(sweeps())
            sweeps()[chosen[sweep % len(chosen)]](job_run())
        else:
            for run_sweep in sweeps().values():
                run_sweep(job_run())

    # --- What must hold ----------------------------------------------------------------------------

    @invariant()
    def books_are_right(self) -> None:
        check_capacity(self.shrunk)
        check_tasks(self.acknowledged)

    @invariant()
    def what_ended_stays_as_it_ended(self) -> None:
        results = check_results()
        changed = {
            task: (was, results.get(task)) for task, was in self.ended.items() if results.get(task) != was
        }
        assert not changed, f"an ended task changed: {changed}"
        self.ended = results

    @invariant()
    def results_are_what_their_nodes_said_first(self) -> None:
        for task_id, attempt_id, exit_code in Task.objects.exclude(accepted_attempt=None).values_list(
            "id", "accepted_attempt_id", "exit_code"
        ):
            told = self.first_told.get(attempt_id)
            assert told is not None, f"task {task_id} was given a result that its node never sent"
            assert told.exit_code == exit_code, f"task {task_id} has another result than was sent first"

    # --- In the end, everything ends ---------------------------------------------------------------

    def settle(self) -> None:
        """With a good machine that does what it is told, every task comes to its end."""
        for agent in self.agents:
            agent.online = False
        self.agents.append(good := Agent(identity := Identity.generate(), 0, Socket(0, 0)))
        good.node_id = self.enrol(identity, 2000)
        self.connect(good)
        for _ in range(SETTLING_ROUNDS):
            if not Task.objects.exclude(state__in=FINAL).exists():
                return
            age_everything(A_WHILE)
            note_presence(timezone.now() - 2 * A_WHILE)
            PanelPresence.objects.update(seen_at=timezone.now())
            self.say(good, heartbeat())
            for run_sweep in sweeps().values():
                run_sweep(job_run())
            self.place(self.planners[0])
            self.deliver(good)
            self.acknowledge(good)
            for attempt in sorted(good.holds):
                self.tell_end(good, attempt, Outcome.SUCCEEDED)
            self.books_are_right()
            self.what_ended_stays_as_it_ended()
        left = list(Task.objects.exclude(state__in=FINAL).values())
        raise AssertionError(f"these tasks never end: {left}")

    def agent(self, number: int) -> Agent:
        return self.agents[number % len(self.agents)]


def pick(among: set[int], which: int) -> int | None:
    return sorted(among)[which % len(among)] if among else None


def facts(share: int) -> Facts:
    return Facts(
        hostname="model",
        platform="Linux",
        version="0.1.0",
        cpu_millis=share,
        memory_mb=4096,
        disk_mb=10_000,
        drivers=[DriverFact(name="python", available=True)],
        flags=["compute", "relay"],
    )


def heartbeat() -> Heartbeat:
    return Heartbeat(at=0.0, cpu_percent=10, memory_used_mb=100, memory_total_mb=4096)


def job_run() -> JobRun:
    now = timezone.now()
    return JobRun(now=now, since=now - timedelta(days=2), previous=now)


def sweeps() -> dict[str, Callable[[JobRun], None]]:
    """Every periodic job over nodes and tasks, by name."""
    names = [name for name in registry if name.startswith(("nodes.", "tasks."))]
    found = {name: name.rpartition(".") for name in names}
    return {
        name: getattr(import_module(module), function).run_now
        for name, (module, _, function) in found.items()
    }


def age_everything(by: timedelta) -> None:
    """Let that much time pass for every row, except for the cursors by which views keep up."""
    for model in (Node, Task, Attempt, Order, PanelPresence):
        columns = [
            column.name
            for column in model._meta.concrete_fields
            if isinstance(column, models.DateTimeField) and column.name != "changed_at"
        ]
        model.objects.update(**{name: F(name) - by for name in columns})
