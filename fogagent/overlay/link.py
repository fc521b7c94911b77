"""One link: an encrypted connection with a peer that has proven who it is, carrying frames both ways.

Those who send look at `full` and wait for `room`; those who cannot take more call `hold`, upon which TCP
stops the peer, whose link then is `full`. So nobody keeps more than a few hundred KiB for a slow peer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from fogagent.overlay.frames import FrameReader, Kind, frame_header
from fogagent.overlay.link_errors import LinkEnded, LinkError
from fogagent.overlay.link_writer import LinkWriter
from fogagent.overlay.liveness import Due, LinkTimes, Liveness
from fogagent.overlay.secure import SecureChannel

TLS_BACKLOG = 64 * 1024
"""What TLS itself may owe a peer that does not read, such as answers to changes of keys."""


class LinkOwner(Protocol):
    """What a link needs of those who made it."""

    scratch: memoryview
    """Into which all links of one event loop read, one after the other."""

    def judge(self, link: Link, certificate: bytes) -> bytes:
        """The identity of the peer that proved to hold this certificate. Raises LinkError to end the link."""

    def take(self, link: Link, kind: int, payload: bytes) -> None:
        """A frame came."""

    def forget(self, link: Link, was_open: bool, error: LinkError) -> None:
        """It is over. Called once for each connection, by the event loop rather than from within a call."""


class Stage(Enum):
    HANDSHAKE = "handshake"
    GREETING = "greeting"
    """We know the peer, but the peer that we dialled has not spoken: it may not want us."""
    OPEN = "open"
    ENDED = "ended"


class Link(asyncio.BufferedProtocol):
    """To be used from its event loop; made by `Links`, which says what the callbacks are.

    ``expected`` is the identity that we dialled; empty where we were dialled.
    """

    def __init__(self, channel: SecureChannel, owner: LinkOwner, *, expected: bytes = b"") -> None:
        self._loop = asyncio.get_running_loop()
        self._channel = channel
        self._owner = owner
        self.expected = expected
        self._stage = Stage.HANDSHAKE
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader()
        self._held = False
        self._kept = 0
        self._liveness = Liveness.from_now(self._loop.time())
        self._writer = LinkWriter(channel, self._liveness, self._end)
        self._error: LinkError | None = None
        self.ready: asyncio.Future[LinkError | None] = self._loop.create_future()
        """Done when the link is open, or when it will never be, with the reason."""
        self.certificate = b""
        self.peer = b""
        """The identity that the other end has proven; empty until then."""

    # For those who use it

    @property
    def open(self) -> bool:
        return self._stage is Stage.OPEN

    def send(self, kind: int, payload: bytes) -> None:
        """Queue a frame; once the link is over this does nothing.

        Nothing is refused while the link is `full`: it is the sender who should stop.

        Raises:
            ValueError: more than 64 KiB, or an unknown kind.
        """
        header = frame_header(kind, len(payload))
        if self._stage is Stage.OPEN:
            self._liveness.used_at = self._loop.time()
            self._writer.put(header, payload)

    @property
    def buffered(self) -> int:
        """Bytes that wait in this process for the network."""
        return self._writer.buffered

    @property
    def full(self) -> bool:
        return self._writer.blocked and self._writer.full  # the first is asked before each cell, and quick

    def on_room(self, callback: Callable[[], None]) -> None:
        """Call once, as soon as the link is not full, or is over; never from within this call.

        Those who wait are called in their order, and no further once one of them has filled the link again.
        """
        self._writer.on_room(callback)

    async def room(self) -> None:
        """Return when the link is not full, or is over."""
        await self._writer.room()

    def hold(self) -> None:
        """Read no further. No frame is handed over after this, until `go_on`."""
        self._held = True
        if self._transport is not None:
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Read again; what came before `hold` is handed over in the loop's next turn."""
        if self._held:
            self._held = False
            self._liveness.heard_at = self._loop.time()  # what it said meanwhile we could not hear
            self._loop.call_soon(self._read_on)

    def keep(self) -> None:
        """Do not close the link for being unused, until `release` was called as often."""
        self._kept += 1

    def release(self) -> None:
        assert self._kept > 0, "released more often than kept"
        self._kept -= 1
        self.touch()

    def touch(self) -> None:
        """It is of use: count from now when it is closed for being unused."""
        self._liveness.used_at = self._loop.time()

    def close(self, sentence: str = "This node closed the link.") -> None:
        """Send what is queued as far as the network takes it at once, say goodbye and end."""
        self._end(LinkEnded(sentence))

    def check(self, times: LinkTimes) -> None:
        """To be called now and then: say that we are there, or end a link that is dead or of no use."""
        now = self._loop.time()
        match self._liveness.due(
            now, times, kept=self._kept > 0, held=self._held, blocked=self._writer.blocked
        ):
            case Due.KEEP_ALIVE:
                self._keep_alive()
            case Due.SILENT:
                self._end(LinkEnded(f"The peer was not heard for {times.silent_s:g} s."))
            case Due.UNUSED:
                self._end(LinkEnded(f"Nobody used the link for {times.unused_s:g} s."))

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._stage is Stage.ENDED:  # while it was being made
            transport.abort()
            return
        self._writer.connected(transport)
        self._shake_hands()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._owner.scratch

    def buffer_updated(self, nbytes: int) -> None:
        self._liveness.heard_at = self._loop.time()
        self._channel.receive(self._owner.scratch[:nbytes])
        if self._stage is Stage.HANDSHAKE:
            self._shake_hands()
        else:
            self._hand_over()

    def pause_writing(self) -> None:
        self._writer.blocked = True

    def resume_writing(self) -> None:
        self._writer.unblock()

    def eof_received(self) -> None:
        self._end(LinkEnded("The connection was lost."))

    def connection_lost(self, exc: Exception | None) -> None:
        was_open = bool(self.peer)
        error = self._error or LinkEnded("The connection was lost.")
        self._stage, self._error = Stage.ENDED, error
        self._writer.drop()
        if not self.ready.done():
            self.ready.set_result(error)
        try:
            self._owner.forget(self, was_open, error)
        finally:
            self._writer.call_those_waiting()

    # From the first byte to the first frame

    def _shake_hands(self) -> None:
        try:
            certificate = self._channel.shake_hands()
            self._writer.write(self._channel.outgoing())
            if certificate is None:
                return
            self.certificate = certificate
            self._stage = Stage.GREETING
            if not self.expected:
                self._begin()
        except LinkError as error:
            self._end(error)
            return
        self._keep_alive()
        self._hand_over()

    def _keep_alive(self) -> None:
        self._writer.put(frame_header(Kind.KEEP_ALIVE, 0), b"")

    def _begin(self) -> None:
        """The peer is who it should be, and wants us: only now others may see the link."""
        self.peer = self._owner.judge(self, self.certificate)
        self._stage = Stage.OPEN
        if not self.ready.done():
            self.ready.set_result(None)

    # Reading

    def _hand_over(self) -> None:
        """Hand over what has come, frame by frame, for as long as nobody holds."""
        while (frame := self._next_frame()) is not None:
            kind, payload = frame
            if kind != Kind.KEEP_ALIVE:
                self._liveness.used_at = self._liveness.heard_at
                try:
                    self._owner.take(self, kind, payload)
                except BaseException:
                    self._end(LinkEnded("A fault of this node ended the link."))
                    raise
        self._answer()

    def _next_frame(self) -> tuple[int, bytes] | None:
        if self._held or self._stage is Stage.ENDED:
            return None
        try:
            while (frame := self._reader.next()) is None:
                plain = self._channel.decrypt()
                if not plain:
                    return None
                self._reader.feed(plain)
            if self._stage is Stage.GREETING:
                self._begin()
        except LinkError as error:
            self._end(error)
            return None
        return frame

    def _read_on(self) -> None:
        if not self._held and self._stage is not Stage.ENDED and self._transport is not None:
            self._transport.resume_reading()
            self._hand_over()

    def _answer(self) -> None:
        """Send what TLS has to say after reading, such as a change of keys."""
        if not self._writer.blocked:
            self._writer.write(self._channel.outgoing())
        elif self._channel.unsent > TLS_BACKLOG:
            self._end(LinkEnded("The peer asks TLS for answers and does not read them."))

    # The end

    def _end(self, error: LinkError) -> None:
        if self._stage is Stage.ENDED:
            return
        self._error = error
        self._writer.flush()
        self._stage = Stage.ENDED
        if self._transport is None:
            return
        if not self._writer.blocked:
            self._writer.write(self._channel.say_goodbye())
        if self._writer.blocked:
            self._transport.abort()  # it may never read what waits for it
        else:
            self._transport.close()
