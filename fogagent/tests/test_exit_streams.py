"""What clients write that want a stream, as an exit reads it; and for how many of them it dials."""

from __future__ import annotations

import asyncio

import pytest

from fogagent.overlay import exit_streams
from fogagent.overlay.exit_policy import ExitPolicy
from fogagent.overlay.exit_streams import GIVEN_AWAY, ExitStreams, connect_to, read_connect
from fogagent.overlay.onion.stream import Stream
from fogagent.overlay.stream import BadTarget, Reason, Target
from fogagent.tests.onion_net import Net
from fogagent.tests.overlay_fakes import until


@pytest.mark.parametrize("host", ["Example.org", "192.0.2.7", "2001:db8::1", "a"])
@pytest.mark.parametrize("port", [1, 80, 65535])
def test_what_is_written_is_read_as_it_was(host: str, port: int) -> None:
    assert read_connect(connect_to(Target(host, port))) == Target(host, port)


@pytest.mark.parametrize(
    "asked",
    [
        b"",
        b"example.org",
        b"example.org:",
        b"example.org:0",
        b"example.org:65536",
        b"example.org:0080",
        b"example.org:8_0",
        b"example.org:" + b"9" * 4050,
        b"example.org:80 ",
        b"example.org:80/path?query#part",
        b"somebody:secret@example.org:80",
        b"exa\tmple.org:80",
        b"ex\xe4mple.org:80",
        b"[192.0.2.7]:80",
        b"[example.org]:80",
        b"2001:db8::1:80",
        b"[2001:db8::1]:80:80",
        b"[2001:db8::1]more:80",
        b"[fe80::1%lo]:80",
    ],
)
def test_what_no_client_would_write_is_refused(asked: bytes) -> None:
    with pytest.raises(BadTarget):
        read_connect(b"connect " + asked)


def ask(net: Net, streams: int) -> list[Stream]:
    """So many of a new circuit."""
    circuit = net.open_circuit(3)
    asked = [circuit.open_stream(connect_to(Target("example.org", 80))) for _ in range(streams)]
    net.run()
    return asked


def kept(streams: list[Stream]) -> int:
    return sum(stream.ending is None for stream in streams)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers whom an exit dials."""

    async def never(*target: object, **how: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(exit_streams, "dial", never)


@pytest.mark.asyncio
@pytest.mark.usefixtures("silent")
async def test_a_client_with_a_thousand_streams_leaves_others_their_share() -> None:
    net, exits = Net(3), ExitStreams(ExitPolicy(), most=50)
    net.boxes[3].on_begin = exits.on_begin
    hostile = [stream for _ in range(4) for stream in ask(net, 250)]
    assert (len(exits), kept(hostile)) == (50, 50)
    modest = ask(net, 10)
    assert (len(exits), kept(hostile), kept(modest)) == (50, 40, 10)
    more = ask(net, 10)
    assert (kept(hostile), kept(modest), kept(more)) == (32, 9, 9), "fifty for six circuits"
    lost = {stream.ending for stream in hostile if stream.ending is not None}
    assert {(ending.code, ending.sentence) for ending in lost} == {(Reason.BUSY, GIVEN_AWAY)}
    await exits.close()
    net.run()
    assert (len(exits), kept(modest)) == (0, 0)


@pytest.mark.asyncio
@pytest.mark.usefixtures("silent")
async def test_nothing_is_dialled_for_a_client_that_goes_while_it_gets_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net, exits = Net(3), ExitStreams(ExitPolicy(), most=1)
    net.boxes[3].on_begin = exits.on_begin
    ask(net, 1)
    monkeypatch.setattr(exit_streams._Way, "end", lambda way, *why: net.cut(3, 2))
    ask(net, 1)
    await until(lambda: len(exits) == 0)
    await exits.close()
