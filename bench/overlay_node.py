"""One agent's part in the overlay as a process of its own, told what to do by lines of JSON.

First it says its relay entry; told the directory (a list of such entries), it may be told to open a SOCKS
port. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from pathlib import Path
from random import Random

import msgspec

from fogagent.home import Home
from fogagent.messages import TunnelSpec
from fogagent.overlay.directory import Directory, Relay
from fogagent.overlay.exit_policy import Allowance, ExitPolicy
from fogagent.overlay.onion.path import Wishes
from fogagent.overlay.overlay import Overlay
from fogagent.overlay.part import Part


class Start(msgspec.Struct):
    """The first line."""

    folder: str
    name: str
    number: int
    flags: list[str]
    allow: list[str] = []


class Told(msgspec.Struct):
    """Any later line: what is given is done, and answered by a line."""

    relays: list[Relay] | None = None
    socks_hops: int | None = None
    build_hops: int | None = None


async def main() -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=2**24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    start = msgspec.json.decode(await lines.readline(), type=Start)
    home = Home(Path(start.folder))
    home.path.mkdir(parents=True, exist_ok=True)
    identity = home.identity()
    exit_policy = ExitPolicy(map(Allowance.parse, start.allow)) if "exit" in start.flags else None
    part = Part(relays="relay" in start.flags, exit_policy=exit_policy, host="127.0.0.1")
    overlay = Overlay(home, identity, part, Random(start.number))
    facts = await overlay.start()
    say(
        Relay(
            node=start.number,
            name=start.name,
            identity=identity.public_key,
            onion_key=facts.onion_key,
            sealing_key=identity.sealing_key,
            certificate=facts.certificate,
            address=facts.address,
            flags=start.flags,
        )
    )
    gc.collect()
    gc.freeze()
    while line := await lines.readline():
        told = msgspec.json.decode(line, type=Told)
        if told.relays is not None:
            relays = {relay.identity: relay for relay in told.relays}
            overlay.use(Directory(1, time.time(), time.time() + 3600, relays))
            say(len(relays))
        if told.socks_hops is not None:
            await overlay.set_tunnels([TunnelSpec(tunnel=1, hops=told.socks_hops)])
            say(overlay.status().tunnels[0].port)
        if told.build_hops is not None:
            own = await overlay.client.build(Wishes(hops=told.build_hops))
            own.circuit.close()
            say(own.build_s)
    await overlay.close()


def say(answer: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()


asyncio.run(main())
