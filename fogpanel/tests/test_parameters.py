"""Parameters: what they are worth, who may change them to what, and how fast others hear of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from celery.schedules import schedule
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from conftest import take_lease
from coordinator.weights import NAMES
from fogpanel.beat import JobScheduler
from fogpanel.celery import app
from fogpanel.jobs import claim
from fogpanel.models import Event, ParameterValue
from fogpanel.parameters import catalogue, changing, store
from fogpanel.parameters.catalogue import BY_NAME, GROUPS, HEARTBEAT_S, RULES, SWEEP_S, TIMEOUT_S
from fogpanel.parameters.parameter import Parameter, Refused
from fogpanel.parameters.store import current
from fogpanel.supervisor.places import ROOT
from nodes import leases
from nodes.models import Node
from tasks.weighing import weights

pytestmark = pytest.mark.django_db
Commit = Callable[..., object]


def change(**wanted: float | None) -> list[changing.Change]:
    return changing.change(wanted, None, timezone.now())


def refused(**wanted: float | None) -> list[tuple[str, str]]:
    with pytest.raises(Refused) as refusal:
        change(**wanted)
    return refusal.value.errors


# --- The catalogue -----------------------------------------------------------------------------------


@pytest.mark.parametrize("parameter", BY_NAME.values(), ids=BY_NAME)
def test_every_parameter_says_what_it_is(parameter: Parameter) -> None:
    assert parameter.title and parameter.about.endswith(".") and parameter.readers
    assert parameter.complaint(parameter.default) == ""


@pytest.mark.parametrize("parameter", [each for each in BY_NAME.values() if each.setting], ids=str)
def test_the_environment_may_say_what_a_parameter_may_be(parameter: Parameter) -> None:
    """And no more: a default that the page refuses could not be set back to."""
    asked = (ROOT / "fogpanel" / "settings.py").read_text()
    found = re.search(rf'"{parameter.variable}", [\d.]+, least=([\d._]+), most=([\d._]+)\)', asked)
    assert found and (float(found[1]), float(found[2])) == (parameter.least, parameter.most)


def test_defaults_break_no_rule_and_each_rule_names_parameters_of_one_group() -> None:
    assert list(changing.broken_rules(changing.effective({}))) == []
    groups = [{parameter.name for parameter in group.parameters} for group in GROUPS]
    assert all(any(set(rule.names) <= names for names in groups) for rule in RULES)


def test_every_weight_of_routing_is_a_parameter() -> None:
    assert {parameter.name for parameter in catalogue.WEIGHTS} == set(NAMES)


# --- Changing ----------------------------------------------------------------------------------------


def test_a_change_is_stored_with_who_and_when_and_leaves_an_event(admin_user: User) -> None:
    now = timezone.now()
    changes = changing.change({"timeout_s": 120.0}, admin_user, now)
    assert [str(each) for each in changes] == ["Heartbeat timeout to 120 s (was 90 s)"]
    row = ParameterValue.objects.get(name="timeout_s")
    assert (row.value, row.changed_at, row.changed_by, row.changed_by_name) == (
        120.0,
        now,
        admin_user,
        "some-admin",
    )
    event = Event.objects.get(kind="parameter.changed")
    assert event.sentence == "some-admin set Heartbeat timeout to 120 s (was 90 s)"
    assert (event.before, event.after, event.actor) == ({"timeout_s": 90.0}, {"timeout_s": 120.0}, admin_user)


def test_none_sets_it_back_to_its_default(settings: object) -> None:
    change(timeout_s=120)
    settings.HEARTBEAT_TIMEOUT_S = 77  # type: ignore[attr-defined]
    assert [each.after for each in change(timeout_s=None)] == [77.0]
    assert current(TIMEOUT_S) == 77.0


def test_what_was_stored_wins_over_the_environment(settings: object) -> None:
    change(timeout_s=120)
    settings.HEARTBEAT_TIMEOUT_S = 77  # type: ignore[attr-defined]
    store.copy.forget()
    assert current(TIMEOUT_S) == 120.0


def test_the_same_value_again_is_no_change() -> None:
    assert change(timeout_s=90) == []
    assert not Event.objects.exists()


def test_each_field_that_is_wrong_is_named() -> None:
    errors = refused(timeout_s=100_000, heartbeat_s=0.1, weather=1, sweep_s=float("nan"))
    assert errors == [
        ("timeout_s", "timeout_s: must be between 0.5 s and 86,400 s, was 100,000 s."),
        ("heartbeat_s", "heartbeat_s: must be between 0.2 s and 3,600 s, was 0.1 s."),
        ("weather", "weather: there is no such parameter; the settings page lists those that exist."),
        ("sweep_s", "sweep_s: must be a number, was nan."),
    ]
    assert not ParameterValue.objects.exclude(value=None).exists()


def test_a_rule_across_parameters_names_the_field_that_was_changed() -> None:
    [(name, sentence)] = refused(heartbeat_s=50)
    assert name == "heartbeat_s"
    assert sentence.startswith("timeout_s: must be at least twice heartbeat_s (50 s), was 90 s.")
    assert len(change(heartbeat_s=50, timeout_s=100)) == 2


def test_weights_of_one_strategy_cannot_all_be_nothing() -> None:
    change(affinity_match=0)
    [(name, sentence)] = refused(affinity_fit=0)
    assert name == "affinity_fit"
    assert "must be more than 0" in sentence


# --- Reading -----------------------------------------------------------------------------------------


def test_reading_asks_the_database_once_in_some_seconds() -> None:
    copy = store.Copy()
    with CaptureQueriesContext(connection) as queries:
        for moment in (100.0, 100.1, 100.0 + store.STALE_S - 0.1):
            copy.values(moment)
    assert len(queries) == 1
    change(timeout_s=120)
    assert copy.values(100.0 + store.STALE_S) == {"timeout_s": 120.0}


def test_a_change_is_read_at_once_where_its_wake_is_heard(
    django_capture_on_commit_callbacks: Commit,
) -> None:
    assert current(TIMEOUT_S) == 90.0
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[attr-defined]
        change(timeout_s=120)
    assert current(TIMEOUT_S) == 120.0


# --- Readers -----------------------------------------------------------------------------------------


def test_nodes_are_told_the_beat_that_the_parameters_say(make_node: Callable[..., Node]) -> None:
    node = make_node()
    change(heartbeat_s=10, timeout_s=45)
    assert leases.beat() == (10.0, 45.0)
    lease = take_lease(node)
    assert (lease.heartbeat_s, lease.timeout_s) == (10.0, 45.0)


def test_routing_weighs_by_the_parameters() -> None:
    change(proximity_load=40)
    assert weights().proximity_load == 40.0


@pytest.mark.django_db(transaction=True)  # beat's scheduler closes connections as it sees fit
def test_beat_follows_a_changed_interval() -> None:
    scheduler = JobScheduler(app=app)
    change(sweep_s=60)
    store.copy.forget()
    scheduler.follow_parameters()
    assert scheduler.schedule["nodes.jobs.sweep_heartbeats"].schedule == schedule(run_every=60)


def test_a_shortened_interval_does_not_wait_for_the_long_one_to_pass() -> None:
    now = timezone.now()
    assert claim("sweep", 600, now)
    later = now + timedelta(seconds=6)
    assert claim("sweep", 600, later) is None
    assert claim("sweep", current(SWEEP_S), later)


def test_parameters_are_written_as_people_write_them() -> None:
    assert HEARTBEAT_S.told(1800) == "1,800 s"
    assert catalogue.WEIGHTS[0].told(0.5) == "0.5"
