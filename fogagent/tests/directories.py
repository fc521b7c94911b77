"""Relays and signed directories for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fogagent.overlay.directory import Changes, Relay, digest, sign

PANEL = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PANEL_KEY = PANEL.public_key().public_bytes_raw()
MADE = 1_000_000.0
LIFETIME_S = 24 * 3600.0


def relay(number: int, **fields: object) -> Relay:
    """The relay of that number; two with the same number have the same keys."""
    seed = number.to_bytes(4)
    usual: dict[str, object] = {
        "node": number,
        "name": f"relay-{number}",
        "identity": sha256(seed + b"identity").digest(),
        "onion_key": sha256(seed + b"onion").digest(),
        "sealing_key": sha256(seed + b"sealing").digest(),
        "certificate": b"certificate of " + seed,
        "address": f"192.0.2.{number % 255 + 1}:9000",
        "flags": ["relay", "mix"],
    }
    return Relay(**{**usual, **fields})  # type: ignore[arg-type]


def by_identity(relays: Iterable[Relay]) -> dict[bytes, Relay]:
    return {each.identity: each for each in relays}


def signed(
    relays: Mapping[bytes, Relay],
    version: int,
    *,
    base: int = 0,
    before: Mapping[bytes, Relay] | None = None,
    made_at: float = MADE,
    expires_at: float = MADE + LIFETIME_S,
) -> Changes:
    """Changes to ``relays`` from those ``before``, which were ``base``, as the panel makes them."""
    before = before or {}
    whole = digest(relays)
    return Changes(
        base=base,
        version=version,
        made_at=made_at,
        expires_at=expires_at,
        upserts=[each for identity, each in relays.items() if before.get(identity) != each],
        removed=[identity for identity in before if identity not in relays],
        digest=whole,
        signature=sign(PANEL, version=version, made_at=made_at, expires_at=expires_at, digest=whole),
    )
