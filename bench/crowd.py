"""Many simulated agents in one process: the load of `bench heartbeats`.

Each has the real agent's rules (`fogagent.state`), handshake and connection; what it lacks are workers, a
spool, and a machine to measure. Started as ``python -m bench.crowd``, it reads commands line by line and
answers each with one line of JSON; when its input ends, so does it.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import sqlite3
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import count, cycle, islice
from random import Random
from typing import Any, Protocol

import websockets
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fogagent.address import PanelAddress
from fogagent.connection import Connection, ConnectionFailed, TurnedAway, connect
from fogagent.events import Began, Connected, Disconnected, Event, Moment, Received, Refused, Ticked
from fogagent.identity import Identity
from fogagent.instructions import Beat, Close, ConnectAfter, Exit, KeepAlive, Send
from fogagent.messages import COALESCE_S, Facts, Heartbeat, encode_frame, encode_message, join_frame
from fogagent.overlay.directory_holder import DirectoryHolder
from fogagent.state import AgentState
from fogpanel.open_files import allow_many

AT_ONCE = 50  # agents that dial together, and beats between two looks at how many are stored
UNSTORED_SHARE = 0.8  # of the agents have a beat on its way; a second one would replace the first
LOOK_S = 0.002
PATIENCE_S = 60.0

FACTS = Facts(
    hostname="simulated",
    platform="none",
    version="0",
    cpu_millis=1000,
    memory_mb=1024,
    disk_mb=1024,
    region="eu-north",
    flags=["relay"],
)


def identity(number: int) -> Identity:
    """The keys of the ``number``-th simulated agent, the same in every process."""
    seed = hashlib.sha256(f"simulated agent {number}".encode()).digest()
    return Identity(Ed25519PrivateKey.from_private_bytes(seed), X25519PrivateKey.from_private_bytes(seed))


def heartbeat(serial: int) -> Heartbeat:
    """The figures name the beat, so that what is stored can be compared with what was sent."""
    return Heartbeat(
        at=time.time(),
        cpu_percent=serial % 1000 / 10,
        memory_used_mb=serial,
        memory_total_mb=10**9,
        disk_free_mb=serial,
        load_1m=serial % 100 / 10,
    )


class Member(Protocol):
    """One of a crowd."""

    @property
    def connected(self) -> bool: ...

    def start(self) -> None: ...

    async def beat(self) -> None: ...


class Store(Protocol):
    """Where beats end up."""

    async def count(self) -> int: ...


# --- Agents of a panel -----------------------------------------------------------------------------


class SimulatedAgent:
    """Keeps itself connected and beating, as the panel tells it to. ``serials`` number the beats of all."""

    def __init__(self, number: int, address: PanelAddress, panel_key: bytes, serials: Iterator[int]) -> None:
        self.node_id = 0
        self.beats = self.last_beat = 0
        self._address, self._panel_key, self._identity = address, panel_key, identity(number)
        self._serials = serials
        rng = Random(number)
        directory = DirectoryHolder(None, rng)
        self._state = AgentState(facts=FACTS, first_seq=1, kept=[], directory=directory, rng=rng)
        self._connection: Connection | None = None
        self._outgoing: list[Callable[[], bytes]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def connected(self) -> bool:
        return self._connection is not None

    def start(self) -> None:
        self._feed(Began())

    async def beat(self) -> None:
        """A beat out of turn, in a frame of its own."""
        if self._connection is not None:
            await self._connection.send(encode_frame([self._heartbeat()]))

    def _heartbeat(self) -> Heartbeat:
        self.beats += 1
        self.last_beat = next(self._serials)
        return heartbeat(self.last_beat)

    def _feed(self, event: Event) -> None:
        tick = asyncio.get_running_loop().time()
        for instruction in self._state.handle(event, Moment(at=time.time(), tick=tick)):
            match instruction:
                case ConnectAfter(delay_s):
                    self._spawn(self._be_connected(delay_s))
                case Send(message):
                    self._post(partial(encode_message, message))
                case Beat():
                    self._post(lambda: encode_message(self._heartbeat()))
                case KeepAlive(timeout_s) if self._connection is not None:
                    self._connection.timeout_s = timeout_s
                case Close() if self._connection is not None:
                    self._connection.abort()
                case Exit(code):
                    raise RuntimeError(f"A simulated agent was to end: {code.name}.")
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (wake_at := self._state.wake_at()) is not None:
            self._timer = asyncio.get_running_loop().call_at(wake_at, self._feed, Ticked())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _be_connected(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        try:
            connection = await connect(self._address, self._identity, self._panel_key)
        except ConnectionFailed as error:
            self._feed(Disconnected(str(error)))
        except TurnedAway as error:
            self._feed(Refused(error.problem))
        else:
            await self._converse(connection)

    async def _converse(self, connection: Connection) -> None:
        self._connection, self.node_id = connection, connection.welcome.node
        self._feed(Connected(connection.welcome))
        self._spawn(self._keep_alive(connection))
        async for messages in connection.frames():
            self._feed(Received(messages))
        self._connection = None
        self._feed(Disconnected(connection.ending))

    async def _keep_alive(self, connection: Connection) -> None:
        try:
            await connection.keep_alive()
        except ConnectionFailed:
            connection.abort()

    def _post(self, encode: Callable[[], bytes]) -> None:
        """Encoded when it goes, so that the beats of an agent go in the order of their numbers."""
        self._outgoing.append(encode)
        if len(self._outgoing) == 1:
            self._spawn(self._flush())

    async def _flush(self) -> None:
        await asyncio.sleep(COALESCE_S)
        frame = join_frame([encode() for encode in self._outgoing])
        self._outgoing = []
        if self._connection is not None:
            with suppress(ConnectionFailed):
                await self._connection.send(frame)


class PanelStore:
    """The panel's database, read only."""

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)

    async def count(self) -> int:
        """Samples that were ever stored. Counting the rows one by one would take time from the panel."""
        query = "SELECT seq FROM sqlite_sequence WHERE name = 'nodes_sample'"
        found = self._database.execute(query).fetchone()
        return int(found[0]) if found else 0

    def wrong(self, agents: Sequence[SimulatedAgent]) -> int:
        """How many agents' last beats are not what the database has of their nodes."""
        query = "SELECT id, cpu_percent, memory_used_mb, disk_free_mb FROM nodes_node"
        stored = {node_id: figures for node_id, *figures in self._database.execute(query)}
        sent = {agent.node_id: heartbeat(agent.last_beat) for agent in agents}
        return sum(
            stored.get(node_id) != [beat.cpu_percent, beat.memory_used_mb, beat.disk_free_mb]
            for node_id, beat in sent.items()
        )


# --- The peer: connections that send the same frames to a consumer that drops them ------------------


class BareSocket:
    def __init__(self, url: str, serials: Iterator[int]) -> None:
        self._url, self._serials = url, serials
        self._socket: websockets.ClientConnection | None = None

    @property
    def connected(self) -> bool:
        return self._socket is not None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        self._socket = await websockets.connect(
            self._url, compression=None, ping_interval=None, proxy=None, open_timeout=PATIENCE_S
        )

    async def beat(self) -> None:
        if self._socket is not None:
            await self._socket.send(encode_frame([heartbeat(next(self._serials))]))

    async def count(self) -> int:
        """How many frames the server has received from everybody; this question is none."""
        assert self._socket is not None
        await self._socket.send("count")
        return int(await self._socket.recv())


# --- The crowd -------------------------------------------------------------------------------------


async def gather(members: Sequence[Member]) -> float:
    """Connect all, some at a time; seconds until the last one is."""
    began = time.perf_counter()
    waiting = iter(members)
    while some := list(islice(waiting, AT_ONCE)):
        for member in some:
            member.start()
        await _until_connected(some)
    return time.perf_counter() - began


async def _until_connected(members: Sequence[Member]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not all(member.connected for member in members):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)


async def flood(members: Sequence[Member], store: Store, seconds: float) -> dict[str, float]:
    """Beat in turns as fast as beats are stored, each in a frame of its own; then wait for the last."""
    began, before = time.perf_counter(), await store.count()
    most, sent, stored = int(UNSTORED_SHARE * len(members)), 0, 0
    turns = cycle(members)
    while time.perf_counter() - began < seconds:
        if sent - stored > most - AT_ONCE:
            await asyncio.sleep(LOOK_S)
            stored = await store.count() - before
            continue
        for member in islice(turns, AT_ONCE):
            await member.beat()
        sent += AT_ONCE
    async with asyncio.timeout(PATIENCE_S):
        while (stored := await store.count() - before) < sent:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)
    return {"sent": sent, "stored": stored, "seconds": time.perf_counter() - began}


async def obey(members: Sequence[Member], store: Store) -> None:
    """Carry out the commands that come: ``flood SECONDS``, ``check``."""
    tell(connected=len(members), seconds=await gather(members))
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async for line in lines:
        match line.decode().split():
            case ["flood", seconds]:
                tell(**await flood(members, store, float(seconds)))
            case ["check"]:
                agents = [member for member in members if isinstance(member, SimulatedAgent)]
                wrong = store.wrong(agents) if isinstance(store, PanelStore) else 0
                tell(
                    connected=sum(member.connected for member in members),
                    beats=min((agent.beats for agent in agents), default=0),
                    wrong=wrong,
                )


def tell(**what: float) -> None:
    print(json.dumps(what), flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.crowd")
    parser.add_argument("url")
    parser.add_argument("--agents", type=int, required=True)
    parser.add_argument("--panel-key", type=bytes.fromhex, help="without it: bare sockets")
    parser.add_argument("--database")
    asked = parser.parse_args()
    allow_many()
    serials = count(1)
    if asked.panel_key is None:
        sockets = [BareSocket(asked.url, serials) for _ in range(asked.agents)]
        await obey(sockets, sockets[0])
    else:
        address = PanelAddress.parse(asked.url, insecure=False)
        numbers = range(asked.agents)
        agents = [SimulatedAgent(number, address, asked.panel_key, serials) for number in numbers]
        await obey(agents, PanelStore(asked.database))


if __name__ == "__main__":
    asyncio.run(main())
