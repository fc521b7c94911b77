"""Where a stream may lead, why it was not opened, and what an open one offers to either of its ends."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,253}", re.ASCII)


class BadTarget(Exception):
    """Neither a name nor an address, or no port. ``str`` says what is wrong with it."""


@dataclass(frozen=True)
class Target:
    """Where a stream should lead: a name in ASCII or a numeric address without brackets, and a TCP port.

    Names are not resolved before the exit, so that nobody but the exit learns them.

    Raises:
        BadTarget: it could be no such thing.
    """

    host: str
    port: int

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise BadTarget(f"Port {self.port} does not exist: ports are 1 to 65535.")
        if not _NAME.fullmatch(self.host) and not _is_address(self.host):
            raise BadTarget(f"{self.host[:60]!r} is neither a host name in ASCII nor an address.")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Isolation:
    """Streams with different user or password never share a circuit. Both may be anything, also empty."""

    user: bytes = b""
    password: bytes = field(default=b"", repr=False)


class Reason(StrEnum):
    """Why a stream was not opened, or is over."""

    NOT_ALLOWED = "not-allowed"
    CANNOT_RESOLVE = "cannot-resolve"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    BUSY = "busy"
    """The exit has given the stream's place to another; it may have been open by then."""
    FAILED = "failed"
    """Something on the way, rather than at the target."""


class StreamRefused(Exception):
    """A stream was not opened. ``str`` is a sentence for the user."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class OverlayStream(Protocol):
    """One end of a stream that crosses the overlay. To be used from one event loop.

    What comes before `set_reader` is kept and handed over then.
    """

    @property
    def full(self) -> bool:
        """Enough is buffered: write no more before `room`."""

    def write(self, data: bytes) -> None:
        """Send all of it, in order; it is queued where it must be. Nothing once the stream has ended."""

    async def room(self) -> None:
        """Return when the stream is not full, or has ended."""

    def set_reader(self, on_data: Callable[[bytes], None], on_end: Callable[[str], None]) -> None:
        """Have what comes handed over, and how it ends.

        ``on_end("")``: the other side sends no more, but may still read. Any other reason, also after that:
        the stream is broken in both directions, and what came may be cut short. After our `abort` neither
        is called.
        """

    def hold(self) -> None:
        """Hand over nothing until `go_on`, and let the other side feel it. The other side's end of sending
        waits as well; that the stream broke does not."""

    def go_on(self) -> None: ...

    def finish(self) -> None:
        """No more comes from us; what was written still goes, and what comes is still read."""

    def abort(self, reason: str) -> None:
        """Drop everything, both ways, and tell the other side why. May be called at any time."""


OpenStream = Callable[[Target, Isolation], Awaitable[OverlayStream]]
"""Raises StreamRefused."""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host
