"""Sealed tasks from reservation to result: the panel can open nothing, failover stays in the reserved set."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from conftest import MakeNode
from fogagent.messages import (
    MAX_SEALED_BYTES,
    Carry,
    Fetch,
    FromPanel,
    Holding,
    Outcome,
    Piece,
    Run,
    Started,
    Stream,
)
from fogagent.output import pieces_of
from fogagent.overlay.directory import judge
from fogagent.sealing.result import Result, open_result, seal_result
from fogagent.sealing.task import MAX_RESERVED
from fogpanel.jobs import Run as JobRun
from nodes import outbox
from nodes.identity import panel_identity
from nodes.models import Node, Order
from nodes.outbox import NewOrder
from tasks import doubt, jobs, operations, resealing, reservations
from tasks.closing import lock_free_tasks, open_attempts, stop
from tasks.handlers import mark_started, reconcile_holdings, send_blobs
from tasks.models import Attempt, LogChunk, Reservation, ResultChunk, Task
from tasks.orders import subject
from tasks.outcomes import LOST
from tasks.placement import Placer
from tasks.queue_view import RELOAD, QueueView
from tasks.reservations import CannotReserve
from tasks.sealed_input import validate_outside
from tasks.sealed_results import sealed_result
from tasks.specification import SpecError
from tasks.tests.conftest import MakeTask, Report
from tasks.tests.sealing import MARKER, SealingFleet, Submitter
from tasks.waits import NO_WAY

Place = Callable[[], int]
AWAY = resealing.AWAY + timedelta(seconds=1)


@pytest.fixture(autouse=True)
def everything_is_served(settings: LazySettings) -> None:
    settings.TASK_ADMISSION = "tasks.tests.sealing.not_refused"
    settings.PLACING_HELD_BACK = "tasks.tests.sealing.none_held_back"
    settings.TASK_TRANSPORTS = {"confidential": "tasks.tests.test_sealed.by_way_of_another"}


@pytest.fixture
def fleet(make_node: MakeNode) -> SealingFleet:
    return SealingFleet(make_node, 4)


@pytest.fixture
def sender(submitter: User) -> Submitter:
    return Submitter(submitter)


def confidential_ones() -> list[str]:
    return ["confidential"]


def by_way_of_another(runs: Sequence[tuple[int, Run]], now: datetime) -> list[NewOrder]:
    """A transport: some node carries to another one."""
    return [_carried(Node.objects.exclude(id=node_id).order_by("id")[0], run) for node_id, run in runs]


def _carried(gateway: Node, run: Run) -> NewOrder:
    assert run.payload is not None
    carry = Carry(attempt=run.attempt, to=b"\1" * 32, content=run.payload, letter=b"")
    return NewOrder(gateway.id, carry, subject(run.attempt))


def order(attempt: Attempt) -> Run:
    body = Order.objects.get(subject=subject(attempt.id), kind="run").body
    decoded = msgspec.json.decode(bytes(body), type=FromPanel)
    assert isinstance(decoded, Run)
    return decoded


def go(*node_ids: int) -> None:
    """These nodes have been gone for a while."""
    Node.objects.filter(id__in=node_ids).update(
        connected=False, last_contact_at=timezone.now() - AWAY, changed_at=timezone.now()
    )


def lose(attempt: Attempt) -> None:
    stop(open_attempts(id=attempt.id), LOST, "its node went", timezone.now())


# --- The way there and back --------------------------------------------------------------------------


def test_the_node_opens_the_order_and_the_submitter_the_result(
    fleet: SealingFleet, sender: Submitter, place: Place, report: Report
) -> None:
    task = sender.hand_in(sender.reserve(name="survey"))
    assert place() == 1
    attempt = Attempt.objects.get()
    run = order(attempt)
    assert (run.args, run.env, run.stdin, run.image) == ([], {}, None, "")
    inside = fleet.open(attempt.node_id, run)
    assert MARKER in inside.payload.decode()

    node = fleet.identities[attempt.node_id]
    result = Result(outcome=Outcome.SUCCEEDED, exit_code=0, stdout=b"forty-two\n".ljust(100_000))
    assert attempt.reservation is not None
    sealed = seal_result(result, inside.result_key, attempt.reservation, node)
    report(attempt, pieces=list(pieces_of(Stream.SEALED, sealed)))
    task.refresh_from_db()
    found = sealed_result(task)
    assert task.state == "succeeded" and found is not None
    assert (found.node, found.reservation) == (node.public_key, attempt.reservation)
    opened = open_result(found.content, sender.result_key, found.reservation, found.node)
    assert opened == result
    assert ResultChunk.objects.count() == 3
    assert not LogChunk.objects.exists()


def test_a_node_can_store_no_more_of_a_sealed_task_than_one_result(
    fleet: SealingFleet, sender: Submitter, place: Place, report: Report
) -> None:
    """Whatever it is: pieces that overlap are no end of bytes, and output is for its submitter alone."""
    sender.hand_in(sender.reserve())
    assert place() == 1
    pieces = [Piece(stream=Stream.SEALED, offset=offset, data=b"x" * 1000) for offset in range(8)]
    pieces.append(Piece(stream=Stream.SEALED, offset=MAX_SEALED_BYTES, data=b"x"))
    pieces.append(Piece(stream=Stream.STDOUT, offset=0, data=MARKER.encode()))
    report(Attempt.objects.get(), pieces=pieces)
    assert [(chunk.offset, bytes(chunk.content)) for chunk in ResultChunk.objects.all()] == [(0, b"x" * 1000)]
    assert not LogChunk.objects.exists()


def test_a_public_task_has_no_sealed_result(
    make_node: MakeNode, make_task: MakeTask, place: Place, report: Report
) -> None:
    make_node()
    make_task()
    assert place() == 1
    report(Attempt.objects.get(), pieces=[Piece(stream=Stream.SEALED, offset=0, data=b"x")])
    assert not ResultChunk.objects.exists()


def test_the_database_holds_nothing_of_what_is_inside(
    fleet: SealingFleet, sender: Submitter, place: Place
) -> None:
    sender.hand_in(sender.reserve())
    place()
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            assert MARKER not in repr([[_text(value) for value in row] for row in cursor.fetchall()])


def _text(value: object) -> str:
    return bytes(value).decode(errors="replace") if isinstance(value, bytes | memoryview) else str(value)


@pytest.mark.parametrize(("after_s", "outcome"), [(-1, LOST), (1, "")])
def test_what_was_carried_to_a_node_since_it_connected_is_not_lost(
    fleet: SealingFleet, sender: Submitter, place: Place, after_s: float, outcome: str
) -> None:
    """What it said that it holds was on its way meanwhile."""
    sender.hand_in(sender.reserve(privacy="confidential"))
    assert place() == 1
    attempt = Attempt.objects.get()
    connected_at = Node.objects.get(id=attempt.node_id).connected_at
    assert connected_at is not None
    Order.objects.filter(kind="carry").update(acked_at=connected_at + timedelta(seconds=after_s))
    reconcile_holdings([(attempt.node_id, Holding(attempts=[]))], timezone.now())
    attempt.refresh_from_db()
    assert attempt.outcome == outcome


def test_what_began_and_was_forgotten_is_lost_though_its_gateway_has_not_answered(
    fleet: SealingFleet, sender: Submitter, place: Place
) -> None:
    sender.hand_in(sender.reserve(privacy="confidential"))
    assert place() == 1
    attempt = Attempt.objects.get()
    mark_started([(attempt.node_id, Started(seq=1, attempt=attempt.id, at=0.0))], timezone.now())
    reconcile_holdings([(attempt.node_id, Holding(attempts=[]))], timezone.now())
    attempt.refresh_from_db()
    assert attempt.outcome == LOST


def test_up_to_three_nodes_are_reserved_and_it_runs_on_one_of_them(
    fleet: SealingFleet, sender: Submitter, place: Place
) -> None:
    reserved = sender.reserve()
    assert len({node.id for node in reserved.nodes}) == 3
    task = sender.hand_in(reserved)
    [other] = set(fleet.identities) - {node.id for node in reserved.nodes}
    seen = set()
    for _ in range(3):
        place()
        attempt = Attempt.objects.get(ended_at=None)
        fleet.open(attempt.node_id, order(attempt))
        seen.add(attempt.node_id)
        Task.objects.filter(id=task.id).update(max_attempts=9)
        lose(attempt)
    assert seen == {node.id for node in reserved.nodes}
    assert other not in seen


def test_the_gateway_may_fetch_what_it_carries_and_nobody_else(
    fleet: SealingFleet, sender: Submitter, place: Place
) -> None:
    task = sender.hand_in(sender.reserve(privacy="confidential"))
    place()
    attempt = Attempt.objects.get()
    carried = Order.objects.get(subject=subject(attempt.id))
    assert carried.kind == "carry"
    gateway = carried.node_id
    [stranger, *_] = set(fleet.identities) - {gateway, attempt.node_id}

    def may_fetch(node_id: int) -> bool:
        ask = Fetch(attempt=attempt.id, sha256=task.payload_id or "")
        [(_, answer), *_] = send_blobs([(node_id, ask)], timezone.now())
        return type(answer).__name__ == "Chunk"

    assert may_fetch(gateway) and not may_fetch(stranger)
    outbox.withdraw([subject(attempt.id)], timezone.now())
    assert not may_fetch(gateway)


# --- Resealing ---------------------------------------------------------------------------------------


def test_it_is_resealed_when_all_its_nodes_are_gone(
    fleet: SealingFleet, sender: Submitter, place: Place
) -> None:
    reserved = sender.reserve()
    task = sender.hand_in(reserved)
    go(*(node.id for node in reserved.nodes))
    place()
    resealing.look_after(timezone.now())
    task.refresh_from_db()
    assert task.needs_resealing and task.expires_at is not None
    [other] = set(fleet.identities) - {node.id for node in reserved.nodes}

    choice = reservations.choose_again(task, timezone.now())
    again = reservations.reserve(sender.user, choice, timezone.now())
    assert [node.id for node in again.nodes] == [other]
    reservations.reseal(task, again.reservation, sender.wraps(again), timezone.now())
    assert place() == 1
    attempt = Attempt.objects.get()
    assert (attempt.node_id, attempt.reservation) == (other, again.reservation.id)
    assert MARKER in fleet.open(other, order(attempt)).payload.decode()
    placed = Task.objects.get()
    assert (placed.state, placed.reseal_wanted_at, placed.expires_at) == ("assigned", None, None)


def test_one_that_a_node_came_back_for_needs_no_resealing(fleet: SealingFleet, sender: Submitter) -> None:
    reserved = sender.reserve()
    task = sender.hand_in(reserved)
    go(*(node.id for node in reserved.nodes))
    resealing.look_after(timezone.now())
    Node.objects.filter(id=reserved.nodes[1].id).update(connected=True)
    resealing.look_after(timezone.now())
    task.refresh_from_db()
    assert task.reseal_wanted_at is None and task.expires_at is None


def test_one_that_only_waits_for_room_needs_no_resealing(fleet: SealingFleet, sender: Submitter) -> None:
    task = sender.hand_in(sender.reserve())
    Node.objects.update(free_cpu_millis=0)
    resealing.look_after(timezone.now())
    task.refresh_from_db()
    assert not task.needs_resealing


def test_one_that_nobody_reseals_expires_with_the_reason(fleet: SealingFleet, sender: Submitter) -> None:
    reserved = sender.reserve()
    task = sender.hand_in(reserved)
    go(*(node.id for node in reserved.nodes))
    resealing.look_after(timezone.now())
    task.refresh_from_db()
    assert task.expires_at is not None
    late = task.expires_at + timedelta(seconds=1)
    jobs.expire_queued.run_now(JobRun(now=late, since=late, previous=None))
    task.refresh_from_db()
    assert (task.state, task.reason) == ("expired", resealing.EXPIRED)


def test_one_that_is_resealed_at_the_last_moment_does_not_expire(
    fleet: SealingFleet, sender: Submitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look for what is late and its lock."""
    reserved = sender.reserve()
    task = sender.hand_in(reserved)
    go(*(node.id for node in reserved.nodes))
    resealing.look_after(timezone.now())
    again = reservations.reserve(sender.user, reservations.choose_again(task, timezone.now()), timezone.now())

    def lock_late(**filters: Any) -> list[int]:
        reservations.reseal(task, again.reservation, sender.wraps(again), timezone.now())
        return lock_free_tasks(**filters)

    monkeypatch.setattr(jobs, "lock_free_tasks", lock_late)
    late = timezone.now() + timedelta(days=1)
    jobs.expire_queued.run_now(JobRun(now=late, since=late, previous=None))
    assert Task.objects.get().state == "queued"


def test_one_that_is_resealed_while_its_nodes_are_looked_for_is_not_asked_for(
    fleet: SealingFleet, sender: Submitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserved = sender.reserve()
    task = sender.hand_in(reserved)
    go(*(node.id for node in reserved.nodes))
    again = reservations.reserve(sender.user, reservations.choose_again(task, timezone.now()), timezone.now())

    def lock_late(**filters: Any) -> list[int]:
        reservations.reseal(task, again.reservation, sender.wraps(again), timezone.now())
        return lock_free_tasks(**filters)

    monkeypatch.setattr(resealing, "lock_free_tasks", lock_late)
    resealing.look_after(timezone.now())
    assert not Task.objects.get().needs_resealing


def test_one_whose_node_comes_back_with_it_is_not_asked_for_and_does_not_expire(
    fleet: SealingFleet, sender: Submitter, place: Place
) -> None:
    reserved = sender.reserve()
    sender.hand_in(reserved)
    assert place() == 1
    attempt = Attempt.objects.get()
    doubt.doubt({attempt.node_id: "it fell silent"}, timezone.now())
    go(*(node.id for node in reserved.nodes))
    resealing.look_after(timezone.now())
    assert Task.objects.get().needs_resealing
    doubt.trust(open_attempts(id=attempt.id), timezone.now())
    task = Task.objects.get()
    assert (task.state, task.reseal_wanted_at, task.expires_at) == ("assigned", None, None)


def test_looking_after_those_that_wait_does_not_look_at_those_that_run(
    fleet: SealingFleet, sender: Submitter, place: Place
) -> None:
    sender.hand_in(sender.reserve())
    assert place() == 1
    with CaptureQueriesContext(connection) as queries:
        resealing.look_after(timezone.now())
    assert len(queries) == 1


def test_a_running_placer_places_it_by_the_new_reservation(fleet: SealingFleet, sender: Submitter) -> None:
    """Its view of the queue holds the old one until it is told."""
    reserved = sender.reserve()
    task = sender.hand_in(reserved)
    placer = Placer()
    go(*(node.id for node in reserved.nodes))
    assert placer.place_waiting(timezone.now()) == 0
    again = reservations.reserve(sender.user, reservations.choose_again(task, timezone.now()), timezone.now())
    reservations.reseal(task, again.reservation, sender.wraps(again), timezone.now())
    placer.wake_resealed(frozenset({task.id}))
    placer.turn()
    assert Attempt.objects.get().node_id == again.nodes[0].id


def test_a_placer_that_was_not_told_finds_the_new_reservation_itself(
    fleet: SealingFleet, sender: Submitter
) -> None:
    reserved = sender.reserve()
    task = sender.hand_in(reserved)
    placer = Placer()
    go(*(node.id for node in reserved.nodes))
    now = timezone.now()
    assert placer.place_waiting(now) == 0
    again = reservations.reserve(sender.user, reservations.choose_again(task, now), now)
    reservations.reseal(task, again.reservation, sender.wraps(again), now + timedelta(seconds=1))
    assert placer.place_waiting(now + timedelta(seconds=2)) == 1
    assert Attempt.objects.get().node_id == again.nodes[0].id


def test_what_waits_sealed_is_not_read_again_while_nothing_changes(
    fleet: SealingFleet, sender: Submitter
) -> None:
    sender.hand_in(sender.reserve())
    view, now = QueueView(), timezone.now()
    view.refresh(now)
    with CaptureQueriesContext(connection) as queries:
        view.refresh(now + RELOAD)
    assert len(view) == 1
    assert len(queries) == 2  # which are in the queue, and sealed for whom


def test_what_could_not_be_carried_waits_without_keeping_room(
    make_node: MakeNode, sender: Submitter, submitter: User, settings: LazySettings
) -> None:
    """It was placed, kept its room in vain for minutes, came back, and so on without end. Others, though for
    the same nodes, are placed."""
    fleet = SealingFleet(make_node, MAX_RESERVED)
    confidential = sender.hand_in(sender.reserve(privacy="confidential"))
    other = Submitter(submitter)
    private = other.hand_in(other.reserve())
    settings.PLACING_HELD_BACK = "tasks.tests.test_sealed.confidential_ones"
    placer = Placer()
    assert placer.place_waiting(timezone.now()) == 1
    assert Attempt.objects.get().task_id == private.id
    confidential.refresh_from_db()
    assert confidential.wait_reasons == {NO_WAY: len(fleet.identities)}
    settings.PLACING_HELD_BACK = "tasks.tests.sealing.none_held_back"
    assert placer.place_waiting(timezone.now()) == 1
    assert Attempt.objects.latest("id").task_id == confidential.id


def test_one_that_was_held_back_is_told_what_it_waits_for_then(
    fleet: SealingFleet, sender: Submitter, settings: LazySettings
) -> None:
    task = sender.hand_in(sender.reserve(privacy="confidential"))
    Node.objects.update(free_cpu_millis=0, changed_at=timezone.now())
    placer = Placer()
    placer.place_waiting(timezone.now())
    settings.PLACING_HELD_BACK = "tasks.tests.test_sealed.confidential_ones"
    placer.place_waiting(timezone.now())
    settings.PLACING_HELD_BACK = "tasks.tests.sealing.none_held_back"
    placer.place_waiting(timezone.now())
    task.refresh_from_db()
    assert task.wait_reasons == {"sealed": 1, "cpu": 3}


# --- What is refused ---------------------------------------------------------------------------------


def test_nothing_of_what_belongs_inside_may_come_outside() -> None:
    with pytest.raises(SpecError) as error:
        validate_outside({"privacy": "private", "source": "x", "env": {"A": "b"}})
    assert {one.field for one in error.value.errors} == {"source", "env"}


def test_what_would_be_kept_on_a_disk_cannot_be_sealed() -> None:
    with pytest.raises(SpecError, match=r"^driver: must be one of python, wasm, command: container engines"):
        validate_outside({"privacy": "private", "driver": "container"})


@pytest.mark.django_db
def test_an_open_submission_must_be_public(client: Client, submitter: User) -> None:
    client.force_login(submitter)
    answer = _post(client, "/api/v1/tasks", {"source": "print(1)", "privacy": "confidential"})
    assert answer.status_code == 422
    assert "fog run --privacy confidential" in answer.json()["errors"][0]["message"]


WRONG: list[tuple[str, Any, str]] = [
    ("sealed", None, "sealed"),
    ("sealed", "%%%", "sealed"),
    ("sealed", base64.b64encode(b"sealed").decode(), "sealed"),
    ("sealed", base64.b64encode(bytes(4096)).decode(), "sealed"),
    ("wraps", None, "wraps"),
    ("wraps", [], "wraps"),
    ("wraps", [1], "wraps"),
    ("wraps", [{"node": "00", "wrapped": ""}], "wraps[0].node"),
]


@pytest.mark.parametrize(("field", "value", "named"), WRONG)
def test_each_broken_rule_names_its_field_and_stores_nothing(
    fleet: SealingFleet, sender: Submitter, field: str, value: Any, named: str
) -> None:
    reserved = sender.reserve()
    given: dict[str, Any] = {"sealed": sender.content, "wraps": sender.wraps(reserved)} | {field: value}
    with pytest.raises(SpecError) as error:
        reservations.hand_in(reserved.reservation, given["sealed"], given["wraps"], timezone.now())
    assert [one.field for one in error.value.errors] == [named]
    assert not Task.objects.exists()


def test_wraps_must_be_for_each_reserved_node(fleet: SealingFleet, sender: Submitter) -> None:
    reserved = sender.reserve()
    wraps = sender.wraps(reserved)
    for wrong in (wraps[:2], [*wraps, wraps[0]], [wraps[0] | {"wrapped": "AAAA"}, *wraps[1:]]):
        with pytest.raises(SpecError):
            reservations.hand_in(reserved.reservation, sender.content, wrong, timezone.now())


def test_a_reservation_is_used_once_and_not_for_long(fleet: SealingFleet, sender: Submitter) -> None:
    reserved = sender.reserve()
    sender.hand_in(reserved)
    with pytest.raises(CannotReserve) as used:
        sender.hand_in(reserved)
    late = sender.reserve()
    Reservation.objects.filter(id=late.reservation.id).update(expires_at=timezone.now())
    with pytest.raises(CannotReserve) as expired:
        sender.hand_in(late)
    assert (used.value.code, expired.value.code) == ("reservation-used", "reservation-expired")
    assert Task.objects.count() == 1


def test_a_reservation_for_a_task_that_waits_is_for_no_new_one(
    fleet: SealingFleet, sender: Submitter
) -> None:
    task = sender.hand_in(sender.reserve())
    again = reservations.reserve(sender.user, reservations.choose_again(task, timezone.now()), timezone.now())
    with pytest.raises(CannotReserve, match="made for another task"):
        sender.hand_in(again)
    new = sender.reserve()
    with pytest.raises(CannotReserve, match="made for another task"):
        reservations.reseal(task, new.reservation, sender.wraps(new), timezone.now())


def test_a_fleet_that_nothing_can_be_sealed_for_is_said(make_node: MakeNode, sender: Submitter) -> None:
    make_node()
    with pytest.raises(CannotReserve) as error:
        sender.reserve()
    assert error.value.code == "no-node" and "sealed" in str(error.value)


def test_a_sealed_task_cannot_be_run_again_by_the_panel(fleet: SealingFleet, sender: Submitter) -> None:
    task = sender.hand_in(sender.reserve())
    with pytest.raises(Exception, match="known to its submitter alone"):
        operations.retry(task, sender.user)


# --- The API -----------------------------------------------------------------------------------------


def _post(client: Client, path: str, body: dict[str, Any], key: str = "") -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post(path, body, content_type="application/json", headers=headers)


def test_the_api_takes_a_sealed_task_once_and_gives_its_result(
    fleet: SealingFleet, sender: Submitter, client: Client, place: Place, report: Report
) -> None:
    client.force_login(sender.user)
    asked = {"driver": "python", "cores": 0.5, "privacy": "private", "timeout_s": 60}
    reserved = _post(client, "/api/v1/reservations", asked, "one").json()
    assert reserved["terms"] == {
        "driver": "python", "timeout_s": 60, "cpu_millis": 500, "memory_mb": 128, "network": False,
    }  # fmt: skip
    nodes = [Node.objects.get(public_key=node["identity"]) for node in reserved["nodes"]]
    wraps = sender.wraps(reservations.Reserved(Reservation.objects.get(id=reserved["reservation"]), nodes))
    path = f"/api/v1/reservations/{reserved['reservation']}/task"
    body = {"sealed": sender.content, "wraps": wraps}
    first, second = (_post(client, path, body, "two") for _ in range(2))
    assert first.status_code == 201 and first.json()["id"] == second.json()["id"]
    assert (first.json()["privacy"], first.json()["needs_resealing"]) == ("private", False)
    assert _post(client, path, body, "three").json()["code"] == "reservation-used"

    path = f"/api/v1/tasks/{first.json()['id']}/sealed-result"
    assert client.get(path).json()["code"] == "no-result"
    place()
    attempt = Attempt.objects.get()
    report(attempt, pieces=[Piece(stream=Stream.SEALED, offset=0, data=b"sealed bytes")])
    assert base64.b64decode(client.get(path).json()["sealed"]) == b"sealed bytes"
    assert ResultChunk.objects.count() == 1
    openly = client.get(path.replace("sealed-result", "result"))
    assert (openly.status_code, openly.json()["code"]) == (409, "sealed")


def test_a_reservation_is_its_owners_alone(
    fleet: SealingFleet, sender: Submitter, client: Client, operator: User
) -> None:
    reserved = sender.reserve()
    client.force_login(operator)
    body = {"sealed": sender.content, "wraps": sender.wraps(reserved)}
    answer = _post(client, f"/api/v1/reservations/{reserved.reservation.id}/task", body)
    assert answer.status_code == 404
    task = sender.hand_in(reserved)
    assert _post(client, f"/api/v1/tasks/{task.id}/reservation", {}).json()["code"] == "not-yours"


def test_nobody_reserves_without_end(
    fleet: SealingFleet, sender: Submitter, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reservations, "UNUSED_MOST", 2)
    client.force_login(sender.user)
    body = {"driver": "python", "cores": 0.5, "privacy": "private"}
    first = sender.reserve()
    sender.reserve()
    answer = _post(client, "/api/v1/reservations", body)
    assert (answer.status_code, answer.json()["code"]) == (409, "too-many")
    sender.hand_in(first)
    assert _post(client, "/api/v1/reservations", body).status_code == 201
    Reservation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert _post(client, "/api/v1/reservations", body).status_code == 201


def test_the_directory_comes_signed_and_only_when_it_is_newer(
    fleet: SealingFleet, client: Client, viewer: User
) -> None:
    client.force_login(viewer)
    answer = client.get("/api/v1/relay-directory")
    key, now = panel_identity().public_key, timezone.now().timestamp()
    directory, _ = judge(None, answer.content, key, now)
    assert {relay.node for relay in directory.relays.values()} == set(fleet.identities)
    again = client.get("/api/v1/relay-directory", headers={"If-None-Match": answer["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
