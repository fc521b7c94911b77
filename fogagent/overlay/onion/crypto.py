"""The layers around what a circuit carries: one for each hop, each hop removes (or adds) its own.

A layer is AES-256-CTR, one stream for all cells of a direction, so a cell that is repeated, left out
or moved turns all that follows into noise. What is meant for a hop, or comes from it, is sealed with
AES-256-GCM besides, under a number that counts those cells: so whoever changes anything on the way is
found out by the next honest end, before anything is delivered. A relay that is not meant learns
nothing but that: its layer removed, the body does not begin with `MARK`, or is not what was sealed.

    body for hop 3 = CTR1(CTR2(CTR3(MARK | GCM3(message))))
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fogagent.overlay.onion.cells import MARK

KEY = 32
KEY_BYTES = 4 * KEY
"""What a handshake must give: a key for the layer and one for the seal, forwards and backwards."""


class Direction:
    """One direction of one hop, at either of its ends; the same calls do and undo a layer."""

    def __init__(self, layer_key: bytes, seal_key: bytes) -> None:
        self.layer = Cipher(algorithms.AES(layer_key), modes.CTR(bytes(16))).encryptor().update
        """``layer(body) -> body``: for each cell of the direction exactly once, and in order."""
        self._sealing = AESGCM(seal_key)
        self._sealed = 0  # cells, which is the number of the next one

    def seal(self, plain: bytes) -> bytes:
        """The body that only the other end of this hop can open."""
        body = MARK + self._sealing.encrypt(self._number(), plain, None)
        self._sealed += 1
        return body

    def open(self, body: bytes) -> bytes | None:
        """The plain text, if the body is the next one that was sealed for this hop."""
        if not body.startswith(MARK):
            return None
        try:
            plain = self._sealing.decrypt(self._number(), memoryview(body)[len(MARK) :], None)
        except InvalidTag:
            return None
        self._sealed += 1
        return plain

    def _number(self) -> bytes:
        return self._sealed.to_bytes(12, "big")


class HopKeys:
    """Both directions of one hop. ``forward`` leads away from the client."""

    def __init__(self, keys: bytes) -> None:
        """``keys``: `KEY_BYTES` bytes from the handshake."""
        assert len(keys) == KEY_BYTES
        layer_f, layer_b, seal_f, seal_b = (keys[i : i + KEY] for i in range(0, KEY_BYTES, KEY))
        self.forward = Direction(layer_f, seal_f)
        self.backward = Direction(layer_b, seal_b)
