"""What agents sent, stored in batches: one transaction a batch, acknowledged after its commit.

While one batch is being stored the next one gathers, so batches grow with the backlog. After one that was
large the next one gathers a little longer: a transaction costs as much as what is in it. Each message
type has a handler (`settings.AGENT_HANDLERS`), or several, which take a list of all such messages of a
batch and may answer with messages for nodes.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypeAlias

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections
from django.utils import timezone
from django.utils.module_loading import import_string

from fogagent.messages import (
    Ack,
    Acknowledge,
    Facts,
    Goodbye,
    Heartbeat,
    Holding,
    Message,
    OverlayFacts,
    OverlayStatus,
    Problem,
    encode_message,
)
from fogpanel import metrics
from fogpanel.rows import select
from fogpanel.threads import RETRY_S, Tireless
from nodes import sockets
from nodes.locks import with_nodes
from nodes.sockets import AgentSocket

log = structlog.get_logger(__name__)

BATCH_MESSAGES = 500
LARGE_MESSAGES = 20
GATHER_S = 0.02  # from the end of a large batch until the next one is taken
ROOM_MESSAGES = 4000  # with more than this waiting, connections are read no further
RETRIES = 20  # of a batch, while the database itself answers
OF_THIS_CONNECTION = (Facts, Heartbeat, Holding, Acknowledge, OverlayFacts, OverlayStatus, Goodbye)
"""What a node says of itself now; from a connection that a newer one replaced it is out of date."""

Received: TypeAlias = tuple[int, Any]  # node id, message
Reply: TypeAlias = tuple[int, Message | bytes]  # for that node; bytes: encoded already, for many
Handler: TypeAlias = Callable[[Sequence[Received], datetime], Iterable[Reply] | None]


@dataclass(frozen=True)
class Arrival:
    """The messages of one frame, and the connection they came by."""

    socket: AgentSocket
    messages: Sequence[Any]


@cache
def handlers() -> dict[str, list[Handler]]:
    """By message type. A setting names one by its dotted path, or several, in their order, by a list."""
    return {
        kind: [import_string(dotted) for dotted in ([named] if isinstance(named, str) else named)]
        for kind, named in settings.AGENT_HANDLERS.items()
    }


class Inbox(Tireless):
    def __init__(self) -> None:
        super().__init__("inbox")
        self._condition = threading.Condition()
        self._arrivals: deque[Arrival] = deque()
        self._waiting = 0  # messages
        self._gather_until = float("-inf")  # monotonic
        self._for_room: list[Future[None]] = []

    async def put(self, arrival: Arrival) -> None:
        """Take one frame in; waits while the backlog is too long."""
        while True:
            with self._condition:
                if self._waiting < ROOM_MESSAGES:
                    self._arrivals.append(arrival)
                    self._waiting += len(arrival.messages)
                    self._condition.notify()
                    return
                room: Future[None] = Future()
                self._for_room.append(room)
            await asyncio.wrap_future(room)

    def turn(self) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._arrivals)
        if (gather_s := self._gather_until - time.monotonic()) > 0:
            self._pause.wait(gather_s)
        batch = self._take()
        self._store(batch)
        if _size(batch) >= LARGE_MESSAGES:
            self._gather_until = time.monotonic() + GATHER_S

    def _store(self, batch: Sequence[Arrival]) -> None:
        for _ in range(RETRIES):
            try:
                store(batch)
                return
            except (OperationalError, InterfaceError) as error:
                # Nothing is acknowledged, so nothing can be lost: wait for the database.
                log.warning("Reports cannot be stored; trying again", error=str(error))
                close_old_connections()
                self._pause.wait(RETRY_S)
        # Agents keep what was not acknowledged, and say it again on a new connection.
        for socket in {arrival.socket.node_id: arrival.socket for arrival in batch}.values():
            socket.refuse("not-stored", "The panel could not store this connection's reports.", retry=True)

    def _take(self) -> list[Arrival]:
        with self._condition:
            batch: list[Arrival] = []
            size = 0
            while self._arrivals and size < BATCH_MESSAGES:
                batch.append(arrival := self._arrivals.popleft())
                size += len(arrival.messages)
            self._waiting -= size
            if self._waiting < ROOM_MESSAGES:
                rooms, self._for_room = self._for_room, []
                for room in rooms:
                    # Not if its connection was closed meanwhile: then nobody waits for it any more.
                    if room.set_running_or_notify_cancel():
                        room.set_result(None)
            return batch


def _size(batch: Iterable[Arrival]) -> int:
    return sum(len(arrival.messages) for arrival in batch)


def store(batch: Sequence[Arrival], clock: Callable[[], datetime] = timezone.now) -> None:
    """Hand a batch to the handlers in one transaction, then acknowledge it.

    A batch that cannot be stored is tried frame by frame, a frame message by message, so that one bad
    report disturbs no other. What fails alone is not acknowledged: its agent keeps it.

    Raises:
        OperationalError, InterfaceError: the database is away; nothing was stored.
    """
    try:
        with metrics.INBOX_SECONDS.time():
            replies = _store_together(batch, clock)
        metrics.INBOX_MESSAGES.observe(_size(batch))
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        parts = _smaller(batch)
        if len(parts) == 1:
            _refuse(batch[0], error)
        else:
            for part in parts:
                store([part], clock)
        return
    _acknowledge(batch)
    for node_id, message in replies:
        if (socket := sockets.get(node_id)) is not None:
            socket.post([message if isinstance(message, bytes) else encode_message(message)])


def _smaller(batch: Sequence[Arrival]) -> list[Arrival]:
    if len(batch) > 1:
        return list(batch)
    return [Arrival(batch[0].socket, [message]) for message in batch[0].messages]


def _store_together(batch: Sequence[Arrival], clock: Callable[[], datetime]) -> list[Reply]:
    speaking = {arrival.socket.node_id for arrival in batch}

    def handle_all() -> list[Reply]:
        now = clock()  # the locks may have been long in coming; what is stored happened after it
        replies: list[Reply] = []
        by_kind = _by_kind(batch, dict(select(_EPOCHS, ids=speaking)))
        for kind, several in handlers().items():
            if received := by_kind.get(kind):
                for handle in several:
                    replies += handle(received, now) or ()
        return replies

    return with_nodes(speaking, handle_all)


_EPOCHS = "SELECT id, epoch FROM nodes_node WHERE id IN {ids}"


def _by_kind(batch: Sequence[Arrival], epochs: Mapping[int, int]) -> Mapping[str, list[Received]]:
    """The messages of a batch, without what nodes say of themselves on connections that were replaced."""
    by_kind: dict[str, list[Received]] = defaultdict(list)
    for arrival in batch:
        current = arrival.socket.epoch >= epochs.get(arrival.socket.node_id, 0)
        for message in arrival.messages:
            if current or not isinstance(message, OF_THIS_CONNECTION):
                by_kind[type(message).__name__.lower()].append((arrival.socket.node_id, message))
    return by_kind


def _acknowledge(batch: Sequence[Arrival]) -> None:
    for arrival in batch:
        seqs = [message.seq for message in arrival.messages if hasattr(message, "seq")]
        if seqs:
            arrival.socket.post([encode_message(Ack(seqs=seqs))])


def _refuse(arrival: Arrival, error: Exception) -> None:
    kinds = sorted({type(message).__name__.lower() for message in arrival.messages})
    log.error("A report cannot be stored", node=arrival.socket.node_id, kinds=kinds, exc_info=error)
    sentence = f"The panel could not store this report ({', '.join(kinds)}); its log says why."
    arrival.socket.post([encode_message(Problem(code="not-stored", sentence=sentence))])


inbox = Inbox()
