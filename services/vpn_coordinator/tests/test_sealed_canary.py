"""The sealed canary: what the panel hands in as its own client, and what is said where that fails."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from conftest import MakeNode
from fogagent.identity import Identity
from fogagent.messages import Finished, Outcome, Piece, Run, Started, Stream
from fogagent.overlay import letters
from fogagent.sealing.result import Result, seal_result
from fogagent.sealing.task import SealedSpec, check_terms, open_task
from fogpanel.models import Event
from nodes.identity import panel_identity
from nodes.models import Node, Order
from nodes.relay_directory.publishing import publish
from nodes.tests.relays import listen, say
from services.models import ServiceState, State
from services.record import Probed
from services.vpn_coordinator import sealed_canary
from services.vpn_coordinator.models import Carriage, SealedCanary
from services.vpn_coordinator.probe import probe
from services.vpn_coordinator.quotes import LARGE
from services.vpn_coordinator.sealed_canary import DEADLINE, KEPT, TASKS_KEPT
from services.vpn_coordinator.sealed_probe import OLD_NEWS
from services.vpn_coordinator.tests.carriages import answer, pending
from tasks.handlers import accept_results, mark_started
from tasks.models import Attempt, Blob, Task
from tasks.placement import Placer
from tasks.states import FINAL, TaskState

pytestmark = pytest.mark.django_db
SECOND = timedelta(seconds=1)


class Fleet:
    """Four nodes that do everything, with their keys."""

    def __init__(self, make_node: MakeNode) -> None:
        self.now = timezone.now()
        self.identities: dict[int, Identity] = {}
        listen(self.now)
        for number in range(4):
            identity = Identity.generate()
            node = make_node(
                name=f"fog-{number}",
                public_key=identity.public_key.hex(),
                sealing_key=identity.sealing_key.hex(),
                flags=["compute", "relay", "entry", "exit"],
            )
            self.identities[node.id] = identity
            assert say(node, self.now, address=f"10.{number}.0.1:9001") == []
        publish(self.now)

    def hear(self, at: datetime) -> None:
        """From all of them, at this moment."""
        Node.objects.update(last_contact_at=at, deadline_at=at + timedelta(minutes=1))

    def place(self) -> Attempt:
        assert Placer().place_waiting(self.now) == 1
        return Attempt.objects.latest("id")

    def read(self, attempt: Attempt) -> tuple[Run, SealedSpec]:
        """What the node finds in its letter, and inside of what is sealed."""
        [carry] = [order for _, _, order in pending() if order.attempt == attempt.id]
        identity = self.identities[attempt.node_id]
        run = letters.read(carry.letter, identity, panel_identity().public_key, self.now.timestamp())
        assert run.sealed is not None and carry.content.inline is not None
        spec = open_task(carry.content.inline, run.sealed, identity)
        check_terms(spec.terms, run)
        return run, spec

    def run(self, attempt: Attempt, **different: Any) -> None:
        """Have it brought, and its node do what it is to do, unless something else is said."""
        run, spec = self.read(attempt)
        answer(Carriage.objects.get(attempt=attempt), self.now)
        assert run.sealed is not None
        usual: dict[str, Any] = {"outcome": Outcome.SUCCEEDED, "stdout": spec.args[0].encode()}
        result = Result(**(usual | different))
        identity = self.identities[attempt.node_id]
        sealed = seal_result(result, spec.result_key, run.sealed.reservation, identity)
        mark_started([(attempt.node_id, Started(seq=1, attempt=attempt.id, at=0.0))], self.now)
        self.finish(attempt, sealed, result.outcome)

    def finish(self, attempt: Attempt, sealed: bytes, outcome: Outcome = Outcome.SUCCEEDED) -> None:
        pieces = [Piece(stream=Stream.SEALED, offset=0, data=sealed)] if sealed else []
        report = Finished(seq=2, attempt=attempt.id, at=0.0, outcome=outcome, pieces=pieces)
        accept_results([(attempt.node_id, report)], self.now)


@pytest.fixture
def fleet(make_node: MakeNode) -> Fleet:
    return Fleet(make_node)


def told(now: datetime, last: datetime | None = None) -> Probed:
    found = probe(now, last)
    assert found is not None
    return found


def came_back(fleet: Fleet, at: datetime) -> SealedCanary:
    """One that was sent and did what it was to do, and that was told of at this moment."""
    fleet.now = at
    assert probe(at, at - SECOND) is None
    fleet.run(fleet.place())
    told(at, at - SECOND)
    return SealedCanary.objects.latest("id")


def test_one_is_sealed_carried_run_and_opened(fleet: Fleet) -> None:
    assert probe(fleet.now, None) is None
    canary = SealedCanary.objects.get()
    task = Task.objects.get()
    assert (canary.task, task.privacy, task.canary) == (task, "confidential", True)
    assert len(bytes(canary.result_key)) == 32
    fleet.run(fleet.place())
    found = told(fleet.now + 2 * SECOND)
    assert found.state == State.OPERATIONAL
    assert [figure.value is not None for figure in found.figures if figure.label == "sealed task"] == [True]
    canary.refresh_from_db()
    task.refresh_from_db()
    assert (canary.ok, canary.step, canary.node, bytes(canary.result_key)) == (True, "", task.node, b"")
    assert SealedCanary.objects.count() == 1


def test_it_leaves_no_events(fleet: Fleet) -> None:
    probe(fleet.now, None)
    fleet.run(fleet.place())
    told(fleet.now)
    assert not Event.objects.filter(kind__startswith="task.").exists()


def test_while_it_is_under_way_nothing_is_told(fleet: Fleet) -> None:
    for seconds in (0, 2, 4):
        assert probe(fleet.now + seconds * SECOND, None) is None
    assert SealedCanary.objects.count() == 1


def test_after_a_while_another_one_is_sent(fleet: Fleet) -> None:
    start = fleet.now
    came_back(fleet, start)
    told(start + 2 * SECOND, start)  # asked anew because a tunnel was opened
    assert SealedCanary.objects.count() == 1
    assert probe(start + 30 * SECOND, start + 2 * SECOND) is None
    assert SealedCanary.objects.count() == 2


def test_what_nobody_looked_at_in_time_is_old_news(fleet: Fleet) -> None:
    probe(fleet.now, None)
    later = fleet.now + DEADLINE + OLD_NEWS + SECOND
    fleet.hear(later)
    assert probe(later, None) is None
    assert list(SealedCanary.objects.values_list("ended_at", flat=True)) == [None, later]


def test_that_no_node_can_be_reserved_is_told_at_once(fleet: Fleet) -> None:
    Node.objects.update(drivers=[])
    found = told(fleet.now)
    assert found.state == State.DEGRADED
    assert "failed when nodes were to be reserved: No relay is connected that runs wasm" in found.sentence
    assert SealedCanary.objects.get().step == "reserve"


def test_that_none_of_its_nodes_takes_it_is_told_after_its_deadline(fleet: Fleet) -> None:
    probe(fleet.now, None)
    found = told(fleet.now + DEADLINE + SECOND)
    assert "None of its nodes took it" in found.sentence
    assert Task.objects.get().state == TaskState.CANCELLED


def test_what_is_stuck_on_its_way_is_told_with_its_node_and_given_up(fleet: Fleet) -> None:
    probe(fleet.now, None)
    attempt = fleet.place()
    answer(Carriage.objects.get(), fleet.now, ok=False, sentence="There is no circuit to its node.")
    Carriage.objects.update(sentence="There is no circuit to its node.")
    found = told(fleet.now + DEADLINE + SECOND)
    assert found.state == State.DEGRADED
    assert found.sentence == (
        f"The last sealed task failed on its way to {attempt.node.name}: There is no circuit to its node. "
        "The page of onion circuits tells which relays are reached."
    )
    assert Task.objects.get().state in FINAL
    assert not pending()
    assert Order.objects.filter(kind="cancel", node=attempt.node).count() == 1
    node = Node.objects.get(id=attempt.node_id)
    assert node.free_cpu_millis == node.cpu_millis


def test_what_does_not_end_is_told_with_its_node(fleet: Fleet) -> None:
    probe(fleet.now, None)
    attempt = fleet.place()
    answer(Carriage.objects.get(), fleet.now)
    found = told(fleet.now + DEADLINE + SECOND)
    assert f"failed on {attempt.node.name}: {attempt.node.name} was still at it." in found.sentence


def test_what_the_program_says_is_read_inside(fleet: Fleet) -> None:
    probe(fleet.now, None)
    fleet.run(fleet.place(), outcome=Outcome.TRAP, sentence="The module trapped.", stdout=b"")
    found = told(fleet.now)
    assert "The module trapped." in found.sentence
    assert SealedCanary.objects.get().step == "run"


@pytest.mark.parametrize(
    ("sealed", "sentence"),
    [
        (b"", "It came back without a sealed result."),
        (b"x" * 5000, "not signed by the node"),
        (b"x", "is cut"),
    ],
)
def test_what_does_not_open_is_the_nodes_fault(fleet: Fleet, sealed: bytes, sentence: str) -> None:
    probe(fleet.now, None)
    attempt = fleet.place()
    fleet.finish(attempt, sealed)
    found = told(fleet.now)
    assert found.state == State.DEGRADED
    assert f"when the result of {attempt.node.name} was opened" in found.sentence
    canary = SealedCanary.objects.get()
    assert canary.step == "open"
    assert sentence in canary.sentence


def test_another_word_is_noticed(fleet: Fleet) -> None:
    probe(fleet.now, None)
    fleet.run(fleet.place(), stdout=b"something else")
    assert "printed something else" in told(fleet.now).sentence


def test_where_none_can_be_taken_none_is_sent(fleet: Fleet) -> None:
    Node.objects.update(flags=["compute", "relay", "exit"])
    found = told(fleet.now)
    assert not SealedCanary.objects.exists()
    # What tunnels lack is told first.
    assert (found.state, "grants entry" in found.sentence) == (State.DEGRADED, True)


def test_that_only_private_tasks_can_be_taken_is_told(fleet: Fleet) -> None:
    for node in Node.objects.all():
        assert say(node, fleet.now, address=f"10.{node.id % 250}.0.1:9001", family="lab") == []
    publish(fleet.now + 10 * SECOND)
    found = told(fleet.now)
    assert found.state == State.DEGRADED
    assert found.sentence.startswith("Tunnels work, but no confidential task can be taken. A gateway needs 3")


def test_none_is_sent_while_the_service_is_disabled(fleet: Fleet) -> None:
    ServiceState.objects.create(slug="vpn_coordinator", enabled=False)
    probe(fleet.now, None)
    assert not SealedCanary.objects.exists()


def test_now_and_then_one_is_large_or_private(fleet: Fleet) -> None:
    start = fleet.now
    sent = []
    for seconds in (0, 30, 60, 90, 720, 750, 780, 1500, 1530):
        at = start + seconds * SECOND
        fleet.hear(at)
        assert probe(at, at) is None
        canary = SealedCanary.objects.latest("id")
        sent.append((canary.level, canary.size >= LARGE))
        came_well(canary, at)
    usual, large = ("confidential", False), ("confidential", True)
    small, much = ("private", False), ("private", True)
    assert sent == [usual, large, small, usual, large, much, usual, large, small]


def came_well(canary: SealedCanary, at: datetime) -> None:
    Task.objects.filter(state=TaskState.QUEUED).update(state=TaskState.SUCCEEDED, finished_at=at)
    SealedCanary.objects.filter(id=canary.id).update(ended_at=at, ok=True)


def test_a_private_one_needs_no_gateway(fleet: Fleet) -> None:
    start = fleet.now
    for seconds in (0, 30):
        assert probe(start + seconds * SECOND, start + seconds * SECOND) is None
        came_well(SealedCanary.objects.latest("id"), start + seconds * SECOND)
    assert probe(start + 60 * SECOND, start + 60 * SECOND) is None
    attempt = fleet.place()
    assert (attempt.task.privacy, pending()) == ("private", [])
    fleet.finish(attempt, b"")
    found = told(start + 61 * SECOND, start + 59 * SECOND)
    assert "without a sealed result" in found.sentence


def test_tasks_go_after_an_hour_with_all_that_is_theirs(fleet: Fleet) -> None:
    start = fleet.now
    came_back(fleet, start)
    probe(start + 30 * SECOND, start + SECOND)  # under way
    assert sealed_canary.forget(start + TASKS_KEPT) == 0
    assert Task.objects.count() == 2
    sealed_canary.forget(start + TASKS_KEPT + timedelta(minutes=1))
    assert Task.objects.get().state == TaskState.QUEUED
    assert (Blob.objects.count(), Carriage.objects.count()) == (1, 0)
    assert SealedCanary.objects.count() == 2
    assert sealed_canary.forget(start + KEPT + timedelta(minutes=1)) == 2


def test_its_key_is_shown_to_nobody(fleet: Fleet, admin_client: Any) -> None:
    probe(fleet.now, None)
    canary = SealedCanary.objects.get()
    page = admin_client.get(f"/admin/vpn_coordinator/sealedcanary/{canary.id}/change/").content.decode()
    assert canary.word in page
    assert "result key" not in page.lower()
    assert bytes(canary.result_key).hex() not in page
