"""Probing: when each service is due, and what is stored of the result."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from conftest import MakeNode
from services import jobs
from services.models import ServiceSample, ServiceState, State
from services.record import Figure, Probed, Service

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def service(answer: Probed | Exception | None) -> Service:
    def probe(now: datetime, last_result_at: datetime | None) -> Probed | None:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Service("demo", "Demo", "Tests", "wind", "Shows", 30.0, probe, "", lambda now: {})


WELL = Probed(State.OPERATIONAL, "All is well", (Figure("speed", 3.5, "/s"), Figure("none", None)))


@pytest.mark.parametrize(
    ("state", "age_s", "due"),
    [
        (State.OPERATIONAL, 29, False),
        (State.OPERATIONAL, 30, True),
        (State.DEGRADED, 4, False),
        (State.DEGRADED, 5, True),
        (State.DOWN, 5, True),
    ],
)
def test_who_is_not_well_is_probed_sooner(state: State, age_s: float, due: bool) -> None:
    row = ServiceState(slug="demo", state=state, probed_at=NOW - timedelta(seconds=age_s))
    assert jobs.due(service(None), row, NOW) is due


def test_a_service_never_probed_is_due() -> None:
    assert jobs.due(service(None), None, NOW)


def test_a_probe_that_breaks_is_a_result_too() -> None:
    found = jobs.measure(service(ValueError("no such thing")), None, NOW)
    assert found is not None
    assert found.state == State.DEGRADED
    assert found.sentence == "Its probe broke: ValueError: no such thing"


def test_a_result_is_stored_with_its_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "SERVICES", (service(WELL),))
    for minute in range(3):
        now = NOW + timedelta(minutes=minute)
        jobs.probe_due(now)
    state = ServiceState.objects.get(slug="demo")
    assert (state.state, state.sentence, state.probed_at) == ("operational", "All is well", now)
    assert state.figures[0] == {"label": "speed", "value": 3.5, "unit": "/s"}
    assert list(ServiceSample.objects.values_list("value", flat=True)) == [3.5] * 3


def test_nothing_is_stored_while_a_probe_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "SERVICES", (service(None),))
    jobs.probe_due(NOW)
    assert not ServiceState.objects.exists()


@pytest.mark.parametrize(
    ("first_joined_s_ago", "said"), [(jobs.SETTLING_S - 1, False), (jobs.SETTLING_S, True), (None, True)]
)
def test_nothing_bad_is_said_of_a_service_whose_fog_is_just_coming_together(
    monkeypatch: pytest.MonkeyPatch, make_node: MakeNode, first_joined_s_ago: float | None, said: bool
) -> None:
    if first_joined_s_ago is not None:
        make_node(approved_at=NOW - timedelta(seconds=first_joined_s_ago))
        make_node(approved_at=NOW)
    monkeypatch.setattr(jobs, "SERVICES", (service(Probed(State.DEGRADED, "There is no relay.")),))
    jobs.probe_due(NOW)
    assert ServiceState.objects.exists() is said


def test_what_was_well_before_may_turn_ill_at_any_time(
    monkeypatch: pytest.MonkeyPatch, make_node: MakeNode
) -> None:
    make_node(approved_at=NOW)
    ServiceState.objects.create(slug="demo", state=State.OPERATIONAL, probed_at=NOW - timedelta(minutes=1))
    monkeypatch.setattr(jobs, "SERVICES", (service(Probed(State.DEGRADED, "There is no relay.")),))
    jobs.probe_due(NOW)
    assert ServiceState.objects.get().state == State.DEGRADED


def test_samples_are_kept_for_a_week() -> None:
    for days in (8, 6):
        ServiceSample.objects.create(slug="demo", at=NOW - timedelta(days=days), state=State.DOWN)
    jobs.forget(NOW)
    assert ServiceSample.objects.get().at == NOW - timedelta(days=6)
