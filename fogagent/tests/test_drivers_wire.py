from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fogagent.drivers import wire
from fogagent.drivers.base import Job
from fogagent.messages import Outcome, Piece, Stream, Usage


@given(st.lists(st.binary(max_size=50), max_size=8), st.integers(1, 40))
def test_messages_come_out_whole_however_they_are_cut(payloads: list[bytes], step: int) -> None:
    jobs = [Job(attempt=n, driver="wasm", payload=one) for n, one in enumerate(payloads)]
    stream = b"".join(map(wire.pack, jobs))
    unpacker = wire.Unpacker()
    bodies = [body for at in range(0, len(stream), step) for body in unpacker.feed(stream[at : at + step])]
    assert [wire.decode_job(body) for body in bodies] == jobs


def test_what_a_worker_says_survives_the_wire() -> None:
    pieces = [Piece(stream=Stream.STDERR, offset=5, data=b"\0x")]
    for said in (
        wire.Ready(),
        wire.Output(pieces),
        wire.Ended(Outcome.TRAP, None, "It trapped.", Usage(wall_s=1.5, fuel=7), True, pieces),
    ):
        (body,) = wire.Unpacker().feed(wire.pack(said))
        assert wire.decode_from_worker(body) == said
