"""Two real agents, and a task that reaches one of them through the other, over relays on loopback."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fogagent.home import Home
from fogagent.identity import Identity
from fogagent.messages import (
    BLOB_CHUNK_BYTES,
    Acknowledge,
    Blob,
    Carried,
    Carry,
    Chunk,
    Fetch,
    Finished,
    Holding,
    NotCarried,
    Outcome,
    OverlayFacts,
    Run,
    Sealed,
)
from fogagent.overlay.directory import Directory, Relay
from fogagent.overlay.letters import write
from fogagent.overlay.part import Part
from fogagent.sealing.task import Reservation, SealedSpec, SealedTask, Terms, seal_task
from fogagent.shell.agent import Agent
from fogagent.tests.fakes import FakePanel, FakeWorkers, agent_for, at_work
from fogagent.tests.letters import CONTENT, PANEL, blob, sealed_run
from fogagent.tests.overlay_fakes import until
from fogagent.tests.overlays import GUARD, MIDDLE, nodes

pytestmark = pytest.mark.asyncio

TERMS = Terms(driver="wasm", timeout_s=60, cpu_millis=1000, memory_mb=256)
GATEWAY, NODE = Part(enters=True), Part(relays=True, host="127.0.0.1")


@dataclass
class Manned:
    """An agent, its panel, its workers and its entry in the directory."""

    panel: FakePanel
    agent: Agent
    identity: Identity
    workers: FakeWorkers
    relay: Relay


@asynccontextmanager
async def manned(path: Path, number: int, part: Part) -> AsyncIterator[Manned]:
    workers = FakeWorkers()
    async with FakePanel(identity=PANEL) as panel:
        agent = agent_for(panel, path, workers, part=part)
        identity = Home(path).identity()
        async with at_work(agent):
            facts = await panel.hears(OverlayFacts)
            relay = Relay(
                node=number,
                name=f"agent-{number}",
                identity=identity.public_key,
                onion_key=facts.onion_key,
                sealing_key=identity.sealing_key,
                certificate=facts.certificate,
                address=facts.address,
                flags=["relay"] if part.relays else ["entry"],
            )
            yield Manned(panel, agent, identity, workers, relay)


@asynccontextmanager
async def fog(path: Path) -> AsyncIterator[tuple[Manned, Manned]]:
    """A gateway and a node, with two relays between them."""
    relays = nodes(path, GUARD, MIDDLE)
    async with (
        relays as between,
        manned(path / "gateway", 8, GATEWAY) as gateway,
        manned(path / "node", 9, NODE) as node,
    ):
        listed = [*(one.relay for one in between), gateway.relay, node.relay]
        directory = Directory(1, time.time(), time.time() + 3600, {relay.identity: relay for relay in listed})
        for one in between:
            one.overlay.use(directory)
        for each in (gateway, node):
            each.agent._overlay.use(directory)
        yield gateway, node


def task(payload: bytes) -> SealedTask:
    return seal_task(SealedSpec(terms=TERMS, result_key=PANEL.sealing_key, payload=payload))


def run_of(sealed: SealedTask, node: Manned) -> Run:
    reservation = Reservation(reservation=17, nodes=[node.relay.identity])
    [wrap] = sealed.key.wraps(reservation, {node.relay.identity: node.relay})
    return Run(
        attempt=5,
        task=7,
        driver=TERMS.driver,
        timeout_s=TERMS.timeout_s,
        payload=blob(sealed.content),
        sealed=Sealed(reservation=17, wrapped=wrap.wrapped),
    )


def order_for(run: Run, node: Manned, content: Blob, order: int = 9) -> Carry:
    to = node.relay
    letter = write(PANEL, to.identity, to.sealing_key, run, time.time() + 60)
    return Carry(order=order, attempt=run.attempt, to=to.identity, content=content, letter=letter)


async def test_a_small_task_comes_to_its_node_by_a_gateway_once(tmp_path: Path) -> None:
    sealed = task(b"small")
    async with fog(tmp_path) as (gateway, node):
        run = run_of(sealed, node)
        order = order_for(run, node, blob(sealed.content, inline=True))
        await gateway.panel.say(order, order)
        first = await gateway.panel.hears(Carried)
        assert (first.order, first.attempt, first.ok, first.sentence) == (9, 5, True, "")
        assert first.size == len(sealed.content) == 4096
        finished = await node.panel.hears(Finished)
        assert (finished.attempt, finished.outcome) == (5, Outcome.SUCCEEDED)
        await gateway.panel.say(order)
        assert await gateway.panel.hears(Carried, 2) == first
        await gateway.panel.say(order_for(run, node, order.content, order=10))
        again = await gateway.panel.hears(Carried, 3)
        assert (again.order, again.ok) == (10, True)
        assert len(node.workers.started) == 1
        assert gateway.panel.heard(Acknowledge) == node.panel.heard(Acknowledge) == []
        assert gateway.workers.started == []
        assert gateway.panel.heard(Finished) == []


async def test_large_content_is_fetched_from_the_panel_and_carried(tmp_path: Path) -> None:
    sealed = task(os.urandom(3_000_000))
    content = sealed.content
    chunks = [content[at : at + BLOB_CHUNK_BYTES] for at in range(0, len(content), BLOB_CHUNK_BYTES)]
    async with fog(tmp_path) as (gateway, node):
        run = run_of(sealed, node)
        assert run.payload is not None
        await gateway.panel.say(order_for(run, node, run.payload))
        assert await gateway.panel.hears(Fetch) == Fetch(attempt=5, sha256=run.payload.sha256)
        for index, data in enumerate(chunks):
            chunk = Chunk(sha256=run.payload.sha256, index=index, count=len(chunks), data=data)
            await gateway.panel.say(chunk)
        told = await gateway.panel.hears(Carried)
        assert (told.ok, told.sentence, told.size) == (True, "", len(content))
        assert (await node.panel.hears(Finished)).outcome is Outcome.SUCCEEDED
        assert node.panel.heard(Fetch) == []
        await until(lambda: not any(each.agent._cache.held(9) for each in (gateway, node)))


async def test_an_agent_that_stops_takes_nothing_on(tmp_path: Path) -> None:
    async with fog(tmp_path) as (_, node):
        assert node.agent._overlay._take_on(sealed_run(1)) == ""
        node.agent.stop("the test wants it")
        assert node.agent._overlay._take_on(sealed_run(2)) == "This node is stopping."


async def test_an_agent_outside_the_overlay_says_so(tmp_path: Path) -> None:
    async with FakePanel(identity=PANEL) as panel, at_work(agent_for(panel, tmp_path, FakeWorkers())):
        content = blob(CONTENT, inline=True)
        await panel.hears(Holding)
        await panel.say(Carry(order=9, attempt=5, to=bytes(32), content=content, letter=b"x"))
        told = await panel.hears(Carried)
    assert (told.kind, told.sentence) == (NotCarried.NO_PART, "This node takes no part in the overlay.")


async def test_what_fails_in_a_gateway_is_told_and_ends_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with fog(tmp_path) as (gateway, node):
        order = order_for(sealed_run(), node, blob(CONTENT, inline=True))
        overlay = gateway.agent._overlay._overlay
        assert overlay is not None
        with monkeypatch.context() as broken:
            broken.delattr(overlay, "_part")
            await gateway.panel.say(order)
            told = await gateway.panel.hears(Carried)
        assert (told.kind, told.sentence) == (
            NotCarried.FAILED,
            "This gateway failed at it; its log tells more.",
        )
        assert "the overlay failed at carrying an order" in caplog.text


async def test_content_that_vanished_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with fog(tmp_path) as (gateway, node):
        blobs = gateway.agent._cache

        def find(sha256: str) -> tuple[bool, int]:
            return True, 0

        monkeypatch.setattr(blobs, "find", find)
        run = sealed_run()
        assert run.payload is not None
        await gateway.panel.say(order_for(run, node, run.payload))
        told = await gateway.panel.hears(Carried)
        assert (told.kind, told.sentence) == (
            NotCarried.NO_CONTENT,
            "Its content vanished from this gateway's cache.",
        )
