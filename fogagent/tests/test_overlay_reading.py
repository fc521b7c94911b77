"""Reading a stream step by step: all of it, in order, and never more than a little ahead."""

from __future__ import annotations

import asyncio
import os

import pytest

from fogagent.overlay.onion.cells import DATA_BYTES
from fogagent.overlay.onion.stream import Stream
from fogagent.overlay.onion.windows import STREAM_WINDOW
from fogagent.overlay.reading import HELD_BYTES, StreamBroken, reader_of
from fogagent.tests.onion_net import Net

pytestmark = pytest.mark.asyncio

SENT = os.urandom(4_000_000)


def ends(net: Net) -> tuple[Stream, Stream]:
    """A stream as its client and its relay have it."""
    ours = net.open_circuit(1).open_stream(b"")
    net.run()
    [(theirs, _)] = net.boxes[1].begun
    theirs.accept()
    return ours, theirs


async def test_what_nobody_reads_holds_the_other_end_back_until_it_is_read() -> None:
    net = Net(1)
    ours, theirs = ends(net)
    reader = reader_of(theirs)
    ours.write(SENT)
    ours.finish()
    net.run()
    assert ours.full, "it took all of it"
    assert HELD_BYTES < len(reader._buffer) <= 2 * HELD_BYTES + DATA_BYTES  # type: ignore[attr-defined]
    assert theirs.stored <= STREAM_WINDOW
    came = bytearray()
    while len(came) < len(SENT):
        came += await reader.readexactly(min(100_001, len(SENT) - len(came)))
        net.run()
    assert came == SENT
    assert await reader.read(1) == b""


async def test_what_ends_before_its_time_is_said_to_whoever_reads_and_will_read() -> None:
    net = Net(1)
    ours, theirs = ends(net)
    reader = reader_of(theirs)
    reading = asyncio.create_task(reader.readexactly(9))
    ours.write(b"12345")
    net.run()
    await asyncio.sleep(0)
    ours.abort("busy", "There is no room.")
    net.run()
    for read in (reading, reader.read(1)):
        with pytest.raises(StreamBroken, match="There is no room") as caught:
            await read
        assert caught.value.code == "busy"


async def test_an_end_without_a_sentence_has_one() -> None:
    net = Net(1)
    ours, theirs = ends(net)
    reader = reader_of(theirs)
    ours.abort("busy")
    net.run()
    with pytest.raises(StreamBroken, match="The stream ended: busy"):
        await reader.read(1)


async def test_a_stream_that_was_finished_before_it_was_whole_is_incomplete() -> None:
    net = Net(1)
    ours, theirs = ends(net)
    reader = reader_of(theirs)
    ours.write(b"12345")
    ours.finish()
    net.run()
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await reader.readexactly(9)
    assert caught.value.partial == b"12345"
