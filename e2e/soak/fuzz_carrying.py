"""Letters, and the streams that bring them, from somebody who may be anybody."""

from __future__ import annotations

import asyncio
import os
import struct
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from fogagent.blobs import BlobCache
from fogagent.messages import MAX_LETTER_BYTES, Run
from fogagent.overlay.letters import SEAL, SIGN, BadLetter, read, write
from fogagent.overlay.receiving import LENGTH_BYTES, TAKEN, TASK, Receiver, Refusal
from fogagent.sealing.wrapping import SUITE
from fogagent.tests.letters import CONTENT, NODE, NOW, PANEL, sealed_run
from fogagent.tests.onion_net import Heard, Net

RUN = sealed_run()
UNTIL = struct.pack(">d", NOW + 60)
SEALING_KEY = X25519PublicKey.from_public_bytes(NODE.sealing_key)


def letter(data: bytes) -> None:
    """As it comes; sealed by anybody; and signed by the panel, which lets it behind the signature."""
    signed = UNTIL + data
    signature = PANEL.sign(SIGN, NODE.public_key + signed)
    for one in (data, sealed(data), sealed(signature + data), sealed(data[:64] + signed)):
        with suppress(BadLetter):
            read(one, NODE, PANEL.public_key, NOW)
            raise AssertionError("Only the panel writes letters.")
    try:
        run = read(sealed(signature + signed), NODE, PANEL.public_key, NOW)
    except BadLetter:
        return
    again = write(PANEL, NODE.public_key, NODE.sealing_key, run, NOW + 60)
    assert read(again, NODE, PANEL.public_key, NOW) == run


def sealed(text: bytes) -> bytes:
    return SUITE.encrypt(text, SEALING_KEY, SEAL + NODE.public_key)


def letter_seeds() -> list[bytes]:
    runs = RUN, sealed_run(args=["a"], env={"NAME": "äther"}, image="i", network=True)
    deep = b'{"type":"run","more":' + b"[" * 2000
    return [*map(msgspec.json.encode, runs), write(PANEL, NODE.public_key, NODE.sealing_key, RUN, NOW), deep]


# --- Streams ---------------------------------------------------------------------------------------


def task(data: bytes) -> None:
    """All at once or in pieces, the same answer, which is right; and nothing is left but what was taken."""
    # In memory where that can be had: a disk would be the slowest part.
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        blobs = BlobCache(Path(folder))
        for parts in ([data], pieces(data)):
            assert loop().run_until_complete(answer(blobs, parts)) == expected(data)
            assert len(os.listdir(folder)) <= (expected(data) == TAKEN)  # noqa: PTH208


def expected(data: bytes) -> bytes | Refusal:
    size = int.from_bytes(data[:LENGTH_BYTES], "big")
    rest = data[LENGTH_BYTES:]
    if len(data) < LENGTH_BYTES or size > MAX_LETTER_BYTES or len(rest) < size or not is_letter(rest[:size]):
        return Refusal.LETTER
    return TAKEN if rest[size:] == CONTENT else Refusal.CONTENT


async def answer(blobs: BlobCache, parts: Iterable[bytes]) -> bytes | Refusal:
    """What a node says to this on a stream of a circuit that ends there."""
    net, receiver = Net(1), Receiver(understand, blobs, lambda run: "")
    net.boxes[1].on_begin = lambda stream, asked: receiver.on_begin(stream)
    heard = Heard(net.open_circuit(1).open_stream(TASK))
    for part in parts:
        heard.stream.write(part)
        net.run()
        await asyncio.sleep(0)
    heard.stream.finish()
    while heard.end is None:
        net.run()
        await asyncio.sleep(0)
    assert len(receiver) == 0
    return Refusal(heard.end) if heard.end else bytes(heard.data)


def understand(text: bytes) -> Run:
    """In place of a letter, which nobody could write that has no key: half of all texts."""
    if not is_letter(text):
        raise BadLetter("It is none.")
    return RUN


def is_letter(text: bytes) -> bool:
    return sum(text) % 2 == 1


def pieces(data: bytes) -> Iterable[bytes]:
    step = 1 + sum(data[:4]) % 60
    return (data[start : start + step] for start in range(0, len(data), step))


def task_seeds() -> list[bytes]:
    whole = b"\0\0\0\7letters" + CONTENT
    assert expected(whole) == TAKEN
    return [whole, whole[:-1], whole + b"!", b"\0\0\0\6letter" + CONTENT, b"\0\0\0\0", b"\0\1\0\1"]


@cache
def loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()
