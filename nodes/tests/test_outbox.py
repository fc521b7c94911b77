"""The outbox: sent once a connection, again after a while and after a reconnect, never when over."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from django.utils import timezone

from conftest import MakeNode
from fogagent.messages import Cancel, FromPanel
from fogpanel.wakes import Key
from nodes import outbox, sockets
from nodes.models import Node, Order
from nodes.outbox import RESEND_S, NewOrder, Sender


class FakeSocket:
    """Keeps what it was to send."""

    epoch = 1

    def __init__(self, node_id: int) -> None:
        self.node_id = node_id
        self.orders: list[int] = []

    def post(self, encoded: list[bytes]) -> None:
        for one in encoded:
            message = msgspec.json.decode(one, type=FromPanel)
            assert isinstance(message, Cancel)
            self.orders.append(message.order)

    def refuse(self, code: str, sentence: str, *, retry: bool) -> None:
        raise AssertionError("nothing here is refused")


@pytest.fixture
def socket(make_node: MakeNode) -> Iterator[FakeSocket]:
    made = FakeSocket(make_node().id)
    sockets.put(made)
    yield made
    sockets.drop(made)


def put(node_id: int, attempt: int) -> Order:
    outbox.put([NewOrder(node_id, Cancel(attempt=attempt), f"attempt:{attempt}")], timezone.now())
    return Order.objects.latest("id")


def test_an_order_is_sent_once_and_carries_its_number(socket: FakeSocket) -> None:
    order, sender = put(socket.node_id, 7), Sender()
    for now in (0.0, 1.0):
        sender._read_and_post({socket.node_id}, now)
    assert socket.orders == [order.id]


def test_what_is_not_acknowledged_is_sent_again_and_says_so(socket: FakeSocket) -> None:
    order, sender = put(socket.node_id, 7), Sender()
    for now in (0.0, RESEND_S):
        sender._read_and_post({socket.node_id}, now)
    order.refresh_from_db()
    assert socket.orders == [order.id, order.id]
    assert order.sent_at is not None


def test_a_new_connection_gets_everything_pending(socket: FakeSocket) -> None:
    order, sender = put(socket.node_id, 7), Sender()
    sender._read_and_post({socket.node_id}, 0.0)
    sender.connected(socket.node_id)
    sender._send_pending()
    assert socket.orders == [order.id, order.id]


def test_what_is_over_is_not_sent(socket: FakeSocket) -> None:
    acknowledged, _ = put(socket.node_id, 1), put(socket.node_id, 2)
    Order.objects.filter(id=acknowledged.id).update(acked_at=timezone.now())
    outbox.withdraw(["attempt:2"], timezone.now())
    Sender()._read_and_post({socket.node_id}, 0.0)
    assert socket.orders == []


def test_orders_of_nodes_held_elsewhere_are_left_alone(make_node: MakeNode) -> None:
    node: Node = make_node()
    order, sender = put(node.id, 7), Sender()
    sender.wake([node.id])
    sender._send_pending()
    order.refresh_from_db()
    assert (order.sent_at, sender._sent) == (None, {})


def test_what_was_just_stored_goes_to_the_sockets_held_here_and_is_not_sent_again(
    socket: FakeSocket, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, elsewhere = Sender(), make_node().id
    monkeypatch.setattr(outbox, "sender", sender)
    woken: list[Key] = []
    monkeypatch.setattr(outbox, "wake", lambda kind, *keys: woken.extend(keys))
    here, there = put(socket.node_id, 7), put(elsewhere, 8)
    sender.send_stored([(order.id, order.node_id, bytes(order.body)) for order in (here, there)])
    assert (socket.orders, woken) == ([here.id], [elsewhere])
    sender.wake([socket.node_id])
    sender._send_pending()
    assert socket.orders == [here.id]
    sender.connected(socket.node_id)
    sender._send_pending()
    assert socket.orders == [here.id, here.id]
