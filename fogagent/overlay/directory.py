"""The relay directory: who takes part in the overlay, by which keys, signed by the panel.

The panel signs each version of the whole; agents get only what changed since the version they hold, and
prove by the signed digest that they now have the same relays as the panel. So neither a lost change nor
one that somebody put in goes unnoticed.

Versions only grow: each signing is a new version, also where nothing but the times differs, and a panel
whose database was restored goes on above all numbers it ever gave out.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Meta

from fogagent.identity import BadSignature, verify
from fogagent.messages import Certificate, Count, HostPort, Identifier, Key, Seconds, Short, Signature, Value

PURPOSE = b"fogpanel directory v1\0"

MAX_RELAYS = 20_000
"""A larger directory is refused, so that nobody can fill the memory of small machines."""
MAX_CHANGES_BYTES = 32 * 1024 * 1024
"""Of encoded changes; a relay has about 700 bytes, so that the largest directory fits twice."""
MAX_NETWORKS = 4
"""Of one relay: two sites of which each has both IPv4 and IPv6. A name that led to more of them could claim
the networks of others, and so choose with whom its relay comes into a path."""
GRACE_S = 7 * 24 * 3600.0
"""How long an expired directory goes on being used while the panel is away.

A week outlasts holidays and the repair of a broken panel, and the keys in it live longer than that. Not
more, because whoever keeps an agent from hearing the panel keeps it from hearing for so long that a relay
was thrown out.
"""

Version = Annotated[int, Meta(ge=1, lt=2**53)]
Flag = Annotated[str, Meta(pattern=r"^[a-z_-]{1,30}\Z")]
Network = Annotated[str, Meta(pattern=r"^[0-9a-f.:]{1,40}/[0-9]{1,3}\Z")]


class Relay(Value, frozen=True, kw_only=True):
    """One node that takes part."""

    node: Identifier
    name: Short
    identity: Key
    """Ed25519 public key; names the relay everywhere."""
    onion_key: Key
    """X25519, for circuit handshakes."""
    sealing_key: Key
    """X25519, for HPKE."""
    certificate: Certificate
    """DER of the self-signed certificate that it shows on links."""
    address: HostPort = ""
    """Where it accepts links; empty: it cannot be reached and only dials out."""
    family: Short = ""
    """Relays of one owner; never two of them in a path."""
    region: Short = ""
    flags: Annotated[list[Flag], Meta(max_length=16)] = []
    """Among compute, relay, mix, exit, entry (what its owner grants) and guard (the panel's judgement)."""
    bandwidth_kbps: Count = 0
    """Measured; 0: not yet."""
    networks: Annotated[list[Network], Meta(max_length=MAX_NETWORKS)] = []
    """Where the name in its address led when the panel looked; empty: it is no name, or nobody knows."""


class Changes(Value, frozen=True, kw_only=True):
    """From version ``base`` to ``version``; ``base`` 0 says that the whole follows.

    ``digest`` and ``signature`` are about the whole that results. ``removed`` may name relays that the base
    does not have.
    """

    base: Count
    version: Version
    made_at: Seconds
    expires_at: Seconds
    upserts: list[Relay]
    removed: list[Key] = []
    digest: Key
    signature: Signature


@dataclass(frozen=True, slots=True)
class Directory:
    """Times are seconds since the epoch by the panel's clock."""

    version: int
    made_at: float
    expires_at: float
    relays: Mapping[bytes, Relay]
    """By identity, and in its order. Not to be changed."""

    def is_expired(self, now: float) -> bool:
        return now >= self.expires_at

    def is_gone(self, now: float) -> bool:
        """Whether it is too old to be used even while the panel is away."""
        return now >= self.expires_at + GRACE_S


class Refusal(StrEnum):
    FORGED = "forged"  # the signature is not the panel's, or of something else
    EXPIRED = "expired"
    NOT_NEWER = "not_newer"  # a rollback, or what is held already
    WRONG_BASE = "wrong_base"  # changes to something that is not held
    WRONG_DIGEST = "wrong_digest"  # applied, they do not give what was signed
    MALFORMED = "malformed"
    TOO_MANY = "too_many"


class BadDirectory(Exception):
    """Changes that must not be applied. ``str`` says why."""

    def __init__(self, reason: Refusal, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence


def in_utc(at: float) -> str:
    """A time as people compare it with their clock. ``at`` is seconds since the epoch."""
    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return f"{at:g} s since 1970"  # no calendar has it


# --- What is signed --------------------------------------------------------------------------------

_HEAD = struct.Struct(">32s32s32sQQ6H")
_SIGNED = struct.Struct(">Qdd32s")


def digest(relays: Mapping[bytes, Relay]) -> bytes:
    """SHA-256 over the encodings of all relays, in ascending order of their identities.

    A relay is encoded as the following, without padding; integers are unsigned and big-endian, texts UTF-8:

        32  identity
        32  onion_key
        32  sealing_key
         8  node
         8  bandwidth_kbps
        12  lengths in bytes, 2 each, of the six that follow
            name, address, family, region, flags (in the order of the list, a comma between two), certificate

    Networks, where there are any, follow the flags within their text: after a semicolon, and a comma between
    two. So a directory without them is signed as it was before relays had any.

    Each encoding says where it ends, so no two sets of relays give the same text.
    """
    return hashlib.sha256(b"".join([_encoding(relays[identity]) for identity in sorted(relays)])).digest()


def _encoding(relay: Relay) -> bytes:
    name, address = relay.name.encode(), relay.address.encode()
    family, region = relay.family.encode(), relay.region.encode()
    networks = ";" + ",".join(relay.networks) if relay.networks else ""
    flags, certificate = (",".join(relay.flags) + networks).encode(), relay.certificate
    lengths = len(name), len(address), len(family), len(region), len(flags), len(certificate)
    head = _HEAD.pack(
        relay.identity, relay.onion_key, relay.sealing_key, relay.node, relay.bandwidth_kbps, *lengths
    )
    return b"".join((head, name, address, family, region, flags, certificate))


def sign(
    signing_key: Ed25519PrivateKey, *, version: int, made_at: float, expires_at: float, digest: bytes
) -> bytes:
    """The signature of `Changes` that lead to this version, whatever their base.

    Signed are, after PURPOSE, 56 bytes: version (8, unsigned), made_at and expires_at (8 each, IEEE 754) and
    the digest (32), all big-endian.
    """
    return signing_key.sign(PURPOSE + _SIGNED.pack(version, made_at, expires_at, digest))


# --- On the wire and on disk -----------------------------------------------------------------------

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Changes)


def encode_changes(changes: Changes) -> bytes:
    """As MessagePack, in which keys and certificates are what they are."""
    return _encoder.encode(changes)


def decode_changes(encoded: bytes) -> Changes:
    """Raises BadDirectory unless these are changes that keep the values' limits."""
    try:
        return _decoder.decode(encoded)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(error) from error


def _malformed(error: Exception) -> BadDirectory:
    return BadDirectory(Refusal.MALFORMED, f"The directory breaks its rules: {error}.")


# --- Applying --------------------------------------------------------------------------------------


def apply(held: Directory | None, changes: Changes, panel_key: bytes, now: float) -> Directory:
    """The directory after these changes. ``now`` is seconds since the epoch.

    Raises:
        BadDirectory: they are not the panel's, expired, not newer than ``held``, made for another base, do
            not give the signed digest, or break a limit.
    """
    _check_form(changes)
    _check_signature(changes, panel_key)
    if now >= changes.expires_at:
        raise BadDirectory(
            Refusal.EXPIRED,
            f"The directory {changes.version} expired on {in_utc(changes.expires_at)}, and here it is "
            f"{in_utc(now)}. If the panel works, this machine's clock is ahead.",
        )
    if held is not None and changes.version <= held.version:
        raise BadDirectory(
            Refusal.NOT_NEWER,
            f"The directory {changes.version} is not newer than {held.version}, which this node has.",
        )
    return _result(held, changes)


def judge(held: Directory | None, encoded: bytes, panel_key: bytes, now: float) -> tuple[Directory, Changes]:
    """`apply` encoded changes. Returns with the result what may be kept of it: the same version as changes
    to nothing, for which the signature holds as well. Raises BadDirectory."""
    changes = decode_changes(encoded)
    result = apply(held, changes, panel_key, now)
    whole = msgspec.structs.replace(changes, base=0, upserts=list(result.relays.values()), removed=[])
    return result, whole


def reopen(changes: Changes, panel_key: bytes) -> Directory:
    """A whole directory that was kept on disk. It may have expired or be gone since.

    Raises:
        BadDirectory: as for `apply`, except that its age does not matter.
    """
    _check_form(changes)
    _check_signature(changes, panel_key)
    return _result(None, changes)


def _check_form(changes: Changes) -> None:
    try:
        # Decoding checks this too, but not everybody who makes a struct decodes it.
        msgspec.convert(msgspec.to_builtins(changes, builtin_types=(bytes,)), Changes)
    except msgspec.ValidationError as error:
        raise _malformed(error) from error
    if not changes.made_at <= changes.expires_at:  # also if one is not a number
        raise BadDirectory(Refusal.MALFORMED, "The directory expires before it was made.")
    named = {relay.identity for relay in changes.upserts}
    if len(named) < len(changes.upserts) or not named.isdisjoint(changes.removed):
        raise BadDirectory(Refusal.MALFORMED, "The directory's changes name a relay twice.")


def _check_signature(changes: Changes, panel_key: bytes) -> None:
    text = _SIGNED.pack(changes.version, changes.made_at, changes.expires_at, changes.digest)
    try:
        verify(panel_key, PURPOSE, text, changes.signature)
    except BadSignature as error:
        raise BadDirectory(
            Refusal.FORGED, f"The directory {changes.version} was not signed by this node's panel."
        ) from error


def _result(held: Directory | None, changes: Changes) -> Directory:
    relays = _merged(held, changes)
    if len(relays) > MAX_RELAYS:
        raise BadDirectory(
            Refusal.TOO_MANY, f"A directory has at most {MAX_RELAYS} relays, this one {len(relays)}."
        )
    if digest(relays) != changes.digest:
        raise BadDirectory(
            Refusal.WRONG_DIGEST,
            f"The changes from directory {changes.base} to {changes.version} do not give what was signed.",
        )
    return Directory(changes.version, changes.made_at, changes.expires_at, relays)


def _merged(held: Directory | None, changes: Changes) -> Mapping[bytes, Relay]:
    version = held.version if held is not None else 0
    if changes.base not in (0, version):
        raise BadDirectory(
            Refusal.WRONG_BASE, f"These are changes to directory {changes.base}, but this node has {version}."
        )
    relays = dict(held.relays) if held is not None and changes.base else {}
    for identity in changes.removed:
        relays.pop(identity, None)
    relays.update((relay.identity, relay) for relay in changes.upserts)
    return {identity: relays[identity] for identity in sorted(relays)}
