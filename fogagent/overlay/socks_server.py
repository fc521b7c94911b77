"""The SOCKS 5 port of an agent: programs on this machine enter the overlay here."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from fogagent.messages import SocksPassword
from fogagent.overlay.pump import Pump
from fogagent.overlay.socks import REPLIES, Reply, Request, SocksError, SocksParser, reply
from fogagent.overlay.socks_passwords import ByName, by_name, entitled
from fogagent.overlay.stream import OpenStream, StreamRefused, Target

MOST_CLIENTS = 512
REQUEST_TIMEOUT_S = 10.0
MOST_IGNORED_BYTES = 256 * 1024

log = logging.getLogger("fogagent")

_TURNED = {
    True: "The port asks for a password now, and it came without.",
    False: "The port asks for no password any more; come again.",
}
"""What is told of who has given none, by whether the port asks for one now."""


class NotLoopback(Exception):
    """Whoever reaches the port may use the overlay in the owner's name, so it is for this machine only."""


class Ending(StrEnum):
    """Why a client is gone, beyond the faults that the parser names and the reasons of exits."""

    TOO_MANY = "too-many-clients"
    TOO_LATE = "request-timeout"
    LEFT = "left"
    BROKEN = "broken"
    SHUT_DOWN = "shut-down"
    NOT_ANY_MORE = "not-allowed-any-more"
    BUG = "bug"


@dataclass(frozen=True)
class Closed:
    """A client that is gone: what it wanted, and why it ended; no reason after a proper end."""

    reason: str = ""
    sentence: str = ""
    target: Target | None = None
    sent_bytes: int = 0
    received_bytes: int = 0


class SocksServer:
    """Listens on loopback and turns each request into a stream of ``open_stream``.

    A client that has not sent its request within ``request_timeout_s`` ends, as does one that comes while
    ``most_clients`` are there; how long opening may take is for ``open_stream`` to say. ``on_closed`` hears
    of every client once, when it is over. Without ``passwords`` everybody on this machine may come.
    """

    def __init__(
        self,
        open_stream: OpenStream,
        *,
        most_clients: int = MOST_CLIENTS,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        on_closed: Callable[[Closed], None] = lambda closed: None,
        passwords: Iterable[SocksPassword] | None = None,
    ) -> None:
        self.open_stream = open_stream
        self.most_clients, self.request_timeout_s = most_clients, request_timeout_s
        self.on_closed = on_closed
        self.refused: Counter[str] = Counter()
        """Clients so far by the fault they were turned away for."""
        self._passwords: ByName | None = None if passwords is None else by_name(passwords)
        self._clients: set[_Client] = set()
        self._gone_sent = self._gone_received = 0  # bytes of clients that are gone
        self._listening: asyncio.Server | None = None

    @property
    def clients(self) -> int:
        return len(self._clients)

    @property
    def sent_bytes(self) -> int:
        """From all clients so far into the overlay."""
        return self._gone_sent + sum(client.traffic[0] for client in self._clients)

    @property
    def received_bytes(self) -> int:
        return self._gone_received + sum(client.traffic[1] for client in self._clients)

    async def listen(self, host: str, port: int) -> int:
        """Returns the port; 0 asks for a free one.

        Raises:
            NotLoopback: others could reach ``host``.
            OSError: the port cannot be had.
        """
        _require_loopback(host)
        self._listening = await asyncio.get_running_loop().create_server(lambda: _Client(self), host, port)
        taken: int = self._listening.sockets[0].getsockname()[1]
        return taken

    async def close(self) -> None:
        """Take no more clients, drop those that are there, and wait until they are gone."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        leaving = list(self._clients)
        for client in leaving:
            client.drop(Ending.SHUT_DOWN, "The SOCKS port was closed.")
        await asyncio.gather(*(client.gone.wait() for client in leaving))

    def set_passwords(self, passwords: Iterable[SocksPassword] | None) -> None:
        """From now on these are asked for; None: any client may come, as where there never were passwords.

        Who came by another one is dropped, open streams included. Where the port asks from now on and did
        not before, or the other way round, so is whoever has given none: they began to speak to another port.
        """
        asked, asks = self._passwords is not None, passwords is not None
        self._passwords = None if passwords is None else by_name(passwords)
        valid = set((self._passwords or {}).values())
        for client in list(self._clients):
            if client.password is None and asked is not asks:
                client.drop(Ending.NOT_ANY_MORE, _TURNED[asks])
            elif client.password is not None and asks and client.password not in valid:
                client.drop(Ending.NOT_ANY_MORE, "The password that it came by is not valid any more.")

    def parser(self) -> SocksParser:
        return SocksParser() if self._passwords is None else SocksParser(self._entitled)

    def _entitled(self, name: bytes, password: bytes) -> SocksPassword | None:
        """By the passwords of this moment: they may have changed since the client came."""
        return entitled(self._passwords or {}, name, password)

    def enter(self, client: _Client) -> bool:
        if len(self._clients) >= self.most_clients:
            return False
        self._clients.add(client)
        return True

    def leave(self, client: _Client, closed: Closed) -> None:
        self._clients.discard(client)
        self._gone_sent += closed.sent_bytes
        self._gone_received += closed.received_bytes
        self.on_closed(closed)


class _Client(asyncio.Protocol):
    """The connection of a client until a pump takes it over, and who tells of its end after that."""

    def __init__(self, server: SocksServer) -> None:
        self.gone = asyncio.Event()
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._parser = server.parser()
        self._transport: asyncio.Transport
        self._deadline: asyncio.TimerHandle | None = None
        self._serving: asyncio.Task[None] | None = None
        self._pump: Pump | None = None
        self._verdict: Closed | None = None
        self._ignored_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._server.enter(self):
            self._set_deadline()
        else:
            self._cut(Ending.TOO_MANY, f"There are {self._server.most_clients} clients already.")

    def data_received(self, data: bytes) -> None:
        if self._verdict is not None:
            self._ignore(data)
            return
        try:
            self._transport.write(self._parser.receive(data))
        except SocksError as error:
            self._server.refused[error.fault] += 1
            self._refuse(error.fault, str(error), error.answer)
            return
        if self._parser.request is not None:
            self._clear_deadline()
            # What more the client sends waits in the kernel until there is a stream for it.
            self._transport.pause_reading()
            self._serving = self._loop.create_task(self._serve(self._parser.request))

    async def _serve(self, request: Request) -> None:
        try:
            stream = await self._server.open_stream(request.target, request.isolation)
        except StreamRefused as refusal:
            self._refuse(refusal.reason, str(refusal), reply(REPLIES[refusal.reason]))
        except Exception:
            log.exception("Opening a stream failed")
            self._refuse(Ending.BUG, "Opening a stream failed; the log tells more.", reply(Reply.FAILURE))
        else:
            pump = self._pump = Pump(stream)
            self._hand_over(pump)
            broken = await pump.ended()
            self._leave(self._closed(Ending.BROKEN if broken else "", broken))

    def _hand_over(self, pump: Pump) -> None:
        self._transport.write(reply(Reply.SUCCEEDED))
        self._transport.set_protocol(pump)
        pump.connection_made(self._transport)
        self._transport.resume_reading()
        if self._parser.rest:
            pump.send(self._parser.rest)

    @property
    def password(self) -> SocksPassword | None:
        """By which it was let in, where the port asks for one."""
        return self._parser.password

    def drop(self, reason: Ending, sentence: str) -> None:
        """End it, in whatever state."""
        if self._pump is not None:
            self._pump.abort(sentence)
        else:
            self._cut(reason, sentence)

    # --- The end --------------------------------------------------------------------------------------

    def _refuse(self, reason: str, sentence: str, answer: bytes) -> None:
        """Answer, and wait for the client to go: closing on bytes that nobody read would void the answer."""
        self._verdict = self._closed(reason, sentence)
        self._clear_deadline()
        self._set_deadline()
        self._transport.write(answer)
        self._transport.write_eof()
        self._transport.resume_reading()

    def _ignore(self, data: bytes) -> None:
        self._ignored_bytes += len(data)
        if self._ignored_bytes > MOST_IGNORED_BYTES:
            self._transport.abort()

    def _cut(self, reason: str, sentence: str) -> None:
        if self._verdict is None:
            self._verdict = self._closed(reason, sentence)
        self._transport.abort()

    def _set_deadline(self) -> None:
        self._deadline = self._loop.call_later(self._server.request_timeout_s, self._too_late)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()

    def _too_late(self) -> None:
        self._cut(
            Ending.TOO_LATE, f"No whole request came within {self._server.request_timeout_s:g} seconds."
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Only before a pump has taken over."""
        self._clear_deadline()
        if self._serving is not None:
            self._serving.cancel()
        self._leave(self._verdict or self._closed(Ending.LEFT, "The client left before its stream was open."))

    @property
    def traffic(self) -> tuple[int, int]:
        """Bytes from the client and to it."""
        return (self._pump.sent_bytes, self._pump.received_bytes) if self._pump else (0, 0)

    def _closed(self, reason: str, sentence: str) -> Closed:
        request = self._parser.request
        return Closed(reason, sentence, None if request is None else request.target, *self.traffic)

    def _leave(self, closed: Closed) -> None:
        self.gone.set()
        self._server.leave(self, closed)


def _require_loopback(host: str) -> None:
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise NotLoopback(
            f"The SOCKS port cannot be opened at {host}: whoever reaches it may use the overlay in your "
            "name. Give a loopback address, 127.0.0.1 or ::1."
        )
