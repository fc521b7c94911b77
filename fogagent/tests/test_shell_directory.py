"""The real shell and the relay directory: from a panel on a real socket to the disk, and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import time

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fogagent.identity import Identity
from fogagent.messages import DirectoryNews, DirectoryWanted, Heartbeat
from fogagent.overlay.directory import Changes, encode_changes
from fogagent.overlay.directory_file import DirectoryFile
from fogagent.overlay.directory_parts import cut
from fogagent.shell.agent import Agent
from fogagent.tests.directories import PANEL, PANEL_KEY, by_identity, relay, signed
from fogagent.tests.fakes import FakePanel, FakeWorkers, agent_for, at_work

pytestmark = pytest.mark.asyncio

RELAYS = by_identity(relay(number, certificate=bytes(2048)) for number in range(1, 201))


class DirectoryPanel(FakePanel):
    """Answers no question by itself: `answers` does."""

    def __init__(self) -> None:
        super().__init__(identity=Identity(PANEL, X25519PrivateKey.generate()))

    async def asked(self, since: int) -> None:
        """Wait for that question, and forget it."""
        await self.until(lambda: DirectoryWanted(since=since) in self.said)
        self.said.remove(DirectoryWanted(since=since))

    async def answers(self, changes: Changes) -> None:
        for part in cut(changes.version, encode_changes(changes)):
            await self.say(part)


def fresh(version: int) -> Changes:
    return signed(RELAYS, version, made_at=time(), expires_at=time() + 3600)


@asynccontextmanager
async def an_agent(panel: FakePanel, path: Path) -> AsyncIterator[Agent]:
    agent = agent_for(panel, path, FakeWorkers())
    async with at_work(agent):
        yield agent


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - neither a file nor a line in the log sets an event
            await asyncio.sleep(0.01)


async def test_a_directory_is_fetched_used_and_there_after_a_restart(tmp_path: Path) -> None:
    async with DirectoryPanel() as panel:
        async with an_agent(panel, tmp_path) as agent:
            await panel.asked(since=0)
            await panel.answers(fresh(7))
            await panel.say(DirectoryNews(version=8))
            await panel.asked(since=7)
            assert agent.directory is not None
            assert agent.directory.relays == RELAYS
            await until((tmp_path / "directory").exists)
        assert (tmp_path / "directory").stat().st_mode & 0o777 == 0o600
        async with an_agent(panel, tmp_path) as agent:
            await panel.asked(since=7)
            assert agent.directory is not None
            assert agent.directory.relays == RELAYS


@pytest.mark.parametrize("content", [b"", b"nonsense", encode_changes(signed({}, 7))[:-1]])
async def test_a_damaged_file_is_said_and_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    path = tmp_path / "directory"
    path.write_bytes(content)
    async with DirectoryPanel() as panel, an_agent(panel, tmp_path) as agent:
        assert "cannot be used" in caplog.text
        await panel.asked(since=0)
        path.unlink()
        await panel.answers(fresh(7))
        await until(path.exists)
        assert DirectoryFile(path, PANEL_KEY).read() == agent.directory


async def test_a_forged_answer_is_said_and_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with DirectoryPanel() as panel, an_agent(panel, tmp_path) as agent:
        await panel.asked(since=0)
        await panel.answers(msgspec.structs.replace(fresh(7), upserts=[relay(1)]))
        await panel.asked(since=0)  # at once, as changes may not have fitted
        await panel.answers(msgspec.structs.replace(fresh(7), signature=bytes(64)))
        await until(lambda: "not signed by this node's panel" in caplog.text)
        assert agent.directory is None
    assert not (tmp_path / "directory").exists()


async def test_a_disk_that_takes_no_directory_hinders_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "directory.new").mkdir()
    async with DirectoryPanel() as panel, an_agent(panel, tmp_path) as agent:
        await panel.asked(since=0)
        await panel.answers(fresh(7))
        await until(lambda: "cannot be kept" in caplog.text)
        assert agent.directory is not None
        await panel.hears(Heartbeat)
