"""Those who watch in `bench live`: many sockets of browsers, and simulated agents whose nodes they look at.

Started as ``python -m bench.onlookers``; it answers with a line of JSON when all are connected, and then to
each command line: ``beat`` (the first agent sends a heartbeat now), ``beats`` (all that it has sent),
``check`` (who is still there).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from itertools import count, cycle, islice
from typing import Any

import websockets

from bench.crowd import SimulatedAgent, gather, tell
from fogagent.address import PanelAddress
from fogagent.messages import Heartbeat
from fogpanel.open_files import allow_many


class Onlooker:
    """A browser's socket that only takes in what it is sent."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._url, self._headers = url, headers
        self.connected = False
        self.frames = 0

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._look())

    async def beat(self) -> None:
        """It has nothing to say."""

    async def _look(self) -> None:
        async with websockets.connect(
            self._url, additional_headers=self._headers, compression=None, max_size=None, proxy=None
        ) as socket:
            self.connected = True
            try:
                async for _ in socket:
                    self.frames += 1
            finally:
                self.connected = False


class WatchedAgent(SimulatedAgent):
    """Remembers when it sent each beat: it also sends some unasked, the faster the more it is looked at."""

    def __init__(self, *known: Any) -> None:
        super().__init__(*known)
        self.sent: list[tuple[int, float]] = []

    def _heartbeat(self) -> Heartbeat:
        beat = super()._heartbeat()
        self.sent.append((self.last_beat, time.time()))
        return beat


async def obey(onlookers: Sequence[Onlooker], agents: Sequence[WatchedAgent]) -> None:
    tell(seconds=await gather([*agents, *onlookers]))
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async for line in lines:
        match line.split():
            case [b"beat"]:
                await agents[0].beat()
                tell(serial=agents[0].last_beat)
            case [b"beats"]:
                print(json.dumps(agents[0].sent), flush=True)
            case [b"check"]:
                tell(
                    onlookers=sum(one.connected for one in onlookers),
                    agents=sum(agent.connected for agent in agents),
                    frames=min(one.frames for one in onlookers),
                )


async def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.onlookers")
    parser.add_argument("sockets", nargs="+", help="addresses that the onlookers share out among them")
    parser.add_argument("--onlookers", type=int, required=True)
    parser.add_argument("--cookie", default="")
    parser.add_argument("--panel", default="", help="where the agents connect to")
    parser.add_argument("--panel-key", type=bytes.fromhex, default=b"")
    parser.add_argument("--agents", type=int, default=0)
    asked = parser.parse_args()
    allow_many()
    headers = {"Cookie": asked.cookie, "Origin": asked.panel} if asked.panel else {}
    onlookers = [Onlooker(url, headers) for url in islice(cycle(asked.sockets), asked.onlookers)]
    agents = []
    if asked.agents:
        address, serials = PanelAddress.parse(asked.panel, insecure=False), count(1)
        agents = [WatchedAgent(n, address, asked.panel_key, serials) for n in range(asked.agents)]
    await obey(onlookers, agents)


if __name__ == "__main__":
    asyncio.run(main())
