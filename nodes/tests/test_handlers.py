"""What agents say about themselves: facts, heartbeats, acknowledgements, goodbye."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.utils import timezone

from conftest import MakeFleet, MakeNode
from fogagent.messages import (
    Acknowledge,
    DriverFact,
    Facts,
    Goodbye,
    GpuFact,
    Heartbeat,
    Problem,
    decode_from_agent,
)
from fogpanel import wakes
from nodes.handlers import acknowledge_orders, say_goodbye, store_facts, store_heartbeats
from nodes.models import Node, Order, Sample
from nodes.routing_view import as_fog_node

FACTS = Facts(
    hostname="kiosk",
    platform="Linux",
    version="0.1.0",
    cpu_millis=2000,
    memory_mb=4096,
    disk_mb=20_000,
    gpus=[GpuFact(name="L4", memory_mb=24_000)],
    drivers=[DriverFact(name="wasm", available=True)],
    region="eu-north",
    node_type="edge_device",
    flags=["relay"],
    labels={"rack": "7"},
)


def beat(at: float) -> Heartbeat:
    return Heartbeat(at=at, cpu_percent=42.0, memory_used_mb=900, memory_total_mb=2048, running=1)


def test_facts_are_taken_over_and_what_is_reserved_stays_so(make_node: MakeNode) -> None:
    node = make_node(cpu_millis=1000, free_cpu_millis=400)
    assert list(store_facts([(node.id, FACTS)], timezone.now())) == []
    node.refresh_from_db()
    assert (node.cpu_millis, node.free_cpu_millis, node.free_gpu_count) == (2000, 1400, 1)
    assert (node.region, node.node_type, node.flags, node.labels) == (
        "eu-north",
        "edge_device",
        ["relay"],
        {"rack": "7"},
    )


def test_facts_of_many_are_stored_by_a_few_statements(
    make_fleet: MakeFleet, django_assert_max_num_queries: Any
) -> None:
    make_fleet(50)
    ids = list(Node.objects.values_list("id", flat=True))
    told = [(node_id, msgspec.structs.replace(FACTS, region=f"place-{node_id}")) for node_id in ids]
    with django_assert_max_num_queries(3):
        assert list(store_facts([(ids[0], FACTS), *told], timezone.now())) == []
    assert dict(Node.objects.values_list("id", "region")) == {node_id: f"place-{node_id}" for node_id in ids}


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [("node_type", "toaster", "node_type: must be one of"), ("flags", ["fly"], "flags: must be among")],
)
def test_impossible_facts_are_refused_by_name(
    make_node: MakeNode, field: str, value: object, sentence: str
) -> None:
    node = make_node()
    wrong = msgspec.structs.replace(FACTS, **{field: value})
    [(_, reply)] = store_facts([(node.id, wrong)], timezone.now())
    assert isinstance(reply, Problem)
    assert reply.sentence.startswith(sentence)
    node.refresh_from_db()
    assert node.cpu_millis == 1000


def test_a_heartbeat_moves_the_deadline_and_is_kept(make_node: MakeNode) -> None:
    node, now = make_node(timeout_s=90), timezone.now()
    assert list(store_heartbeats([(node.id, beat(now.timestamp()))], now)) == []
    node.refresh_from_db()
    assert (node.last_contact_at, node.deadline_at) == (now, now + timedelta(seconds=90))
    assert (node.cpu_percent, node.memory_used_mb) == (42.0, 900)
    assert Sample.objects.get().cpu_percent == 42.0


def test_a_round_trip_is_kept_until_another_is_told(make_node: MakeNode) -> None:
    node, now = make_node(), timezone.now()
    told = msgspec.structs.replace(beat(now.timestamp()), round_trip_ms=31.5)
    for one in (told, beat(now.timestamp())):
        store_heartbeats([(node.id, one)], now)
    node.refresh_from_db()
    assert node.round_trip_ms == 31.5
    assert as_fog_node(node).round_trip_ms == 31.5


@pytest.mark.parametrize(
    ("flags", "computes"), [(["compute", "relay"], True), (["relay", "entry"], False), ([], True)]
)
def test_what_its_owner_grants_reaches_routing(make_node: MakeNode, flags: list[str], computes: bool) -> None:
    """An agent that tells no flags is one that only runs tasks."""
    node = make_node()
    store_facts([(node.id, msgspec.structs.replace(FACTS, flags=flags))], timezone.now())
    node.refresh_from_db()
    assert as_fog_node(node).computes == computes


def test_what_a_node_has_cached_reaches_routing(make_node: MakeNode) -> None:
    node, sha256 = make_node(), "a" * 64
    store_facts([(node.id, msgspec.structs.replace(FACTS, cached=[sha256]))], timezone.now())
    node.refresh_from_db()
    assert as_fog_node(node).cached_inputs == {sha256}


def test_agents_of_before_say_neither_and_are_understood() -> None:
    """As agents sent it that knew no caches and no round trips."""
    what = '"hostname":"h","platform":"p","version":"0.1.0","cpu_millis":1,"memory_mb":1,"disk_mb":1'
    facts = f'{{"type":"facts",{what}}}'
    beat = '{"type":"heartbeat","at":1.0,"cpu_percent":1.0,"memory_used_mb":1,"memory_total_mb":1}'
    was_facts, was_beat = decode_from_agent(f"[{facts},{beat}]")
    assert isinstance(was_facts, Facts) and was_facts.cached == []
    assert isinstance(was_beat, Heartbeat) and was_beat.round_trip_ms is None


def test_a_heartbeat_from_the_future_does_not_count(make_node: MakeNode) -> None:
    node, now = make_node(), timezone.now()
    [(_, reply)] = store_heartbeats([(node.id, beat(now.timestamp() + 3600))], now)
    assert isinstance(reply, Problem)
    assert reply.sentence.startswith("at: must not be more than 120 s ahead of the panel's clock, was 3600 s")
    assert Node.objects.get().last_contact_at == node.last_contact_at
    assert not Sample.objects.exists()


def test_a_node_acknowledges_its_own_orders_only(make_node: MakeNode) -> None:
    node, other = make_node(), make_node()
    mine, theirs = (Order.objects.create(node=n, kind="run", body=b"{}") for n in (node, other))
    acknowledge_orders([(node.id, Acknowledge(orders=[mine.id, theirs.id]))], timezone.now())
    mine.refresh_from_db()
    theirs.refresh_from_db()
    assert (mine.acked_at is None, theirs.acked_at is None) == (False, True)


def test_goodbye_makes_a_node_offline_at_once(make_node: MakeNode) -> None:
    node, now = make_node(), timezone.now()
    say_goodbye([(node.id, Goodbye())], now)
    node.refresh_from_db()
    assert (node.said_goodbye, node.gone_at) == (True, now)


def test_a_node_taken_for_lost_that_still_speaks_is_told_to_connect_again(
    make_node: MakeNode, django_capture_on_commit_callbacks: Any
) -> None:
    lost: list[frozenset[wakes.Key]] = []
    wakes.on_wake("node-lost", lost.append)
    node, now = make_node(connected=False, gone_at=timezone.now()), timezone.now()
    with django_capture_on_commit_callbacks(execute=True):
        list(store_heartbeats([(node.id, beat(now.timestamp()))], now))
    assert lost == [frozenset([node.id])]


def test_many_acknowledgements_at_once(make_node: MakeNode) -> None:
    node = make_node()
    order = Order.objects.create(node=node, kind="run", body=b"{}")
    many = [Acknowledge(orders=list(range(10**6, 10**6 + 10_000))) for _ in range(30)]
    acknowledge_orders(
        [*((node.id, message) for message in many), (node.id, Acknowledge(orders=[order.id]))], timezone.now()
    )
    order.refresh_from_db()
    assert order.acked_at is not None
