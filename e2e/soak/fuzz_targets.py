"""What strangers can send, one function a kind of it: bytes in, and out only what is documented to be raised.

Where more than "it does not fall over" can be said of whatever comes, it is asserted: the same in pieces as
in one, the same again after it was written and read. Seeds are what our own encoders write, so that a fuzzer
begins behind the first checks.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, get_args

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec.structs import fields, replace

from e2e.soak.fuzz_carrying import letter, letter_seeds, task, task_seeds
from e2e.soak.fuzz_circuit import circuit, circuit_seeds
from fogagent import messages
from fogagent.identity import Identity
from fogagent.messages import (
    DirectoryPart,
    FrameError,
    FromAgent,
    FromPanel,
    Message,
    Sealed,
    SocksPassword,
    encode_frame,
)
from fogagent.overlay import directory
from fogagent.overlay.directory import BadDirectory, Changes
from fogagent.overlay.directory_parts import MAX_PARTS, Assembly
from fogagent.overlay.exit_streams import CONNECT, connect_to, read_connect
from fogagent.overlay.frames import FrameReader, Kind, frame_header
from fogagent.overlay.link_errors import BadFrame
from fogagent.overlay.onion import cells
from fogagent.overlay.onion.crypto import KEY_BYTES
from fogagent.overlay.onion.errors import HandshakeError, ProtocolError
from fogagent.overlay.onion.handshake import ClientHandshake, respond
from fogagent.overlay.socks import Request, SocksError, SocksParser
from fogagent.overlay.socks_passwords import by_name, digest_of, entitled
from fogagent.overlay.stream import BadTarget, Target
from fogagent.sealing.content import open_bytes, open_pieces, seal_bytes
from fogagent.sealing.errors import SealingError
from fogagent.sealing.packing import pack
from fogagent.sealing.result import SIGNED, Result, open_result, seal_result
from fogagent.sealing.task import SealedSpec, Terms, open_task
from fogagent.sealing.wrapping import RESULT, TASK, WRAPPED_BYTES, binding, unwrap_key, wrap_key
from fogagent.tests.directories import MADE, PANEL, PANEL_KEY, by_identity, relay, signed


@dataclass(frozen=True)
class Fuzzed:
    """``words`` are put into the input besides what the fuzzer finds for itself."""

    take: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    words: tuple[str, ...] = ()


def pieces(data: bytes) -> Iterator[bytes]:
    """The same bytes cut up, each time in the same way."""
    step = 1 + sum(data[:4]) % 60
    for start in range(0, len(data), step):
        yield data[start : start + step]


# --- Links -----------------------------------------------------------------------------------------


def frames(data: bytes) -> None:
    whole, end = frames_of([data])
    assert frames_of(pieces(data)) == (whole, end)
    again = b"".join(frame_header(kind, len(payload)) + payload for kind, payload in whole)
    assert data.startswith(again)


def frames_of(parts: Any) -> tuple[list[tuple[int, bytes]], str]:
    """All frames, and the complaint at the end."""
    reader, found = FrameReader(), list[tuple[int, bytes]]()
    try:
        for part in parts:
            reader.feed(part)
            while (frame := reader.next()) is not None:
                found.append(frame)
    except BadFrame as error:
        return found, error.sentence
    return found, ""


def frames_seeds() -> list[bytes]:
    every = [frame_header(kind, 5 * (kind > 0)) + b"hello" * (kind > 0) for kind in Kind]
    return [*every, b"".join(every)]


# --- Circuits --------------------------------------------------------------------------------------


def cell(data: bytes) -> None:
    """A cell, a message and both halves of a handshake; what is understood is written as it was read."""
    padded = data[: cells.CELL_BYTES].ljust(cells.CELL_BYTES, b"\0")
    for one in (data, padded):
        try:
            number, command, body = cells.unpack(one)
            assert cells.pack(number, command, bytes(body)) == one
            cells.unpack_destroy(body)
            text = cells.unpack_text(body)
            assert cells.pack_text(number, command, text)[: 7 + len(text)] == one[: 7 + len(text)]
        except ProtocolError:
            pass
    try:
        message = cells.unpack_message(padded[: cells.PLAIN_BYTES])
    except ProtocolError:
        return
    packed = cells.pack_message(*message)
    assert cells.unpack_message(packed) == message
    assert len(packed) == cells.PLAIN_BYTES


def cell_seeds() -> list[bytes]:
    bodies = [cells.pack_text(9, command, b"hello") for command in cells.Command]
    said = [cells.pack_message(command, 3, b"hello") for command in cells.RelayCommand]
    return [*bodies, *said]


RELAY_IDENTITY = bytes(range(32))
ONION_SECRET = X25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
ONION_KEY = ONION_SECRET.public_key().public_bytes_raw()
CLIENT_SECRET = X25519PrivateKey.from_private_bytes(bytes(range(2, 34)))
RELAY_SECRET = X25519PrivateKey.from_private_bytes(bytes(range(3, 35)))


def client_half(message: bytes) -> ClientHandshake:
    return ClientHandshake(RELAY_IDENTITY, ONION_KEY, message, secret=CLIENT_SECRET)


def relay_half(request: bytes) -> tuple[bytes, bytes]:
    """Its reply, and the message that it read."""
    reply, agreed = respond(
        request, RELAY_IDENTITY, ONION_SECRET, bytes.upper, KEY_BYTES, secret=RELAY_SECRET
    )
    return reply, agreed.message


def handshake(data: bytes) -> None:
    """As a request, as a reply, and as what an honest client says in one."""
    with suppress(HandshakeError):
        relay_half(data)
    honest = client_half(data)
    with suppress(HandshakeError):
        honest.finish(data, KEY_BYTES)
    reply, heard = relay_half(honest.request)
    assert heard == data
    assert honest.finish(reply, KEY_BYTES).message == data.upper()


def handshake_seeds() -> list[bytes]:
    requests = [client_half(message).request for message in (b"", b"hello")]
    return [*requests, *(relay_half(request)[0] for request in requests)]


# --- Streams ---------------------------------------------------------------------------------------


SOCKS_PASSWORDS = by_name(
    SocksPassword(user=name, salt=bytes(16), digest=digest_of(bytes(16), b"secret"))
    for name in ("ann", "a+b")
)


def socks(data: bytes) -> None:
    heard = socks_of([data], SocksParser())
    assert socks_of(pieces(data), SocksParser()) == heard
    if (request := heard[1]) is not None:
        assert read_connect(connect_to(request.target)) == request.target


def guarded_socks(data: bytes) -> None:
    """Of a port that asks for a password: no request without one that somebody has."""
    parser = SocksParser(partial(entitled, SOCKS_PASSWORDS))
    heard = socks_of([data], parser)
    assert socks_of(pieces(data), SocksParser(partial(entitled, SOCKS_PASSWORDS))) == heard
    if (request := heard[1]) is not None:
        assert parser.password is not None and request.isolation.password == b"secret"
        user = parser.password.user.encode()
        assert request.isolation.user == user or request.isolation.user.startswith(user + b"+")


def socks_of(parts: Any, parser: SocksParser) -> tuple[bytes, Request | None, bytes, str]:
    """What is answered in all, the request, what follows it, and the fault."""
    answers = b""
    try:
        for part in parts:
            answers += parser.receive(part)
    except SocksError as error:
        return answers + error.answer, parser.request, b"", error.fault
    return answers, parser.request, parser.rest, ""


def socks_seeds() -> list[bytes]:
    greetings = (
        b"\x05\x01\x00",
        b"\x05\x02\x00\x02\x01\x03ann\x06secret",
        b"\x05\x01\x02\x01\x05a+b+c\x06secret",
    )
    asked = (
        b"\x05\x01\x00\x03\x0bexample.org\x01\xbb",
        b"\x05\x01\x00\x01\xc0\x00\x02\x07\x00P",
        b"\x05\x01\x00\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01\x00P",
    )
    return [greeting + one + b"rest" for greeting in greetings for one in asked]


def connect(data: bytes) -> None:
    """Only what a client of ours writes is understood: two relays never read the same text differently."""
    try:
        target = read_connect(CONNECT + data)
    except BadTarget:
        return
    assert connect_to(target) == CONNECT + data


def connect_seeds() -> list[bytes]:
    targets = Target("Example.org", 443), Target("192.0.2.7", 80), Target("2001:db8::1", 65535)
    return [connect_to(target).removeprefix(CONNECT) for target in targets]


# --- The directory ---------------------------------------------------------------------------------


def changes(data: bytes) -> None:
    """As it comes, and once more signed, which lets it behind the signature."""
    with suppress(BadDirectory):
        directory.judge(None, data, PANEL_KEY, MADE)
    try:
        read = directory.decode_changes(data)
        encoded = directory.encode_changes(read)
        assert directory.encode_changes(directory.decode_changes(encoded)) == encoded
        directory.judge(None, directory.encode_changes(as_signed(read)), PANEL_KEY, MADE)
    except BadDirectory:
        pass


def as_signed(read: Changes) -> Changes:
    whole = directory.digest(by_identity(read.upserts))
    signature = directory.sign(
        PANEL, version=read.version, made_at=read.made_at, expires_at=read.expires_at, digest=whole
    )
    return replace(read, base=0, digest=whole, signature=signature)


def changes_seeds() -> list[bytes]:
    few = by_identity([relay(1), relay(2, address="[2001:db8::1]:9000", family="f", region="r")])
    more = {**few, **by_identity([relay(3, bandwidth_kbps=700)])}
    made = signed(few, 1), signed(more, 2, base=1, before=few), signed({}, 3, base=2, before=more)
    return [*map(directory.encode_changes, made), b"\x81\xa4more" + b"\x91" * 2000]


def parts(data: bytes) -> None:
    """Four bytes a part. An answer is what came for it, whole and in order."""
    assembly, came = Assembly(), list[bytes]()
    for start in range(0, len(data) - 3, 4):
        version, index, count, size = data[start : start + 4]
        part = DirectoryPart(version=version, index=index, count=count, data=bytes((size,)) * size)
        try:
            taken = assembly.add(part)
        except BadDirectory:
            assert index == 0
            assert not 1 <= count <= MAX_PARTS
            continue
        if taken:
            came = [*(came if index else []), part.data]
        if (answer := assembly.take()) is not None:
            assert (answer, len(came)) == (b"".join(came), count)


def parts_seeds() -> list[bytes]:
    return [bytes(byte for index in range(3) for byte in (7, index, 3, 9)), bytes((7, 0, 1, 0, 8, 1, 2, 3))]


# --- Messages --------------------------------------------------------------------------------------


def message(decode: Callable[[str], Any], data: bytes) -> None:
    try:
        heard = decode(data.decode(errors="replace"))
    except FrameError:
        return
    assert decode(encode_frame(heard)) == heard


PART = (
    '{"tunnel":7,"port":1080,"open":true,"path":[],"age_s":1.5,"build_ms":9,"stream":"stderr","offset":5,'
    f'"data":"aGVsbG8=","name":"text","available":true,"memory_mb":1,"sha256":"{bytes(32).hex()}","size":5,'
    f'"reservation":17,"wrapped":"{b64encode(bytes(80)).decode()}"}}'
)
"""Of nearly any kind, since fields that a kind does not have are skipped."""
VALUES = (
    '"text"', "1", "true", '"succeeded"', f'"{bytes(32).hex()}"', '"192.0.2.7:9000"', "[7]", "[[7,7]]",
    f'"{b64encode(bytes(32)).decode()}"', f'"{b64encode(bytes(64)).decode()}"', PART, f"[{PART}]", "[]", "{}",
)  # fmt: skip
"""Every field of a message takes one of these, as it is encoded."""


def message_seeds(kinds: Any) -> list[bytes]:
    """A message of each kind with all its fields, and one nested beyond reason."""
    whole = [encoded(kind) for kind in get_args(kinds)]
    deep = f',"more":{"[" * 2000}'
    return [*(f"[{one}]".encode() for one in whole), f"[{whole[0][:-1]}{deep}".encode()]


def encoded(kind: type[Message]) -> str:
    tried = {field.encode_name: 0 for field in fields(kind)}
    while True:
        body = "".join(f',"{name}":{VALUES[at]}' for name, at in tried.items())
        text = f'{{"type":"{kind.__struct_config__.tag}"{body}}}'
        try:
            msgspec.json.decode(text, type=kind)
            return text
        except msgspec.ValidationError as error:  # it says where
            tried[str(error).partition("at `$.")[2].partition("`")[0].partition("[")[0]] += 1


def names_in(kinds: Any) -> tuple[str, ...]:
    return tuple(sorted({f'"{field.encode_name}":' for kind in get_args(kinds) for field in fields(kind)}))


# --- Sealed ----------------------------------------------------------------------------------------

CONTENT_KEY = bytes(range(5, 37))
NODE = Identity.generate()
SUBMITTER = X25519PrivateKey.from_private_bytes(bytes(range(4, 36)))
SUBMITTER_KEY = SUBMITTER.public_key().public_bytes_raw()
RESERVATION = 7
SPEC = SealedSpec(
    terms=Terms(driver="python", timeout_s=60, cpu_millis=250, memory_mb=128),
    result_key=SUBMITTER_KEY,
    args=["--depth", "3"],
    env={"NAME": "äther"},
    payload=b"print(input())",
)
RESULT_MADE = Result(outcome=messages.Outcome.EXIT_CODE, exit_code=3, sentence="It failed.", stdout=b"out")


def sealed(data: bytes) -> None:
    """From somebody who holds no key."""
    key = Sealed(reservation=RESERVATION, wrapped=data[:WRAPPED_BYTES].ljust(WRAPPED_BYTES, b"\0"))
    attempts: list[Callable[[], object]] = [
        lambda: unwrap_key(data, SUBMITTER, b""),
        lambda: open_task(data, key, NODE),
        lambda: open_result(data, SUBMITTER, RESERVATION, NODE.public_key),
        lambda: open_result(_signed(data), SUBMITTER, RESERVATION, NODE.public_key),
    ]
    for attempt in attempts:
        with suppress(SealingError):
            attempt()
    assert opened([data]) == opened(pieces(data))


def opened(coming: Any) -> tuple[bytes, type[SealingError] | None]:
    content = bytearray()
    try:
        for chunk in open_pieces(coming, CONTENT_KEY):
            content += chunk
    except SealingError as error:
        return bytes(content), type(error)
    return bytes(content), None


def sealed_seeds() -> list[bytes]:
    result = seal_result(RESULT_MADE, SUBMITTER_KEY, RESERVATION, NODE)
    return [seal_bytes(b"content", CONTENT_KEY), seal_bytes(b"", CONTENT_KEY), result]


def inside(data: bytes) -> None:
    """From a submitter or a node who seals as it should be, but what they like."""
    content = seal_bytes(data, CONTENT_KEY)
    assert open_bytes(content, CONTENT_KEY) == data
    bound = binding(RESERVATION, NODE.public_key, sha256(content).digest())
    wrapped = wrap_key(CONTENT_KEY, NODE.sealing_key, TASK + bound)
    with suppress(SealingError):
        open_task(content, Sealed(reservation=RESERVATION, wrapped=wrapped), NODE)
    wrapped = wrap_key(CONTENT_KEY, SUBMITTER_KEY, RESULT + bound)
    with suppress(SealingError):
        open_result(_signed(wrapped + content), SUBMITTER, RESERVATION, NODE.public_key)


def _signed(data: bytes) -> bytes:
    """A wrap and content with the node's signature between them, as in a result."""
    wrapped, content = data[:WRAPPED_BYTES], data[WRAPPED_BYTES:]
    bound = binding(RESERVATION, NODE.public_key, sha256(content).digest())
    return wrapped + NODE.sign(SIGNED, bound) + content


def inside_seeds() -> list[bytes]:
    """Without most of the padding, so that what is changed is seldom that."""
    whole = [pack(SPEC, [b"print()", b"in"]), pack(RESULT_MADE, [b"out", b"err"])]
    return [b"".join(each)[:400] for each in whole]


INSIDE = tuple(
    sorted(f'"{field.encode_name}":' for kind in (SealedSpec, Terms, Result) for field in fields(kind))
)

TARGETS = {
    "frames": Fuzzed(frames, frames_seeds),
    "cell": Fuzzed(cell, cell_seeds),
    "circuit": Fuzzed(circuit, circuit_seeds),
    "handshake": Fuzzed(handshake, handshake_seeds),
    "socks": Fuzzed(socks, socks_seeds),
    "guarded_socks": Fuzzed(guarded_socks, socks_seeds),
    "connect": Fuzzed(connect, connect_seeds),
    "changes": Fuzzed(changes, changes_seeds, tuple(field.encode_name for field in fields(directory.Relay))),
    "parts": Fuzzed(parts, parts_seeds),
    "from_agent": Fuzzed(
        partial(message, messages.decode_from_agent), partial(message_seeds, FromAgent), names_in(FromAgent)
    ),
    "from_panel": Fuzzed(
        partial(message, messages.decode_from_panel), partial(message_seeds, FromPanel), names_in(FromPanel)
    ),
    "sealed": Fuzzed(sealed, sealed_seeds),
    "inside": Fuzzed(inside, inside_seeds, INSIDE),
    "letter": Fuzzed(letter, letter_seeds, names_in(messages.Run | messages.Cancel)),
    "task": Fuzzed(task, task_seeds),
}
