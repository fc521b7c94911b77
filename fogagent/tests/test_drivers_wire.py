from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogagent.drivers import wire
from fogagent.drivers.base import Job
from fogagent.messages import (
    LOG_PIECE_BYTES,
    MAX_OUTPUT_BYTES,
    MAX_SENTENCE,
    Outcome,
    Piece,
    Stream,
    Usage,
)


@given(st.lists(st.binary(max_size=50), max_size=8), st.integers(1, 40))
def test_messages_come_out_whole_however_they_are_cut(payloads: list[bytes], step: int) -> None:
    jobs = [Job(attempt=n, driver="wasm", payload=one) for n, one in enumerate(payloads)]
    stream = b"".join(map(wire.pack, jobs))
    unpacker = wire.Unpacker(2000)
    bodies = [body for at in range(0, len(stream), step) for body in unpacker.feed(stream[at : at + step])]
    assert [wire.decode_job(body) for body in bodies] == jobs


def test_what_a_worker_says_survives_the_wire() -> None:
    pieces = [Piece(stream=Stream.STDERR, offset=5, data=b"\0x")]
    for said in (
        wire.Ready(),
        wire.Output(pieces),
        wire.Ended(Outcome.TRAP, None, "It trapped.", Usage(wall_s=1.5, fuel=7), True, pieces),
    ):
        (body,) = wire.Unpacker(2000).feed(wire.pack(said))
        assert wire.decode_from_worker(body) == said


def test_a_length_is_not_believed_before_anything_of_it_is_kept() -> None:
    whole = wire.pack(wire.Ready())
    unpacker = wire.Unpacker(most=10)
    assert len(list(unpacker.feed(whole))) == 1
    with pytest.raises(wire.BadMessage, match="11 bytes; 10 are the most"):
        list(unpacker.feed((11).to_bytes(4, "little")))


@given(st.binary(max_size=60))
def test_what_is_no_message_is_named(body: bytes) -> None:
    try:
        said = wire.decode_from_worker(body)
    except wire.BadMessage as error:
        assert "no message" in str(error)
    else:
        assert isinstance(said, wire.FromWorker)


def test_both_streams_whole_fit_into_one_message() -> None:
    data = bytes(LOG_PIECE_BYTES)
    pieces = [
        Piece(stream=stream, offset=offset, data=data)
        for stream in (Stream.STDOUT, Stream.STDERR)
        for offset in range(0, MAX_OUTPUT_BYTES, LOG_PIECE_BYTES)
    ]
    said = wire.Ended(Outcome.CRASHED, None, "x" * MAX_SENTENCE, Usage(), True, pieces)
    (body,) = wire.Unpacker(wire.FROM_WORKER_BYTES).feed(wire.pack(said))
    assert wire.decode_from_worker(body) == said
