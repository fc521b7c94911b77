"""The SOCKS 5 port, with real sockets of clients and fake streams."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from fogagent.overlay.pump import Pump
from fogagent.overlay.socks import Reply, reply
from fogagent.overlay.socks_server import Closed, Ending, NotLoopback, SocksServer
from fogagent.overlay.stream import Isolation, OverlayStream, Reason, StreamRefused, Target
from fogagent.tests.overlay_fakes import FakeStream, Reading, echo, needs_ipv6, stream_pair, turns, until
from fogagent.tests.test_overlay_socks import NO_AUTH, USER_PASSWORD, connect, user

MB = 1024 * 1024
SUCCESS = b"\x05\x00" + reply(Reply.SUCCEEDED)
ASK = NO_AUTH + connect(b"a.example", 80)


@dataclass
class Overlay:
    """Opens streams to an echo, unless told otherwise, and notes what was asked."""

    far: Callable[[FakeStream], object] = echo
    refusal: Exception | None = None
    opening: Awaitable[None] | None = None
    asked: list[tuple[Target, Isolation]] = field(default_factory=list)
    ends: list[FakeStream] = field(default_factory=list)
    closed: list[Closed] = field(default_factory=list)

    async def open_stream(self, target: Target, isolation: Isolation) -> OverlayStream:
        self.asked.append((target, isolation))
        if self.opening is not None:
            await self.opening
        if self.refusal is not None:
            raise self.refusal
        near, far = stream_pair()
        self.far(far)
        self.ends.append(far)
        return near


class Program:
    """A client of the port."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setblocking(False)
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._socket, data)

    async def receive(self, size: int) -> bytes:
        received = b""
        async with asyncio.timeout(30):
            while len(received) < size and (
                piece := await self._loop.sock_recv(self._socket, size - len(received))
            ):
                received += piece
        return received

    async def receive_all(self) -> bytes:
        received = bytearray()
        async with asyncio.timeout(30):
            while piece := await self._loop.sock_recv(self._socket, MB):
                received += piece
        return bytes(received)

    def finish(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()


@asynccontextmanager
async def serving(
    overlay: Overlay, *, most_clients: int = 8, request_timeout_s: float = 60
) -> AsyncIterator[tuple[SocksServer, Callable[[], Program]]]:
    server = SocksServer(
        overlay.open_stream,
        most_clients=most_clients,
        request_timeout_s=request_timeout_s,
        on_closed=overlay.closed.append,
    )
    port = await server.listen("127.0.0.1", 0)
    programs: list[Program] = []

    def program() -> Program:
        programs.append(Program(port))
        return programs[-1]

    try:
        yield server, program
    finally:
        await server.close()
        for each in programs:
            each.close()


@pytest.mark.asyncio
async def test_a_stream_is_opened_and_echoes() -> None:
    overlay = Overlay()
    async with serving(overlay) as (_, program):
        client = program()
        await client.send(USER_PASSWORD)
        assert await client.receive(2) == b"\x05\x02"
        await client.send(user(b"me", b"circuit 1"))
        assert await client.receive(2) == b"\x01\x00"
        await client.send(connect(b"a.example", 443))
        assert await client.receive(10) == reply(Reply.SUCCEEDED)
        await client.send(b"hello")
        assert await client.receive(5) == b"hello"
        client.finish()
        assert await client.receive_all() == b""
        await until(lambda: bool(overlay.closed))
    assert overlay.asked == [(Target("a.example", 443), Isolation(b"me", b"circuit 1"))]
    assert overlay.closed == [Closed("", "", Target("a.example", 443), 5, 5)]


@pytest.mark.asyncio
async def test_a_client_may_send_everything_at_once() -> None:
    async with serving(Overlay()) as (_, program):
        client = program()
        await client.send(ASK + b"early")
        client.finish()
        assert await client.receive_all() == SUCCESS + b"early"


@pytest.mark.asyncio
async def test_what_comes_while_the_stream_is_opened_waits_for_it() -> None:
    opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    overlay = Overlay(opening=opened)
    async with serving(overlay) as (_, program):
        client = program()
        await client.send(ASK)
        await until(lambda: bool(overlay.asked))
        sending = asyncio.create_task(client.send(bytes(4 * MB)))
        await turns()
        assert len(overlay.asked) == 1
        opened.set_result(None)
        assert await client.receive(12) == SUCCESS
        assert len(await client.receive(4 * MB)) == 4 * MB
        await sending


@pytest.mark.asyncio
async def test_64_mib_come_back_unchanged() -> None:
    everything = os.urandom(MB) * 64
    async with serving(Overlay()) as (_, program):
        client = program()
        await client.send(ASK)
        assert await client.receive(12) == SUCCESS

        async def send() -> None:
            await client.send(everything)
            client.finish()

        sending = asyncio.create_task(send())
        received = await client.receive_all()
        await sending
    assert hashlib.sha256(received).digest() == hashlib.sha256(everything).digest()


@pytest.mark.asyncio
async def test_through_an_entry_and_an_exit_to_a_real_server() -> None:
    """The same pump at both ends, as on a circuit."""
    loop = asyncio.get_running_loop()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read()  # to its end: so the half-close has crossed everything
        writer.write(question.upper())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    dialled = socket.create_connection(server.sockets[0].getsockname())
    dialled.setblocking(False)
    tasks: list[asyncio.Task[object]] = []

    def leave(far: FakeStream) -> None:
        tasks.append(loop.create_task(loop.create_connection(lambda: Pump(far), sock=dialled)))

    async with serving(Overlay(far=leave)) as (_, program):
        client = program()
        await client.send(ASK + b"question")
        client.finish()
        assert await client.receive_all() == SUCCESS + b"QUESTION"
    server.close()


# --- Refusals -----------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.NOT_ALLOWED, 2),
        (Reason.CANNOT_RESOLVE, 4),
        (Reason.UNREACHABLE, 4),
        (Reason.REFUSED, 5),
        (Reason.TIMEOUT, 6),
        (Reason.BUSY, 1),
        (Reason.FAILED, 1),
    ],
)
async def test_a_refused_stream_is_answered_and_told(reason: Reason, code: int) -> None:
    overlay = Overlay(refusal=StreamRefused(reason, "That is why."))
    async with serving(overlay) as (server, program):
        client = program()
        await client.send(ASK + b"early data that nobody reads")
        assert await client.receive_all() == b"\x05\x00\x05" + bytes([code, 0, 1]) + bytes(6)
        client.close()
        await until(lambda: server.clients == 0)
    assert overlay.closed == [Closed(reason, "That is why.", Target("a.example", 80))]


@pytest.mark.asyncio
async def test_a_bug_in_opening_is_logged_and_answered(caplog: pytest.LogCaptureFixture) -> None:
    overlay = Overlay(refusal=ZeroDivisionError("oops"))
    async with serving(overlay) as (server, program):
        with caplog.at_level(logging.ERROR, "fogagent"):
            client = program()
            await client.send(ASK)
            assert await client.receive_all() == b"\x05\x00" + reply(Reply.FAILURE)
        client.close()
        await until(lambda: server.clients == 0)
    assert "oops" in caplog.text
    assert "a.example" not in caplog.text  # where people go is nobody's business who reads logs
    assert overlay.closed[0].reason == Ending.BUG


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("sent", "answer", "fault"),
    [
        (b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", b"HTTP/1.1 400 ", "http"),
        (b"\x04\x01\x00\x50\x01\x01\x01\x01\0", b"\x00\x5b", "socks4"),
        (b"\x16\x03\x01\x02\x00", b"", "tls"),
        (b"\xff" * 5000, b"", "garbage"),
        (NO_AUTH + b"\x05\x03\x00\x01\x01\x01\x01\x01\x00\x50", b"\x05\x00\x05\x07", "command-not-supported"),
    ],
)
async def test_what_is_no_request_gets_its_answer_and_is_named(
    sent: bytes, answer: bytes, fault: str
) -> None:
    overlay = Overlay()
    async with serving(overlay) as (server, program):
        client = program()
        await client.send(sent)
        assert (await client.receive_all()).startswith(answer)
        client.close()
        await until(lambda: server.clients == 0)
    assert [closed.reason for closed in overlay.closed] == [fault]
    assert overlay.asked == []


@pytest.mark.asyncio
async def test_endless_garbage_is_cut() -> None:
    overlay = Overlay()
    async with serving(overlay) as (server, program):
        client = program()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            async with asyncio.timeout(30):
                while True:
                    await client.send(b"\xff" * MB)
        await until(lambda: server.clients == 0)
    assert [closed.reason for closed in overlay.closed] == ["garbage"]


@pytest.mark.asyncio
@pytest.mark.parametrize("sent", [b"", b"\x05", NO_AUTH, NO_AUTH + b"\x05\x01\x00\x03\xff"])
async def test_a_client_that_never_finishes_its_request_ends(sent: bytes) -> None:
    overlay = Overlay()
    async with serving(overlay, request_timeout_s=0.1) as (_, program):
        client = program()
        await client.send(sent)
        await client.receive_all()
        await until(lambda: bool(overlay.closed))
    assert overlay.closed == [Closed(Ending.TOO_LATE, "No whole request came within 0.1 seconds.")]


@pytest.mark.asyncio
async def test_a_client_that_is_refused_and_does_not_leave_ends() -> None:
    overlay = Overlay()
    async with serving(overlay, request_timeout_s=0.1) as (server, program):
        client = program()
        await client.send(b"\x04")
        await until(lambda: bool(overlay.closed))  # though the client keeps its side open
        assert server.clients == 0
    assert [closed.reason for closed in overlay.closed] == ["socks4"]


@pytest.mark.asyncio
async def test_the_time_for_a_request_does_not_count_for_its_stream() -> None:
    overlay = Overlay()
    async with serving(overlay, request_timeout_s=1) as (_, program):
        client = program()
        await client.send(ASK)
        assert await client.receive(12) == SUCCESS
        silent = program()  # which ends later than the first would
        assert await silent.receive_all() == b""
        await client.send(b"still here")
        assert await client.receive(10) == b"still here"


@pytest.mark.asyncio
async def test_a_client_that_leaves_early_is_named() -> None:
    overlay = Overlay()
    async with serving(overlay) as (_, program):
        client = program()
        await client.send(b"\x05")
        client.close()
        await until(lambda: bool(overlay.closed))
    assert overlay.closed[0].reason == Ending.LEFT


@pytest.mark.asyncio
async def test_one_client_too_many_is_turned_away_and_the_others_stay() -> None:
    overlay = Overlay()
    async with serving(overlay, most_clients=2) as (server, program):
        first, second = program(), program()
        for client in (first, second):
            await client.send(ASK)
            assert await client.receive(12) == SUCCESS
        assert await program().receive_all() == b""
        await until(lambda: bool(overlay.closed))
        assert overlay.closed == [Closed(Ending.TOO_MANY, "There are 2 clients already.")]
        first.close()
        await until(lambda: server.clients == 1)
        third = program()
        await third.send(ASK)
        assert await third.receive(12) == SUCCESS


# --- Ends of open streams -----------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_stream_that_breaks_after_the_answer_closes_the_connection() -> None:
    overlay = Overlay()
    async with serving(overlay) as (server, program):
        client = program()
        await client.send(ASK)
        assert await client.receive(12) == SUCCESS
        overlay.ends[0].abort("The exit could not connect.")
        with pytest.raises(ConnectionResetError):
            await client.receive(1)
        await until(lambda: server.clients == 0)
    assert overlay.closed == [Closed(Ending.BROKEN, "The exit could not connect.", Target("a.example", 80))]


@pytest.mark.asyncio
async def test_data_that_is_there_before_its_reader_comes_after_the_answer() -> None:
    def greet(far: FakeStream) -> None:
        far.write(b"220 ready")
        far.finish()

    async with serving(Overlay(far=greet)) as (_, program):
        client = program()
        await client.send(ASK)
        assert await client.receive_all() == SUCCESS + b"220 ready"


@pytest.mark.asyncio
async def test_closing_the_port_drops_clients_in_every_state() -> None:
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    overlay = Overlay(far=Reading)
    async with serving(overlay) as (server, program):
        asking, opening, streaming = program(), program(), program()
        await asking.send(NO_AUTH)
        assert await asking.receive(2) == b"\x05\x00"
        await streaming.send(ASK)
        assert await streaming.receive(12) == SUCCESS
        overlay.opening = never
        await opening.send(ASK)
        await until(lambda: len(overlay.asked) == 2)
        await server.close()
        assert server.clients == 0
        assert never.cancelled()
    assert sorted(closed.reason for closed in overlay.closed) == ["broken", "shut-down", "shut-down"]
    assert overlay.ends[0].peer.aborted == "The SOCKS port was closed."


@pytest.mark.asyncio
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "localhost", ""])
async def test_the_port_is_for_this_machine_only(host: str) -> None:
    with pytest.raises(NotLoopback, match=r"Give a loopback address, 127.0.0.1 or ::1\."):
        await SocksServer(Overlay().open_stream).listen(host, 0)


@needs_ipv6
@pytest.mark.asyncio
async def test_the_port_listens_on_ipv6_loopback() -> None:
    server = SocksServer(Overlay().open_stream)
    port = await server.listen("::1", 0)
    with socket.create_connection(("::1", port)):
        pass
    await server.close()
