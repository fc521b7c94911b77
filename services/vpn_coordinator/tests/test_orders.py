"""A node is told the whole set of its tunnels whenever that changes, and anew whenever it connects."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from conftest import MakeNode, take_lease
from fogagent.messages import TunnelSpec
from fogpanel.access import Refusal
from fogpanel.models import Event
from nodes.models import Node, Order
from services.control import NotNow
from services.models import ServiceState
from services.vpn_coordinator import operations, ordering
from services.vpn_coordinator.models import Tunnel
from services.vpn_coordinator.service import VPN_COORDINATOR
from services.vpn_coordinator.tests.conftest import MakeRelay, MakeTunnel, pending
from tasks.specification import SpecError

pytestmark = pytest.mark.django_db


def test_a_node_is_told_all_its_tunnels_by_one_order(
    entry: Node, make_relay: MakeRelay, make_tunnel: MakeTunnel
) -> None:
    left = make_relay()
    first = make_tunnel(exit_node=left, hops=2, port=1080)
    second = make_tunnel(exit_region="eu-west", rotate_s=60)
    [order] = pending(entry)
    assert order.tunnels == [
        TunnelSpec(tunnel=first.id, port=1080, hops=2, exit_node=bytes.fromhex(left.public_key)),
        TunnelSpec(tunnel=second.id, exit_region="eu-west", rotate_s=60.0),
    ]
    assert Order.objects.filter(node=entry, withdrawn_at=None).get().subject == f"tunnels:{entry.id}"


def test_what_was_acknowledged_is_not_withdrawn(entry: Node, make_tunnel: MakeTunnel) -> None:
    make_tunnel()
    Order.objects.update(acked_at=timezone.now())
    make_tunnel()
    assert Order.objects.filter(node=entry).exclude(withdrawn_at=None).count() == 0


def test_the_last_one_stopped_leaves_an_empty_set(
    entry: Node, submitter: User, make_tunnel: MakeTunnel
) -> None:
    tunnel = make_tunnel()
    operations.stop(submitter, tunnel, timezone.now())
    [order] = pending(entry)
    assert order.tunnels == []


def test_other_nodes_are_told_nothing(
    entry: Node, make_node: MakeNode, submitter: User, make_tunnel: MakeTunnel
) -> None:
    elsewhere = make_node()
    theirs = make_tunnel(entry=elsewhere)
    mine = make_tunnel()
    operations.stop(submitter, mine, timezone.now())
    [order] = pending(elsewhere)
    assert [spec.tunnel for spec in order.tunnels] == [theirs.id]


def test_a_node_that_connects_is_told_its_tunnels_anew(entry: Node, make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel()
    Order.objects.update(acked_at=timezone.now())
    take_lease(entry)
    [order] = pending(entry)
    assert [spec.tunnel for spec in order.tunnels] == [tunnel.id]
    take_lease(entry)
    assert pending(entry) == [order]


def test_a_node_without_tunnels_is_told_nothing_when_it_connects(make_node: MakeNode) -> None:
    node = make_node()
    take_lease(node)
    assert pending(node) == []


def test_that_the_last_one_was_stopped_reaches_a_node_that_was_away(
    entry: Node, submitter: User, make_tunnel: MakeTunnel
) -> None:
    tunnel = make_tunnel()
    Order.objects.update(acked_at=timezone.now())
    Node.objects.update(connected=False)
    operations.stop(submitter, tunnel, timezone.now())
    take_lease(entry)
    [order] = pending(entry)
    assert order.tunnels == []


def test_a_restart_of_the_service_tells_every_entry_anew(entry: Node, make_tunnel: MakeTunnel) -> None:
    make_tunnel()
    Order.objects.update(acked_at=timezone.now())
    VPN_COORDINATOR.restart()
    assert len(pending(entry)) == 1


# --- Creating and stopping --------------------------------------------------------------------------


def test_creating_and_stopping_leave_who_before_and_after(
    make_tunnel: MakeTunnel, submitter: User, operator: User, other_submitter: User
) -> None:
    tunnel = make_tunnel(allowed=[other_submitter, submitter], port=4321)
    operations.stop(operator, tunnel, timezone.now())
    created = Event.objects.get(kind="tunnel.created")
    stopped = Event.objects.get(kind="tunnel.stopped")
    assert (created.actor, stopped.actor) == (submitter, operator)
    assert created.subject_id == stopped.subject_id == tunnel.id
    assert created.after is not None and stopped.before is not None and stopped.after is not None
    assert created.after["allowed"] == ["ann"]  # its owner needs no leave
    assert created.after["pool"] == "confidential"
    assert (stopped.before["stopped"], stopped.after["stopped"]) == (False, True)
    # Everybody sees events.
    assert "4321" not in f"{created.after} {created.sentence} {stopped.before}"


def test_to_stop_what_is_stopped_changes_nothing(
    submitter: User, make_tunnel: MakeTunnel, entry: Node
) -> None:
    now = timezone.now()
    tunnel = operations.stop(submitter, make_tunnel(), now)
    again = operations.stop(submitter, tunnel, now + timedelta(hours=1))
    assert again.stopped_at == now
    assert Event.objects.filter(kind="tunnel.stopped").count() == 1
    assert Order.objects.filter(node=entry).count() == 2


def test_a_stranger_cannot_stop_it(make_tunnel: MakeTunnel, other_submitter: User, viewer: User) -> None:
    tunnel = make_tunnel(allowed=[])
    for stranger in (other_submitter, viewer):
        with pytest.raises(Refusal):
            operations.stop(stranger, tunnel, timezone.now())
    assert Tunnel.objects.get().stopped_at is None


def test_a_viewer_cannot_create_one(make_tunnel: MakeTunnel, viewer: User) -> None:
    with pytest.raises(Refusal, match="submitter"):
        make_tunnel(by=viewer)


def test_a_node_has_room_for_a_hundred(
    make_tunnel: MakeTunnel, entry: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "TUNNELS_MOST", 1)
    make_tunnel()
    with pytest.raises(SpecError, match="entry: atlas has 1 tunnels, which is the most; stop one of them"):
        make_tunnel()
    assert ordering.TUNNELS_MOST == 100


def test_none_is_created_while_the_service_is_disabled(make_tunnel: MakeTunnel) -> None:
    ServiceState.objects.create(slug="vpn_coordinator", enabled=False)
    with pytest.raises(NotNow, match="disabled"):
        make_tunnel()
    assert not Tunnel.objects.exists()
