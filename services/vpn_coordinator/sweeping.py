"""Looking after what gateways were asked to bring, and nobody answered for."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Q, QuerySet

from fogpanel import live, retention
from fogpanel.templatetags.fog import duration
from nodes.locks import with_nodes
from nodes.models import Order
from services.vpn_coordinator.carrying import TOPIC
from services.vpn_coordinator.models import Carriage
from services.vpn_coordinator.remembering import Result, remember, results_of
from services.vpn_coordinator.retrying import CARRY, fail, go_on, withdraw
from services.vpn_coordinator.tries import BEGINS_WITHIN_S
from services.vpn_coordinator.troubles import Failed, Trouble
from tasks.closing import nodes_of
from tasks.orders import subject

SWEEP_MOST = 500
KEPT = timedelta(days=7)

BEGUN = Q(attempt__started_at__isnull=False)
OVER = Q(attempt__ended_at__isnull=False)
CUT_OFF = Q(gateway__connected=False, brought_at=None)
IN_DOUBT = Q(brought_at__isnull=False, attempt__doubted_at__isnull=False)
"""Brought to a node that has fallen silent since: whether it has begun is not known before that is back."""


def sweep(now: datetime) -> None:
    """Close carriages that nobody waits for any more, and give those that are not answered to others."""
    due = Carriage.objects.filter(
        Q(Q(due_at__lte=now) & ~IN_DOUBT) | BEGUN | OVER | CUT_OFF, ended_at=None
    ).order_by("id")
    ids = list(due.values_list("id", flat=True)[:SWEEP_MOST])
    if ids:
        with_nodes(nodes_of(carriage__in=ids), lambda: _look_after(due.filter(id__in=ids), now))


def _look_after(due: QuerySet[Carriage], now: datetime) -> None:
    """What others are just now writing is left to the next sweep."""
    free = due.select_for_update(no_key=True, skip_locked=True, of=("self",))
    found = list(free.select_related("attempt", "node", "gateway"))
    results: list[Result] = []
    if over := [one for one in found if _is_over(one)]:
        results += [Result(one.gateway_id, None) for one in over if one.gateway_id and _has_begun(one)]
        _close(over, now)
    open_ones = [one for one in found if not _is_over(one)]
    unanswered = [one for one in open_ones if one.gateway_id is not None]
    waiting = [one for one in open_ones if one.gateway_id is None]
    if unanswered:
        failed = [(one, _silence(one, now)) for one in unanswered]
        results += results_of(failed)
        fail(failed, now)
    if waiting:
        go_on(waiting, now)
    remember(results, now)


def _is_over(carriage: Carriage) -> bool:
    return _has_begun(carriage) or carriage.attempt.ended_at is not None


def _has_begun(carriage: Carriage) -> bool:
    """That its node says so is what proves that its gateway brought it."""
    return carriage.attempt.started_at is not None


def _close(carriages: list[Carriage], now: datetime) -> None:
    """Their attempts have begun or ended. A gateway need not bring again what has begun."""
    begun = [subject(one.attempt_id) for one in carriages if one.attempt.started_at]
    Order.objects.filter(subject__in=begun, kind=CARRY, acked_at=None, withdrawn_at=None).update(acked_at=now)
    withdraw(carriages, now)
    Carriage.objects.filter(id__in=[one.id for one in carriages]).update(ended_at=now)
    live.changed(TOPIC)


def _silence(carriage: Carriage, now: datetime) -> Failed:
    """Why its present try counts as failed."""
    assert carriage.gateway is not None and carriage.asked_at is not None
    gateway, node = carriage.gateway.name, carriage.node.name
    if carriage.brought_at is not None:
        within = duration(BEGINS_WITHIN_S)
        sentence = f"{gateway} says that it was brought, but {node} did not begin in {within}."
        return Failed(Trouble.NOT_BEGUN, sentence)
    if not carriage.gateway.connected:
        return Failed(Trouble.CUT_OFF, f"The connection of {gateway} broke while it was to bring it.")
    waited = duration((now - carriage.asked_at).total_seconds())
    return Failed(Trouble.SILENT, f"{gateway} did not tell within {waited} how it went.")


def forget(now: datetime) -> int:
    """Delete those that are over and old; how many."""
    return retention.delete(Carriage.objects.filter(ended_at__lt=now - KEPT).order_by("created_at"))
