"""Letters: orders to run that the panel has others carry, for one node alone.

Whoever carries a letter learns nothing from it but its size. It is sealed with HPKE (RFC 9180, base mode, the
suite of `fogagent.sealing.wrapping`) for the node's sealing key; ``info`` is SEAL and the node's identity,
``aad`` is empty. Byte by byte:

     0  32   enc, the ephemeral public key
    32   …   the text and the tag of AES-256-GCM; the text is:
         0  64   Ed25519 signature of the panel over SIGN, the node's identity and all that follows here
        64   8   until when it is good: seconds since the epoch, float64, big-endian
        72   …   the `Run` as JSON, filled up with spaces until the text has a multiple of STEP_BYTES, as its
                 length would tell of the task

Base mode does not tell who sealed, hence the signature; and the node's identity is under that signature, so
that nobody who could open a letter can seal it anew for somebody else.

A letter may come more than once: the node knows the attempts that it has seen. Only after a restart it may
have forgotten one that is over, and until the letter expires it would run it again, in vain.
"""

from __future__ import annotations

import struct

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from msgspec.structs import replace

from fogagent.identity import BadSignature, Identity, verify
from fogagent.messages import MAX_LETTER_BYTES, MAX_SEALED_BYTES, Run
from fogagent.sealing.content import TAG_BYTES
from fogagent.sealing.wrapping import SUITE

SIGN = b"fogpanel letter v1\0"
SEAL = b"fogpanel sealed letter v1\0"

STEP_BYTES = 1024
"""Twice what an order to run something sealed has, so that nearly all letters have the same size."""
KEM_BYTES = 32
SIGNATURE_BYTES = 64
_UNTIL = struct.Struct(">d")
_HEAD_BYTES = SIGNATURE_BYTES + _UNTIL.size
_LEAST_BYTES = KEM_BYTES + _HEAD_BYTES + TAG_BYTES

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Run)


class BadLetter(Exception):
    """A letter that cannot be written, or must not be followed. ``str`` is a sentence that says why."""


def write(panel: Identity, node: bytes, sealing_key: bytes, run: Run, expires_at: float) -> bytes:
    """The letter by which ``node`` takes on ``run``. ``expires_at`` is seconds since the epoch.

    The number of the order and content that is inline are left out: whoever carries the letter has both.

    Raises:
        BadLetter: nothing can be sealed for ``sealing_key``, or the order is none for a letter.
    """
    _check(run)
    signed = _UNTIL.pack(expires_at) + _encoder.encode(_bare(run))
    signed += b" " * (-(SIGNATURE_BYTES + len(signed)) % STEP_BYTES)
    text = panel.sign(SIGN, node + signed) + signed
    try:
        letter = SUITE.encrypt(text, X25519PublicKey.from_public_bytes(sealing_key), SEAL + node)
    except ValueError as error:
        raise BadLetter(f"{sealing_key.hex()} is not an X25519 key that can be sealed for.") from error
    if len(letter) > MAX_LETTER_BYTES:
        raise BadLetter(f"A letter has at most {MAX_LETTER_BYTES} bytes, this one {len(letter)}.")
    return letter


def read(letter: bytes, me: Identity, panel_key: bytes, now: float) -> Run:
    """What this node is to run. ``now`` is seconds since the epoch, by this node's clock.

    Raises:
        BadLetter: changed, not for this node, not from this panel, too old, or no order for a letter.
    """
    if not _LEAST_BYTES <= len(letter) <= MAX_LETTER_BYTES:
        raise BadLetter(f"A letter has {_LEAST_BYTES} to {MAX_LETTER_BYTES} bytes, this one {len(letter)}.")
    text = _opened(letter, me)
    signature, signed = text[:SIGNATURE_BYTES], text[SIGNATURE_BYTES:]
    try:
        verify(panel_key, SIGN, me.public_key + signed, signature)
    except BadSignature as error:
        raise BadLetter("The letter was not written by this node's panel, or not for this node.") from error
    (expires_at,) = _UNTIL.unpack_from(signed)
    if not now < expires_at:
        raise BadLetter(f"The letter expired {now - expires_at:.0f} s ago by this node's clock.")
    return _ordered(signed[_UNTIL.size :])


def _opened(letter: bytes, me: Identity) -> bytes:
    try:
        return SUITE.decrypt(letter, me.sealing, SEAL + me.public_key)
    except InvalidTag as error:
        raise BadLetter("The letter does not open: it is for another node, or was changed.") from error


def _ordered(encoded: bytes) -> Run:
    try:
        run = _decoder.decode(encoded)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadLetter(f"The letter holds no order to run: {error}.") from error
    _check(run)
    return _bare(run)


def _check(run: Run) -> None:
    if run.sealed is None:
        raise BadLetter("Letters are for sealed tasks only, and the order is not for one.")
    if run.payload is None or run.stdin is not None:
        raise BadLetter("The order must name its sealed content, and no other.")
    if run.payload.size > MAX_SEALED_BYTES:
        raise BadLetter(f"Sealed content has at most {MAX_SEALED_BYTES} bytes, here {run.payload.size}.")


def _bare(run: Run) -> Run:
    assert run.payload is not None
    return replace(run, order=0, payload=replace(run.payload, inline=None))
