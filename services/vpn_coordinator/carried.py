"""What gateways tell of the orders that they were to bring; a handler like those of `nodes.handlers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from fogagent.messages import Carried
from fogpanel import live
from nodes.models import Order
from services.vpn_coordinator.carrying import TOPIC
from services.vpn_coordinator.models import Carriage
from services.vpn_coordinator.remembering import remember, results_of
from services.vpn_coordinator.retrying import CARRY, fail
from services.vpn_coordinator.tries import BEGINS_WITHIN_S
from services.vpn_coordinator.troubles import told
from tasks.orders import subject

BROUGHT = ("brought_at", "due_at", "ok", "trouble", "reason", "sentence", "build_ms", "took_ms")


class Asked(NamedTuple):
    """An order to carry. ``pending``: neither answered nor withdrawn."""

    node_id: int
    subject: str
    pending: bool


def note_carried(received: Sequence[tuple[int, Carried]], now: datetime) -> None:
    """Take answers over. One counts only from the gateway that has the order now, and only once.

    Where it was brought, the order is acknowledged. What failed is tried again; the inbox has locked the
    gateways, and begins anew with the nodes whose attempts end.
    """
    asked = _asked([answer.order for _, answer in received])
    present = _locked([answer.attempt for _, answer in received])
    brought: dict[int, tuple[Carriage, Carried]] = {}
    failed: dict[int, tuple[Carriage, Carried]] = {}
    for node_id, answer in received:
        order, carriage = asked.get(answer.order), present.get(answer.attempt)
        if order is None or carriage is None or carriage.ok is not None:
            continue
        if not order.node_id == node_id == carriage.gateway_id or order.subject != subject(answer.attempt):
            continue
        if answer.ok:
            # Also if its attempt has ended meanwhile: a short task is over before this is told.
            brought.setdefault(answer.attempt, (carriage, answer))
        elif order.pending and carriage.ended_at is None:
            failed.setdefault(answer.attempt, (carriage, answer))
    _note_brought([pair for attempt, pair in brought.items() if attempt not in failed], now)
    if failed:
        troubles = [(carriage, told(answer)) for carriage, answer in failed.values()]
        results = results_of(troubles)
        fail(troubles, now)
        remember(results, now)


def _asked(order_ids: Sequence[int]) -> Mapping[int, Asked]:
    rows = Order.objects.filter(id__in=order_ids, kind=CARRY)
    columns = ("id", "node_id", "subject", "acked_at", "withdrawn_at")
    return {
        order_id: Asked(node_id, about, acked_at is None and withdrawn_at is None)
        for order_id, node_id, about, acked_at, withdrawn_at in rows.values_list(*columns)
    }


def _locked(attempt_ids: Sequence[int]) -> Mapping[int, Carriage]:
    """Without those that the sweep is at: whoever has locked tasks must not wait for it. What is not noted
    is told again, since the order goes out again."""
    free = Carriage.objects.select_for_update(no_key=True, skip_locked=True)
    rows = free.filter(attempt_id__in=attempt_ids)
    return {carriage.attempt_id: carriage for carriage in rows.order_by("id")}


def _note_brought(brought: Sequence[tuple[Carriage, Carried]], now: datetime) -> None:
    for carriage, answer in brought:
        carriage.brought_at, carriage.ok = now, True
        carriage.trouble = carriage.reason = carriage.sentence = ""
        carriage.due_at = now + timedelta(seconds=BEGINS_WITHIN_S)
        carriage.build_ms, carriage.took_ms = answer.build_ms, answer.took_ms
    Carriage.objects.bulk_update([carriage for carriage, _ in brought], BROUGHT)
    Order.objects.filter(id__in=[answer.order for _, answer in brought], acked_at=None).update(acked_at=now)
    if brought:
        live.changed(TOPIC)
