"""Whole overlays on loopback: real links, real circuits, a SOCKS port and an exit into a local server."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import msgspec
import pytest

from fogagent.home import Home
from fogagent.messages import TryCircuit, TunnelSpec, decode_from_agent, encode_frame
from fogagent.overlay import exit_streams
from fogagent.overlay import overlay as overlay_module
from fogagent.overlay.exit_streams import ExitStreams
from fogagent.overlay.onion.cells import RelayCommand
from fogagent.overlay.onion.errors import Reason as CircuitReason
from fogagent.overlay.onion.pace import Pace
from fogagent.overlay.onion.path import Wishes
from fogagent.overlay.onion.stream import Stream
from fogagent.overlay.overlay import Overlay
from fogagent.overlay.part import Part
from fogagent.overlay.stream import Reason, StreamRefused
from fogagent.tests.overlay_fakes import turns as turns_of_the_loop
from fogagent.tests.overlay_fakes import until
from fogagent.tests.overlays import EXIT, GUARD, MIDDLE, know, node, nodes

ECHO_BYTES = 300_000


@asynccontextmanager
async def shouting_server() -> AsyncIterator[int]:
    """Answers each line in capitals; its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


class Heard:
    """What came out of a stream."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.end: str | None = None
        self._changed = asyncio.Event()

    def on_data(self, data: bytes) -> None:
        self.data += data
        self._changed.set()

    def on_end(self, code: str) -> None:
        self.end = code
        self._changed.set()

    async def size(self, wanted: int) -> None:
        while len(self.data) < wanted and self.end is None:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), 20)

    async def ended(self) -> str:
        while self.end is None:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), 20)
        return self.end


@pytest.mark.asyncio
@pytest.mark.parametrize("hops", [1, 3, 5])
async def test_a_stream_crosses_real_links_to_a_server(tmp_path: Path, hops: int) -> None:
    flags = [("entry",), GUARD, *[MIDDLE] * (hops - 2), EXIT]
    async with shouting_server() as port, nodes(tmp_path, *flags, allow="lab=127.0.0.0/8") as made:
        stream = await made[0].open(Wishes(hops=hops), port)
        heard = Heard()
        stream.set_reader(heard.on_data, heard.on_end)
        stream.write(b"hello\n" * 10_000)
        stream.finish()
        assert await heard.ended() == ""
        assert heard.data == b"HELLO\n" * 10_000
        [own] = [each for each in made[0].overlay.client.circuits if each.used_at is not None]
        assert len(own.path) == hops


@pytest.mark.asyncio
async def test_a_program_comes_in_by_the_socks_port(tmp_path: Path) -> None:
    async with (
        shouting_server() as port,
        nodes(tmp_path, ("entry",), GUARD, MIDDLE, EXIT, allow="lab=127.0.0.0/8") as made,
    ):
        await made[0].overlay.set_tunnels([TunnelSpec(tunnel=5)])
        [tunnel] = made[0].overlay.status().tunnels
        socks = tunnel.port
        reader, writer = await asyncio.open_connection("127.0.0.1", socks)
        writer.write(b"\x05\x01\x00")
        assert await reader.readexactly(2) == b"\x05\x00"
        name = b"localhost"
        writer.write(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + port.to_bytes(2, "big"))
        assert (await reader.readexactly(10))[:2] == b"\x05\x00"
        writer.write(b"quiet\n")
        assert await reader.readline() == b"QUIET\n"
        told = made[0].overlay.status()
        [tunnel] = told.tunnels
        assert (tunnel.open, tunnel.clients, tunnel.sent_bytes, tunnel.received_bytes) == (True, 1, 6, 6)
        [used] = [each for each in told.circuits if each.streams]
        assert (used.tunnels, used.sent_bytes, len(used.path)) == ([5], 6, 3)
        assert {verdict.state for verdict in used.verdicts} <= {"passed", "waived"}
        assert sum(count for _, count in told.builds) >= 1
        assert len(told.guards) == 1
        writer.close()
        assert await reader.read() == b""


@pytest.mark.asyncio
async def test_what_the_exit_does_not_allow_is_said(tmp_path: Path) -> None:
    async with shouting_server() as port, nodes(tmp_path, ("entry",), GUARD, MIDDLE, EXIT) as made:
        with pytest.raises(StreamRefused, match="does not dial") as caught:
            await made[0].open(Wishes(), port)
        assert caught.value.reason is Reason.NOT_ALLOWED


@pytest.mark.asyncio
async def test_a_relay_that_is_no_exit_only_echoes(tmp_path: Path) -> None:
    async with nodes(tmp_path, ("entry",), GUARD, MIDDLE) as made:
        wishes = Wishes(hops=2, needs_exit=False)
        with pytest.raises(StreamRefused, match="no exit"):
            await made[0].open(wishes, 80, "192.0.2.1")
        stream = await made[0].overlay.client.open_stream(b"echo", wishes, "")
        heard = Heard()
        stream.set_reader(heard.on_data, heard.on_end)
        stream.write(sent := os.urandom(ECHO_BYTES))
        stream.finish()
        assert await heard.ended() == ""
        assert heard.data == sent


@pytest.mark.asyncio
async def test_when_the_middle_is_killed_the_open_stream_ends_and_a_new_one_works(tmp_path: Path) -> None:
    flags = [("entry",), GUARD, MIDDLE, MIDDLE, EXIT]
    async with shouting_server() as port, nodes(tmp_path, *flags, allow="lab=127.0.0.0/8") as made:
        client = made[0].overlay.client
        stream = await made[0].open(Wishes(), port)
        heard = Heard()
        stream.set_reader(heard.on_data, heard.on_end)
        own = next(each for each in client.circuits if each.circuit.streams is stream._streams)
        middle = next(one for one in made if one.relay.identity == own.path[1].identity)
        await middle.overlay.close()
        assert await heard.ended() == "circuit"
        began = time.monotonic()
        again = await made[0].open(Wishes(), port)
        assert time.monotonic() - began < 3
        assert again.opened
        made.remove(middle)


@pytest.mark.asyncio
async def test_an_agent_without_a_directory_says_so(tmp_path: Path) -> None:
    async with nodes(tmp_path) as made:
        assert not made
    alone = await node(tmp_path / "1", 1, ["entry"], "")
    try:
        with pytest.raises(StreamRefused, match="no directory"):
            await alone.open(Wishes(), 80)
    finally:
        await alone.overlay.close()


@pytest.mark.asyncio
async def test_guards_and_keys_outlive_a_restart(tmp_path: Path) -> None:
    wishes = Wishes(hops=2)
    async with nodes(tmp_path, ("entry",), GUARD, GUARD, GUARD, EXIT) as made:
        await made[0].overlay.client.open_stream(b"echo", wishes, "")
        kept = made[0].overlay.client.builder.guards.kept
        before = made[0]
    home = Home(tmp_path / "1")
    again = Overlay(home, before.identity, Part(enters=True, host="127.0.0.1"), Random(7))
    facts = await again.start()
    try:
        assert [guard.identity for guard in again.client.builder.guards.kept] == [
            guard.identity for guard in kept
        ]
        assert (facts.onion_key, facts.certificate) == (before.relay.onion_key, before.relay.certificate)
        assert facts.address == before.relay.address
    finally:
        await again.close()


@pytest.mark.asyncio
async def test_a_tunnel_keeps_its_port_and_says_why_it_is_not_open(tmp_path: Path) -> None:
    async with nodes(tmp_path, ("entry",), GUARD, EXIT) as made:
        overlay = made[0].overlay
        await overlay.set_tunnels([TunnelSpec(tunnel=1), TunnelSpec(tunnel=2)])
        first, second = overlay.status().tunnels
        await overlay.set_tunnels([TunnelSpec(tunnel=2), TunnelSpec(tunnel=3, port=second.port)])
        [kept, refused] = overlay.status().tunnels
        assert kept == second
        assert (refused.open, str(second.port) in refused.sentence) == (False, True)
        await overlay.set_tunnels([TunnelSpec(tunnel=2)])
        before = made[0]
    again = Overlay(Home(tmp_path / "1"), before.identity, Part(enters=True), Random(7))
    await again.start()
    try:
        await again.set_tunnels([TunnelSpec(tunnel=2)])
        assert [state.port for state in again.status().tunnels] == [second.port]
        assert first.port != second.port
    finally:
        await again.close()


@pytest.mark.asyncio
async def test_of_orders_for_tunnels_that_overlap_the_last_counts(tmp_path: Path) -> None:
    async with nodes(tmp_path, ("entry",), GUARD, EXIT) as made:
        overlay = made[0].overlay
        await overlay.set_tunnels([TunnelSpec(tunnel=1)])
        [before] = overlay.status().tunnels
        await overlay.set_tunnels([])
        opening = asyncio.create_task(overlay.set_tunnels([TunnelSpec(tunnel=1, port=before.port)]))
        await asyncio.sleep(0)  # until it waits for its port
        await asyncio.gather(opening, overlay.set_tunnels([]))
        assert overlay.status().tunnels == []
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", before.port)


@pytest.mark.asyncio
async def test_no_tunnel_opens_where_the_owner_does_not_grant_entry(tmp_path: Path) -> None:
    async with nodes(tmp_path, GUARD) as made:
        await made[0].overlay.set_tunnels([TunnelSpec(tunnel=1)])
        [refused] = made[0].overlay.status().tunnels
    assert (refused.open, "entry is not among" in refused.sentence) == (False, True)


@pytest.mark.asyncio
async def test_circuits_are_tried_over_our_own_path_or_a_given_one(tmp_path: Path) -> None:
    async with nodes(tmp_path, ("entry",), GUARD, MIDDLE, EXIT) as made:
        overlay = made[0].overlay
        own = await overlay.try_circuit(TryCircuit(trial=1, hops=3, size=5000))
        assert (own.trial, own.ok, own.sentence, len(own.path)) == (1, True, "", 3)
        assert min(own.build_ms, own.echo_ms, own.kbps) > 0
        middle = made[2].relay.identity
        given = await overlay.try_circuit(TryCircuit(trial=2, through=[middle], size=1_000_000))
        assert (given.ok, given.path) == (True, [middle])
        leaving = await overlay.try_circuit(TryCircuit(trial=5, hops=2, to_exit=True))
        assert (leaving.ok, leaving.path[-1]) == (True, made[3].relay.identity)
        unknown = await overlay.try_circuit(TryCircuit(trial=3, through=[bytes(32)]))
        assert (unknown.ok, "not in this node's directory" in unknown.sentence) == (False, True)
        long = await overlay.try_circuit(TryCircuit(trial=4, hops=8))
        assert (long.ok, long.sentence.startswith("No ")) == (False, True)
        assert not overlay.client.circuits


@pytest.mark.asyncio
@pytest.mark.parametrize("busy", [1, 2])
async def test_a_trial_says_which_relay_was_asked_for_too_many_circuits(tmp_path: Path, busy: int) -> None:
    async with nodes(tmp_path, ("entry",), GUARD, MIDDLE) as made:
        made[busy].overlay._switch._pace = Pace(1e-9)
        through = [one.relay.identity for one in made[1:]]
        told = await made[0].overlay.try_circuit(TryCircuit(trial=1, through=through))
    assert not told.ok
    assert told.sentence == f"node-{busy + 1}: {CircuitReason.RATE.sentence}"


@pytest.mark.asyncio
async def test_a_trial_keeps_no_more_than_it_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with nodes(tmp_path, ("entry",), GUARD) as made:
        began: list[Stream] = []

        def flood(stream: Stream, asked: bytes) -> None:
            began.append(stream)
            stream.accept()
            stream.write(bytes(1_000_000))

        monkeypatch.setattr(made[1].overlay._switch, "_on_begin", flood)
        told = await made[0].overlay.try_circuit(TryCircuit(trial=1, hops=1, size=1000))
        assert (told.ok, "more than was sent" in told.sentence) == (False, True)
        assert began


@pytest.mark.asyncio
async def test_an_exit_may_stop_while_a_connection_is_handed_to_its_pump(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        async with nodes(tmp_path, ("entry",), GUARD, EXIT, allow="lab=127.0.0.0/8") as made:
            exits = made[2].overlay._exits
            for turns in range(6):
                opening = asyncio.create_task(made[0].open(Wishes(hops=2), port))
                await until(lambda: len(exits) > 0)
                await turns_of_the_loop(turns)
                await exits.close()
                await asyncio.gather(opening, return_exceptions=True)
            assert len(exits) == 0


@pytest.mark.asyncio
async def test_nothing_is_dialled_any_more_for_a_client_that_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*target: object, **how: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(exit_streams, "dial", never)
    async with nodes(tmp_path, ("entry",), GUARD, EXIT, allow="lab=127.0.0.0/8") as made:
        exits = made[2].overlay._exits
        opening = asyncio.create_task(made[0].open(Wishes(hops=2), 80))
        await until(lambda: len(exits) == 1)
        opening.cancel()
        await until(lambda: len(exits) == 0)


@pytest.mark.asyncio
async def test_a_client_cannot_make_an_exit_lose_count_of_its_connections(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        async with nodes(tmp_path, ("entry",), GUARD, EXIT, allow="lab=127.0.0.0/8") as made:
            exits = made[2].overlay._exits
            stream = await made[0].open(Wishes(hops=2), port)
            connection, _ = listening.accept()
            connection.setblocking(False)
            with connection:
                stream._streams.carrier.send(RelayCommand.CONNECTED, stream.number, b"")
                with pytest.raises(ConnectionResetError):
                    await asyncio.wait_for(asyncio.get_running_loop().sock_recv(connection, 1), 30)
            await until(lambda: stream.ending is not None and len(exits) == 0)


@pytest.mark.asyncio
async def test_who_has_most_of_an_exits_connections_gives_one_up_for_others(
    tmp_path: Path,
) -> None:
    flags = ("entry",), ("entry",), GUARD, EXIT
    async with shouting_server() as port, nodes(tmp_path, *flags, allow="lab=127.0.0.0/8") as made:
        greedy, modest, _, last = made
        last.overlay._exits = ExitStreams(last.overlay._part.exit_policy, most=4)
        taken = [await greedy.open(Wishes(hops=2), port) for _ in range(6)]
        silent, talking = taken[2:4]
        talking.set_reader((talked := Heard()).on_data, talked.on_end)
        silent.set_reader((cut := Heard()).on_data, cut.on_end)
        for stream in taken[3:]:
            stream.write(b"still here\n")
        await talked.size(len(b"still here\n"))
        stream = await modest.open(Wishes(hops=2), port)
        stream.set_reader((heard := Heard()).on_data, heard.on_end)
        stream.write(b"served\n")
        await heard.size(len(b"served\n"))
        assert heard.data == b"SERVED\n"
        assert await cut.ended() == Reason.BUSY
        assert [one.ending and one.ending.code for one in taken] == [Reason.BUSY] * 3 + [None] * 3


@pytest.mark.asyncio
async def test_whatever_relays_are_called_the_panel_can_read_the_status(tmp_path: Path) -> None:
    flags = [("entry",), GUARD, *[MIDDLE] * 6, EXIT]
    async with nodes(tmp_path, *flags) as made:
        for number, one in enumerate(made):
            long = f"{number}" * 200
            one.relay = msgspec.structs.replace(one.relay, name=long, family=long)
        know(made, made)
        overlay = made[0].overlay
        own = await overlay.client.builder.build(Wishes(hops=8))
        overlay.client._circuits = [own] * 200
        overlay.client._note(Wishes(), "much " * 1000)
        status = overlay.status()
        assert decode_from_agent(encode_frame([status])) == [status]
        assert len(status.circuits) > 10


@pytest.mark.asyncio
async def test_a_relay_looks_after_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay_module, "RELIEVE_S", 0.01)
    monkeypatch.setattr(overlay_module, "STORED_SHARE", 0)
    async with nodes(tmp_path, ("entry",), GUARD) as made:
        monkeypatch.setattr(made[1].overlay._switch, "_on_begin", lambda stream, asked: stream.accept())
        stream = await made[0].overlay.client.open_stream(b"", Wishes(hops=1, needs_exit=False), "")
        heard = Heard()
        stream.set_reader(heard.on_data, heard.on_end)
        stream.write(bytes(ECHO_BYTES))
        assert await heard.ended() == "circuit"
