"""The connection to the panel that is in use: dialled when it is wanted, heard until it ends."""

from __future__ import annotations

import asyncio

from fogagent.address import PanelAddress
from fogagent.connection import Connection, ConnectionFailed, NotOurPanel, TurnedAway, connect
from fogagent.events import Connected, Disconnected, Imposter, Received, Refused
from fogagent.identity import Identity
from fogagent.instructions import Close, ConnectAfter, KeepAlive
from fogagent.outgoing import Outgoing
from fogagent.shell.wiring import Feed, Spawn


class Conversation:
    """One connection at a time. How each ends, or why there is none, is fed to the state machine."""

    def __init__(
        self,
        address: PanelAddress,
        identity: Identity,
        panel_key: bytes,
        outgoing: Outgoing,
        *,
        feed: Feed,
        spawn: Spawn,
    ) -> None:
        self._address, self._identity, self._panel_key = address, identity, panel_key
        self._outgoing, self._feed, self._spawn = outgoing, feed, spawn
        self._connection: Connection | None = None

    def connect_after(self, instruction: ConnectAfter) -> None:
        self._spawn(self._be_connected(instruction.delay_s))

    def keep_alive(self, instruction: KeepAlive) -> None:
        if self._connection is not None:
            self._connection.timeout_s = instruction.timeout_s

    def drop(self, instruction: Close) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def round_trip_news(self) -> float | None:
        """In milliseconds, where there is a connection and something new about it."""
        return self._connection.round_trip_news() if self._connection is not None else None

    async def close(self) -> None:
        """In order, unlike `drop`."""
        if self._connection is not None:
            await self._connection.close()

    async def _be_connected(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        try:
            connection = await connect(self._address, self._identity, self._panel_key)
        except ConnectionFailed as error:
            self._feed(Disconnected(str(error)))
        except TurnedAway as error:
            self._feed(Refused(error.problem))
        except NotOurPanel as error:
            self._feed(Imposter(str(error)))
        else:
            await self._converse(connection)

    async def _converse(self, connection: Connection) -> None:
        self._connection = connection
        self._outgoing.connected()
        sides = [
            asyncio.create_task(self._listen(connection)),
            asyncio.create_task(self._outgoing.pump(connection)),
            asyncio.create_task(connection.keep_alive()),
        ]
        self._feed(Connected(connection.welcome))
        try:
            done, _ = await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for side in sides:
                side.cancel()
            await asyncio.gather(*sides, return_exceptions=True)
            connection.abort()
            if self._connection in (connection, None):  # else a newer one is in use already
                self._outgoing.disconnected()
        failures = [error for side in done if (error := side.exception())]
        for error in failures:
            if not isinstance(error, ConnectionFailed):
                raise error
        if self._connection is connection:
            self._connection = None
            self._feed(Disconnected(str(failures[0]) if failures else connection.ending))

    async def _listen(self, connection: Connection) -> None:
        async for messages in connection.frames():
            if self._connection is not connection:
                return
            self._feed(Received(messages))
