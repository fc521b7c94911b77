"""What entries tell of their tunnels, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from conftest import MakeNode
from fogagent.messages import CircuitState, OverlayStatus, TunnelState
from fogpanel.models import Event
from nodes import inbox
from nodes.models import Node
from services.models import ServiceState
from services.vpn_coordinator import operations
from services.vpn_coordinator.handlers import note_tunnels
from services.vpn_coordinator.models import Tunnel
from services.vpn_coordinator.standing import Standing, bytes_per_s_now, stands
from services.vpn_coordinator.tests.conftest import MakeRelay, MakeTunnel

pytestmark = pytest.mark.django_db
NOW = timezone.now()
SECOND = timedelta(seconds=1)


def told(*tunnels: TunnelState, circuits: Sequence[CircuitState] = ()) -> OverlayStatus:
    return OverlayStatus(tunnels=list(tunnels), circuits=list(circuits))


def opened(tunnel: Tunnel, **more: Any) -> TunnelState:
    return TunnelState(tunnel=tunnel.id, open=True, **{"port": 1080, **more})


def kinds() -> list[str]:
    return list(Event.objects.order_by("id").exclude(kind="tunnel.created").values_list("kind", flat=True))


def test_the_inbox_hands_statuses_over() -> None:
    assert note_tunnels in inbox.handlers()["overlaystatus"]


def test_what_is_told_is_stored(entry: Node, make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel()
    state = opened(tunnel, clients=2, sent_bytes=10, received_bytes=20)
    note_tunnels([(entry.id, told(state))], NOW)
    tunnel.refresh_from_db()
    assert (tunnel.is_open, tunnel.port, tunnel.clients) == (True, 1080, 2)
    assert (tunnel.sent_bytes, tunnel.received_bytes, tunnel.told_at) == (10, 20, NOW)
    assert tunnel.bytes_per_s is None
    assert kinds() == ["tunnel.opened"]
    assert "1080" not in Event.objects.get(kind="tunnel.opened").sentence


def test_the_last_status_of_a_batch_counts(entry: Node, make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel()
    note_tunnels([(entry.id, told(opened(tunnel, clients=n))) for n in (5, 3)], NOW)
    tunnel.refresh_from_db()
    assert tunnel.clients == 3


def test_a_batch_of_many_nodes_costs_no_more_than_one_of_one(
    make_node: MakeNode, make_tunnel: MakeTunnel, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    tunnels = [make_tunnel(entry=make_node()) for _ in range(20)]
    note_tunnels([(tunnel.entry_id, told(opened(tunnel))) for tunnel in tunnels], NOW)
    with django_assert_max_num_queries(2):
        note_tunnels([(tunnel.entry_id, told(opened(tunnel, clients=1))) for tunnel in tunnels], NOW)
    assert set(Tunnel.objects.values_list("clients", flat=True)) == {1}


def test_nodes_without_tunnels_cost_one_look(
    make_node: MakeNode, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    nodes = [make_node() for _ in range(5)]
    with django_assert_max_num_queries(1):
        note_tunnels([(node.id, OverlayStatus()) for node in nodes], NOW)


def test_a_node_tells_nothing_of_tunnels_of_others(make_node: MakeNode, make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel()
    liar = make_node()
    note_tunnels([(liar.id, told(opened(tunnel)))], NOW)
    tunnel.refresh_from_db()
    assert tunnel.told_at is None


def test_a_stopped_tunnel_stays_as_it_was(entry: Node, make_tunnel: MakeTunnel, submitter: User) -> None:
    tunnel = operations.stop(submitter, make_tunnel(), NOW)
    note_tunnels([(entry.id, told(opened(tunnel)))], NOW)
    tunnel.refresh_from_db()
    assert tunnel.is_open is None


def test_a_port_that_is_taken_is_told_once_in_the_agents_words(entry: Node, make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(port=1080)
    taken = TunnelState(tunnel=tunnel.id, open=False, sentence="Port 1080 is in use, as 10801 is.")
    for _ in range(2):
        note_tunnels([(entry.id, told(taken))], NOW)
    tunnel.refresh_from_db()
    assert (tunnel.is_open, tunnel.sentence, tunnel.port) == (False, "Port … is in use, as 10801 is.", 0)
    assert kinds() == ["tunnel.broken"]
    note_tunnels([(entry.id, told(opened(tunnel)))], NOW)
    assert kinds() == ["tunnel.broken", "tunnel.opened"]
    assert "1080 " not in " ".join(Event.objects.values_list("sentence", flat=True))


def test_the_service_is_probed_when_a_tunnel_opens_and_not_each_time_it_tells(
    entry: Node, make_tunnel: MakeTunnel
) -> None:
    tunnel = make_tunnel()
    ServiceState.objects.create(slug="vpn_coordinator")
    for number in range(2):
        note_tunnels([(entry.id, told(opened(tunnel)))], NOW + number * SECOND)
    assert ServiceState.objects.get().probe_wanted_at == NOW


def test_the_service_is_probed_when_a_tunnel_loses_its_circuits_and_when_it_has_some_again(
    entry: Node, make_tunnel: MakeTunnel
) -> None:
    state = opened(make_tunnel())
    ServiceState.objects.create(slug="vpn_coordinator")
    wanted = []
    for number, trouble in enumerate(["", "", "No guard.", "No exit.", ""]):
        status = OverlayStatus(tunnels=[state], trouble=trouble)
        note_tunnels([(entry.id, status)], NOW + number * SECOND)
        wanted.append(ServiceState.objects.get().probe_wanted_at)
    assert wanted == [NOW, NOW, NOW + 2 * SECOND, NOW + 2 * SECOND, NOW + 4 * SECOND]


def test_what_an_agent_has_forgotten_is_ordered_again_in_our_eyes(
    entry: Node, make_tunnel: MakeTunnel
) -> None:
    tunnel = make_tunnel()
    note_tunnels([(entry.id, told(opened(tunnel, clients=4)))], NOW)
    note_tunnels([(entry.id, told())], NOW + SECOND)
    tunnel.refresh_from_db()
    assert (tunnel.is_open, tunnel.port, tunnel.clients) == (None, 0, 0)


def test_an_open_port_without_a_circuit_is_stuck(entry: Node, make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel()
    note_tunnels([(entry.id, OverlayStatus(tunnels=[opened(tunnel)], trouble="No exit: none."))], NOW)
    tunnel = Tunnel.objects.with_nodes().get()
    assert (stands(tunnel).standing, tunnel.port) == (Standing.STUCK, 1080)
    assert stands(tunnel).sentence == "Its port is open, and nothing gets through: No exit: none."
    circuit = CircuitState(path=[b"?" * 32], age_s=1, build_ms=7, tunnels=[tunnel.id])
    status = OverlayStatus(tunnels=[opened(tunnel)], circuits=[circuit], trouble="Of another tunnel.")
    note_tunnels([(entry.id, status)], NOW)
    assert stands(Tunnel.objects.with_nodes().get()).standing == Standing.OPEN


def test_throughput_is_that_between_two_statuses(entry: Node, make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel()
    for at_s, sent in ((0, 0), (10, 5000), (20, 6000)):
        note_tunnels([(entry.id, told(opened(tunnel, sent_bytes=sent)))], NOW + at_s * SECOND)
    tunnel.refresh_from_db()
    assert tunnel.bytes_per_s == pytest.approx(100)
    assert tunnel.best_bytes_per_s == pytest.approx(500)
    assert bytes_per_s_now(tunnel, NOW + 30 * SECOND) == pytest.approx(100)
    assert bytes_per_s_now(tunnel, NOW + 1000 * SECOND) is None


def test_circuits_tell_where_it_leaves_and_how_long_they_took(
    entry: Node, make_relay: MakeRelay, make_tunnel: MakeTunnel
) -> None:
    tunnel, others = make_tunnel(), make_tunnel()
    first, second = make_relay(), make_relay()

    def circuit(left: Node, serves: Tunnel, streams: int, build_ms: float) -> CircuitState:
        path = [b"g" * 32, bytes.fromhex(left.public_key)]
        return CircuitState(path=path, age_s=1, build_ms=build_ms, streams=streams, tunnels=[serves.id])

    circuits = [circuit(first, tunnel, 1, 20), circuit(second, tunnel, 3, 40), circuit(first, others, 9, 500)]
    note_tunnels([(entry.id, told(opened(tunnel), circuits=circuits))], NOW)
    tunnel.refresh_from_db()
    assert (tunnel.used_exit, tunnel.build_ms) == (second, 30)


def test_an_exit_that_the_panel_does_not_know_is_left_open(entry: Node, make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel()
    circuit = CircuitState(path=[b"?" * 32], age_s=1, build_ms=7, tunnels=[tunnel.id])
    note_tunnels([(entry.id, told(opened(tunnel), circuits=[circuit]))], NOW)
    tunnel.refresh_from_db()
    assert (tunnel.used_exit, tunnel.build_ms) == (None, 7)


def test_absurd_numbers_are_stored_all_the_same(entry: Node, make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel()
    state = opened(tunnel, port=2**40, clients=2**50, sent_bytes=2**53 - 1, received_bytes=2**53 - 1)
    note_tunnels([(entry.id, told(state))], NOW)
    tunnel.refresh_from_db()
    assert (tunnel.port, tunnel.is_open) == (0, True)
