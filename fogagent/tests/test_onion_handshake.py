"""ntor v3: the Tor specification's test vector, and what must be refused."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fogagent.overlay.onion.errors import HandshakeError
from fogagent.overlay.onion.handshake import REPLY_BYTES, REQUEST_BYTES, ClientHandshake, respond

# The vector of the Tor specification for ntor v3.
B_SECRET = bytes.fromhex("4051daa5921cfa2a1c27b08451324919538e79e788a81b38cbed097a5dff454a")
B = bytes.fromhex("f8307a2bc1870b00b828bb74dbb8fd88e632a6375ab3bcd1ae706aaa8b6cdd1d")
ID = bytes.fromhex("9fad2af287ef942632833d21f946c6260c33fae6172b60006e86e4a6911753a2")
X_SECRET = bytes.fromhex("b825a3719147bcbe5fb1d0b0fcb9c09e51948048e2e3283d2ab7b45b5ef38b49")
Y_SECRET = bytes.fromhex("4865a5b7689dafd978f529291c7171bc159be076b92186405d13220b80e2a053")
REQUEST = bytes.fromhex(
    "9fad2af287ef942632833d21f946c6260c33fae6172b60006e86e4a6911753a2f8307a2bc1870b00b828bb74dbb8fd88"
    "e632a6375ab3bcd1ae706aaa8b6cdd1d252fe9ae91264c91d4ecb8501f79d0387e34ad8ca0f7c995184f7d11d5da4f46"
    "3bebd9151fd3b47c180abc9e044d53565f04d82bbb3bebed3d06cea65db8be9c72b68cd461942088502f67"
)
REPLY = bytes.fromhex(
    "4bf4814326fdab45ad5184f5518bd7fae25dc59374062698201a50a22954246d2fc5f8773ca824542bc6cf6f57c7c29b"
    "bf4e5476461ab130c5b18ab0a91276651202c3e1e87c0d32054c"
)
KEYS = bytes.fromhex(
    "9c19b631fd94ed86a817e01f6c80b0743a43f5faebd39cfaa8b00fa8bcc65c3bfeaa403d91acbd68a821bf6ee8504602"
    "b094a254392a07737d5662768c7a9fb1b2814bb34780eaee6e867c773e28c212ead563e98a1cd5d5b4576f5ee61c59bd"
    "e025ff2851bb19b721421694f263818e3531e43a9e4e3e2c661e2ad547d8984caa28ebecd3e4525452299be26b9185a2"
    "0a90ce1eac20a91f2832d731b54502b09749b5a2a2949292f8cfcbeffb790c7790ed935a9d251e7e336148ea83b063a5"
    "618fcff674a44581585fd22077ca0e52c59a24347a38d1a1ceebddbf238541f226b8f88d0fb9c07a1bcd2ea764bbbb5d"
    "acdaf5312a14c0b9e4f06309b0333b4a"
)
VERIFICATION = b"xyzzy"

LOW_ORDER = [
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
]


def key(secret: bytes) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(secret)


RELAY = key(B_SECRET)


def reply_to(request: bytes, *, key_bytes: int = 64) -> bytes:
    return respond(request, ID, RELAY, lambda message: message[::-1], key_bytes)[0]


def test_the_vector_of_the_specification() -> None:
    client = ClientHandshake(ID, B, b"hello world", verification=VERIFICATION, secret=key(X_SECRET))
    assert client.request == REQUEST
    reply, at_relay = respond(
        REQUEST,
        ID,
        RELAY,
        lambda _: b"Hola Mundo",
        256,
        verification=VERIFICATION,
        secret=key(Y_SECRET),
    )
    assert (reply, at_relay.message, at_relay.keys) == (REPLY, b"hello world", KEYS)
    at_client = client.finish(reply, 256)
    assert (at_client.message, at_client.keys) == (b"Hola Mundo", KEYS)


@given(st.binary(max_size=300))
def test_both_sides_agree_and_hear_each_other(message: bytes) -> None:
    client = ClientHandshake(ID, B, message)
    reply, at_relay = respond(client.request, ID, RELAY, lambda heard: heard[::-1], 96)
    at_client = client.finish(reply, 96)
    assert at_relay.message == message
    assert at_client.message == message[::-1]
    assert at_client.keys == at_relay.keys
    assert len(at_client.keys) == 96


def test_every_handshake_gives_other_keys() -> None:
    first, second = ClientHandshake(ID, B), ClientHandshake(ID, B)
    assert first.finish(reply_to(first.request), 64).keys != second.finish(reply_to(second.request), 64).keys


@pytest.mark.parametrize("place", [0, 40, 70, REQUEST_BYTES - 32, REQUEST_BYTES + 2])
def test_a_changed_request_is_refused(place: int) -> None:
    request = bytearray(ClientHandshake(ID, B, b"hello").request)
    request[place] ^= 1
    with pytest.raises(HandshakeError):
        reply_to(bytes(request))


@pytest.mark.parametrize("place", [0, 31, 32, 63, 64])
def test_a_changed_reply_is_refused(place: int) -> None:
    client = ClientHandshake(ID, B, b"hello")
    reply = bytearray(reply_to(client.request))
    reply[place] ^= 1
    with pytest.raises(HandshakeError):
        client.finish(bytes(reply), 64)


def test_a_relay_without_the_key_cannot_answer() -> None:
    client = ClientHandshake(ID, B)
    imposter = X25519PrivateKey.generate()
    with pytest.raises(HandshakeError, match="another relay"):
        respond(client.request, ID, imposter, lambda _: b"", 64)
    other = ClientHandshake(ID, imposter.public_key().public_bytes_raw())
    reply, _ = respond(other.request, ID, imposter, lambda _: b"", 64)
    with pytest.raises(HandshakeError, match="does not fit"):
        client.finish(reply, 64)


@pytest.mark.parametrize("point", LOW_ORDER)
def test_points_of_low_order_are_refused(point: bytes) -> None:
    with pytest.raises(HandshakeError, match="low order"):
        ClientHandshake(ID, point)
    client = ClientHandshake(ID, B)
    with pytest.raises(HandshakeError, match="low order"):
        client.finish(point + client.request[:32], 64)
    with pytest.raises(HandshakeError, match="low order"):
        reply_to(ID + B + point + bytes(32))


def test_both_must_agree_on_what_is_verified() -> None:
    client = ClientHandshake(ID, B, verification=b"one")
    with pytest.raises(HandshakeError):
        respond(client.request, ID, RELAY, lambda _: b"", 64, verification=b"two")


@given(st.binary(max_size=400))
def test_nonsense_is_refused(nonsense: bytes) -> None:
    with pytest.raises(HandshakeError):
        reply_to(nonsense)
    with pytest.raises(HandshakeError):
        ClientHandshake(ID, B).finish(nonsense, 64)
    assert len(ClientHandshake(ID, B).request) == REQUEST_BYTES
    assert len(reply_to(ClientHandshake(ID, B).request)) == REPLY_BYTES
