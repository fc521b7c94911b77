"""Orders for nodes: rows until the node acknowledged them, sent by whichever process holds the socket.

`put` stores orders. Once that is committed, those for sockets held here are sent, and the senders of other
processes are woken. A sender reads what is pending for the nodes it was woken for, at each connect, and
every RESEND_S for all nodes it holds; what it sent on this connection less than RESEND_S ago it leaves
alone. Agents ignore an order they have seen.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from fogagent.messages import Message, encode_message
from fogpanel.rows import change, insert_numbered
from fogpanel.threads import Tireless
from fogpanel.wakes import Key, on_wake, wake
from nodes import sockets
from nodes.models import Order

RESEND_S = 10.0
READ_MOST = 500  # orders read and sent at once


@dataclass(frozen=True)
class NewOrder:
    node_id: int
    message: Message
    subject: str = ""


def put(orders: Sequence[NewOrder], now: datetime) -> None:
    """Store orders within the caller's transaction; they are sent once it is committed."""
    rows = [
        (
            order.node_id,
            type(order.message).__name__.lower(),
            order.subject,
            encode_message(order.message),
            now,
        )
        for order in orders
    ]
    ids = insert_numbered(Order, ("node", "kind", "subject", "body", "created_at"), rows)
    stored = [(order_id, row[0], row[3]) for order_id, row in zip(ids, rows, strict=True)]
    transaction.on_commit(lambda: sender.send_stored(stored))


_WITHDRAW = """
UPDATE nodes_order SET withdrawn_at = {now}
WHERE subject IN {subjects} AND NOT subject = '' AND acked_at IS NULL AND withdrawn_at IS NULL
"""


def withdraw(subjects: Iterable[str], now: datetime) -> None:
    """Take back what was not acknowledged yet of all that is about these subjects."""
    change(_WITHDRAW, subjects=list(subjects), now=now)


def withdraw_all(node_id: int, now: datetime) -> None:
    """Take back everything that this node, which is gone, has not acknowledged."""
    Order.objects.filter(node_id=node_id, acked_at=None, withdrawn_at=None).update(withdrawn_at=now)


def with_number(order_id: int, body: bytes) -> bytes:
    """The encoded message with its order's number in it. ``body`` is a JSON object without one."""
    return b'{"order":%d,' % order_id + body[1:]


class Sender(Tireless):
    """The one thread of a process that reads the outbox for the sockets held here."""

    def __init__(self) -> None:
        super().__init__("outbox")
        self._lock = threading.Lock()
        self._woken: set[int] = set()
        self._fresh: set[int] = set()  # connected since we last looked: everything pending is unsent
        self._just_sent: list[tuple[int, int, float]] = []  # by `send_stored`: node, order, when
        self._sent: dict[int, dict[int, float]] = defaultdict(dict)  # node → order → when, monotonic
        self._something = threading.Event()
        self._looked_at_all = time.monotonic()

    def wake(self, node_ids: Iterable[Key]) -> None:
        held = {int(node_id) for node_id in node_ids if sockets.get(int(node_id)) is not None}
        if held:
            with self._lock:
                self._woken |= held
            self._something.set()

    def connected(self, node_id: int) -> None:
        """A new connection of this node: send all that is pending, whatever the old one was sent."""
        with self._lock:
            self._fresh.add(node_id)
            self._woken.add(node_id)
        self._something.set()

    def send_stored(self, orders: Sequence[tuple[int, int, bytes]]) -> None:
        """Send these (order, node, body), which have just been stored, where the node's socket is held here;
        wake the other processes for the rest."""
        by_node: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        for order_id, node_id, body in orders:
            by_node[node_id].append((order_id, body))
        now = time.monotonic()
        elsewhere = []
        for node_id, numbered in by_node.items():
            socket = sockets.get(node_id)
            if socket is None:
                elsewhere.append(node_id)
                continue
            with self._lock:
                self._just_sent += [(node_id, order_id, now) for order_id, _ in numbered]
            socket.post([with_number(order_id, body) for order_id, body in numbered])
        if elsewhere:
            wake("orders", *elsewhere)

    def start(self) -> None:
        on_wake("orders", self.wake)
        super().start()

    def turn(self) -> None:
        self._something.wait(timeout=RESEND_S / 4)
        self._something.clear()
        if time.monotonic() - self._looked_at_all >= RESEND_S:
            self._looked_at_all = time.monotonic()
            self.wake([socket.node_id for socket in sockets.held()])
        self._send_pending()

    def _send_pending(self) -> None:
        with self._lock:
            woken, self._woken = self._woken, set()
            fresh, self._fresh = self._fresh, set()
            just_sent, self._just_sent = self._just_sent, []
        for node_id, order_id, when in just_sent:
            self._sent[node_id][order_id] = when
        for node_id in fresh:
            self._sent.pop(node_id, None)
        if woken:
            try:
                self._read_and_post(woken, time.monotonic())
            except Exception:
                with self._lock:
                    self._woken |= woken
                raise

    def _read_and_post(self, node_ids: set[int], now: float) -> None:
        """Post what is pending for these nodes and was not sent on their connection lately."""
        sent_before = {node_id: self._sent.pop(node_id, {}) for node_id in node_ids}
        again: list[int] = []
        for batch in _pending(node_ids):
            by_node: dict[int, list[bytes]] = defaultdict(list)
            for order_id, node_id, body in batch:
                sent = sent_before[node_id].get(order_id)
                if sent is None or now - sent >= RESEND_S:
                    by_node[node_id].append(with_number(order_id, body))
                    if sent is not None:
                        again.append(order_id)
                    sent = now
                self._sent[node_id][order_id] = sent
            for node_id, encoded in by_node.items():
                if (socket := sockets.get(node_id)) is not None:
                    socket.post(encoded)
        if again:
            # Acknowledgements come within milliseconds; what was sent and waits is worth a write.
            with transaction.atomic():
                # What is locked is being acknowledged or withdrawn.
                waiting = Order.objects.select_for_update(skip_locked=True).filter(
                    id__in=again, acked_at=None
                )
                ids = list(waiting.values_list("id", flat=True))
                Order.objects.filter(id__in=ids).update(sent_at=timezone.now())


def _pending(node_ids: set[int]) -> Iterator[list[tuple[int, int, bytes]]]:
    """(order, node, body) of what is neither acknowledged nor withdrawn, oldest first, in batches."""
    orders = Order.objects.filter(node_id__in=node_ids, acked_at=None, withdrawn_at=None).order_by("id")
    last = 0
    while batch := list(orders.filter(id__gt=last).values_list("id", "node_id", "body")[:READ_MOST]):
        yield [(order_id, node_id, bytes(body)) for order_id, node_id, body in batch]
        last = batch[-1][0]


sender = Sender()
