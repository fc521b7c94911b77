"""How many circuits a relay begins for one peer in a short time.

Each CREATE costs the relay the handshake, measured at 0.12 ms on a 3 GHz core and several times that on a
small board: two agreements of X25519 and some hashes. So it is not their number that is bounded but what they
cost: each peer may use `PEER_SHARE` of a core for them. On the machine of that measurement these are some
1,700 a second, and as many at once after a rest.

Nobody who uses circuits comes near. One over three relays costs its client as much as all of them, so where
they share a core a relay's handshake is a seventh of the whole at most, links and ciphers not counted.
Measured: four agents in one process that do nothing but build circuits build 650 a second, which costs each
relay 8 % of the core.
"""

from __future__ import annotations

import time

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fogagent.overlay.onion.crypto import KEY_BYTES
from fogagent.overlay.onion.handshake import ClientHandshake, respond
from fogagent.overlay.rate import RateLimit

PEER_SHARE = 0.2
SAMPLES = 16


class Pace:
    """What peers asked for of late. By peer and not by link, which a peer may have several of, and anew."""

    def __init__(self, per_s: float) -> None:
        """``per_s``: so many handshakes a peer may ask for in a second, and as many at once after a rest."""
        self._per_s = per_s
        self._limits: dict[bytes, RateLimit] = {}

    def allows(self, peer: bytes, now: float) -> bool:
        """Whether the peer may have one more, which is counted then. ``now`` in seconds, of any clock."""
        limit = self._limits.get(peer)
        if limit is None:
            self._forget_rested(now)
            limit = self._limits[peer] = RateLimit(self._per_s, self._per_s, now)
        return limit.take_if_allowed(1, now)

    def _forget_rested(self, now: float) -> None:
        self._limits = {peer: limit for peer, limit in self._limits.items() if not limit.has_rested(now)}


def affordable_per_s() -> float:
    """Handshakes a second that use `PEER_SHARE` of a core of this machine. Takes some milliseconds."""
    return PEER_SHARE / min(_handshake_s() for _ in range(SAMPLES))  # the least: others use the machine too


def _handshake_s() -> float:
    identity, secret = bytes(32), X25519PrivateKey.generate()
    request = ClientHandshake(identity, secret.public_key().public_bytes_raw()).request
    began = time.perf_counter()
    respond(request, identity, secret, lambda _: b"", KEY_BYTES)
    return time.perf_counter() - began
