"""Cells and layers: what is meant for a hop reaches it; whatever else arrives is found out."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogagent.overlay.onion import cells
from fogagent.overlay.onion.cells import BODY_BYTES, CELL_BYTES, DATA_BYTES, Command, Message, RelayCommand
from fogagent.overlay.onion.crypto import KEY_BYTES, HopKeys
from fogagent.overlay.onion.errors import OnionError, ProtocolError, Reason


def both_ends(number: int) -> tuple[list[HopKeys], list[HopKeys]]:
    """The keys of a path's hops, as the client and as the relays have them."""
    material = [os.urandom(KEY_BYTES) for _ in range(number)]
    return [HopKeys(keys) for keys in material], [HopKeys(keys) for keys in material]


def wrapped(client: list[HopKeys], target: int, plain: bytes) -> bytes:
    body = client[target].forward.seal(plain)
    for hop in reversed(client[: target + 1]):
        body = hop.forward.layer(body)
    return body


def carried(relays: list[HopKeys], body: bytes) -> tuple[int, bytes] | None:
    """Which relay took it for its own, and what was in it."""
    for number, hop in enumerate(relays):
        body = hop.forward.layer(body)
        if (plain := hop.forward.open(body)) is not None:
            return number, plain
    return None


PLAIN = cells.pack_message(RelayCommand.DATA, 7, b"hello")


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_each_hop_gets_what_is_meant_for_it(targets: list[int]) -> None:
    client, relays = both_ends(5)
    for target in targets:
        body = wrapped(client, target, PLAIN)
        assert len(body) == BODY_BYTES
        assert carried(relays, body) == (target, PLAIN)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_the_client_knows_which_hop_spoke(speakers: list[int]) -> None:
    client, relays = both_ends(5)
    for speaker in speakers:
        body = relays[speaker].backward.seal(PLAIN)
        for hop in reversed(relays[: speaker + 1]):
            body = hop.backward.layer(body)
        for number, hop in enumerate(client):
            body = hop.backward.layer(body)
            if (plain := hop.backward.open(body)) is not None:
                assert (number, plain) == (speaker, PLAIN)
                break
        else:
            pytest.fail("nobody had spoken")


@given(st.integers(0, BODY_BYTES - 1), st.integers(1, 255))
def test_a_changed_byte_is_delivered_to_nobody(place: int, change: int) -> None:
    client, relays = both_ends(3)
    body = bytearray(wrapped(client, 2, PLAIN))
    body[place] ^= change
    assert carried(relays, bytes(body)) is None


def test_a_repeated_cell_and_all_after_it_are_noise() -> None:
    client, relays = both_ends(3)
    first, second = wrapped(client, 2, PLAIN), wrapped(client, 2, PLAIN)
    assert carried(relays, first) == (2, PLAIN)
    assert carried(relays, first) is None
    assert carried(relays, second) is None


def test_cells_that_changed_places_are_noise() -> None:
    client, relays = both_ends(3)
    first, second = wrapped(client, 2, PLAIN), wrapped(client, 2, PLAIN)
    assert carried(relays, second) is None
    assert carried(relays, first) is None


def test_a_cell_that_was_left_out_is_noticed() -> None:
    client, relays = both_ends(3)
    wrapped(client, 2, PLAIN)
    assert carried(relays, wrapped(client, 2, PLAIN)) is None


def test_no_two_cells_of_one_message_are_alike() -> None:
    client, _ = both_ends(3)
    assert wrapped(client, 2, PLAIN) != wrapped(client, 2, PLAIN)


@given(
    st.sampled_from(RelayCommand),
    st.integers(0, 65535),
    st.integers(0, DATA_BYTES).map(os.urandom),
)
def test_messages_come_out_as_they_went_in(command: RelayCommand, stream: int, data: bytes) -> None:
    plain = cells.pack_message(command, stream, data)
    assert len(plain) == cells.PLAIN_BYTES
    assert cells.unpack_message(plain) == Message(command, stream, data)


def test_cells_come_out_as_they_went_in() -> None:
    cell = cells.unpack(cells.pack_text(77, Command.CREATE, b"handshake"))
    assert (cell.circuit, cell.command, cells.unpack_text(cell.body)) == (77, Command.CREATE, b"handshake")
    ending = cells.unpack(cells.pack_destroy(78, Reason.LIMIT))
    assert (ending.circuit, cells.unpack_destroy(ending.body)) == (78, Reason.LIMIT)
    assert cells.unpack_destroy(memoryview(b"\xff")) is Reason.PROTOCOL


@pytest.mark.parametrize("size", [0, 5, CELL_BYTES - 1, CELL_BYTES + 1])
def test_a_cell_has_one_size(size: int) -> None:
    with pytest.raises(ProtocolError, match=f"{CELL_BYTES} bytes"):
        cells.unpack(bytes(size))


@given(st.integers(0, 2**64).map(lambda seed: os.urandom(CELL_BYTES)))
def test_nothing_but_a_protocol_error_leaves_the_parsers(noise: bytes) -> None:
    try:
        cell = cells.unpack(noise)
        cells.unpack_text(cell.body)
        cells.unpack_destroy(cell.body)
        cells.unpack_message(bytes(cell.body[: cells.PLAIN_BYTES]))
    except OnionError as error:
        assert isinstance(error, ProtocolError)
