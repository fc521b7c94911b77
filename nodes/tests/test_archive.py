"""Nodes long gone leave the lists; they may come back, unless an operator removed them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from conftest import MakeNode, take_lease
from fogpanel.models import Event
from nodes import leases, operations
from nodes.archive import archive_long_gone
from nodes.models import Node, Order

LONG_AGO = timedelta(days=1)


@pytest.fixture
def gone(make_node: MakeNode) -> Node:
    now = timezone.now()
    month = timedelta(days=31)
    return make_node(
        name="kiosk-3", connected=False, last_contact_at=now - month, deadline_at=now - month, gone_at=now
    )


def archive() -> list[int]:
    now = timezone.now()
    return archive_long_gone(now, now - LONG_AGO)


def test_what_was_offline_for_long_is_archived_once(gone: Node, make_node: MakeNode) -> None:
    make_node()
    assert archive() == [gone.id]
    assert archive() == []
    gone.refresh_from_db()
    assert (gone.archived_at is not None, gone.removed_at) == (True, None)
    assert Event.objects.get().sentence == "kiosk-3 was archived: offline for more than 30 days"


def test_the_setting_says_how_long(gone: Node, settings: Settings) -> None:
    settings.ARCHIVE_DAYS = 32
    assert archive() == []


def test_a_panel_that_was_away_waits_a_timeout_first(gone: Node) -> None:
    now = timezone.now()
    assert archive_long_gone(now, now - timedelta(seconds=gone.timeout_s - 1)) == []


def test_its_orders_are_withdrawn(gone: Node) -> None:
    Order.objects.create(node=gone, kind="cancel", subject="attempt:1", body=b"{}")
    archive()
    assert Order.objects.get().withdrawn_at is not None


def test_it_comes_back_with_its_identity(gone: Node) -> None:
    archive()
    take_lease(gone)
    gone.refresh_from_db()
    assert (gone.name, gone.archived_at, gone.connected) == ("kiosk-3", None, True)
    assert Event.objects.order_by("-id")[0].sentence == "kiosk-3 is back from the archive"


def test_one_that_was_removed_does_not(gone: Node, operator: User) -> None:
    Order.objects.create(node=gone, kind="cancel", subject="attempt:1", body=b"{}")
    archive()
    operations.remove(gone, operator)
    with pytest.raises(leases.NotWelcome):
        take_lease(gone)
    assert Order.objects.get().withdrawn_at is not None


def test_a_filter_shows_the_archived(client: Client, viewer: User, gone: Node, make_node: MakeNode) -> None:
    make_node(name="present")
    archive()
    client.force_login(viewer)
    listed = client.get("/nodes", {"status": "archived"}).content.decode()
    assert "kiosk-3" in listed and "present" not in listed
    assert "It is back when its agent connects." in listed
    assert "kiosk-3" not in client.get("/nodes").content.decode()
