"""What agents sent, stored in batches: one transaction a batch, acknowledged after its commit.

While one batch is being stored the next one gathers, so batches grow with the backlog. Each message
type has one handler (`settings.AGENT_HANDLERS`), which takes a list of all such messages of a batch
and may answer with messages for nodes.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypeAlias

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, close_old_connections, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from fogagent.messages import Ack, Message, Problem, encode_message
from nodes import sockets
from nodes.sockets import AgentSocket

log = structlog.get_logger(__name__)

BATCH_MESSAGES = 500
ROOM_MESSAGES = 4000  # with more than this waiting, connections are read no further
RETRY_S = 0.5

Received: TypeAlias = tuple[int, Any]  # node id, message
Reply: TypeAlias = tuple[int, Message]
Handler: TypeAlias = Callable[[Sequence[Received], datetime], Iterable[Reply] | None]


@dataclass(frozen=True)
class Arrival:
    """The messages of one frame, and the connection they came by."""

    socket: AgentSocket
    messages: Sequence[Any]


@cache
def handlers() -> dict[str, Handler]:
    return {kind: import_string(dotted) for kind, dotted in settings.AGENT_HANDLERS.items()}


class Inbox(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="inbox", daemon=True)
        self._condition = threading.Condition()
        self._arrivals: list[Arrival] = []
        self._waiting = 0  # messages
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

    def run(self) -> None:
        while True:
            batch = self._take()
            while True:
                try:
                    store(batch, timezone.now())
                    break
                except (OperationalError, InterfaceError) as error:
                    # Nothing is acknowledged, so nothing can be lost: wait for the database.
                    log.warning("Reports cannot be stored; trying again", error=str(error))
                    close_old_connections()
                    threading.Event().wait(RETRY_S)

    def _take(self) -> list[Arrival]:
        with self._condition:
            self._condition.wait_for(lambda: self._arrivals)
            batch: list[Arrival] = []
            size = 0
            while self._arrivals and size < BATCH_MESSAGES:
                batch.append(arrival := self._arrivals.pop(0))
                size += len(arrival.messages)
            self._waiting -= size
            if self._waiting < ROOM_MESSAGES:
                rooms, self._for_room = self._for_room, []
                for room in rooms:
                    room.set_result(None)
            return batch


def store(batch: Sequence[Arrival], now: datetime) -> None:
    """Hand a batch to the handlers in one transaction, then acknowledge it.

    A batch that a handler cannot store is tried frame by frame, so that one agent's bad report
    disturbs nobody else's. What fails alone is not acknowledged: its agent keeps it.

    Raises:
        OperationalError, InterfaceError: the database is away; nothing was stored.
    """
    try:
        replies = _store_together(batch, now)
    except (OperationalError, InterfaceError):
        raise
    except (DatabaseError, ValueError, LookupError, TypeError, AssertionError) as error:
        if len(batch) > 1:
            for arrival in batch:
                store([arrival], now)
        else:
            _refuse(batch[0], error)
        return
    _acknowledge(batch)
    for node_id, message in replies:
        if (socket := sockets.get(node_id)) is not None:
            socket.post([encode_message(message)])


def _store_together(batch: Sequence[Arrival], now: datetime) -> list[Reply]:
    by_kind: dict[str, list[Received]] = defaultdict(list)
    for arrival in batch:
        for message in arrival.messages:
            by_kind[type(message).__name__.lower()].append((arrival.socket.node_id, message))
    replies: list[Reply] = []
    with transaction.atomic():
        for kind, handle in handlers().items():
            if received := by_kind.get(kind):
                replies += handle(received, now) or ()
    return replies


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
