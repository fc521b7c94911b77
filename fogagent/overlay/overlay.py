"""An agent's part in the overlay: its links, the circuits that it relays and its own, its exit.

The core of circuits (`onion`) knows no network and no clock; this gives it both.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import BinaryIO

import psutil

from fogagent.background import Background, logged_as
from fogagent.home import Home
from fogagent.identity import Identity
from fogagent.messages import (
    MAX_SENTENCE,
    Carried,
    Carry,
    CircuitTried,
    NotCarried,
    OverlayFacts,
    OverlayStatus,
    TryCircuit,
    TunnelSpec,
)
from fogagent.overlay.carrying import carry, not_carried
from fogagent.overlay.certificates import LinkCertificate
from fogagent.overlay.directory import Directory
from fogagent.overlay.exit_streams import ExitStreams, connect_to
from fogagent.overlay.exits import keep_known
from fogagent.overlay.frames import Kind
from fogagent.overlay.learned import Learned
from fogagent.overlay.link_errors import Unreachable
from fogagent.overlay.links import Link, Links, Peer
from fogagent.overlay.listening import listen
from fogagent.overlay.onion.builder import Builder, NoCircuit
from fogagent.overlay.onion.cells import CELL_BYTES
from fogagent.overlay.onion.client import OnionClient, StreamFailed
from fogagent.overlay.onion.errors import ProtocolError
from fogagent.overlay.onion.key import load_or_create_onion_key
from fogagent.overlay.onion.outlet import CellLink
from fogagent.overlay.onion.pace import affordable_per_s
from fogagent.overlay.onion.path import Wishes
from fogagent.overlay.onion.stream import Stream
from fogagent.overlay.onion.switch import Switch
from fogagent.overlay.part import Part
from fogagent.overlay.rate import RateLimit
from fogagent.overlay.receiving import TASK, Receiver
from fogagent.overlay.status import Telling, guard_states
from fogagent.overlay.stream import Isolation, Reason, StreamRefused, Target
from fogagent.overlay.trials import try_circuit
from fogagent.overlay.tunnels import Tunnels

RELIEVE_S = 1.0
STORED_SHARE = 1 / 8
"""Of the machine's memory, for cells of others' circuits that wait here for links or for readers."""
NO_GATEWAY = "The owner of this node does not let it be a gateway: entry is not among its agent's --flags."

log = logging.getLogger("fogagent")


class Overlay:
    """To be used from one event loop, from `start` to `close`."""

    def __init__(
        self,
        home: Home,
        identity: Identity,
        part: Part,
        rng: Random,
        on_change: Callable[[], None] = lambda: None,
        receiver: Receiver | None = None,
    ) -> None:
        """``on_change`` is called when `status` should be told before the next heartbeat; ``receiver`` takes
        on tasks that are brought over circuits; None: nobody does.

        Raises:
            ValueError: a key or a certificate in the folder is none.
        """
        self._part, self._link_port = part, home.link_port
        self._me = identity.public_key
        self._onion_secret = load_or_create_onion_key(home.onion_key)
        self._certificate = LinkCertificate.load_or_create(home.link_certificate, self._me)
        self._links = Links(self._certificate, self._on_frame, self._on_closed)
        self._receiver = receiver
        self._exits = ExitStreams(part.exit_policy, limit=_limit(part))
        self._switch = Switch(
            self._me,
            self._onion_secret,
            reach=self._reach,
            on_begin=self._on_begin,
            relays=part.relays,
            creates_per_s=affordable_per_s(),
            clock=time.monotonic,
        )
        self._learned = Learned(home)
        builder = Builder(
            self._switch,
            self._links.get,
            self._me,
            guards=self._learned.guards,
            times=self._learned.times,
            rng=rng,
            clock=time.monotonic,
            wall=time.time,
        )
        self.client = OnionClient(builder, time.monotonic, on_change)
        self._background = Background(logged_as("a part of the overlay"))
        self._directory: Directory | None = None
        self._tunnels = Tunnels(self, home.tunnels, on_change, granted=part.enters)

    async def start(self) -> OverlayFacts:
        """Accept links, if we do; what the panel is to be told. Where links cannot be accepted, that is said,
        and nobody is told an address."""
        address = await listen(self._links, self._part, self._link_port)
        self._background.begin(self.client.run())
        self._background.begin(self._learned.save_now_and_then())
        self._background.begin(self._relieve_now_and_then())
        if (policy := self._part.exit_policy) is not None:
            self._background.begin(keep_known(policy))
        return OverlayFacts(
            onion_key=self._onion_secret.public_key().public_bytes_raw(),
            certificate=self._certificate.der,
            address=address,
            family=self._part.family,
            asks_passwords=True,
        )

    def use(self, directory: Directory | None) -> None:
        """Know these relays, and no others, from now on; None: nobody."""
        relays = directory.relays.values() if directory is not None else ()
        self._links.admit(
            Peer(relay.identity, relay.certificate, relay.address)
            for relay in relays
            if relay.identity != self._me
        )
        self._directory = directory
        self.client.use(directory)

    # --- Orders ------------------------------------------------------------------------------------

    async def set_tunnels(self, specs: Sequence[TunnelSpec]) -> None:
        """Have these tunnels open and no others."""
        await self._tunnels.set(specs)

    async def try_circuit(self, order: TryCircuit) -> CircuitTried:
        return await try_circuit(self.client.builder, self._directory, order)

    async def carry(self, order: Carry, content: BinaryIO, within_s: float) -> Carried:
        """Bring an order and its content to another node. Raises OSError if the content cannot be read."""
        if not self._part.enters:
            return not_carried(order, NotCarried.NO_PART, NO_GATEWAY)
        return await carry(self.client, order, content, within_s)

    def status(self) -> OverlayStatus:
        """How things are now."""
        return OverlayStatus(
            directory=self._directory.version if self._directory else 0,
            links=len(self._links),
            relayed_circuits=self._switch.traffic.circuits,
            relayed_bytes=self._switch.traffic.cells * CELL_BYTES,
            exit_streams=len(self._exits),
            circuits=Telling(self.client, self._directory, self._tunnels.specs, self._me).circuits(),
            tunnels=self._tunnels.states(),
            guards=guard_states(self.client.builder.guards, time.time()),
            builds=[(bucket.up_to_ms, bucket.builds) for bucket in self.client.builder.times.histogram()],
            trouble=self.client.trouble[:MAX_SENTENCE],
        )

    async def close(self) -> None:
        """End everything, and keep what was learned."""
        await self._tunnels.close()
        await self._background.stop()
        self.client.close()
        if self._receiver is not None:
            await self._receiver.close()
        await self._exits.close()
        await self._links.close()
        self._learned.save()

    # --- Streams that begin here, in tunnels -------------------------------------------------------

    def want(self, wishes: Wishes) -> None:
        """Have circuits ready for such wishes."""
        self.client.want(wishes)

    async def open_stream(
        self, wishes: Wishes, rotate_s: float, tunnel: int, target: Target, isolation: Isolation
    ) -> Stream:
        """A stream of a tunnel. Raises StreamRefused."""
        try:
            return await self.client.open_stream(
                connect_to(target), wishes, (tunnel, isolation), rotate_s=rotate_s
            )
        except NoCircuit as error:
            raise StreamRefused(Reason.FAILED, str(error)) from error
        except StreamFailed as error:
            known = error.code in set(Reason)
            raise StreamRefused(Reason(error.code) if known else Reason.FAILED, str(error)) from error

    # --- Streams that end here ---------------------------------------------------------------------

    def _on_begin(self, stream: Stream, asked: bytes) -> None:
        if asked == TASK and self._receiver is not None:
            self._receiver.on_begin(stream)
        else:
            self._exits.on_begin(stream, asked)

    # --- Links -------------------------------------------------------------------------------------

    def _on_frame(self, link: Link, kind: int, payload: bytes) -> None:
        if kind != Kind.CELL:
            return
        try:
            self._switch.on_cell(link, payload)
        except ProtocolError as error:
            link.close(str(error))

    def _on_closed(self, link: Link, sentence: str) -> None:
        self._switch.on_link_closed(link)

    def _reach(self, identity: bytes, then: Callable[[CellLink | None], None]) -> None:
        async def reach() -> None:
            try:
                link = await self._links.get(identity)
            except Unreachable as error:
                log.debug("a circuit could not go on: %s", error)
                then(None)
            else:
                then(link)

        self._background.begin(reach())

    async def _relieve_now_and_then(self) -> None:
        most = int(STORED_SHARE * psutil.virtual_memory().total / CELL_BYTES)
        while True:
            await asyncio.sleep(RELIEVE_S)
            self._switch.relieve(most)


def _limit(part: Part) -> RateLimit | None:
    rate = part.exit_bytes_per_s
    return None if rate is None else RateLimit(rate, rate, time.monotonic())
