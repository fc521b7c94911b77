"""Switching a service off and on, and having it start over: by whom, with what effect, and how it is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from fogpanel import wakes
from fogpanel.models import Event
from nodes.models import Node
from services import cards, control, jobs
from services.catalogue import BY_SLUG
from services.control import Action, NotNow, act
from services.models import ServiceSample, ServiceState, State
from services.record import Probed
from tasks.models import Task
from tasks.placement import Placer
from tasks.specification import validate
from tasks.submission import submit

pytestmark = pytest.mark.django_db
COORDINATOR = BY_SLUG["fog_coordinator"]


def state() -> tuple[str, str]:
    return cards.present_state(
        COORDINATOR, ServiceState.objects.filter(slug=COORDINATOR.slug).first(), timezone.now()
    )


def test_a_disabled_coordinator_places_nothing_and_its_tasks_say_why(
    make_node: Callable[..., Node], operator: User
) -> None:
    make_node()
    task = submit(operator, validate({"source": "print(1)", "cores": 0.1}))
    act(COORDINATOR, Action.DISABLE, operator, timezone.now())
    placer = Placer()
    assert placer.place_waiting(timezone.now()) == 0
    task.refresh_from_db()
    assert (task.state, task.wait_reasons) == ("queued", {"placing is paused": 1})
    act(COORDINATOR, Action.ENABLE, operator, timezone.now())
    assert placer.place_waiting(timezone.now()) == 1
    task.refresh_from_db()
    assert (task.state, task.wait_reasons) == ("assigned", {})


def test_disabled_is_shown_with_who_did_it_and_what_it_means(operator: User) -> None:
    act(COORDINATOR, Action.DISABLE, operator, timezone.now())
    shown, sentence = state()
    assert shown == "disabled"
    assert sentence.startswith("Disabled by some-operator. New tasks wait until it is enabled")
    assert ServiceSample.objects.get().state == State.DISABLED
    event = Event.objects.get(kind="service.disable")
    assert (event.sentence, event.level, event.actor) == (
        "some-operator disabled Fog coordinator", "warning", operator,
    )  # fmt: skip
    assert Client().get("/health").json()["services"]["fog_coordinator"] == "disabled"


def test_a_disabled_service_is_not_probed(operator: User) -> None:
    now = timezone.now()
    act(COORDINATOR, Action.DISABLE, operator, now)
    jobs.probe_due(now + timedelta(hours=1))
    assert state()[0] == "disabled"
    assert not Task.objects.exists()


def test_a_probe_under_way_does_not_switch_it_on_again(operator: User) -> None:
    act(COORDINATOR, Action.DISABLE, operator, timezone.now())
    jobs.store(COORDINATOR, Probed(State.OPERATIONAL, "All is well"), timezone.now())
    assert state()[0] == "disabled"
    assert ServiceSample.objects.count() == 1


def test_enabled_again_it_is_measured_before_anything_is_said(operator: User) -> None:
    act(COORDINATOR, Action.DISABLE, operator, timezone.now())
    act(COORDINATOR, Action.ENABLE, operator, timezone.now())
    assert state()[0] == "unknown"
    assert jobs.due(COORDINATOR, ServiceState.objects.get(), timezone.now())


def test_a_restart_has_it_probed_at_once_and_the_placers_start_over(
    operator: User, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Callable[..., object]
) -> None:
    heard: list[str] = []
    monkeypatch.setitem(wakes._listeners, "placer-anew", [lambda keys: heard.append("anew")])
    now = timezone.now()
    jobs.store(COORDINATOR, Probed(State.OPERATIONAL, "All is well"), now)
    assert not jobs.due(COORDINATOR, ServiceState.objects.get(), now)
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[attr-defined]
        act(COORDINATOR, Action.RESTART, operator, now + timedelta(seconds=1))
    assert heard == ["anew"]
    assert jobs.due(COORDINATOR, ServiceState.objects.get(), now)


def test_a_placer_that_starts_over_knows_the_fleet_again(
    make_node: Callable[..., Node], operator: User
) -> None:
    make_node()
    placer = Placer()
    placer.turn()
    view = placer._view
    placer.start_over()
    submit(operator, validate({"source": "print(1)", "cores": 0.1}))
    placer.turn()
    assert placer._view is not view
    assert Task.objects.get().state == "assigned"


@pytest.mark.parametrize(
    ("before", "action", "sentence"),
    [
        ([], Action.ENABLE, "is enabled already"),
        ([Action.DISABLE], Action.DISABLE, "is disabled already"),
        ([Action.DISABLE], Action.RESTART, "is disabled: enable it instead"),
    ],
)
def test_what_makes_no_sense_is_refused(
    operator: User, before: list[Action], action: Action, sentence: str
) -> None:
    for each in before:
        act(COORDINATOR, each, operator, timezone.now())
    events = Event.objects.count()
    with pytest.raises(NotNow, match=sentence):
        act(COORDINATOR, action, operator, timezone.now())
    assert Event.objects.count() == events


def test_a_dependant_says_whose_fault_it_is(operator: User) -> None:
    act(COORDINATOR, Action.DISABLE, operator, timezone.now())
    dependant = replace(COORDINATOR, slug="onion", title="Onion", needs=("fog_coordinator",))
    jobs.store(dependant, Probed(State.DOWN, "No circuit was built"), timezone.now())
    card = cards.card(dependant, ServiceState.objects.in_bulk(), timezone.now())
    assert (card.state, card.sentence) == ("down", "Fog coordinator, which it needs, is disabled.")


@pytest.mark.parametrize("state", [State.OPERATIONAL, State.DEGRADED])
def test_nobody_blames_what_works(state: State) -> None:
    assert cards.blame(State.DOWN, [("Fog coordinator", state)]) == ""


def test_operators_find_the_buttons_on_its_page(client: Client, operator: User, viewer: User) -> None:
    client.force_login(viewer)
    assert "service-disable" not in client.get("/services/fog_coordinator/").content.decode()
    assert client.post("/services/fog_coordinator/control", {"action": "disable"}).status_code == 403
    client.force_login(operator)
    assert "New tasks wait until" in client.get("/services/fog_coordinator/").content.decode()
    client.post("/services/fog_coordinator/control", {"action": "disable"})
    body = client.get("/services/fog_coordinator/").content.decode()
    assert "some-operator disabled Fog coordinator." in body
    assert 'data-testid="service-enable"' in body and "service-disable" not in body
    client.post("/services/fog_coordinator/control", {"action": "explode"})
    assert "action: must be one of disable, enable, restart" in client.get("/events").content.decode()


def test_by_the_api(client: Client, operator: User) -> None:
    client.force_login(operator)
    answer = client.post("/api/v1/services/fog_coordinator/disable")
    assert (answer.status_code, answer.json()["state"]) == (200, "disabled")
    again = client.post("/api/v1/services/fog_coordinator/disable")
    assert (again.status_code, again.json()["code"]) == (409, "not-now")
    assert client.post("/api/v1/services/weather/disable").status_code == 404
    assert control.placing_is_paused()
