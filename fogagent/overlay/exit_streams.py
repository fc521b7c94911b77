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


class ExitStreams:
    """What this relay does about streams that end here. To be used in one event loop."""

    def __init__(
        self, policy: ExitPolicy | None, *, limit: RateLimit | None = None, most: int = DIALLED_MOST
    ) -> None:
        """``policy`` None: it is no exit, and only echoes. ``limit`` is for all streams together."""
        self._policy, self._limit, self._most = policy, limit, most
        self._background = Background(logged_as("a stream that ends here"))
        self._dialling = 0
        self._pumps: set[Pump] = set()

    def __len__(self) -> int:
        """Connections that were dialled, or are being."""
        return self._dialling + len(self._pumps)

    def on_begin(self, stream: Stream, asked: bytes) -> None:
        """A stream has come; it is accepted or refused now or later."""
        if asked == ECHO:
            self._echo(stream)
        elif self._policy is None:
            stream.abort(Reason.NOT_ALLOWED, "This relay is no exit: its owner did not make it one.")
        elif len(self) >= self._most:
            stream.abort(Reason.FAILED, f"This exit has {self._most} connections, which is all it takes.")
        elif not asked.startswith(CONNECT):
            stream.abort(Reason.FAILED, "This exit does not know what was asked of it.")
        else:
            connecting = self._background.begin(self._connect(stream, asked, self._policy))
            stream.on_settled = partial(_stop, connecting)  # its client has gone, or we have refused it

    # --- Out into the world ------------------------------------------------------------------------

    async def _connect(self, stream: Stream, asked: bytes, policy: ExitPolicy) -> None:
        self._dialling += 1
        try:
            connection = await self._dialled(stream, asked, policy)
            pump = None if connection is None else await self._joined(stream, connection)
        finally:
            self._dialling -= 1
        if pump is not None:
            await self._pumped(pump)

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
            stream.abort(Reason.FAILED, "The exit was stopped.")
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

    async def _pumped(self, pump: Pump) -> None:
        """Return when it is over. It has its connection by now, so that it may be aborted."""
        self._pumps.add(pump)
        try:
            await pump.ended()
        finally:
            self._pumps.discard(pump)

    async def close(self) -> None:
        """End all streams that lead out from here."""
        for pump in list(self._pumps):
            pump.abort("stopped")
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
