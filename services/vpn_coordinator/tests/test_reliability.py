"""Gateways that failed lately are asked last, and recover."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from conftest import MakeNode
from fogagent.messages import NotCarried, Started
from services.vpn_coordinator.models import Carriage, GatewayRecord
from services.vpn_coordinator.private_live import render_private
from services.vpn_coordinator.reliability import LAST, REST_LEAST, Reliance
from services.vpn_coordinator.sweeping import sweep
from services.vpn_coordinator.tests.carriages import NOW, SECOND, Fog, answer
from tasks.handlers import mark_started


def test_rests_grow_with_failures_in_a_row_and_end_with_a_success() -> None:
    reliance = Reliance()
    rests = []
    for _ in range(7):
        reliance = reliance.failed(NOW)
        assert reliance.rests_until is not None
        rests.append((reliance.rests_until - NOW) / REST_LEAST)
    assert rests == [1, 2, 4, 8, 16, 16, 16]
    assert (len(reliance.results), reliance.failures, reliance.in_doubt) == (LAST, LAST, True)
    well = reliance.succeeded()
    assert (well.failures, well.in_doubt, well.rests(NOW)) == (LAST - 1, False, False)
    again = well.failed(NOW)
    assert again.rests(NOW) and not again.rests(NOW + REST_LEAST)


@pytest.fixture
def fog(make_node: MakeNode, submitter: User) -> Fog:
    return Fog(make_node, submitter, gateways=3)


def failing(fog: Fog, kind: NotCarried = NotCarried.NO_CIRCUIT) -> int:
    """The gateway that has failed."""
    carriage = fog.one()
    first = carriage.gateway_id
    assert first is not None
    answer(carriage, NOW, ok=False, kind=kind)
    carriage.refresh_from_db()
    answer(carriage, NOW)
    return first


def asked(fog: Fog, number: int, now: object = NOW) -> Counter[int | None]:
    return Counter(fog.one(now).gateway_id for _ in range(number))  # type: ignore[arg-type]


@pytest.mark.django_db
def test_one_that_failed_is_asked_last_and_then_tried_with_one_order(fog: Fog) -> None:
    bad = failing(fog)
    assert asked(fog, 6)[bad] == 0
    after = NOW + REST_LEAST
    Carriage.objects.update(brought_at=NOW)  # nothing is under way
    assert asked(fog, 6, after)[bad] == 1, "it is on trial"


@pytest.mark.django_db
def test_one_whose_order_began_is_trusted_again(fog: Fog) -> None:
    bad = failing(fog)
    after = NOW + REST_LEAST
    Carriage.objects.update(brought_at=NOW)
    while (trial := fog.one(after)).gateway_id != bad:
        pass
    answer(trial, after)
    assert GatewayRecord.objects.get().results == "0", "it says so, but its node has not begun"
    mark_started([(trial.node_id, Started(seq=1, attempt=trial.attempt_id, at=0.0))], after)
    sweep(after + SECOND)
    record = GatewayRecord.objects.get(node_id=bad)
    assert (record.results, record.rests_until) == ("01", None)


@pytest.mark.django_db
@pytest.mark.parametrize("kind", [NotCarried.REFUSED, NotCarried.LOST, NotCarried.TIMEOUT])
def test_what_tells_of_others_is_not_held_against_it(fog: Fog, kind: NotCarried) -> None:
    failing(fog, kind)
    assert not GatewayRecord.objects.exists()


@pytest.mark.django_db
def test_where_no_other_is_left_it_is_asked(make_node: MakeNode, submitter: User) -> None:
    fog = Fog(make_node, submitter, gateways=1)
    carriage = fog.one()
    answer(carriage, NOW, ok=False, kind=NotCarried.NO_CIRCUIT)
    assert fog.one().gateway_id == fog.gateways[0].id


@pytest.mark.django_db
def test_silence_and_a_lost_connection_count(fog: Fog) -> None:
    fog.one()
    sweep(NOW + timedelta(minutes=1))
    record = GatewayRecord.objects.get()
    assert (record.results, record.trouble) == ("0", "silent")


@pytest.mark.django_db
def test_the_page_says_until_when(fog: Fog) -> None:
    assert "failing-gateways" not in render_private("")
    failing(fog)
    html = " ".join(render_private("").split())
    assert "failed 1 of the last 1; asked last until" in html and "(no circuit)" in html
