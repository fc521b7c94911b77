"""One agent's part in the overlay as a `LoadProgram`: ``python -m bench.overlay_node START``.

START is a `Start` as JSON. Each line on its standard input is a `Told`, and answered by a line.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from fogagent.home import Home
from fogagent.messages import TunnelSpec
from fogagent.overlay.directory import Directory, Relay
from fogagent.overlay.exit_policy import Allowance, ExitPolicy
from fogagent.overlay.onion.path import Wishes
from fogagent.overlay.overlay import Overlay
from fogagent.overlay.part import Part


class Start(msgspec.Struct):
    folder: str
    number: int
    flags: list[str]
    exit_allow: list[str] = []


class Told(msgspec.Struct):
    """One of these. The answers: the node's entry of the directory; how many relays it knows; the port of
    a SOCKS server over so many hops; the seconds that a circuit of so many took to build."""

    entry: bool = False
    relays: list[Relay] | None = None
    socks: int = 0
    build: int = 0


async def main(start: Start) -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=2**24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    home = Home(Path(start.folder))
    identity = home.identity()
    policy = ExitPolicy(map(Allowance.parse, start.exit_allow)) if "exit" in start.flags else None
    part = Part(
        relays="relay" in start.flags,
        enters="entry" in start.flags,
        exit_policy=policy,
        host="127.0.0.1",
    )
    overlay = Overlay(home, identity, part, Random(start.number))
    facts = await overlay.start()
    entry = Relay(
        node=start.number,
        name=f"node-{start.number}",
        identity=identity.public_key,
        onion_key=facts.onion_key,
        sealing_key=identity.sealing_key,
        certificate=facts.certificate,
        address=facts.address,
        flags=start.flags,
    )
    say("ready")
    while line := await lines.readline():
        told = msgspec.json.decode(line, type=Told)
        say(entry if told.entry else await carry_out(overlay, told))


async def carry_out(overlay: Overlay, told: Told) -> Any:
    if told.relays is not None:
        relays = {relay.identity: relay for relay in told.relays}
        overlay.use(Directory(1, time.time(), time.time() + 3600, relays))
        return len(relays)
    if told.socks:
        await overlay.set_tunnels([TunnelSpec(tunnel=1, hops=told.socks)])
        [tunnel] = overlay.status().tunnels
        return tunnel.port
    own = await overlay.client.builder.build(Wishes(hops=told.build))
    own.circuit.close()
    return own.build_s


def say(answer: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.argv[1], type=Start)))
