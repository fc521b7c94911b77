"""A content key wrapped for one receiver, one reservation and one content: HPKE (RFC 9180).

The suite is base mode with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM (0x0020, 0x0001, 0x0002):
all of it is in a browser's WebCrypto, which ChaCha20-Poly1305 is not. A wrap is 80 bytes:

     0  32   enc, the ephemeral public key
    32  48   the content key and the tag of AES-256-GCM

Each wrap has an HPKE context of its own, so what it is bound to is all in ``info`` and ``aad`` is empty, as
RFC 9180 advises where only the single-shot functions are used (section 8.1). ``info`` is, byte by byte:

    purpose, ASCII, ends with a zero byte: TASK or RESULT
    then the binding, 72 bytes:
     8   number of the reservation
    32   identity (Ed25519 public key) of the node that is to run the task, or ran it
    32   SHA-256 of the sealed content, from its header to its last byte

So a wrap for another task, another node or another content does not open, nor does that of a task where one
of a result is due. Nodes that have the content key, since the submitter wrapped it for them, cannot put
other content in its place. Who keeps the key and the hash can wrap once more without the content.

Base mode does not tell who wrapped: a wrap that opens says for whom and for what it was made, not by whom.
"""

from __future__ import annotations

from typing import Annotated

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from msgspec import Meta

from fogagent.messages import Key, Value
from fogagent.sealing.content import KEY_BYTES, TAG_BYTES
from fogagent.sealing.errors import BadContent, WrongKey

SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
WRAPPED_BYTES = 32 + KEY_BYTES + TAG_BYTES

TASK = b"fogpanel sealed task key v1\0"
RESULT = b"fogpanel sealed result key v1\0"

Wrapped = Annotated[bytes, Meta(min_length=WRAPPED_BYTES, max_length=WRAPPED_BYTES)]


class Wrap(Value, frozen=True):
    """The content key of a task for one node, as it travels beside the content."""

    node: Key
    wrapped: Wrapped


def binding(reservation: int, node: bytes, content_sha256: bytes) -> bytes:
    """What a wrap, and the signature of a result, belong to."""
    for what, value in (("identity of a node", node), ("hash of sealed content", content_sha256)):
        if len(value) != 32:
            raise ValueError(f"The {what} has 32 bytes, not {len(value)}.")
    return reservation.to_bytes(8, "big") + node + content_sha256


def wrap_key(key: bytes, public_key: bytes, info: bytes) -> bytes:
    """Wrap a content key for the holder of an X25519 key. ``info`` is a purpose and a `binding`.

    Raises:
        WrongKey: nothing can be sealed for ``public_key``: it has another length, or is one of the few
            points with which every secret is zero.
    """
    try:
        return SUITE.encrypt(key, X25519PublicKey.from_public_bytes(public_key), info)
    except ValueError as error:
        raise WrongKey(f"{public_key.hex()} is not an X25519 key that can be sealed for.") from error


def unwrap_key(wrapped: bytes, private_key: X25519PrivateKey, info: bytes) -> bytes:
    """The content key.

    Raises:
        WrongKey: wrapped for another key or another binding, or damaged: these look the same.
        BadContent: what was wrapped is not a content key.
    """
    try:
        key = SUITE.decrypt(wrapped, private_key, info)
    except InvalidTag as error:
        raise WrongKey(
            "The content key does not unwrap: it was wrapped for another key, reservation, node or content, "
            "or was damaged."
        ) from error
    if len(key) != KEY_BYTES:
        raise BadContent(f"What was wrapped has {len(key)} bytes; a content key has {KEY_BYTES}.")
    return key
