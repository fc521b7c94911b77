"""The handshake with one relay: ntor v3 (Tor specification, "create-created cells", HTYPE 3).

The client knows the relay's identity ID (Ed25519) and onion key B (X25519). Both sides make a fresh
X25519 key (X and Y), so what was recorded cannot be read when B leaks later; that the answer fits B
proves to the client whom it talks to. Both sides may send a message along; the client's is encrypted
to B, the relay's with the new keys. Names of values are those of the specification.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from fogagent.overlay.onion.errors import HandshakeError

PROTOID = b"ntor3-curve25519-sha3_256-1"
KEY = 32
MAC = 32
REQUEST_BYTES = 3 * KEY + MAC  # and the client's message
REPLY_BYTES = KEY + MAC  # and the relay's message

Answer = Callable[[bytes], bytes]
"""What the relay replies to the client's message."""


@dataclass(frozen=True)
class Agreed:
    """What a handshake gave: the other side's message, and as much key material as was asked for."""

    message: bytes
    keys: bytes


class ClientHandshake:
    """The client's side: `request` goes out, `finish` takes what came back."""

    def __init__(
        self,
        identity: bytes,
        onion_key: bytes,
        message: bytes = b"",
        *,
        verification: bytes = b"",
        secret: X25519PrivateKey | None = None,
    ) -> None:
        """``identity`` and ``onion_key`` are the relay's, 32 bytes each. ``verification`` is what both
        sides must agree on besides. ``secret`` is for test vectors.

        Raises:
            HandshakeError: the onion key is no key.
        """
        self._id, self._b, self._ver = identity, onion_key, verification
        self._x = secret or X25519PrivateKey.generate()
        self._public = self._x.public_key().public_bytes_raw()
        self._bx = _exchange(self._x, onion_key)
        enc_key, mac_key = _phase1_keys(self._bx, identity, self._public, onion_key, verification)
        encrypted = _encrypt(enc_key, message)
        self._mac = _phase1_mac(mac_key, identity, onion_key, self._public, encrypted)
        self.request = identity + onion_key + self._public + encrypted + self._mac

    def finish(self, reply: bytes, key_bytes: int) -> Agreed:
        """The relay's message, and ``key_bytes`` bytes of keys.

        Raises:
            HandshakeError: the reply was not made by whoever holds the onion key.
        """
        if len(reply) < REPLY_BYTES:
            raise HandshakeError(f"A handshake's reply has at least {REPLY_BYTES} bytes, had {len(reply)}.")
        y, auth, encrypted = reply[:KEY], reply[KEY:REPLY_BYTES], reply[REPLY_BYTES:]
        secret_input = b"".join(
            (
                _exchange(self._x, y), self._bx, self._id, self._b, self._public, y,
                PROTOID, _encap(self._ver),
            )
        )  # fmt: skip
        seed, verify = _hash(b":key_seed", secret_input), _hash(b":verify", secret_input)
        expected = _auth(verify, self._id, self._b, y, self._public, self._mac, encrypted)
        if not hmac.compare_digest(auth, expected):
            raise HandshakeError("The relay's reply does not fit its onion key.")
        enc_key, keys = _final_keys(seed, key_bytes)
        return Agreed(_encrypt(enc_key, encrypted), keys)


def respond(
    request: bytes,
    identity: bytes,
    onion_secret: X25519PrivateKey,
    answer: Answer,
    key_bytes: int,
    *,
    verification: bytes = b"",
    secret: X25519PrivateKey | None = None,
) -> tuple[bytes, Agreed]:
    """The relay's side: the reply to send, and what was agreed on.

    Raises:
        HandshakeError: the request is not for this relay and this key, or was not made by one who knows
            both; or ``answer`` would not have the client's message.
    """
    if len(request) < REQUEST_BYTES:
        raise HandshakeError(f"A handshake has at least {REQUEST_BYTES} bytes, had {len(request)}.")
    b = onion_secret.public_key().public_bytes_raw()
    if not hmac.compare_digest(request[: 2 * KEY], identity + b):
        raise HandshakeError("The handshake is for another relay, or for an onion key of the past.")
    x, encrypted, mac = request[2 * KEY : 3 * KEY], request[3 * KEY : -MAC], request[-MAC:]
    xb = _exchange(onion_secret, x)
    enc_key, mac_key = _phase1_keys(xb, identity, x, b, verification)
    if not hmac.compare_digest(mac, _phase1_mac(mac_key, identity, b, x, encrypted)):
        raise HandshakeError("The handshake was changed on its way.")
    message = _encrypt(enc_key, encrypted)
    return _reply(_Seen(identity, b, x, xb, mac, verification), message, answer, key_bytes, secret)


@dataclass(frozen=True)
class _Seen:
    """What the relay knows after it has read a request; names as in the specification."""

    id: bytes
    b: bytes
    x: bytes
    xb: bytes
    mac: bytes
    ver: bytes


def _reply(
    seen: _Seen, message: bytes, answer: Answer, key_bytes: int, secret: X25519PrivateKey | None
) -> tuple[bytes, Agreed]:
    ephemeral = secret or X25519PrivateKey.generate()
    y = ephemeral.public_key().public_bytes_raw()
    secret_input = b"".join(
        (_exchange(ephemeral, seen.x), seen.xb, seen.id, seen.b, seen.x, y, PROTOID, _encap(seen.ver))
    )
    seed, verify = _hash(b":key_seed", secret_input), _hash(b":verify", secret_input)
    enc_key, keys = _final_keys(seed, key_bytes)
    encrypted = _encrypt(enc_key, answer(message))
    auth = _auth(verify, seen.id, seen.b, y, seen.x, seen.mac, encrypted)
    return y + auth + encrypted, Agreed(message, keys)


# --- The specification's functions -----------------------------------------------------------------


def _encap(text: bytes) -> bytes:
    return len(text).to_bytes(8, "big") + text


def _hash(tweak: bytes, text: bytes) -> bytes:
    return hashlib.sha3_256(_encap(PROTOID + tweak) + text).digest()


def _kdf(tweak: bytes, text: bytes, size: int) -> bytes:
    return hashlib.shake_256(_encap(PROTOID + tweak) + text).digest(size)


def _encrypt(key: bytes, text: bytes) -> bytes:
    """AES-256-CTR from zero, which is its own inverse; each key is used for one message."""
    return Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(text)


def _phase1_keys(bx: bytes, identity: bytes, x: bytes, b: bytes, ver: bytes) -> tuple[bytes, bytes]:
    keys = _kdf(b":kdf_phase1", bx + identity + x + b + PROTOID + _encap(ver), 2 * KEY)
    return keys[:KEY], keys[KEY:]


def _phase1_mac(key: bytes, identity: bytes, b: bytes, x: bytes, encrypted: bytes) -> bytes:
    return _hash(b":msg_mac", _encap(key) + identity + b + x + encrypted)


def _final_keys(seed: bytes, size: int) -> tuple[bytes, bytes]:
    keys = _kdf(b":kdf_final", seed, KEY + size)
    return keys[:KEY], keys[KEY:]


def _auth(
    verify: bytes, identity: bytes, b: bytes, y: bytes, x: bytes, mac: bytes, encrypted: bytes
) -> bytes:
    return _hash(
        b":auth_final", verify + identity + b + y + x + mac + _encap(encrypted) + PROTOID + b"Server"
    )


def _exchange(ours: X25519PrivateKey, theirs: bytes) -> bytes:
    try:
        return ours.exchange(X25519PublicKey.from_public_bytes(theirs))
    except ValueError as error:  # a point of low order, which makes a secret that everybody knows
        raise HandshakeError("The other side sent a point of low order for a key.") from error
