"""What can go wrong with a circuit, as it travels in a DESTROY cell and as people read it."""

from __future__ import annotations

from enum import IntEnum


class Reason(IntEnum):
    """Why a circuit ended. On the wire one byte; a relay passes on what it was told."""

    FINISHED = 0
    PROTOCOL = 1
    INTEGRITY = 2
    LIMIT = 3
    HANDSHAKE = 4
    UNREACHABLE = 5
    LINK_CLOSED = 6
    TIMEOUT = 7
    STOPPED = 8
    RATE = 9

    @property
    def sentence(self) -> str:
        return _SENTENCES[self]


_SENTENCES = {
    Reason.FINISHED: "The circuit was no longer needed.",
    Reason.PROTOCOL: "A relay sent something that the protocol does not allow.",
    Reason.INTEGRITY: "A cell was changed, repeated, left out or put in another place on its way.",
    Reason.LIMIT: "A relay holds as many circuits, or as much for them, as it allows.",
    Reason.HANDSHAKE: "The handshake with a relay failed.",
    Reason.UNREACHABLE: "A relay could not reach the next one.",
    Reason.LINK_CLOSED: "The link between two relays broke.",
    Reason.TIMEOUT: "The circuit was not built in time.",
    Reason.STOPPED: "A relay was stopped.",
    Reason.RATE: "A relay was asked for more circuits in a short time than it begins for one peer.",
}


class OnionError(Exception):
    """The base of what this package raises. ``reason`` is what a DESTROY cell says of it."""

    reason = Reason.PROTOCOL


class ProtocolError(OnionError):
    """The other end broke the protocol."""


class HandshakeError(OnionError):
    """No keys were agreed on: the other end does not hold the key that it should, or sent nonsense."""

    reason = Reason.HANDSHAKE


class IntegrityError(OnionError):
    """What arrived is not what was sent."""

    reason = Reason.INTEGRITY


def reason_of(code: int) -> Reason:
    """What a peer's byte means; one that we do not know counts as a broken protocol."""
    return Reason(code) if code in Reason._value2member_map_ else Reason.PROTOCOL
