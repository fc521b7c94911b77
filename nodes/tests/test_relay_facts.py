"""What nodes say of their overlay: checked with sentences, stored by few statements; new keys are told."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from conftest import MakeFleet, MakeNode
from fogagent.messages import FrameError, decode_from_agent, encode_frame
from fogpanel import wakes
from fogpanel.models import Event
from nodes.inbox import Arrival, store
from nodes.models import Node, Relay
from nodes.relay_directory.addresses import Unusable, reachable
from nodes.relay_directory.facts import RELAY_CHANGED, store_overlay_facts
from nodes.tests.relays import NOW, SECOND, FakeSocket, certificate, overlay_facts, say


class TestAddresses:
    @pytest.mark.parametrize(
        ("said", "seen", "published"),
        [
            ("", "10.0.0.7", ""),
            ("192.0.2.1:9001", "10.0.0.7", "192.0.2.1:9001"),
            ("[2001:DB8::0:1]:1", None, "[2001:db8::1]:1"),
            ("Relay.Example.org:65535", None, "relay.example.org:65535"),
            ("0.0.0.0:9001", "10.0.0.7", "10.0.0.7:9001"),
            ("0.0.0.0:9001", "::ffff:10.0.0.7", "10.0.0.7:9001"),
            ("0.0.0.0:9001", "2001:db8::7", "[2001:db8::7]:9001"),
            ("[::]:9001", "10.0.0.7", "10.0.0.7:9001"),
            ("[::]:9001", "127.0.0.1", "127.0.0.1:9001"),
            ("127.0.0.1:9001", "::1", "127.0.0.1:9001"),
            ("localhost:9001", "127.0.0.1", "localhost:9001"),
        ],
    )
    def test_what_is_published(self, said: str, seen: str | None, published: str) -> None:
        assert reachable(said, seen) == published

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "[::1]", "[::ffff:127.0.0.1]", "a.localhost"])
    @pytest.mark.parametrize("seen", ["10.0.0.7", None])
    def test_nobody_elsewhere_sends_others_to_their_own_machines(self, host: str, seen: str | None) -> None:
        with pytest.raises(Unusable, match=r"^address: .* means each machine itself"):
            reachable(f"{host}:9001", seen)

    @pytest.mark.parametrize(
        ("said", "sentence"),
        [
            ("10.0.0.1:65536", "address: the port must be between"),
            ("169.254.169.254:80", "address: .* is no address that other machines"),
            ("[fe80::1]:80", "address: .* is no address that other machines"),
            ("224.0.0.1:80", "address: .* is no address that other machines"),
            ("255.255.255.255:80", "address: .* is no address that other machines"),
            ("127.1:80", "address: .* is neither"),
            ("10.0.0.300:80", "address: .* is neither"),
            ("0x7f000001:80", "address: .* is neither"),
            ("-a.example:80", "address: .* is neither"),
            ("[1.2.3]:80", "address: .* is neither"),
            ("bücher.example:80", "address: .* is neither"),
            ("0.0.0.0:80", "address: the panel cannot see"),
        ],
    )
    def test_what_is_refused(self, said: str, sentence: str) -> None:
        with pytest.raises(Unusable, match=f"^{sentence}"):
            reachable(said, None)


def test_what_a_node_says_is_stored_and_saying_it_again_writes_nothing(make_node: MakeNode) -> None:
    node = make_node(address="198.51.100.4")
    facts = overlay_facts(node.id, address="0.0.0.0:9001", family="lab")
    assert list(store_overlay_facts([(node.id, facts)], NOW)) == []
    relay = Relay.objects.get()
    assert bytes.fromhex(relay.onion_key) == facts.onion_key
    assert bytes(relay.certificate) == facts.certificate
    assert (relay.address, relay.family, relay.said_at) == ("198.51.100.4:9001", "lab", NOW)
    with CaptureQueriesContext(connection) as queries:
        store_overlay_facts([(node.id, facts)], NOW + SECOND)
    assert all(query["sql"].startswith("SELECT") for query in queries)


def test_of_two_that_came_in_one_batch_the_last_counts(make_node: MakeNode) -> None:
    node = make_node()
    store_overlay_facts([(node.id, overlay_facts(node.id, family=name)) for name in "ab"], NOW)
    assert Relay.objects.get().family == "b"


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("address", "127.0.0.1:1", "address: 127.0.0.1 means each machine itself"),
        ("certificate", b"no certificate", "certificate: must be a self-signed X.509 certificate in DER"),
        ("certificate", certificate(5) + b"x", "certificate: must be a self-signed X.509"),
        (
            "certificate",
            certificate(5).replace(b"\xa0\3\2\1\2", b"\xa0\3\2\1\x10"),
            "certificate: must be a self-",
        ),
        ("certificate", certificate(5, signed_by=6), "certificate: must be signed by its own key"),
        ("family", "a\0b", "family: must be printable"),
    ],
)
def test_what_cannot_be_is_refused_by_name_and_the_rest_stays(
    make_node: MakeNode, field: str, value: object, sentence: str
) -> None:
    node = make_node(address="10.0.0.7")
    say(node, family="before")
    different: Any = {field: value, "onion_key": b"n" * 32}
    [told] = say(node, **different)
    assert told.startswith(sentence)
    relay = Relay.objects.get()
    assert (relay.family, relay.onion_key) == ("before", node.id.to_bytes(32).hex())


@pytest.mark.parametrize("field", ["onion_key", "certificate"])
def test_keys_and_certificates_have_their_lengths(field: str) -> None:
    for wrong in (b"", b"x" * 2049):
        with pytest.raises(FrameError, match=field):
            decode_from_agent(encode_frame([overlay_facts(1, **{field: wrong})]))


def test_a_certificate_belongs_to_one_node(make_node: MakeNode) -> None:
    first, second, third = make_node(), make_node(), make_node()
    assert say(first, certificate=certificate(9)) == []
    [told] = say(second, certificate=certificate(9))
    assert told.startswith("certificate: another node shows this one")
    both = [(node.id, overlay_facts(node.id, certificate=certificate(8))) for node in (third, second)]
    assert [node_id for node_id, _ in store_overlay_facts(both, NOW)] == [third.id]
    assert set(Relay.objects.values_list("node_id", flat=True)) == {first.id, second.id}


def test_new_keys_leave_an_event_and_all_else_does_not(make_node: MakeNode) -> None:
    node = make_node(name="kiosk-3")
    say(node)
    say(node, family="other", address="")
    assert not Event.objects.exists()
    say(node, onion_key=b"k" * 32)
    say(node, onion_key=b"k" * 32, certificate=certificate(77))
    first, second = Event.objects.order_by("id")
    assert (first.kind, first.subject_id) == ("relay.keys", node.id)
    assert first.sentence == f"kiosk-3 has a new onion key (6b6b6b6b6b6b…, was {'0' * 12}…)"
    assert second.sentence.startswith("kiosk-3 has a new link certificate (SHA-256 ")


def test_facts_of_many_cost_a_few_statements(
    make_fleet: MakeFleet, django_assert_max_num_queries: Any
) -> None:
    make_fleet(50)
    nodes = list(Node.objects.order_by("id"))
    with django_assert_max_num_queries(4):
        assert list(store_overlay_facts([(n.id, overlay_facts(n.id)) for n in nodes], NOW)) == []
    with django_assert_max_num_queries(6):
        changed = [(n.id, overlay_facts(n.id, onion_key=b"k" * 32)) for n in nodes]
        assert list(store_overlay_facts(changed, NOW)) == []
    assert Event.objects.filter(kind="relay.keys").count() == 50


def test_a_change_wakes_whoever_makes_versions(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    woken: list[object] = []
    monkeypatch.setitem(wakes._listeners, RELAY_CHANGED, [woken.append])
    node = make_node()
    for times in (1, 1):
        with django_capture_on_commit_callbacks(execute=True):
            say(node)
        assert len(woken) == times


def test_they_come_by_the_inbox_and_not_from_a_connection_that_was_replaced(make_node: MakeNode) -> None:
    node = make_node(epoch=2)
    store([Arrival(FakeSocket(node.id, epoch=1), [overlay_facts(node.id)])])
    assert not Relay.objects.exists()
    store([Arrival(FakeSocket(node.id, epoch=2), [overlay_facts(node.id)])])
    assert Relay.objects.get().node_id == node.id
