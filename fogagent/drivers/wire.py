"""What the pool and a worker say to each other over their socket pair.

Each message is a MessagePack object behind four bytes of length, little-endian. The pool sends a
`Setup` once, then one `base.Job` at a time; the worker answers `Ready` once, then for each job any
number of `Output` and one `Ended`. The pool closing its writing half tells the worker to stop.

A worker runs programs of strangers. One that broke out of its sandbox could say anything in the worker's
name, so the pool believes no length and no order of messages: what cannot be is a `BadMessage`.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from fogagent.drivers.base import Job, Permissions
from fogagent.messages import MAX_OUTPUT_BYTES, Outcome, Piece, Usage

HEADER_BYTES = 4
FROM_WORKER_BYTES = 2 * MAX_OUTPUT_BYTES + 256 * 1024
"""The most that one message of a worker may have: both streams of a job, and what is said about them."""
TO_WORKER_BYTES = 256**HEADER_BYTES - 1


class BadMessage(Exception):
    """What came from a worker cannot come from ours. ``str`` says what it was, for the user."""


class Setup(msgspec.Struct, frozen=True):
    """What a worker needs to know once. ``scratch`` is a directory of its own, mode 0700."""

    cache_dir: str
    scratch: str
    permissions: Permissions
    agent_pid: int


class Ready(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The worker can take a job."""


class Output(msgspec.Struct, frozen=True, array_like=True, tag=True):
    pieces: list[Piece]


class Ended(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The job is over. ``pieces`` is the output not sent before."""

    outcome: Outcome
    exit_code: int | None
    sentence: str
    usage: Usage
    truncated: bool
    pieces: list[Piece]


FromWorker = Ready | Output | Ended

_encoder = msgspec.msgpack.Encoder()
_from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)
_job = msgspec.msgpack.Decoder(Job)
_setup = msgspec.msgpack.Decoder(Setup)


def pack(message: Setup | Job | FromWorker) -> bytes:
    """A message with its length in front, ready to be written."""
    body = _encoder.encode(message)
    return len(body).to_bytes(HEADER_BYTES, "little") + body


def decode_setup(body: bytes) -> Setup:
    return _setup.decode(body)


def decode_job(body: bytes) -> Job:
    return _job.decode(body)


def decode_from_worker(body: bytes) -> FromWorker:
    """Raises BadMessage."""
    try:
        return _from_worker.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadMessage(f"The worker sent what is no message: {error}.") from error


class Unpacker:
    """Cuts a stream of bytes, however it arrives, into the bodies of messages."""

    def __init__(self, most: int) -> None:
        """``most``: bytes that a body may have."""
        self._most = most
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the body of every message that is complete now. Raises BadMessage for one too long."""
        buffer = self._buffer
        buffer += data
        start = 0
        while (body_at := start + HEADER_BYTES) <= len(buffer):
            size = int.from_bytes(buffer[start:body_at], "little")
            if size > self._most:
                raise BadMessage(
                    f"The worker began a message of {size:,} bytes; {self._most:,} are the most."
                )
            if (end := body_at + size) > len(buffer):
                break
            yield bytes(buffer[body_at:end])
            start = end
        del buffer[:start]
