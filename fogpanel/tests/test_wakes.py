"""Wakes: they reach the other processes whenever they are said, and a bad listener hurts nobody."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
import redis.exceptions
from channels.layers import InMemoryChannelLayer, channel_layers
from structlog.testing import capture_logs

from fogpanel import wakes
from fogpanel.wakes import Key

Carry: TypeAlias = Callable[..., list[object]]


@pytest.fixture(autouse=True)
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakes, "_listeners", defaultdict(list))


@pytest.fixture
def hub() -> Iterator[wakes.Hub]:
    hub = wakes.Hub()
    yield hub
    hub._loop.close()


class Wire(InMemoryChannelLayer):
    """What leaves the process, after as many failures as it is given."""

    def __init__(self, *failures: Exception) -> None:
        super().__init__()
        self.failures = list(failures)
        self.tried = asyncio.Event()
        self.left: list[object] = []

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        if message["wakes"]:
            self.tried.set()
            if self.failures:
                raise self.failures.pop(0)
            self.left.append(message["wakes"])


@pytest.fixture
def carry(hub: wakes.Hub, monkeypatch: pytest.MonkeyPatch) -> Carry:
    """``carry(wire, 1, 2)``: send these, each after the one before was carried or failed; what left."""

    def carry(wire: Wire, *keys: int) -> list[object]:
        monkeypatch.setattr(channel_layers, "make_backend", lambda name: wire)

        async def main() -> list[object]:
            running = asyncio.create_task(hub._main())
            for key in keys:
                wire.tried.clear()
                hub.send("orders", [key])
                await wire.tried.wait()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            return wire.left

        return hub._loop.run_until_complete(asyncio.wait_for(main(), 30))

    return carry


def test_what_is_sent_before_the_thread_runs_leaves_and_so_does_the_rest(
    hub: wakes.Hub, carry: Carry
) -> None:
    hub.send("tasks", [1])
    assert carry(Wire(), 2, 3) == [{"tasks": [1], "orders": [2]}, {"orders": [3]}]


@pytest.mark.django_db(transaction=True)
def test_a_listener_that_fails_hurts_neither_the_sender_nor_the_others() -> None:
    def fail(keys: frozenset[Key]) -> None:
        raise RuntimeError("no")

    heard: list[frozenset[Key]] = []
    wakes.on_wake("orders", fail)
    wakes.on_wake("orders", heard.append)
    with capture_logs() as said:
        wakes.wake("orders", 7)
    assert heard == [frozenset({7})]
    assert [(line["log_level"], line["kind"]) for line in said] == [("error", "orders")]


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (redis.exceptions.ConnectionError("refused"), "The broker does not answer"),
        (redis.exceptions.TimeoutError("late"), "The broker does not answer"),
        (ConnectionResetError("reset"), "The broker does not answer"),
        (TypeError("not this"), "Wakes could not be carried"),
    ],
)
def test_only_a_broker_that_is_away_is_said_to_be(
    carry: Carry, monkeypatch: pytest.MonkeyPatch, failure: Exception, says: str
) -> None:
    monkeypatch.setattr(wakes, "RETRY_S", 0)
    with capture_logs() as said:
        assert carry(Wire(failure), 1, 2) == [{"orders": [2]}]
    assert said[0]["event"].startswith(says)
