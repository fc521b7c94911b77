"""What a link carries: whole frames in their order, no faster than they are taken, while both ends live."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fogagent.overlay.frames import MAX_PAYLOAD, frame_header
from fogagent.overlay.link import TLS_BACKLOG
from fogagent.overlay.link_writer import HIGH_WATER
from fogagent.overlay.links import READ_BYTES, Link, LinkTimes
from fogagent.overlay.liveness import Due, Liveness
from fogagent.overlay.secure import SecureChannel
from fogagent.tests.linked import WAIT_S, Node, acquaint, comes_true

BLOB = 4
ALERT = LinkTimes(keep_alive_s=0.02, silent_s=60, unused_s=300)
"""Looks at links all the time; how long one was silent is set, as a busy machine may stop us for longer."""
LONG_AGO = -math.inf


@asynccontextmanager
async def linked(
    folder: Path, times: LinkTimes | None = None
) -> AsyncIterator[tuple[Node, Link, Node, Link]]:
    """Two nodes with both ends of the link between them."""
    async with Node(folder, "a", times=times) as a, Node(folder, "b", times=times) as b:
        acquaint(a, b)
        of_a = await a.links.get(b.identity)
        of_b = await b.links.get(a.identity)
        yield a, of_a, b, of_b


def fail() -> None:
    raise RuntimeError("a fault")


def faults_of_this_loop() -> list[str]:
    """Where those go that nobody catches."""
    faults: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: faults.append(str(context["exception"]))
    )
    return faults


async def push(link: Link, frames: int, size: int) -> int:
    """Send numbered frames as fast as the link takes them; returns the most bytes that ever waited."""
    most = 0
    for number in range(frames):
        link.send(BLOB, number.to_bytes(4) + bytes(size - 4))
        most = max(most, link.buffered)
        if link.full:
            await link.room()
    return most


@pytest.mark.asyncio
async def test_frames_of_all_sizes_arrive_whole_and_in_order(tmp_path: Path) -> None:
    async with linked(tmp_path) as (_, of_a, b, _):
        sent = [
            (1 + size % 4, bytes([size % 251]) * size) for size in (0, 1, 4095, MAX_PAYLOAD, 16384, 3, 509)
        ]
        for kind, payload in sent * 10:
            of_a.send(kind, payload)
        await b.until(lambda: len(b.frames) == 70)
        assert b.frames == sent * 10


@pytest.mark.asyncio
async def test_what_no_peer_would_take_is_not_sent(tmp_path: Path) -> None:
    async with linked(tmp_path) as (_, of_a, _, _):
        with pytest.raises(ValueError, match="at most 65536 bytes"):
            of_a.send(BLOB, bytes(MAX_PAYLOAD + 1))
        with pytest.raises(ValueError, match="no frame of kind 9"):
            of_a.send(9, b"")
        assert of_a.open


@pytest.mark.asyncio
async def test_frames_of_one_turn_leave_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    encrypt = SecureChannel.encrypt

    def counted(channel: SecureChannel, plain: bytes | memoryview) -> bytes:
        batches.append(len(plain))
        return encrypt(channel, plain)

    async with linked(tmp_path) as (_, of_a, b, _):
        monkeypatch.setattr(SecureChannel, "encrypt", counted)
        for _ in range(20):
            of_a.send(1, bytes(508))
        await b.until(lambda: len(b.frames) == 20)
        assert batches == [20 * 512]


@pytest.mark.asyncio
async def test_a_reader_that_holds_stops_the_writer(tmp_path: Path) -> None:
    """64 MiB for a peer that does not read: all but a little stays with whoever makes it."""
    frames, size = 8192, 8192
    async with linked(tmp_path) as (_, of_a, b, of_b):
        b.on_frame = lambda link: link.hold()
        pushing = asyncio.create_task(push(of_a, frames, size))
        await b.until(lambda: bool(b.frames))
        for _ in range(1000):  # turns of the loop, in each of which a link that reads takes 64 KiB
            await asyncio.sleep(0)
        assert of_a.full
        assert not pushing.done()
        assert len(b.frames) == 1, "none is handed over after hold"
        assert of_b._channel._incoming.pending <= READ_BYTES
        assert len(of_b._reader._bytes) <= READ_BYTES
        b.on_frame = lambda link: None
        of_b.go_on()
        async with asyncio.timeout(WAIT_S):
            most = await pushing
        assert HIGH_WATER < most < HIGH_WATER + 2 * size
        await b.until(lambda: len(b.frames) == frames)
        assert [int.from_bytes(payload[:4]) for _, payload in b.frames] == list(range(frames))


@pytest.mark.asyncio
async def test_holding_in_the_middle_of_what_came_loses_nothing(tmp_path: Path) -> None:
    async with linked(tmp_path) as (_, of_a, b, of_b):
        b.on_frame = lambda link: link.hold()
        for number in range(50):
            of_a.send(1, bytes([number]))
        for number in range(50):
            await b.until(lambda number=number: len(b.frames) == number + 1)  # type: ignore[misc]
            of_b.go_on()
        assert [payload[0] for _, payload in b.frames] == list(range(50))


@pytest.mark.asyncio
async def test_a_link_that_holds_still_sends(tmp_path: Path) -> None:
    async with linked(tmp_path) as (a, of_a, b, of_b):
        of_a.hold()
        of_a.send(1, b"while we hold")
        await b.until(lambda: b.frames == [(1, b"while we hold")])
        of_b.send(1, b"for later")
        of_a.go_on()
        of_a.hold()
        of_a.go_on()
        await a.until(lambda: a.frames == [(1, b"for later")])


@pytest.mark.asyncio
async def test_those_who_wait_for_room_have_their_turns(tmp_path: Path) -> None:
    async with linked(tmp_path) as (_, of_a, b, of_b):
        of_b.hold()
        called: list[str] = []

        def greedy() -> None:
            called.append("greedy")
            while not of_a.full:
                of_a.send(BLOB, bytes(MAX_PAYLOAD))

        greedy()
        called.clear()
        of_a.on_room(greedy)
        of_a.on_room(lambda: called.append("modest, in vain" if of_a.full else "modest"))
        of_b.go_on()
        await b.until(lambda: len(called) == 2)
        assert called == ["greedy", "modest"], "the second only when there was room again"


@pytest.mark.asyncio
async def test_whoever_waits_for_room_learns_of_the_end(tmp_path: Path) -> None:
    async with linked(tmp_path) as (_, of_a, _, of_b):
        of_b.hold()
        pushing = asyncio.create_task(push(of_a, 1_000_000, 8192))
        await comes_true(lambda: of_a.full)
        pushing.cancel()
        waiting = asyncio.create_task(of_a.room())
        await asyncio.sleep(0)
        of_b.close()
        async with asyncio.timeout(WAIT_S):
            await waiting
        assert not of_a.full
        assert not of_a.open
        of_a.send(1, b"to nobody")
        assert of_a.buffered == 0


@pytest.mark.asyncio
async def test_who_asks_for_room_where_there_is_some_has_it_at_once(tmp_path: Path) -> None:
    async with linked(tmp_path) as (_, of_a, _, _):
        called: list[str] = []
        await of_a.room()
        of_a.on_room(lambda: called.append("open"))
        assert not called, "not before the caller is done"
        await comes_true(lambda: called == ["open"])
        of_a.close()
        await of_a.room()
        of_a.on_room(lambda: called.append("over"))
        await comes_true(lambda: called == ["open", "over"])


@pytest.mark.asyncio
async def test_a_peer_that_makes_tls_answer_and_does_not_read_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with linked(tmp_path) as (a, of_a, _, of_b):
        of_b.hold()
        while not of_a.full:
            of_a.send(BLOB, bytes(MAX_PAYLOAD))
        monkeypatch.setattr(SecureChannel, "unsent", TLS_BACKLOG + 1)
        of_b.send(1, b"one more change of keys")
        assert await a.end() == "The peer asks TLS for answers and does not read them."


@pytest.mark.asyncio
async def test_a_bad_frame_ends_the_link_with_a_named_reason(tmp_path: Path) -> None:
    async with linked(tmp_path) as (a, of_a, b, _):
        of_a.send(1, b"good")
        of_a._writer.put(b"\x00\x00\x00\x07", b"")
        of_a.send(1, b"after it")
        assert await b.end() == "The peer sent a frame of the unknown kind 7."
        assert b.frames == [(1, b"good")]
        await a.end()


@pytest.mark.asyncio
async def test_noise_in_place_of_tls_ends_the_link(tmp_path: Path) -> None:
    async with linked(tmp_path) as (_, of_a, b, _):
        of_a._writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await b.end()).startswith("TLS ended the link: ")


@pytest.mark.asyncio
async def test_a_link_that_was_cut_is_told_from_one_that_was_closed(tmp_path: Path) -> None:
    async with linked(tmp_path) as (a, of_a, b, _):
        assert of_a._transport is not None
        of_a._transport.abort()
        assert await b.end() == "The connection was lost."
        assert await a.end() == "The connection was lost."


@pytest.mark.asyncio
async def test_closing_hands_over_nothing_more(tmp_path: Path) -> None:
    async with linked(tmp_path) as (_, of_a, b, of_b):
        b.on_frame = lambda link: link.close("Enough.")
        for _ in range(5):
            of_a.send(1, b"")
        assert await b.end() == "Enough."
        assert len(b.frames) == 1
        assert b.closed == [(of_b, "Enough.")], "once"


@pytest.mark.asyncio
async def test_idle_links_say_that_they_are_there(tmp_path: Path) -> None:
    async with linked(tmp_path, ALERT) as (_, of_a, _, of_b):
        before = of_a._liveness.heard_at, of_b._liveness.heard_at
        await comes_true(lambda: of_a._liveness.heard_at > before[0])
        await comes_true(lambda: of_b._liveness.heard_at > before[1])


@pytest.mark.asyncio
async def test_a_silent_peer_is_dead(tmp_path: Path) -> None:
    async with Node(tmp_path, "a", times=ALERT) as a, Node(tmp_path, "b") as b:  # b speaks every 30 s
        acquaint(a, b)
        link = await a.links.get(b.identity)
        link._liveness.heard_at = LONG_AGO
        assert await a.end() == "The peer was not heard for 60 s."
        assert await b.end() == "The peer closed the link."


@pytest.mark.asyncio
async def test_a_link_that_nobody_uses_is_closed(tmp_path: Path) -> None:
    async with Node(tmp_path, "a", times=ALERT) as a, Node(tmp_path, "b") as b:
        acquaint(a, b)
        link = await a.links.get(b.identity)
        link._liveness.used_at = LONG_AGO
        assert await a.end() == "Nobody used the link for 300 s."
        assert await a.links.get(b.identity) is not link, "and made again when it is wanted"


@pytest.mark.asyncio
async def test_a_link_that_somebody_keeps_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[bool] = []
    due = Liveness.due

    def noted(
        liveness: Liveness, now: float, times: LinkTimes, *, kept: bool, held: bool, blocked: bool
    ) -> Due:
        judged.append(now - liveness.used_at > times.unused_s)
        return due(liveness, now, times, kept=kept, held=held, blocked=blocked)

    monkeypatch.setattr(Liveness, "due", noted)
    async with Node(tmp_path, "a", times=ALERT) as a, Node(tmp_path, "b") as b:
        acquaint(a, b)
        link = await a.links.get(b.identity)
        link.keep()
        link.keep()
        link.release()
        link._liveness.used_at = LONG_AGO
        await comes_true(lambda: True in judged)
        assert link.open
        link.release()
        link._liveness.used_at = LONG_AGO
        assert await a.end() == "Nobody used the link for 300 s."


@pytest.mark.asyncio
async def test_used_links_stay(tmp_path: Path) -> None:
    async with linked(tmp_path) as (a, of_a, b, of_b):
        of_a._liveness.used_at = of_b._liveness.used_at = 0.0
        of_a.send(1, b"used")
        await b.until(lambda: len(b.frames) == 1)
        assert of_a._liveness.used_at > 0
        assert of_b._liveness.used_at > 0
        of_a._liveness.used_at = of_b._liveness.used_at = 0.0
        of_a._writer.put(frame_header(0, 0), b"")
        of_b.send(1, b"after the keep-alive")
        assert of_a._liveness.used_at == 0.0, "a keep-alive is no use"
        assert await a.links.get(b.identity) is of_a
        assert of_a._liveness.used_at > 0, "whoever asked for it is about to use it"


@pytest.mark.asyncio
async def test_a_fault_in_whoever_takes_frames_ends_only_that_link(tmp_path: Path) -> None:
    faults = faults_of_this_loop()
    async with linked(tmp_path) as (a, of_a, b, _):
        b.on_frame = lambda link: fail()
        of_a.send(1, b"")
        await b.end()
        await a.end()
        assert faults == ["a fault"]
        assert b.closed[0][1] == "A fault of this node ended the link."
        b.on_frame = lambda link: None
        (await a.links.get(b.identity)).send(1, b"again")
        await b.until(lambda: b.frames[-1:] == [(1, b"again")])


@pytest.mark.asyncio
@pytest.mark.parametrize("ends", [False, True])
async def test_a_fault_in_whoever_waits_for_room_is_no_others(tmp_path: Path, ends: bool) -> None:
    faults = faults_of_this_loop()
    called: list[str] = []
    async with linked(tmp_path) as (a, of_a, _, of_b):
        of_b.hold()
        while not of_a.full:
            of_a.send(BLOB, bytes(MAX_PAYLOAD))
        for callback in (fail, lambda: called.append("one"), fail, lambda: called.append("other")):
            of_a.on_room(callback)
        if ends:
            of_b.close()
            await a.end()
        else:
            of_b.go_on()
        await comes_true(lambda: called == ["one", "other"])
        assert faults == ["a fault"] * 2
        assert of_a.open is not ends


@pytest.mark.asyncio
async def test_a_fault_in_whoever_hears_of_the_end_leaves_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = faults_of_this_loop()
    async with linked(tmp_path) as (a, of_a, _, of_b):
        monkeypatch.setattr(a.links, "_on_closed", lambda link, sentence: fail())
        of_b.hold()
        while not of_a.full:
            of_a.send(BLOB, bytes(MAX_PAYLOAD))
        waiting = asyncio.create_task(of_a.room())
        await asyncio.sleep(0)
        of_b.close()
        async with asyncio.timeout(WAIT_S):
            await waiting
        assert faults == ["a fault"]
        assert len(a.links) == 0
