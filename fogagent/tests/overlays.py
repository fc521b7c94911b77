"""Whole overlays on loopback for tests: real links and circuits between nodes of one process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from fogagent.blobs import BlobCache
from fogagent.home import Home
from fogagent.identity import Identity
from fogagent.messages import Run
from fogagent.overlay import letters
from fogagent.overlay.directory import Directory, Relay
from fogagent.overlay.exit_policy import Allowance, ExitPolicy
from fogagent.overlay.onion.path import Wishes
from fogagent.overlay.onion.stream import Stream
from fogagent.overlay.overlay import Overlay
from fogagent.overlay.part import Part
from fogagent.overlay.receiving import Receiver
from fogagent.overlay.stream import Isolation, Target
from fogagent.tests.letters import PANEL


@dataclass
class Desk:
    """What an agent has behind its part in the overlay: here it only notes what it is to run."""

    identity: Identity
    blobs: BlobCache
    runs: list[Run] = field(default_factory=list)
    refusal: str = ""
    """Said of all that comes."""

    def receiver(self) -> Receiver:
        return Receiver(self.read, self.blobs, self.take_on)

    def read(self, letter: bytes) -> Run:
        return letters.read(letter, self.identity, PANEL.public_key, time.time())

    def take_on(self, run: Run) -> str:
        if not self.refusal:
            self.runs.append(run)
        return self.refusal


@dataclass
class Node:
    """An agent's part in the overlay, and its entry in the directory."""

    overlay: Overlay
    relay: Relay
    identity: Identity
    desk: Desk

    async def open(self, wishes: Wishes, port: int, host: str = "127.0.0.1") -> Stream:
        return await self.overlay.open_stream(wishes, 600.0, 1, Target(host, port), Isolation())


@asynccontextmanager
async def nodes(path: Path, *flags: Sequence[str], allow: str = "") -> AsyncIterator[list[Node]]:
    """Nodes with these flags, who all know each other. ``allow`` names what exits may dial."""
    made: list[Node] = []
    try:
        for number, each in enumerate(flags, 1):
            made.append(await node(path / str(number), number, list(each), allow))
        know(made, made)
        yield made
    finally:
        for one in made:
            await one.overlay.close()


async def node(folder: Path, number: int, flags: list[str], allow: str) -> Node:
    await asyncio.to_thread(folder.mkdir)
    identity = Identity.generate()
    allowances = [Allowance.parse(allow)] if allow else []
    policy = ExitPolicy(allowances) if "exit" in flags else None
    desk = Desk(identity, BlobCache(folder / "blobs"))
    overlay = Overlay(
        Home(folder),
        identity,
        Part(relays="relay" in flags, enters="entry" in flags, exit_policy=policy, host="127.0.0.1"),
        Random(number),
        receiver=desk.receiver(),
    )
    facts = await overlay.start()
    relay = Relay(
        node=number,
        name=f"node-{number}",
        identity=identity.public_key,
        onion_key=facts.onion_key,
        sealing_key=identity.sealing_key,
        certificate=facts.certificate,
        address=facts.address,
        flags=flags,
    )
    return Node(overlay, relay, identity, desk)


def know(those: Sequence[Node], listed: Sequence[Node]) -> None:
    relays = {one.relay.identity: one.relay for one in listed}
    for one in those:
        one.overlay.use(Directory(1, time.time(), time.time() + 3600, relays))


GUARD, MIDDLE, EXIT = ("relay", "guard"), ("relay",), ("relay", "exit")
