"""Circuits of real switches: built to any length, used, ended, and meddled with."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogagent.overlay.onion import switch as switch_module
from fogagent.overlay.onion.backlog import BUFFER_BYTES
from fogagent.overlay.onion.cells import (
    CELL_BYTES,
    DATA_BYTES,
    HEADER,
    Command,
    RelayCommand,
    pack,
    pack_destroy,
    pack_text,
    unpack,
)
from fogagent.overlay.onion.circuit import Circuit, HopTarget, State
from fogagent.overlay.onion.errors import OnionError, ProtocolError, Reason
from fogagent.overlay.onion.handshake import ClientHandshake
from fogagent.overlay.onion.outlet import BACKLOG, CellLink
from fogagent.overlay.onion.pace import Pace, affordable_per_s
from fogagent.overlay.onion.stream import Stream
from fogagent.overlay.onion.streams import STREAMS_MAX
from fogagent.overlay.onion.windows import CIRCUIT_WINDOW, STREAM_WINDOW
from fogagent.tests.onion_net import Box, Heard, Meddle, Net, Wire, echo


def at_rest(net: Net) -> bool:
    """Whether no circuit is left anywhere."""
    return not any(box.switch.circuits() for box in net.boxes)


@pytest.mark.parametrize("hops", range(1, 9))
def test_circuits_of_every_length_carry_data(hops: int) -> None:
    net = Net(hops)
    net.boxes[hops].on_begin = echo
    circuit = net.open_circuit(hops)
    heard = Heard(circuit.open_stream(b"echo"))
    heard.stream.write(sent := os.urandom(100_000))
    heard.stream.finish()
    net.run()
    assert (heard.stream.opened, bytes(heard.data), heard.end) == (True, sent, "")
    assert [len(box.begun) for box in net.boxes] == [0] * hops + [1]
    circuit.close()
    net.run()
    assert at_rest(net)


def test_every_cell_has_the_same_size_on_every_link() -> None:
    net, sizes = Net(3), set[int]()

    def note(cell: bytes) -> list[bytes]:
        sizes.add(len(cell))
        return [cell]

    for here, there in ((0, 1), (1, 2), (2, 3)):
        net.wire(here, there).meddle = net.wire(there, here).meddle = note
    net.boxes[3].on_begin = echo
    Heard(net.open_circuit(3).open_stream(b"")).stream.write(b"x")
    net.run()
    assert sizes == {CELL_BYTES}


def test_no_link_carries_the_same_cell_as_another() -> None:
    net, seen = Net(3), list[bytes]()

    def note(cell: bytes) -> list[bytes]:
        seen.append(cell[HEADER.size :])
        return [cell]

    for here, there in ((0, 1), (1, 2), (2, 3)):
        net.wire(here, there).meddle = note
    net.boxes[3].on_begin = echo
    Heard(net.open_circuit(3).open_stream(b"")).stream.write(marker := b"marker" * 100)
    net.run()
    assert len(set(seen)) == len(seen)
    assert not any(marker[:60] in cell for cell in seen)


# --- What a relay may do to cells ------------------------------------------------------------------


class Once:
    """Leaves cells alone but for the ``turn``-th."""

    def __init__(self, turn: int, meddle: Meddle) -> None:
        self._left, self._meddle = turn, meddle

    def __call__(self, cell: bytes) -> list[bytes]:
        self._left -= 1
        return self._meddle(cell) if self._left == 0 else [cell]


def flip(place: int, cell: bytes) -> list[bytes]:
    changed = bytearray(cell)
    changed[place] ^= 1
    return [bytes(changed)]


def repeat(cell: bytes) -> list[bytes]:
    return [cell, cell]


def lose(cell: bytes) -> list[bytes]:
    return []


class Swap:
    """Lets the next cell go first."""

    def __init__(self) -> None:
        self._kept: bytes | None = None

    def __call__(self, cell: bytes) -> list[bytes]:
        if self._kept is None:
            self._kept = cell
            return []
        kept, self._kept = self._kept, None
        return [cell, kept]


LINKS = [(0, 1), (1, 2), (2, 3), (3, 2), (2, 1), (1, 0)]


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize(
    "meddle",
    [
        partial(flip, HEADER.size),
        partial(flip, HEADER.size + 4),
        partial(flip, CELL_BYTES - 1),
        repeat,
        lose,
        Swap,
    ],
    ids=["mark", "begin", "end", "repeat", "lose", "swap"],
)
@pytest.mark.parametrize("turn", [1, 3])
def test_whatever_is_changed_kills_the_circuit_and_nothing_wrong_is_delivered(
    link: tuple[int, int], meddle: Meddle, turn: int
) -> None:
    net = Net(3)
    net.boxes[3].on_begin = echo
    circuit = net.open_circuit(3)
    heard = Heard(circuit.open_stream(b"echo"))
    net.run()
    wire = net.wire(*link)
    wire.meddle = Swap() if meddle is Swap else Once(turn, meddle)  # type: ignore[comparison-overlap]
    sent = b"".join(os.urandom(DATA_BYTES) for _ in range(6))
    heard.stream.write(sent)
    net.run()
    assert circuit.state is State.CLOSED
    assert circuit.reason is Reason.INTEGRITY
    assert heard.end == "circuit"
    assert sent.startswith(bytes(heard.data))
    assert len(heard.data) < len(sent)
    arrived = net.boxes[3].begun[0][0]
    assert arrived.ending is not None
    assert at_rest(net)


def test_a_relay_that_delays_harms_nobody() -> None:
    net = Net(3)
    net.boxes[3].on_begin = echo
    heard = Heard(net.open_circuit(3).open_stream(b""))
    kept: list[bytes] = []
    net.wire(1, 2).meddle = lambda cell: kept.append(cell) or []  # type: ignore[func-returns-value]
    heard.stream.write(b"late")
    net.run()
    assert not heard.data
    wire = net.wire(1, 2)
    wire.meddle = None
    wire.waiting.extend(kept)
    net.run()
    assert heard.data == b"late"


# --- Building --------------------------------------------------------------------------------------


def test_a_relay_that_does_not_hold_its_key_ends_the_building() -> None:
    net = Net(3)
    wrong = HopTarget(net.boxes[2].identity, net.boxes[1].target.onion_key)
    circuit = net.boxes[0].switch.build(
        net.wire(0, 1),
        [net.boxes[1].target, wrong],
        on_open=lambda _: None,
        on_closed=lambda _: None,
    )
    net.run()
    assert (circuit.state, circuit.reason, circuit.built) == (State.CLOSED, Reason.HANDSHAKE, 1)
    assert at_rest(net)


def test_an_answer_too_long_to_be_passed_on_ends_the_circuit_and_nothing_else() -> None:
    net = Net(2)
    answer = (CELL_BYTES - HEADER.size - 2).to_bytes(2, "big")
    net.wire(2, 1).meddle = lambda cell: [cell[: HEADER.size] + answer + cell[HEADER.size + 2 :]]
    circuit = net.circuit(2)
    assert (circuit.state, circuit.reason) == (State.CLOSED, Reason.PROTOCOL)
    assert at_rest(net)
    assert not net.closed_for


def test_a_relay_that_cannot_be_reached_is_told() -> None:
    net = Net(1)
    circuit = net.boxes[0].switch.build(
        net.wire(0, 1),
        [net.boxes[1].target, HopTarget(b"?" * 32, net.boxes[1].target.onion_key)],
        on_open=lambda _: None,
        on_closed=lambda _: None,
    )
    net.run()
    assert (circuit.state, circuit.reason) == (State.CLOSED, Reason.UNREACHABLE)
    assert at_rest(net)


@pytest.mark.parametrize("back_to", [0, 1])
def test_a_circuit_does_not_turn_round(back_to: int) -> None:
    net = Net(2)
    circuit = net.boxes[0].switch.build(
        net.wire(0, 1),
        [net.boxes[1].target, net.boxes[back_to].target],
        on_open=lambda _: None,
        on_closed=lambda _: None,
    )
    net.run()
    assert (circuit.state, circuit.reason) == (State.CLOSED, Reason.PROTOCOL)


def test_a_link_carries_so_many_circuits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch_module, "CIRCUITS_MAX", 3)
    net = Net(2)
    circuits = [net.open_circuit(1) for _ in range(3)]
    with pytest.raises(ProtocolError, match="as many circuits"):
        net.circuit(1)
    circuits[0].close()
    net.run()
    assert net.open_circuit(1).state is State.OPEN


def test_a_peer_has_no_more_circuits_over_several_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch_module, "CIRCUITS_MAX", 3)
    net = Net(1)
    client, relay = net.boxes
    circuits = [net.open_circuit(1) for _ in range(3)]

    def asked_over_another_link() -> Command:
        link = Wire(net, relay, client.identity, b"")
        request = ClientHandshake(*relay.target).request
        relay.switch.on_cell(link, pack_text(1, Command.CREATE, request))
        answer = unpack(link.waiting.popleft()).command
        relay.switch.on_link_closed(link)
        return answer

    assert asked_over_another_link() is Command.DESTROY
    circuits[0].close()
    net.run()
    assert asked_over_another_link() is Command.CREATED
    net.cut(0, 1)
    assert not relay.switch._of_peers


def test_a_peer_that_asks_for_circuits_too_fast_is_refused_by_name_and_nobody_else_is() -> None:
    net = Net(2, creates_per_s=5)
    for _ in range(5):
        net.open_circuit(1).close()
    refused = net.circuit(1)
    assert (refused.state, refused.reason) == (State.CLOSED, Reason.RATE)
    assert "more circuits in a short time" in Reason.RATE.sentence
    from_another = net.boxes[2].switch.build(
        net.wire(2, 1), [net.boxes[1].target], on_open=lambda _: None, on_closed=lambda _: None
    )
    net.run()
    assert from_another.state is State.OPEN
    net.now += 0.2
    assert net.open_circuit(1).state is State.OPEN
    assert net.circuit(1).reason is Reason.RATE


def test_a_new_link_does_not_make_a_peer_that_asks_too_fast_a_new_one() -> None:
    net = Net(1, creates_per_s=5)
    for _ in range(5):
        net.open_circuit(1)
    net.cut(0, 1)
    assert net.circuit(1).reason is Reason.RATE


def test_a_relay_that_asks_the_next_one_too_fast_is_told_and_tells_its_client() -> None:
    net = Net(2, creates_per_s=5)
    net.boxes[1].switch._pace = Pace(1000)
    for _ in range(5):
        net.open_circuit(2)
    refused = net.circuit(2)
    assert (refused.state, refused.reason, refused.built) == (State.CLOSED, Reason.RATE, 1)


def test_peers_that_have_rested_are_forgotten() -> None:
    pace = Pace(10)
    for number in range(100):
        assert pace.allows(bytes([number]) * 32, now=number)
    assert len(pace._limits) == 1


def test_a_machine_affords_some_hundred_handshakes_for_each_peer_and_not_a_million() -> None:
    assert 50 < affordable_per_s() < 1e5


def waiting(net: Net, number: int) -> int:
    return max(len(table.outlet._waiting) for table in net.boxes[number].switch._tables.values())


def test_a_peer_that_asks_for_circuits_and_does_not_read_loses_its_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(switch_module, "CIRCUITS_MAX", 3)
    net = Net(1)
    link = net.wire(0, 1).other
    assert link is not None
    link.room = 0
    for number in range(3, 3 + 2 * 6, 2):
        net.boxes[1].switch.on_cell(link, pack(number, Command.CREATE, b""))
    with pytest.raises(ProtocolError, match="does not read"):
        net.boxes[1].switch.on_cell(link, pack(101, Command.CREATE, b""))
    assert waiting(net, 1) == 6


def test_circuits_are_refused_beyond_a_relay_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch_module, "CIRCUITS_MAX", 3)
    net = Net(2)
    net.wire(1, 2).room = 0
    for _ in range(6):
        net.circuit(2).close()
        net.run()
    refused = net.circuit(2)
    assert (refused.state, refused.reason) == (State.CLOSED, Reason.LIMIT)
    assert waiting(net, 1) == 6
    assert at_rest(net)


def test_circuits_that_come_and_go_leave_nothing_behind() -> None:
    net = Net(3)
    for _ in range(300):
        net.open_circuit(3).close()
        net.run()
    assert at_rest(net)
    assert not any(wire.kept for box in net.boxes for wire in box.wires.values())
    for box in net.boxes:
        for table in box.switch._tables.values():
            assert not (table.gone or table.outlet._waiting or table.outlet._sources)


# --- Ends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [(0, 1), (1, 2), (2, 3)])
def test_a_broken_link_ends_circuits_on_both_sides_of_it(cut: tuple[int, int]) -> None:
    net = Net(3)
    circuit = net.open_circuit(3)
    heard = Heard(circuit.open_stream(b""))
    net.run()
    net.cut(*cut)
    net.run()
    assert (circuit.state, circuit.reason, heard.end) == (State.CLOSED, Reason.LINK_CLOSED, "circuit")
    assert heard.stream.ending is not None
    assert "link" in heard.stream.ending.sentence
    assert at_rest(net)


@pytest.mark.parametrize("at", [0, 3])
def test_a_fault_in_one_reader_keeps_nothing_else_open(at: int) -> None:
    """Where a link is cut, all that went over it ends, and the neighbours are told."""

    def fail(code: str) -> None:
        raise RuntimeError("a fault")

    ended: list[str] = []
    net = Net(3)
    net.boxes[3].on_begin = lambda stream, target: stream.accept()
    circuits = [net.open_circuit(3), net.open_circuit(3)]
    ours = [circuit.open_stream(b"") for circuit in circuits for _ in range(4)]
    net.run()
    streams = [stream for stream, _ in net.boxes[3].begun] if at else ours
    for number, stream in enumerate(streams):
        stream.set_reader(lambda data: None, ended.append if number % 2 else fail)
    with pytest.raises(RuntimeError, match="a fault"):
        net.cut(0, 1) if at == 0 else net.cut(3, 2)
    net.run()
    assert ended == ["circuit"] * 4
    assert not net.boxes[at].switch.circuits()


def test_an_exit_says_why_it_refuses() -> None:
    net = Net(3)
    net.boxes[3].on_begin = lambda stream, target: stream.abort("not-allowed", f"Not to {target.decode()}.")
    heard = Heard(net.open_circuit(3).open_stream(b"10.0.0.1"))
    net.run()
    assert (heard.stream.opened, heard.end) == (False, "not-allowed")
    assert heard.stream.ending == ("not-allowed", "Not to 10.0.0.1.")


def test_what_an_exit_says_is_made_fit_to_be_read() -> None:
    net = Net(2)
    net.boxes[2].on_begin = lambda stream, target: stream._streams.carrier.send(
        RelayCommand.END, stream.number, b"no\x1b\0Not\0 to\n you\xff, \xc3\xbc."
    )
    stream = net.open_circuit(2).open_stream(b"")
    net.run()
    assert stream.ending == ("no·", "Not· to· you\ufffd, ü.")


def test_either_side_may_finish_first() -> None:
    net = Net(2)
    heard = Heard(net.open_circuit(2).open_stream(b""))
    net.run()
    there = Heard(net.boxes[2].begun[0][0])
    there.stream.write(b"all I have")
    there.stream.finish()
    net.run()
    assert (bytes(heard.data), heard.end) == (b"all I have", "")
    heard.stream.write(b"thanks")
    heard.stream.finish()
    net.run()
    assert (bytes(there.data), there.end) == (b"thanks", "")
    assert heard.stream.ending == ("done", "")


def test_a_reader_hears_when_a_stream_breaks_after_the_other_side_has_finished() -> None:
    net = Net(1)
    circuit = net.open_circuit(1)
    stream = circuit.open_stream(b"")
    net.run()
    there = Heard(net.boxes[1].begun[0][0])
    stream.write(b"all I have")
    stream.finish()
    net.run()
    assert (bytes(there.data), there.end) == (b"all I have", "")
    circuit.close()
    net.run()
    assert there.end == "circuit"


@pytest.mark.parametrize("finished", [True, False])
def test_a_reader_that_holds_hears_of_a_break_at_once_and_of_no_proper_end(finished: bool) -> None:
    net = Net(1)
    circuit = net.open_circuit(1)
    stream = circuit.open_stream(b"")
    net.run()
    there = net.boxes[1].begun[0][0]
    ends: list[str] = []
    there.set_reader(lambda data: None, ends.append)
    there.hold()
    stream.write(bytes(3 * DATA_BYTES))
    if finished:
        stream.finish()
    net.run()
    assert ends == []
    circuit.close()
    net.run()
    assert (ends, len(there._arrived)) == (["circuit"], 0)
    there.go_on()
    assert ends == ["circuit"]


def test_a_reader_may_abort_while_it_is_handed_what_has_waited() -> None:
    net = Net(1)
    stream = net.open_circuit(1).open_stream(b"")
    net.run()
    there = net.boxes[1].begun[0][0]
    there.write(bytes(3 * DATA_BYTES))
    net.run()
    heard: list[int] = []

    def on_data(data: bytes) -> None:
        heard.append(len(data))
        stream.abort("enough")

    def on_end(code: str) -> None:
        raise AssertionError("it has aborted")

    stream.set_reader(on_data, on_end)
    net.run()
    assert heard == [DATA_BYTES]
    assert there.ending == ("enough", "")


# --- Windows ---------------------------------------------------------------------------------------


def test_a_stream_that_nobody_reads_stops_its_sender_and_leaves_the_circuit_to_the_others() -> None:
    net = Net(3)
    circuit = net.open_circuit(3)
    stalled, lively = Heard(circuit.open_stream(b"a")), Heard(circuit.open_stream(b"b"))
    net.run()
    (far_stalled, _), (far_lively, _) = net.boxes[3].begun
    stalled.stream.hold()
    much = bytes(4 * STREAM_WINDOW * DATA_BYTES)
    far_stalled.write(much)
    net.run()
    assert far_stalled.full
    assert len(stalled.stream._arrived) == STREAM_WINDOW
    far_lively.write(much)
    net.run()
    assert lively.data == much
    stalled.stream.go_on()
    net.run()
    assert stalled.data == much
    assert not far_stalled.full


def test_streams_take_turns() -> None:
    net = Net(1)
    circuit = net.open_circuit(1)
    first, second = Heard(circuit.open_stream(b"a")), Heard(circuit.open_stream(b"b"))
    net.run()
    net.wire(1, 0).room = 2
    for stream, _ in net.boxes[1].begun:
        stream.write(bytes(50 * DATA_BYTES))
    for _ in range(20):
        net.carry(net.wire(1, 0))
    assert abs(len(first.data) - len(second.data)) <= 2 * DATA_BYTES


def test_streams_that_begin_at_a_relay_have_their_turn_beside_circuits_that_never_pause() -> None:
    net = Net(2)
    through, ending = net.open_circuit(2), net.open_circuit(1)
    relayed, own = Heard(through.open_stream(b"")), Heard(ending.open_stream(b""))
    net.run()
    slow = net.wire(1, 0)
    slow.room = 1
    net.boxes[2].begun[0][0].write(bytes(5 * CIRCUIT_WINDOW * DATA_BYTES))
    net.boxes[1].begun[0][0].write(bytes(50 * DATA_BYTES))
    for _ in range(200):
        net.step()
    assert len(own.data) == 50 * DATA_BYTES
    assert len(relayed.data) >= 100 * DATA_BYTES


def test_little_waits_where_a_link_is_slow() -> None:
    net = Net(3)
    net.boxes[3].on_begin = echo
    heard = Heard(net.open_circuit(3).open_stream(b""))
    net.run()
    for here, there in LINKS:
        net.wire(here, there).room = 4
    heard.stream.write(sent := os.urandom(3_000_000))
    assert heard.stream.full
    most = 0
    while net.step():
        most = max(most, *(len(wire.waiting) for box in net.boxes for wire in box.wires.values()))
    assert heard.data == sent
    assert most <= 6


def test_what_waits_at_a_relay_is_bounded_by_the_window() -> None:
    net = Net(2)
    heard = Heard(net.open_circuit(2).open_stream(b""))
    net.run()
    slow = net.wire(1, 0)
    slow.room = 1
    net.boxes[2].begun[0][0].write(bytes(3 * CIRCUIT_WINDOW * DATA_BYTES))
    while net.wire(2, 1).waiting:
        net.carry(net.wire(2, 1))
    queued = sum(
        len(queue)
        for table in net.boxes[1].switch._tables.values()
        for queue in table.outlet._waiting.values()
    )
    assert CIRCUIT_WINDOW // 4 < queued <= CIRCUIT_WINDOW
    net.run()
    assert len(heard.data) == 3 * CIRCUIT_WINDOW * DATA_BYTES


@pytest.mark.parametrize("towards_exit", [True, False])
def test_whoever_sends_more_than_its_window_loses_the_circuit(towards_exit: bool) -> None:
    net = Net(2)
    circuit = net.open_circuit(2)
    stream = circuit.open_stream(b"")
    net.run()
    sender = circuit if towards_exit else net.boxes[2].begun[0][0]._streams.carrier
    way, slow = ((0, 1), net.wire(1, 2)) if towards_exit else ((2, 1), net.wire(1, 0))
    slow.room = 1
    for _ in range(BACKLOG + 2):
        sender.send(RelayCommand.DATA, stream.number, b"too much")
    while net.wire(*way).waiting:
        net.carry(net.wire(*way))
    assert net.boxes[1].switch.circuits() == 0
    net.run()
    assert (circuit.state, circuit.reason) == (State.CLOSED, Reason.PROTOCOL)
    assert at_rest(net)


def test_whoever_asks_and_does_not_read_the_answers_loses_the_circuit() -> None:
    net = Net(1)
    net.boxes[1].on_begin = lambda stream, _: stream.abort("not-allowed")
    circuit = net.open_circuit(1)
    net.wire(1, 0).room = 1
    for _ in range(BACKLOG + 2):
        circuit.send(RelayCommand.BEGIN, 1, b"")
    while net.wire(0, 1).waiting:
        net.carry(net.wire(0, 1))
    assert net.boxes[1].switch.circuits() == 0
    net.run()
    assert at_rest(net)


def test_what_we_ask_of_a_relay_that_does_not_read_is_bounded() -> None:
    net = Net(1)
    circuit = net.open_circuit(1)
    net.wire(0, 1).room = 1
    stream = circuit.open_stream(b"")
    for _ in range(BACKLOG + 2):
        stream = circuit.open_stream(b"")
        if circuit.state is State.CLOSED:
            break
        stream.abort("cancelled")
    assert (circuit.state, circuit.reason) == (State.CLOSED, Reason.PROTOCOL)
    assert stream.ending is not None


@pytest.mark.parametrize("at_the_end", [True, False])
def test_of_circuits_that_fill_a_relays_memory_the_greediest_ends(at_the_end: bool) -> None:
    net = Net(1 if at_the_end else 2)
    greedy, modest = net.open_circuit(len(net.boxes) - 1), net.open_circuit(len(net.boxes) - 1)
    streams = [circuit.open_stream(b"") for circuit in (greedy, modest)]
    net.run()  # nobody reads them at the other end
    if not at_the_end:
        net.wire(1, 2).room = 0
    for stream, cells in zip(streams, (80, 10), strict=True):
        stream.write(bytes(cells * DATA_BYTES))
        while net.wire(0, 1).waiting:
            net.carry(net.wire(0, 1))
    for _ in range(2):
        net.boxes[1].switch.relieve(50)
        net.run()
    assert (greedy.state, greedy.reason) == (State.CLOSED, Reason.LIMIT)
    assert modest.state is State.OPEN
    modest.close()
    net.run()
    net.boxes[1].begun.clear()
    net.boxes[1].switch.relieve(50)
    assert not net.boxes[1].switch._relayed


class Slow(Heard):
    """A reader who holds, and counts how often it heard of an end."""

    def __init__(self, stream: Stream) -> None:
        self.ends: list[str] = []
        super().__init__(stream)
        stream.hold()

    def _ended(self, code: str) -> None:
        self.ends.append(code)


def half_read(cells: int) -> tuple[Net, Circuit, Slow]:
    """Both ends have finished their stream, and a relay has so many cells of it for a reader who holds."""
    net = Net(1)
    circuit = net.open_circuit(1)
    stream = circuit.open_stream(b"")
    net.run()
    there = Slow(net.boxes[1].begun[0][0])
    net.boxes[1].begun.clear()
    stream.write(bytes(cells * DATA_BYTES))
    stream.finish()
    there.stream.finish()
    net.run()
    assert there.stream.ending == ("done", "")
    return net, circuit, there


@pytest.mark.parametrize("closed", [True, False])
def test_what_a_finished_stream_keeps_for_its_reader_counts_and_can_be_had_back(closed: bool) -> None:
    net, circuit, there = half_read(80)
    if closed:
        circuit.close()
        net.run()
    switch = net.boxes[1].switch
    switch.relieve(80)
    assert (there.ends, there.stream.stored) == ([], 80)
    switch.relieve(79)
    net.run()
    assert (there.ends, there.stream.stored) == (["circuit"], 0)
    assert circuit.reason is (Reason.FINISHED if closed else Reason.LIMIT)
    there.stream.go_on()
    assert (bytes(there.data), there.ends) == (b"", ["circuit"])
    switch.relieve(0)
    assert not switch._relayed


def test_what_a_finished_stream_keeps_reaches_its_reader_after_the_circuit_has_gone() -> None:
    net, circuit, there = half_read(80)
    circuit.close()
    net.run()
    there.stream.go_on()
    assert (len(there.data), there.ends) == (80 * DATA_BYTES, [""])
    net.boxes[1].switch.relieve(0)
    assert not net.boxes[1].switch._relayed


def test_what_nobody_can_read_any_more_is_not_stored() -> None:
    net, circuit, there = half_read(80)
    circuit.close()
    net.run()
    del there
    gc.collect()
    net.boxes[1].switch.relieve(0)
    assert not net.boxes[1].switch._relayed


def test_a_circuit_carries_so_many_streams() -> None:
    net = Net(1)
    circuit = net.open_circuit(1)
    for _ in range(STREAMS_MAX):
        circuit.open_stream(b"")
    with pytest.raises(ProtocolError, match="at most"):
        circuit.open_stream(b"")


def test_a_full_stream_says_so_and_when_it_has_room() -> None:
    net = Net(1)
    heard = Heard(net.open_circuit(1).open_stream(b""))
    net.wire(0, 1).room = 1
    heard.stream.write(bytes(2 * BUFFER_BYTES))
    assert (heard.stream.full, heard.stream._backlog._room.is_set()) == (True, False)
    net.run()
    assert (heard.stream.full, heard.stream._backlog._room.is_set()) == (False, True)


# --- Nonsense --------------------------------------------------------------------------------------


def busy_relay() -> tuple[Net, Circuit, Wire]:
    net = Net(2)
    net.boxes[2].on_begin = echo
    circuit = net.open_circuit(2)
    Heard(circuit.open_stream(b""))
    net.run()
    return net, circuit, net.wire(1, 0)


CELLS = st.one_of(
    st.binary(max_size=64),
    st.binary(max_size=64).map(lambda some: (some + bytes(CELL_BYTES))[:CELL_BYTES]),
    st.builds(
        lambda number, command, body: pack(number, command, body),
        st.integers(0, 6),
        st.sampled_from(Command),
        st.binary(max_size=200),
    ),
    st.builds(pack_destroy, st.integers(1, 6), st.sampled_from(Reason)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(CELLS, max_size=12), st.booleans())
def test_no_cell_raises_anything_but_a_protocol_error(nonsense: list[bytes], from_client: bool) -> None:
    net, _, at_relay = busy_relay()
    at_client = net.wire(0, 1)
    for cell in nonsense:
        switch, link = (net.boxes[1].switch, at_relay) if from_client else (net.boxes[0].switch, at_client)
        try:
            switch.on_cell(link, cell)
        except OnionError as error:
            assert isinstance(error, ProtocolError)
    net.run()
    assert net.boxes[1].switch.circuits() <= 20


MESSAGES = st.tuples(
    st.booleans(),
    st.sampled_from(RelayCommand),
    st.integers(0, 3),
    st.one_of(
        st.binary(max_size=40), st.just(bytes(DATA_BYTES)), st.integers(0, 4).map(lambda n: bytes([n]) * 100)
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(MESSAGES, max_size=20), st.integers(1, 3), st.booleans())
def test_no_message_of_either_end_of_a_circuit_raises_anything(
    messages: list[tuple[bool, RelayCommand, int, bytes]], hops: int, built: bool
) -> None:
    net = Net(3)
    for box in net.boxes[1:]:
        box.on_begin = echo
    circuit = net.circuit(hops, run=built)
    while not circuit.built:
        net.step()
    heard = Heard(circuit.streams.begin(b""))
    net.run()
    for from_client, command, stream, data in messages:
        far_ends = [stream for box in net.boxes for stream, _ in box.begun]
        ends = [circuit] if from_client else [each._streams.carrier for each in far_ends]
        for end in ends:
            end.send(command, stream, data)
        net.run()
    circuit.close()
    net.run()
    assert heard.end is not None
    assert at_rest(net)
    assert not net.closed_for


class SlowNet(Net):
    """Links to other relays take until `answer`, and may come to nothing."""

    def __init__(self, relays: int) -> None:
        super().__init__(relays)
        self.asked: list[Callable[[bool], None]] = []
        for box in self.boxes:
            box.switch._reach = partial(self._ask, box)

    def _ask(self, box: Box, identity: bytes, then: Callable[[CellLink | None], None]) -> None:
        self.asked.append(lambda there: then(self.link(box.identity, identity) if there else None))

    def answer(self, there: bool) -> None:
        if self.asked:
            self.asked.pop(0)(there)


EVENTS = st.one_of(
    st.tuples(st.just("build"), st.integers(1, 3)),
    st.tuples(st.just("step"), st.integers(1, 6)),
    st.tuples(st.just("answer"), st.sampled_from([True, True, False])),
    st.tuples(st.just("close"), st.integers(0, 3)),
    st.tuples(st.just("stream"), st.integers(0, 3)),
    st.tuples(st.just("cut"), st.integers(0, 2)),
    st.tuples(st.just("end"), st.integers(1, 3)),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(EVENTS, min_size=5, max_size=40))
def test_in_whatever_order_things_end_nothing_is_left(events: list[tuple[str, int]]) -> None:
    net = SlowNet(3)
    circuits: list[Circuit] = []
    for event, which in events:
        some = circuits[-1 - which % len(circuits)] if circuits else None
        if event == "build":
            circuits.append(net.circuit(which, run=False))
        elif event == "step":
            for _ in range(which):
                net.step()
        elif event == "answer":
            net.answer(bool(which))
        elif event == "close" and some is not None:
            some.close()
        elif event == "stream" and some is not None and some.state is State.OPEN:
            some.open_stream(b"").write(b"something")
        elif event == "cut":
            net.cut(which, which + 1)
        elif event == "end":
            for relayed in list(net.boxes[which].switch._relayed)[:1]:
                relayed.end(Reason.STOPPED)
    for circuit in circuits:
        circuit.close()
    while net.asked:
        net.answer(True)
    net.run()
    assert at_rest(net)
    assert all(stream.ending for box in net.boxes for stream, _ in box.begun)
    for box in net.boxes:
        box.begun.clear()
        box.switch.relieve(0)
        assert not (box.switch.traffic.circuits or box.switch._relayed)
        assert not any(wire.kept for wire in box.wires.values())
        for table in box.switch._tables.values():
            assert not (table.gone or table.outlet._waiting or table.outlet._sources)
    assert not net.closed_for
