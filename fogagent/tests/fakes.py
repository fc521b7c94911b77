"""Fakes for the agent's tests: a panel on a real socket, and workers that end when told to."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Self, TypeVar

import websockets
from websockets.asyncio.server import Server, ServerConnection, serve

from fogagent.address import PanelAddress
from fogagent.drivers.base import Job, OnOutput, OnStart, Result
from fogagent.home import Home
from fogagent.identity import AGENT_HELLO, PANEL_WELCOME, Identity, transcript, verify
from fogagent.instructions import ExitCode
from fogagent.messages import (
    Ack,
    Challenge,
    DriverFact,
    Facts,
    Finished,
    FromAgent,
    FromPanel,
    Hello,
    Log,
    Outcome,
    Piece,
    Problem,
    Started,
    Stream,
    Welcome,
    decode_from_agent,
    encode_frame,
)
from fogagent.overlay.part import Part
from fogagent.shell.agent import Agent
from fogagent.shell.jobs import Workers

T = TypeVar("T")

FACTS = Facts(hostname="h", platform="p", version="1", cpu_millis=1000, memory_mb=512, disk_mb=1000)


@dataclass
class FakePanel:
    """Plays the panel: shakes hands, collects what agents say, and says what the test wants."""

    identity: Identity = field(default_factory=Identity.generate)
    heartbeat_s: float = 30.0
    timeout_s: float = 90.0
    acks: bool = True
    refusal: Problem | None = None
    said: list[FromAgent] = field(default_factory=list)
    hellos: list[Hello] = field(default_factory=list)
    welcome_signature: bytes | None = None  # a wrong one, to play somebody else
    port: int = 0

    async def __aenter__(self) -> Self:
        self._news = asyncio.Condition()
        self.socket: ServerConnection | None = None
        await self.open()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def open(self) -> None:
        self._server: Server = await serve(
            self._serve, "127.0.0.1", self.port, max_size=2**20, ping_interval=None
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        if self.socket is not None:
            self.socket.transport.abort()
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, socket: ServerConnection) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            nonce = secrets.token_bytes(32)
            await socket.send(encode_frame([Challenge(panel_key=self.identity.public_key, nonce=nonce)]))
            (hello,) = decode_from_agent(str(await socket.recv()))
            assert isinstance(hello, Hello)
            self.hellos.append(hello)
            if self.refusal is not None:
                await socket.send(encode_frame([self.refusal]))
                await self._note([])
                return
            await socket.send(encode_frame([self._welcome(hello, nonce)]))
            self.socket = socket
            async for text in socket:
                await self._hear(socket, decode_from_agent(str(text)))

    def _welcome(self, hello: Hello, nonce: bytes) -> Welcome:
        text = transcript(
            panel_key=self.identity.public_key,
            agent_key=hello.agent_key,
            panel_nonce=nonce,
            agent_nonce=hello.nonce,
            url=hello.url,
        )
        verify(hello.agent_key, AGENT_HELLO, text, hello.signature)
        return Welcome(
            signature=self.welcome_signature or self.identity.sign(PANEL_WELCOME, text),
            node=7,
            name="edge-1",
            epoch=len(self.hellos),
            heartbeat_s=self.heartbeat_s,
            timeout_s=self.timeout_s,
        )

    async def _hear(self, socket: ServerConnection, messages: list[FromAgent | Hello]) -> None:
        heard = [message for message in messages if not isinstance(message, Hello)]
        assert len(heard) == len(messages), "a second hello"
        if self.acks and (seqs := [m.seq for m in heard if isinstance(m, Started | Log | Finished)]):
            await socket.send(encode_frame([Ack(seqs=seqs)]))
        await self._note(heard)

    async def _note(self, heard: list[FromAgent]) -> None:
        async with self._news:
            self.said += heard
            self._news.notify_all()

    async def say(self, *messages: FromPanel) -> None:
        assert self.socket is not None
        await self.socket.send(encode_frame(list(messages)))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self._news, asyncio.timeout(30):
            await self._news.wait_for(condition)

    def heard(self, kind: type[T]) -> list[T]:
        return [message for message in self.said if isinstance(message, kind)]

    async def hears(self, kind: type[T], count: int = 1) -> T:
        """Wait until ``count`` such messages have come; returns the last of them."""
        await self.until(lambda: len(self.heard(kind)) >= count)
        return self.heard(kind)[count - 1]

    async def knocked(self, count: int) -> None:
        await self.until(lambda: len(self.hellos) >= count)


def succeeded(**changes: object) -> Result:
    result = {"outcome": Outcome.SUCCEEDED, "started_at": 1.0, "finished_at": 2.0, "exit_code": 0}
    return Result(**(result | changes))  # type: ignore[arg-type]


@dataclass
class FakeWorkers:
    """Jobs that end at once with their input as output, or, if ``held``, when the test says so."""

    held: bool = False
    started: list[Job] = field(default_factory=list)
    closed: bool = False

    def __post_init__(self) -> None:
        self._ends: dict[int, asyncio.Future[Result]] = {}
        self._output: dict[int, OnOutput] = {}

    async def start(self) -> None:
        pass

    async def run(self, job: Job, on_output: OnOutput, on_start: OnStart) -> Result:
        self.started.append(job)
        on_start(job.attempt)
        if not self.held:
            if job.stdin:
                on_output(job.attempt, Piece(stream=Stream.STDOUT, offset=0, data=job.stdin))
            return succeeded()
        self._output[job.attempt] = on_output
        self._ends[job.attempt] = asyncio.get_running_loop().create_future()
        return await self._ends[job.attempt]

    def prints(self, attempt: int, offset: int, data: bytes) -> None:
        self._output[attempt](attempt, Piece(stream=Stream.STDOUT, offset=offset, data=data))

    def finish(self, attempt: int, result: Result | None = None) -> None:
        self._ends[attempt].set_result(result or succeeded())

    def cancel(self, attempt: int, sentence: str) -> bool:
        if attempt not in self._ends:
            return False
        self.finish(attempt, succeeded(outcome=Outcome.CANCELLED, sentence=sentence))
        return True

    async def driver_facts(self) -> list[DriverFact]:
        return []

    async def prepared(self) -> None:
        pass

    async def close(self) -> None:
        self.closed = True


def agent_for(
    panel: FakePanel, path: Path, workers: Workers, panel_key: bytes = b"", part: Part | None = None
) -> Agent:
    def describe(drivers: list[DriverFact]) -> Facts:
        return FACTS

    home = Home(path)
    path.mkdir(exist_ok=True)
    return Agent(
        address=PanelAddress.parse(panel.url, insecure=False),
        home=home,
        identity=home.identity(),
        panel_key=panel_key or panel.identity.public_key,
        workers=workers,
        facts=FACTS,
        describe=describe,
        rng=Random(1),
        part=part,
    )


@asynccontextmanager
async def at_work(agent: Agent) -> AsyncIterator[asyncio.Task[ExitCode]]:
    task = asyncio.create_task(agent.run())
    try:
        yield task
    finally:
        if not task.done():
            agent.stop("the test is over")
        with contextlib.suppress(asyncio.CancelledError):
            await task
