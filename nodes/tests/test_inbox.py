"""The inbox: one transaction a batch, acknowledged after it, and one bad frame disturbs nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import pytest
from django.conf import LazySettings

from conftest import MakeNode
from fogagent.messages import Ack, FromPanel, Goodbye, Heartbeat, Problem, Started
from nodes import inbox
from nodes.inbox import Arrival, Inbox, store
from nodes.models import Node


class FakeSocket:
    """Keeps what it was to send."""

    epoch = 1

    def __init__(self, node_id: int) -> None:
        self.node_id = node_id
        self.sent: list[FromPanel] = []

    def post(self, encoded: list[bytes]) -> None:
        self.sent += [msgspec.json.decode(one, type=FromPanel) for one in encoded]

    def refuse(self, code: str, sentence: str, *, retry: bool) -> None:
        raise AssertionError("nothing here is refused")


def fail_for_attempt_13(received: Sequence[tuple[int, Started]], now: datetime) -> None:
    for node_id, message in received:
        Node.objects.filter(id=node_id).update(hostname=f"started {message.attempt}")
        if message.attempt == 13:
            raise ValueError("unlucky")


@pytest.fixture
def unlucky(settings: LazySettings) -> Any:
    settings.AGENT_HANDLERS = {"started": f"{__name__}.fail_for_attempt_13"}
    inbox.handlers.cache_clear()
    yield
    inbox.handlers.cache_clear()


def say_seen(received: Sequence[tuple[int, Started]], now: datetime) -> list[tuple[int, Problem]]:
    return [(node_id, Problem(code="seen", sentence="")) for node_id, _ in received]


@pytest.fixture
def both(settings: LazySettings) -> Any:
    settings.AGENT_HANDLERS = {
        "started": [f"{__name__}.{name}" for name in ("say_seen", "fail_for_attempt_13")]
    }
    inbox.handlers.cache_clear()
    yield
    inbox.handlers.cache_clear()


def started(attempt: int) -> Started:
    return Started(seq=attempt, attempt=attempt, at=0.0)


def test_what_is_stored_is_acknowledged(make_node: MakeNode) -> None:
    socket = FakeSocket(make_node().id)
    beat = Heartbeat(at=0.0, cpu_percent=1, memory_used_mb=1, memory_total_mb=2)
    store([Arrival(socket, [beat, started(1), started(2)])])
    assert socket.sent == [Ack(seqs=[1, 2])]


@pytest.mark.usefixtures("unlucky")
def test_one_bad_frame_disturbs_nobody_else(make_node: MakeNode) -> None:
    good, bad = FakeSocket(make_node().id), FakeSocket(make_node().id)
    store([Arrival(good, [started(1)]), Arrival(bad, [started(13)])])
    assert good.sent == [Ack(seqs=[1])]
    assert [type(message) for message in bad.sent] == [Problem]
    hostnames = dict(Node.objects.values_list("id", "hostname"))
    assert hostnames == {good.node_id: "started 1", bad.node_id: ""}


def test_what_an_older_connection_said_of_its_node_is_out_of_date(make_node: MakeNode) -> None:
    node = make_node(epoch=2)
    store([Arrival(FakeSocket(node.id), [Goodbye(), started(1)])])
    node.refresh_from_db()
    assert node.said_goodbye is False


@pytest.mark.usefixtures("unlucky")
def test_one_bad_message_disturbs_no_other_of_its_frame(make_node: MakeNode) -> None:
    socket = FakeSocket(make_node().id)
    store([Arrival(socket, [started(13), started(1)])])
    assert [type(message) for message in socket.sent] == [Problem, Ack]
    assert Node.objects.get().hostname == "started 1"


def test_a_connection_that_closes_while_it_waits_for_room_disturbs_nobody(make_node: MakeNode) -> None:
    """A full inbox, one waiting connection cancelled: the next one still gets its room."""
    socket = FakeSocket(make_node().id)
    box = Inbox()
    full = Arrival(socket, [started(1)] * inbox.ROOM_MESSAGES)

    async def fill_and_leave() -> None:
        await box.put(full)
        waiting = [asyncio.ensure_future(box.put(Arrival(socket, [started(n)]))) for n in (2, 3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        assert box._take() == [full]
        await waiting[1]

    asyncio.run(fill_and_leave())
    assert [arrival.messages for arrival in box._take()] == [[started(3)]]


@pytest.mark.usefixtures("both")
def test_several_handlers_of_one_kind_are_all_called_in_one_transaction(make_node: MakeNode) -> None:
    good, bad = FakeSocket(make_node().id), FakeSocket(make_node().id)
    store([Arrival(good, [started(1)]), Arrival(bad, [started(13)])])
    # Of the message that the second one fails for, nothing the first one did or said is left.
    assert good.sent == [Ack(seqs=[1])]
    assert [message.code for message in bad.sent if isinstance(message, Problem)] == ["not-stored"]
    assert Node.objects.get(id=good.node_id).hostname == "started 1"


@pytest.mark.parametrize(("before", "stored"), [(inbox.LARGE_MESSAGES, [1, 2]), (1, [1])])
def test_after_a_large_batch_the_next_one_gathers(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch, before: int, stored: list[int]
) -> None:
    monkeypatch.setattr(inbox, "GATHER_S", 3600.0)
    socket, box = FakeSocket(make_node().id), Inbox()

    def arrive(*numbers: int) -> None:
        asyncio.run(box.put(Arrival(socket, [started(number) for number in numbers])))

    class Pause:
        """Another report comes meanwhile."""

        def wait(self, timeout: float) -> None:
            arrive(2)

    box._pause = Pause()  # type: ignore[assignment]
    arrive(*range(10, 10 + before))
    box.turn()
    socket.sent.clear()
    arrive(1)
    box.turn()
    assert socket.sent == [Ack(seqs=[number]) for number in stored]
