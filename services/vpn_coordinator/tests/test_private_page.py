"""Private tasks on the service's page, and what is pushed of them."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from conftest import MakeNode
from fogpanel import live
from services.vpn_coordinator.models import Carriage, PrivacyLevel
from services.vpn_coordinator.private_live import render_private
from services.vpn_coordinator.private_page import CARRIAGES_SHOWN, note_quotes
from services.vpn_coordinator.quotes import HIDES, LARGE
from services.vpn_coordinator.sweeping import sweep
from services.vpn_coordinator.tests.carriages import NOW, SECOND, Fog, answer
from tasks.privacy import Privacy

pytestmark = pytest.mark.django_db
HOME = "/services/vpn_coordinator/"


@pytest.fixture
def fog(make_node: MakeNode, submitter: User) -> Fog:
    return Fog(make_node, submitter, gateways=3)


def text(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_each_level_says_what_it_hides_and_that_nothing_was_measured_yet(
    client: Client, viewer: User
) -> None:
    client.force_login(viewer)
    html = client.get(HOME).content.decode()
    assert all(f'data-testid="privacy-level-{level}"' in html for level in Privacy)
    told = text(html)
    assert all(sentence.replace("'", "&#x27;") in told for sentence in HIDES.values())
    assert "Not looked yet" in told and "not measured yet" in told
    assert 'data-topics="' not in html or "private-tasks" in html


def test_levels_are_shown_as_they_were_noted(fog: Fog) -> None:
    carriage = fog.one()
    answer(carriage, NOW)
    Carriage.objects.update(size=LARGE, took_ms=500)
    note_quotes(NOW)
    told = text(render_private(""))
    assert "Confidential Can be had" in told
    assert "Secret Not now" in told and "Secret tasks wait for the mixnet" in told
    assert "512.0 KB/s" in told
    assert "4 times" in told
    assert "as of" in told


def test_they_are_noted_again_in_place(fog: Fog) -> None:
    note_quotes(NOW)
    assert set(PrivacyLevel.objects.values_list("level", flat=True)) == set(Privacy)
    note_quotes(NOW + SECOND)
    assert set(PrivacyLevel.objects.values_list("at", flat=True)) == {NOW + SECOND}


def test_carriages_are_shown_with_their_way_and_their_trouble(fog: Fog) -> None:
    brought, failing, given_up = fog.one(), fog.one(), fog.one()
    answer(brought, NOW)
    answer(failing, NOW, ok=False, sentence="There is no circuit to its node.")
    Carriage.objects.filter(id=given_up.id).update(
        ok=False,
        ended_at=NOW,
        trouble="refused",
        reason="<i>",
        sentence="<b>No way.</b>",
        gateway=None,
        tries=5,
    )
    html = render_private("")
    rows = {
        int(number): text(row)
        for number, row in re.findall(r'data-testid="carriage-row-(\d+)">(.*?)</tr>', html, re.DOTALL)
    }
    assert list(rows) == [given_up.attempt_id, failing.attempt_id, brought.attempt_id]
    for part in ("gate-", "to worker 3 hops", "40 ms", "8 ms", "4.1 KB", "Brought"):
        assert part in rows[brought.attempt_id]
    assert "Under way" in rows[failing.attempt_id] and "1 failed before" in rows[failing.attempt_id]
    assert "no gateway" in rows[given_up.attempt_id] and "Given up" in rows[given_up.attempt_id]
    assert "Refused by its node (&lt;i&gt;) &lt;b&gt;No way.&lt;/b&gt;" in rows[given_up.attempt_id]
    assert "<b>No way.</b>" not in html and "&lt;b&gt;No way.&lt;/b&gt;" in html


def test_what_waits_says_why(make_node: MakeNode, submitter: User) -> None:
    Fog(make_node, submitter, gateways=0).one()
    told = text(render_private(""))
    assert "Waits No gateway can be had: start an agent with entry" in told


def test_only_the_last_are_shown_and_in_three_queries(
    fog: Fog, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(CARRIAGES_SHOWN + 2):
        fog.one()
    with django_assert_num_queries(3):
        html = render_private("")
    assert html.count('data-testid="carriage-row-') == CARRIAGES_SHOWN


def test_viewers_may_watch_and_each_step_is_pushed(
    fog: Fog, viewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, _ = live.find("private-tasks")
    assert topic.allow(viewer, "")
    told: list[str] = []
    monkeypatch.setattr(live, "changed", lambda *topics: told.extend(topics))
    steps = []
    carriage = fog.one()
    steps.append("private-tasks" in told)
    told.clear()
    answer(carriage, NOW)
    steps.append("private-tasks" in told)
    told.clear()
    sweep(NOW + timedelta(minutes=1))
    steps.append("private-tasks" in told)
    assert steps == [True, True, True]
