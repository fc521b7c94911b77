"""Where others dial us: each has a place and some time to prove who it is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

from fogagent.overlay.link import Link
from fogagent.overlay.link_errors import CannotListen, said
from fogagent.overlay.strangers import Strangers, source_network

EVERYWHERE = ("0.0.0.0", "::")


class Door:
    """To be used from one event loop.

    Args:
        greet: makes the link of somebody who comes.
        places: for those who have not proven who they are.
        patience_s: so long each of them may take.
    """

    def __init__(self, greet: Callable[[], Link], *, places: int, patience_s: float) -> None:
        self._greet = greet
        self._patience_s = patience_s
        self._strangers = Strangers[Link](places)
        self._timers: dict[Link, asyncio.TimerHandle] = {}
        self._servers: list[asyncio.Server] = []
        self._closed = False

    @property
    def listens(self) -> bool:
        return bool(self._servers)

    async def listen(self, host: str, port: int) -> int:
        """The port, which is a free one where 0 was asked for. Raises CannotListen."""
        loop = asyncio.get_running_loop()
        try:
            if host in EVERYWHERE and socket.has_dualstack_ipv6():
                server = await loop.create_server(self._arriving, sock=_everywhere(port))
            else:
                server = await loop.create_server(self._arriving, host, port)
        except OSError as error:
            raise CannotListen(f"Links cannot be accepted at {host}, port {port}: {said(error)}.") from error
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def leave(self, link: Link) -> None:
        """It needs its place no more: it has proven who it is, or has gone."""
        self._strangers.discard(link)
        if (timer := self._timers.pop(link, None)) is not None:
            timer.cancel()

    def close(self) -> None:
        """Let nobody in any more."""
        self._closed = True
        for server in self._servers:
            server.close()

    async def wait_closed(self) -> None:
        """Return when all connections that came in are closed."""
        for server in self._servers:
            await server.wait_closed()

    def _arriving(self) -> asyncio.BaseProtocol:
        return _Arriving(self._greet(), self._let_in)

    def _let_in(self, link: Link, source: Sequence[Any] | None) -> None:
        if self._closed or source is None:
            link.close()
            return
        if (gives_way := self._strangers.let_in(link, source_network(*source[:2]))) is not None:
            self.leave(gives_way)
            gives_way.close("Others dialled this node, and the peer had not proven who it is.")
        loop = asyncio.get_running_loop()
        self._timers[link] = loop.call_later(self._patience_s, self._give_up_on, link)

    def _give_up_on(self, link: Link) -> None:
        self.leave(link)
        link.close(f"The peer did not finish its handshake within {self._patience_s:g} s.")


class _Arriving(asyncio.Protocol):
    """The connection of a link before it is known where it comes from."""

    def __init__(self, link: Link, let_in: Callable[[Link, Sequence[Any] | None], None]) -> None:
        self._link, self._let_in = link, let_in

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_protocol(self._link)
        self._let_in(self._link, transport.get_extra_info("peername"))  # None: it is gone already
        self._link.connection_made(transport)


def _everywhere(port: int) -> socket.socket:
    return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
