"""Streams that end at this relay: dialled out into the world, or echoed for those who only want to know
whether a circuit works.

What a client asks for is a text: ``connect HOST:PORT`` (an IPv6 address in brackets) or ``echo``.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from functools import partial

from fogagent.background import Background, logged_as
from fogagent.overlay.exit_places import Places
from fogagent.overlay.exit_policy import ExitPolicy
from fogagent.overlay.exits import dial
from fogagent.overlay.onion.stream import Stream
from fogagent.overlay.pump import Pump
from fogagent.overlay.rate import RateLimit
from fogagent.overlay.stream import BadTarget, Reason, StreamRefused, Target

ECHO = b"echo"
CONNECT = b"connect "
DIAL_S = 15.0
DIALLED_MOST = 1024
STOPPED = "The exit was stopped."
GIVEN_AWAY = (
    "The exit has all the connections that it takes. This one was idle for longest in the circuit that has "
    "most, so another stream has its place now."
)

log = logging.getLogger("fogagent")


def connect_to(target: Target) -> bytes:
    """What a client writes that wants a stream to ``target``."""
    return CONNECT + str(target).encode()


def read_connect(asked: bytes) -> Target:
    """Raises BadTarget for what `connect_to` would not have written."""
    try:
        host, _, port = asked.removeprefix(CONNECT).decode("ascii").rpartition(":")
        target = Target(host.removeprefix("[").removesuffix("]"), int(port))
    except ValueError as error:
        raise BadTarget(f"{asked[:60]!r} names no host and port.") from error
    if connect_to(target) != asked:
        raise BadTarget(f"{asked[:60]!r} names a host and port, but not as it should.")
    return target


class _Way:
    """Out into the world for a stream: a connection, or one that is to be."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.peer = stream.circuit.peer
        self.circuit = stream.circuit
        self.pump: Pump | None = None
        self._asked_at = asyncio.get_running_loop().time()

    @property
    def used_at(self) -> float:
        return self._asked_at if self.pump is None else self.pump.used_at

    def end(self, reason: Reason, sentence: str) -> None:
        self.stream.abort(reason, sentence)
        if self.pump is not None:
            self.pump.abort(reason)


class ExitStreams:
    """What this relay does about streams that end here. To be used in one event loop."""

    def __init__(
        self, policy: ExitPolicy | None, *, limit: RateLimit | None = None, most: int = DIALLED_MOST
    ) -> None:
        """``policy`` None: it is no exit, and only echoes. ``limit`` is for all streams together."""
        self._policy, self._limit = policy, limit
        self._background = Background(logged_as("a stream that ends here"))
        self._places = Places[_Way](most)

    def __len__(self) -> int:
        """Connections that were dialled, or are being."""
        return len(self._places)

    def on_begin(self, stream: Stream, asked: bytes) -> None:
        """A stream has come; it is accepted or refused now or later."""
        if asked == ECHO:
            self._echo(stream)
        elif self._policy is None:
            stream.abort(Reason.NOT_ALLOWED, "This relay is no exit: its owner did not make it one.")
        elif not asked.startswith(CONNECT):
            stream.abort(Reason.FAILED, "This exit does not know what was asked of it.")
        else:
            self._begin(_Way(stream), asked, self._policy)

    # --- Out into the world ------------------------------------------------------------------------

    def _begin(self, way: _Way, asked: bytes, policy: ExitPolicy) -> None:
        connecting = self._background.begin(self._connect(way, asked, policy))
        connecting.add_done_callback(lambda _: self._places.release(way))
        way.stream.on_settled = partial(_stop, connecting)  # its client has gone, or we have refused it
        if (loser := self._places.take(way)) is not None:
            loser.end(Reason.BUSY, GIVEN_AWAY)  # which may be too much for the circuit, and end this one too

    async def _connect(self, way: _Way, asked: bytes, policy: ExitPolicy) -> None:
        connection = await self._dialled(way.stream, asked, policy)
        if connection is not None and (pump := await self._joined(way.stream, connection)) is not None:
            way.pump = pump  # it has its connection by now, so that it may be aborted
            await pump.ended()

    async def _dialled(self, stream: Stream, asked: bytes, policy: ExitPolicy) -> socket.socket | None:
        """The connection; None if there is none, and the stream was told why."""
        try:
            target = read_connect(asked)
            return await dial(target.host, target.port, policy, timeout_s=DIAL_S)
        except BadTarget as error:
            stream.abort(Reason.CANNOT_RESOLVE, str(error))
        except StreamRefused as refusal:
            stream.abort(refusal.reason, str(refusal))
        except asyncio.CancelledError:
            stream.abort(Reason.FAILED, STOPPED)
            raise
        except Exception:
            log.exception("dialling for a stream failed")
            stream.abort(Reason.FAILED, "The exit failed at this; its log says why.")
        return None

    async def _joined(self, stream: Stream, connection: socket.socket) -> Pump | None:
        """The pump between them; None if the client did not wait."""
        if stream.ending is not None:
            connection.close()
            return None
        pump = Pump(stream, self._limit)
        stream.accept()
        await asyncio.get_running_loop().create_connection(lambda: pump, sock=connection)
        return pump

    async def close(self) -> None:
        """End all streams that lead out from here."""
        for way in list(self._places):
            way.end(Reason.FAILED, STOPPED)
        await self._background.stop()

    # --- Back where it came from -------------------------------------------------------------------

    def _echo(self, stream: Stream) -> None:
        """Send back what comes, no faster than its client takes it."""

        def on_data(data: bytes) -> None:
            stream.write(data)
            if stream.full:
                stream.hold()
                self._background.begin(go_on())

        async def go_on() -> None:
            await stream.room()
            stream.go_on()

        def on_end(code: str) -> None:
            if not code:
                stream.finish()

        stream.accept()
        stream.set_reader(on_data, on_end)


def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
