"""Somebody who uses the overlay: a client with its network and its clock."""

from __future__ import annotations

import asyncio
from random import Random

import msgspec

from fogagent.overlay.directory import Directory, Relay
from fogagent.overlay.link_errors import Unreachable
from fogagent.overlay.onion.builder import Builder
from fogagent.overlay.onion.builds import BuildTimes
from fogagent.overlay.onion.client import OnionClient
from fogagent.overlay.onion.guards import Guards
from fogagent.overlay.onion.outlet import CellLink
from fogagent.overlay.onion.own_circuit import OwnCircuit
from fogagent.overlay.onion.path import Wishes
from fogagent.overlay.onion.stream import Stream
from fogagent.tests.onion_net import Box, Net, Wire, echo

THREE = Wishes()


class LiveNet(Net):
    """Cells go on their way by themselves, in the event loop. Relays can be down, or swallow cells."""

    def __init__(self, relays: int) -> None:
        super().__init__(relays)
        self.down: set[bytes] = set()
        self.silent: set[bytes] = set()
        self._going = False

    def link(self, here: bytes, there: bytes) -> Wire | None:
        if there in self.down or here in self.down:
            return None
        wire = super().link(here, there)
        if wire is not None and wire.other is not None:
            wire.on_send = wire.other.on_send = self.go
        return wire

    def go(self) -> None:
        if not self._going:
            self._going = True
            asyncio.get_running_loop().call_soon(self._step)

    def _step(self) -> None:
        self._going = False
        for box in self.boxes:
            for wire in list(box.wires.values()):
                assert wire.other is not None
                if wire.peer in self.silent:
                    wire.waiting.clear()
                self.carry(wire)
        if any(wire.waiting for box in self.boxes for wire in box.wires.values()):
            self.go()

    def take_down(self, box: Box) -> None:
        """It is killed: its links break, and nobody reaches it any more."""
        for peer in list(box.wires):
            self.cut(self.boxes.index(box), self.boxes.index(self._by_identity[peer]))
        self.down.add(box.identity)

    @property
    def directory(self) -> Directory:
        relays = [
            Relay(
                node=number,
                name=f"relay-{number}",
                identity=box.identity,
                onion_key=box.target.onion_key,
                sealing_key=bytes(32),
                certificate=b"certificate",
                address=f"10.{number}.0.1:9000",
                flags=["relay", "guard", "exit"],
            )
            for number, box in enumerate(self.boxes)
            if number
        ]
        return Directory(1, 0.0, 1e12, {relay.identity: relay for relay in relays})


class Clock:
    """Time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class User:
    """A client with its net and its clock."""

    def __init__(self, relays: int, seed: int = 1) -> None:
        self.net, self.clock = LiveNet(relays), Clock()
        for box in self.net.boxes[1:]:
            box.on_begin = echo
        me = self.net.boxes[0]
        self.builder = Builder(
            me.switch,
            self.get_link,
            me.identity,
            guards=Guards(),
            times=BuildTimes(),
            rng=Random(seed),
            clock=self.clock,
            wall=self.clock,
        )
        self.client = OnionClient(self.builder, self.clock)
        self.client.use(self.net.directory)

    async def get_link(self, identity: bytes) -> CellLink:
        wire = self.net.link(self.net.boxes[0].identity, identity)
        if wire is None:
            raise Unreachable("It is down.", retry=True)
        return wire

    async def open(self, isolation: object = "", wishes: Wishes = THREE) -> tuple[Stream, OwnCircuit]:
        """A stream and the circuit that it is on."""
        stream = await self.client.open_stream(b"echo", wishes, isolation)
        return stream, next(one for one in self.client.circuits if one.circuit.streams is stream._streams)

    def box_of(self, own: OwnCircuit, hop: int) -> Box:
        return self.net._by_identity[own.path[hop].identity]


def worthless(relay: Relay) -> Relay:
    """Its onion key is a point of low order, with which every secret would be known to everybody."""
    return msgspec.structs.replace(relay, onion_key=bytes(32))
