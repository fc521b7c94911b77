"""The pump between real TCP connections and the two ends of a fake stream."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from fogagent.overlay.pump import GATHER_BYTES, LOST, READ_BYTES, Pump
from fogagent.overlay.rate import RateLimit
from fogagent.tests.overlay_fakes import WINDOW_BYTES, FakeStream, Reading, echo, stream_pair, turns, until

MB = 1024 * 1024


@asynccontextmanager
async def connection() -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    """Two ends of one TCP connection, both non-blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    for each in (ours, theirs):
        each.setblocking(False)
    try:
        yield ours, theirs
    finally:
        ours.close()
        theirs.close()


@asynccontextmanager
async def pumping(limit: RateLimit | None = None) -> AsyncIterator[tuple[socket.socket, Pump, FakeStream]]:
    """A program's socket, the pump at its other end, and the far end of the stream."""
    near, far = stream_pair()
    async with connection() as (program, ours), asyncio.timeout(30):
        pump = Pump(near, limit)
        await asyncio.get_running_loop().create_connection(lambda: pump, sock=ours)
        yield program, pump, far
        pump.abort("the test is over")
        await pump.ended()


async def receive_all(program: socket.socket) -> bytes:
    loop, received = asyncio.get_running_loop(), bytearray()
    while piece := await loop.sock_recv(program, MB):
        received += piece
    return bytes(received)


def send_until_stuck(program: socket.socket) -> int:
    sent = 0
    with suppress(BlockingIOError):
        while True:
            sent += program.send(bytes(READ_BYTES))
    return sent


@pytest.mark.asyncio
async def test_bytes_and_both_ends_arrive_and_are_counted() -> None:
    async with pumping() as (program, pump, far):
        echo(far)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(program, b"hello")
        assert await loop.sock_recv(program, 100) == b"hello"
        program.shutdown(socket.SHUT_WR)
        assert await receive_all(program) == b""
        assert await pump.ended() == ""
        assert (pump.sent_bytes, pump.received_bytes) == (5, 5)


@pytest.mark.asyncio
async def test_64_mib_cross_unchanged_at_once_in_both_directions() -> None:
    everything = os.urandom(MB) * 64
    async with pumping() as (program, pump, far):
        echo(far)

        async def send() -> None:
            await asyncio.get_running_loop().sock_sendall(program, everything)
            program.shutdown(socket.SHUT_WR)

        sending = asyncio.create_task(send())
        received = await receive_all(program)
        await sending
        assert hashlib.sha256(received).digest() == hashlib.sha256(everything).digest()
        assert await pump.ended() == ""
        assert far.peak_bytes <= WINDOW_BYTES + READ_BYTES


@pytest.mark.asyncio
async def test_many_small_pieces_of_one_turn_go_in_few_calls_and_in_order() -> None:
    async with pumping() as (program, pump, far):
        calls = 0
        transport = pump._transport
        write = transport.write

        def counting(data: bytes) -> None:
            nonlocal calls
            calls += 1
            write(data)

        transport.write = counting  # type: ignore[method-assign, assignment]
        pieces = [index.to_bytes(2, "big") * 249 for index in range(256)]
        for piece in pieces:
            far.write(piece)
        far.finish()
        assert await receive_all(program) == b"".join(pieces)
        assert calls <= len(b"".join(pieces)) // GATHER_BYTES + 1


@pytest.mark.asyncio
async def test_the_programs_end_leaves_the_way_back_open() -> None:
    async with pumping() as (program, pump, far):
        reading = Reading(far)
        await asyncio.get_running_loop().sock_sendall(program, b"question")
        program.shutdown(socket.SHUT_WR)
        await reading.until(lambda reading: reading.ends == [""])
        assert reading.data == b"question"
        far.write(b"answer")
        far.finish()
        assert await receive_all(program) == b"answer"
        assert await pump.ended() == ""


@pytest.mark.asyncio
async def test_the_streams_end_leaves_the_way_out_open() -> None:
    async with pumping() as (program, pump, far):
        reading = Reading(far)
        far.write(b"greeting")
        far.finish()
        assert await receive_all(program) == b"greeting"
        await asyncio.get_running_loop().sock_sendall(program, b"late")
        await reading.until(lambda reading: reading.data == b"late")
        assert not pump._ended.done()
        program.close()
        await reading.until(lambda reading: reading.ends == [""])
        assert await pump.ended() == ""


@pytest.mark.asyncio
async def test_a_stream_that_takes_nothing_stops_the_program() -> None:
    async with pumping() as (program, pump, far):
        sent = send_until_stuck(program)
        await until(lambda: far.peer.full and pump._waiting is not None)
        for _ in range(20):
            sent += send_until_stuck(program)
            await turns()
        assert sent > 2 * (WINDOW_BYTES + READ_BYTES)  # the rest waits in the kernel
        assert pump.sent_bytes < WINDOW_BYTES + READ_BYTES
        assert far.peak_bytes < WINDOW_BYTES + READ_BYTES
        reading = Reading(far)  # and goes on as soon as it is taken
        await reading.until(lambda reading: len(reading.data) == sent)


@pytest.mark.asyncio
async def test_a_program_that_reads_nothing_stops_the_stream() -> None:
    async with pumping() as (program, pump, far):
        sent = 0
        while not (far.full and pump._holding):
            far.write(bytes(500))
            sent += 500
            if sent % 50_000 == 0:
                await asyncio.sleep(0)
        buffered = pump._transport.get_write_buffer_size()
        assert buffered <= 4 * GATHER_BYTES
        received, loop = 0, asyncio.get_running_loop()
        while received < sent:
            received += len(await loop.sock_recv(program, MB))
        assert pump.received_bytes == sent and not far.full


@pytest.mark.asyncio
async def test_a_broken_stream_is_no_proper_end_for_the_program() -> None:
    async with pumping() as (program, pump, far):
        far.write(b"half of it")
        loop = asyncio.get_running_loop()
        assert await loop.sock_recv(program, 100) == b"half of it"
        far.abort("the circuit broke")
        with pytest.raises(ConnectionResetError):
            await loop.sock_recv(program, 100)
        assert await pump.ended() == "the circuit broke"
        assert far.peer.aborted is None


@pytest.mark.asyncio
async def test_a_program_that_is_killed_breaks_the_stream() -> None:
    async with pumping() as (program, pump, far):
        reading = Reading(far)
        program.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        program.close()
        await reading.until(lambda reading: reading.ends == [LOST])
        assert await pump.ended() == LOST


@pytest.mark.asyncio
async def test_a_program_that_leaves_while_much_is_underway_breaks_the_stream() -> None:
    async with pumping() as (program, pump, far):
        reading = Reading(far)
        while not far.full:
            far.write(bytes(READ_BYTES))
            await asyncio.sleep(0)
        program.close()
        await reading.until(lambda reading: LOST in reading.ends)
        assert await pump.ended() == LOST


@pytest.mark.asyncio
async def test_aborting_tells_both_sides() -> None:
    async with pumping() as (program, pump, far):
        reading = Reading(far)
        pump.abort("the exit was closed")
        await reading.until(lambda reading: reading.ends == ["the exit was closed"])
        with pytest.raises(ConnectionResetError):
            await asyncio.get_running_loop().sock_recv(program, 100)
        assert await pump.ended() == "the exit was closed"
        pump.abort("again")  # changes nothing
        assert await pump.ended() == "the exit was closed"


@pytest.mark.asyncio
async def test_whoever_stops_waiting_for_the_end_does_not_bring_it() -> None:
    async with pumping() as (program, pump, far):
        echo(far)
        waiting = asyncio.create_task(pump.ended())
        await turns()
        waiting.cancel()
        await turns()
        program.shutdown(socket.SHUT_WR)
        assert await pump.ended() == ""


class Bucket(RateLimit):
    """Counts what it is asked, and lets the test say how long to rest."""

    def __init__(self) -> None:
        super().__init__(1, 0, 0)
        self.rest_s = 0.0
        self.taken: list[int] = []

    def take(self, size: int, now: float) -> float:
        self.taken.append(size)
        return self.rest_s


@pytest.mark.asyncio
async def test_a_limit_rests_both_directions_and_loses_nothing() -> None:
    bucket = Bucket()
    async with pumping(bucket) as (program, pump, far):
        loop, reading = asyncio.get_running_loop(), Reading(far)
        bucket.rest_s = 3600
        await loop.sock_sendall(program, b"out")
        far.write(b"back")
        await until(lambda: len(bucket.taken) == 2)
        assert sorted(bucket.taken) == [3, 4]
        await loop.sock_sendall(program, b"more")
        far.write(b"more")
        await turns()
        assert (pump.sent_bytes, pump.received_bytes) == (3, 4)
        assert reading.data == b"out"


@pytest.mark.asyncio
async def test_after_its_rest_a_limited_pump_goes_on() -> None:
    limit = RateLimit(20 * MB, burst=0, now=asyncio.get_running_loop().time())
    async with pumping(limit) as (program, pump, far):
        echo(far)
        started = asyncio.get_running_loop().time()
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(program, bytes(2 * MB)))
        received = 0
        while received < 2 * MB:
            received += len(await asyncio.get_running_loop().sock_recv(program, MB))
        await sending
        # Two of 20 MiB out and two back take 0.2 s; the last read of each direction is not waited for.
        assert asyncio.get_running_loop().time() - started > 0.15
        assert pump.sent_bytes == pump.received_bytes == 2 * MB
