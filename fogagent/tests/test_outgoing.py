"""Frames to the panel: at once after a silence, larger while it is busy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import msgspec
import pytest

from fogagent import outgoing as outgoing_module
from fogagent.connection import Connection
from fogagent.messages import Acknowledge, Finished, Outcome
from fogagent.outgoing import Outgoing
from fogagent.spool import Spool, Stored


class FakeConnection:
    """Keeps what each frame held: the numbers of reports, of other messages their types."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[list[int | str]] = asyncio.Queue()

    async def send(self, frame: str) -> None:
        messages = msgspec.json.decode(frame)
        self.frames.put_nowait([message.get("seq", message["type"]) for message in messages])


class Sending:
    """An outgoing over a real spool, to a connection that only notes."""

    def __init__(self, path: Path) -> None:
        self.spool = Spool(path / "spool.sqlite3")
        self.outgoing, self.connection = Outgoing(self.spool), FakeConnection()
        self.stored: asyncio.Queue[int] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def store(reports: list[Stored]) -> None:
            self.outgoing.stored(reports)
            self.stored.put_nowait(len(reports))

        def on_stored(reports: list[Stored]) -> None:
            loop.call_soon_threadsafe(store, reports)

        self.spool.start(on_stored=on_stored, on_trouble=print, on_broken=print)

    async def keep(self, seq: int) -> None:
        """A report, until it is safe on disk."""
        self.outgoing.keep(Finished(seq=seq, attempt=seq, at=0.0, outcome=Outcome.SUCCEEDED))
        await asyncio.wait_for(self.stored.get(), 30)


@asynccontextmanager
async def sending(path: Path) -> AsyncIterator[Sending]:
    made = Sending(path)
    made.outgoing.connected()
    pump = asyncio.create_task(made.outgoing.pump(cast(Connection, made.connection)))
    try:
        yield made
    finally:
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)
        made.outgoing.disconnected()
        await asyncio.to_thread(made.spool.close, 5)


async def next_frame(connection: FakeConnection) -> list[int | str]:
    return await asyncio.wait_for(connection.frames.get(), 30)


@pytest.mark.asyncio
async def test_reports_gather_until_the_last_ones_are_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing_module, "PATIENCE_S", 60)
    async with sending(tmp_path) as agent:
        await agent.keep(1)
        assert await next_frame(agent.connection) == [1]
        await agent.keep(2)
        await agent.keep(3)
        assert agent.connection.frames.empty()
        agent.outgoing.acknowledged()
        assert await next_frame(agent.connection) == [2, 3]


@pytest.mark.asyncio
async def test_acknowledged_orders_travel_with_the_report_of_a_short_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing_module, "COMPANY_S", 60)
    async with sending(tmp_path) as agent:
        agent.outgoing.post(Acknowledge(orders=[7]))
        await agent.keep(1)
        assert await next_frame(agent.connection) == ["acknowledge", 1]


@pytest.mark.asyncio
async def test_acknowledged_orders_do_not_wait_for_the_report_of_a_long_job(tmp_path: Path) -> None:
    async with sending(tmp_path) as agent:
        agent.outgoing.post(Acknowledge(orders=[7]))
        assert await next_frame(agent.connection) == ["acknowledge"]


@pytest.mark.asyncio
async def test_a_panel_that_does_not_acknowledge_gets_them_all_the_same(tmp_path: Path) -> None:
    async with sending(tmp_path) as agent:
        for seq in (1, 2):
            await agent.keep(seq)
            assert await next_frame(agent.connection) == [seq]
