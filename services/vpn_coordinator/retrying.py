"""What becomes of orders that a gateway did not bring: another one is asked, or their attempts end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from fogpanel import audit, live
from nodes import outbox
from nodes.models import Order
from services.vpn_coordinator.carrying import TOPIC, ask
from services.vpn_coordinator.choosing import able
from services.vpn_coordinator.models import Carriage
from services.vpn_coordinator.tries import WAITED_FOR, is_lost
from services.vpn_coordinator.troubles import Failed
from tasks.closing import open_attempts, stop
from tasks.orders import subject
from tasks.outcomes import MOVED, UNDELIVERED

CARRY = "carry"
"""The kind of these orders in the outbox."""

COLUMNS = (
    "gateway", "asked_at", "due_at", "tries", "failed_at", "tried", "trouble", "reason", "sentence",
    "brought_at", "ended_at", "ok",
)  # fmt: skip


def fail(failed: Sequence[tuple[Carriage, Failed]], now: datetime) -> None:
    """The present tries of these, which are locked, failed, each for a reason.

    Within a transaction of `nodes.locks.with_nodes`, since attempts may end.
    """
    withdraw([carriage for carriage, _ in failed], now)
    for carriage, why in failed:
        if carriage.gateway_id is not None:
            carriage.tried = [*carriage.tried, carriage.gateway_id]
        carriage.tries += 1
        carriage.failed_at = now
        carriage.trouble, carriage.reason = why.trouble, why.reason
        carriage.sentence = audit.shorten(why.sentence)
        carriage.gateway_id = carriage.asked_at = carriage.brought_at = carriage.ok = None
    lost = [carriage for carriage, _ in failed if is_lost(carriage.tries, now - carriage.created_at)]
    _end(lost, UNDELIVERED, now)
    go_on([carriage for carriage, _ in failed if carriage.ended_at is None], now)


def go_on(carriages: Sequence[Carriage], now: datetime) -> None:
    """Ask gateways for these, which are locked and have none, or end what has waited for one too long.

    As `fail`, within a transaction of `nodes.locks.with_nodes`.
    """
    orders = ask(carriages, now)
    stuck = [carriage for carriage in carriages if _waits_in_vain(carriage, now)]
    if stuck:  # if gateways are there, its own node is the only one, or cannot be written to
        _end(stuck, UNDELIVERED if able().exists() else MOVED, now)
    Carriage.objects.bulk_update(carriages, COLUMNS)
    outbox.put(orders, now)
    live.changed(TOPIC)


def _waits_in_vain(carriage: Carriage, now: datetime) -> bool:
    since = carriage.failed_at or carriage.created_at
    return carriage.gateway_id is None and now - since >= WAITED_FOR


def _end(carriages: Iterable[Carriage], outcome: str, now: datetime) -> None:
    """End their attempts, so that the tasks go elsewhere. ``outcome``: UNDELIVERED, after which
    the order goes there no more under this seal, but which is not kept against the node, since gateways may
    say what they like; or MOVED.

    What has begun goes on: its gateway did not hear that it was taken.
    """
    of_attempt = {carriage.attempt_id: carriage for carriage in carriages}
    if not of_attempt:
        return
    for attempt in open_attempts(id__in=list(of_attempt), started_at=None):
        stop([attempt], outcome, _reason(of_attempt[attempt.id], outcome), now)
        of_attempt[attempt.id].ok = False
    for carriage in of_attempt.values():
        carriage.ended_at = now
    Carriage.objects.bulk_update(of_attempt.values(), COLUMNS)


def _reason(carriage: Carriage, outcome: str) -> str:
    if outcome == UNDELIVERED and carriage.tries:
        return f"its order was not brought there in {carriage.tries} tries, the last: {carriage.sentence}"
    return f"its order could not be sent on its way: {carriage.sentence}"


def withdraw(carriages: Iterable[Carriage], now: datetime) -> None:
    """Take back from gateways what they have not answered; what nodes are told themselves stays."""
    subjects = [subject(carriage.attempt_id) for carriage in carriages]
    Order.objects.filter(subject__in=subjects, kind=CARRY, acked_at=None, withdrawn_at=None).update(
        withdrawn_at=now
    )
