"""Losing silent nodes: past their timeout, and only while the panel could have heard them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from conftest import MakeFleet, MakeNode, take_lease
from fogpanel.models import Event, PanelPresence
from fogpanel.parameters import changing, store
from nodes import jobs, leases, presence
from nodes.jobs import forget_old_rows, lose_silent_nodes, stretch_heartbeats, thin_samples
from nodes.models import Node, Order, Sample

LONG_AGO = timedelta(hours=1)


@pytest.fixture
def silent(make_node: MakeNode) -> Node:
    now = timezone.now()
    return make_node(
        name="kiosk-3", last_contact_at=now - timedelta(seconds=91), deadline_at=now - timedelta(seconds=1)
    )


def test_a_silent_node_is_lost_once(silent: Node) -> None:
    now = timezone.now()
    assert lose_silent_nodes(now, now - LONG_AGO) == [silent.id]
    assert lose_silent_nodes(now, now - LONG_AGO) == []
    silent.refresh_from_db()
    assert (silent.connected, silent.gone_at) == (False, now)
    assert Event.objects.get().sentence == "kiosk-3 is offline: silent for 91 s"


def test_silence_counts_only_while_the_panel_listened_for_a_whole_timeout(silent: Node) -> None:
    now = timezone.now()
    assert lose_silent_nodes(now, now - timedelta(seconds=89)) == []
    assert lose_silent_nodes(now, now - timedelta(seconds=90)) == [silent.id]


def test_a_grace_after_the_timeout_leaves_its_work_where_it_is(silent: Node, settings: Settings) -> None:
    settings.REPLACE_AFTER_S = 60
    now = timezone.now()
    assert lose_silent_nodes(now, now - LONG_AGO) == []
    assert lose_silent_nodes(now + timedelta(seconds=60), now - LONG_AGO) == [silent.id]


def test_that_grace_is_a_parameter(silent: Node) -> None:
    now = timezone.now()
    changing.change({"replace_after_s": 60}, None, now)
    store.copy.forget()
    assert lose_silent_nodes(now, now - LONG_AGO) == []


def test_a_node_that_was_heard_stays(make_node: MakeNode) -> None:
    make_node()
    now = timezone.now()
    assert lose_silent_nodes(now, now - LONG_AGO) == []


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(1_700_000_000 + seconds, tz=timezone.get_default_timezone())


@pytest.mark.django_db
def test_presence_begins_anew_after_a_gap() -> None:
    step = presence.stale_s() / 2
    presence.note_presence(at(0))
    presence.note_presence(at(step))
    assert presence.listening_since(at(step)) == at(0)
    assert presence.listening_since(at(step * 4)) is None
    presence.note_presence(at(step * 4))
    assert presence.listening_since(at(step * 4)) == at(step * 4)
    assert PanelPresence.objects.count() == 1


def test_a_new_connection_owns_the_node(make_node: MakeNode) -> None:
    node, now = make_node(gone_at=timezone.now(), connected=False), timezone.now()
    first, second = take_lease(node), take_lease(node)
    assert second.epoch == first.epoch + 1
    leases.release([(node.id, first.epoch)], now)
    node.refresh_from_db()
    assert (node.connected, node.gone_at, node.address) == (True, None, "127.0.0.1")
    leases.release([(node.id, second.epoch), (node.id, first.epoch)], now)
    node.refresh_from_db()
    assert node.connected is False


@pytest.mark.parametrize(
    ("columns", "code"),
    [({"approved_at": None}, "waiting-for-approval"), ({"removed_at": timezone.now()}, "not-enrolled")],
)
def test_who_may_not_connect(make_node: MakeNode, columns: dict[str, object], code: str) -> None:
    refused, welcome, now = make_node(**columns), make_node(connected=False), timezone.now()
    claims = [leases.Claim(key, None) for key in (refused.public_key, welcome.public_key, "unknown")]
    answers = leases.take(claims, now)
    assert [getattr(answers[claim.public_key], "code", "") for claim in claims] == [code, "", "not-enrolled"]
    refused.refresh_from_db()
    welcome.refresh_from_db()
    assert (refused.epoch, welcome.epoch, welcome.connected) == (0, 1, True)


def test_a_large_fleet_beats_more_slowly(make_node: MakeNode, settings: object) -> None:
    settings.HEARTBEATS_PER_S_MAX = 0.05  # type: ignore[attr-defined]
    node = make_node(heartbeat_s=30)
    for _ in range(2):
        make_node(heartbeat_s=60)
    assert leases.beat() == (60.0, 180.0)
    from fogpanel.jobs import run_if_due

    now = timezone.now()
    assert run_if_due("stretch", 30, stretch_heartbeats.run_now, now)
    node.refresh_from_db()
    assert (node.heartbeat_s, node.timeout_s) == (60.0, 180.0)
    assert Order.objects.get().node_id == node.id


@pytest.mark.parametrize("changed", [{"timeout_s": 95.0}, {"heartbeat_s": 28.0}])
def test_a_changed_parameter_is_told_to_those_who_are_connected(
    make_node: MakeNode, changed: dict[str, float]
) -> None:
    node = make_node()
    stretch(timezone.now())
    assert not Order.objects.exists()
    changing.change(changed, None, timezone.now())
    store.copy.forget()
    stretch(timezone.now() + timedelta(minutes=1))
    node.refresh_from_db()
    assert (node.heartbeat_s, node.timeout_s) == leases.beat() != (30.0, 90.0)
    assert Order.objects.get().node_id == node.id


def stretch(now: datetime) -> None:
    from fogpanel.jobs import run_if_due

    assert run_if_due("stretch", 30, stretch_heartbeats.run_now, now)


def test_a_grown_fleet_is_told_its_beat_some_hundred_nodes_at_a_time(
    make_fleet: MakeFleet, settings: Settings, django_assert_max_num_queries: Any
) -> None:
    settings.HEARTBEATS_PER_S_MAX = 50
    make_fleet(3000)
    now = timezone.now()
    with django_assert_max_num_queries(200) as seen:
        stretch(now)
    told = [
        query["sql"] for query in seen if query["sql"].startswith("UPDATE") and '"timeout_s"' in query["sql"]
    ]
    assert len(told) == 3000 / jobs.AT_ONCE
    assert set(Node.objects.values_list("heartbeat_s", "timeout_s")) == {(60.0, 180.0)}
    assert set(Order.objects.values_list("node_id", flat=True)) == set(
        Node.objects.values_list("id", flat=True)
    )
    stretch(now + timedelta(minutes=1))
    assert Order.objects.count() == 3000


def test_the_newest_beat_is_the_one_that_counts(make_node: MakeNode, settings: Settings) -> None:
    """What a node was to be told while it could not hear it must not be said after what holds now."""
    node, now = make_node(), timezone.now()
    for minutes, most in ((0, 1 / 60), (1, 1 / 120)):
        settings.HEARTBEATS_PER_S_MAX = most
        stretch(now + timedelta(minutes=minutes))
    [older, newer] = Order.objects.order_by("id")
    assert (older.withdrawn_at is None, newer.withdrawn_at is None) == (False, True)
    settings.HEARTBEATS_PER_S_MAX = 300
    assert take_lease(node).heartbeat_s == 30
    newer.refresh_from_db()
    assert newer.withdrawn_at is not None


@pytest.mark.parametrize("fleet", [1, 3000, 9300])
def test_the_fleet_together_stays_below_the_rate(fleet: int, make_fleet: MakeFleet) -> None:
    make_fleet(fleet)
    heartbeat_s, timeout_s = leases.beat()
    assert heartbeat_s >= max(30, fleet / 300)
    assert timeout_s == 3 * heartbeat_s


def test_many_silent_nodes_are_lost_by_the_batch(
    make_fleet: MakeFleet, django_assert_max_num_queries: Any
) -> None:
    now = timezone.now()
    make_fleet(100, deadline_at=now - timedelta(seconds=1), last_contact_at=now - timedelta(seconds=91))
    with django_assert_max_num_queries(15):
        lost = lose_silent_nodes(now, now - LONG_AGO)
    assert len(lost) == Node.objects.filter(gone_at=now, connected=False).count() == 100
    events = Event.objects.filter(kind="node.lost", level="warning")
    assert set(events.values_list("subject_id", flat=True)) == set(lost)


def test_old_samples_and_finished_orders_are_forgotten(make_node: MakeNode) -> None:
    node, now = make_node(), timezone.now()
    old = now - timedelta(days=3)
    figures = {"cpu_percent": 1, "memory_used_mb": 1, "memory_total_mb": 1, "running": 0}
    Sample.objects.bulk_create(Sample(node=node, at=when, **figures) for when in (old, now))
    Order.objects.create(node=node, kind="run", body=b"{}", created_at=old, acked_at=old)
    pending = Order.objects.create(node=node, kind="run", body=b"{}", created_at=old)
    from fogpanel.jobs import run_if_due

    run_if_due("forget", 300, forget_old_rows.run_now, now)
    assert Sample.objects.get().at == now
    assert Order.objects.get() == pending


def test_of_old_samples_one_minute_in_five_stays(make_node: MakeNode) -> None:
    node, now = make_node(), timezone.now().replace(minute=30)
    figures = {"node": node, "cpu_percent": 1, "memory_used_mb": 1, "memory_total_mb": 2, "running": 0}
    for minutes in range(40, 80):
        Sample.objects.create(at=now - timedelta(minutes=minutes), **figures)
    assert thin_samples(now, None) == 16
    left = [(now - at).total_seconds() // 60 for at in Sample.objects.values_list("at", flat=True)]
    assert sorted(left) == [*range(40, 61), 65, 70, 75]
