"""All links of a node: whom it admits, whom it dials, and which links are open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain

from fogagent.overlay.certificates import LinkCertificate
from fogagent.overlay.door import Door
from fogagent.overlay.link import Link
from fogagent.overlay.link_errors import HandshakeFailed, LinkEnded, LinkError, Unreachable, said
from fogagent.overlay.liveness import LinkTimes
from fogagent.overlay.secure import SecureChannel
from fogagent.overlay.trust import Peer, Trust

__all__ = ["Link", "LinkLimits", "LinkTimes", "Links", "Peer"]

READ_BYTES = 64 * 1024
"""So much is read from one link before the others have their turn. Four times as much is half as fast: what
was decrypted has left the processor's cache before anybody reads it."""
BREATH_S = 0.02
"""Between two slices of trust anchors, so that links go on while thousands are loaded."""


@dataclass(frozen=True)
class LinkLimits:
    """Beyond these, newcomers are refused and whoever is there stays, but that strangers give way."""

    links: int = 512
    """Open ones, of all peers. With the handshakes below it stays under the usual 1024 open files."""
    links_per_peer: int = 4
    """Two ends that dial each other at once have two, and one that starts anew may leave dead ones."""
    handshakes: int = 64
    """Of those who dial us and have not proven who they are (`fogagent.overlay.strangers`)."""


USUAL_TIMES = LinkTimes()
USUAL_LIMITS = LinkLimits()


class Links:
    """To be used from one event loop.

    Args:
        certificate: what this node shows.
        on_frame: called with link, kind and payload of each frame that is no keep-alive, one after the other.
        on_closed: called once for each link that was open, with a sentence that says why it is not any more.
    """

    def __init__(
        self,
        certificate: LinkCertificate,
        on_frame: Callable[[Link, int, bytes], None],
        on_closed: Callable[[Link, str], None],
        *,
        times: LinkTimes = USUAL_TIMES,
        limits: LinkLimits = USUAL_LIMITS,
    ) -> None:
        self.take = on_frame
        self.scratch = memoryview(bytearray(READ_BYTES))
        self._on_closed = on_closed
        self._identity = certificate.identity
        self._trust = Trust(certificate)
        self._times = times
        self._limits = limits
        self._door = Door(self._greet, places=limits.handshakes, patience_s=times.handshake_s)
        self._open: dict[bytes, list[Link]] = {}  # of each peer, the oldest first
        self._dials: dict[bytes, asyncio.Task[Link]] = {}
        self._closed = False
        self._loading: asyncio.TimerHandle | None = None
        self._checking: asyncio.TimerHandle | None = None
        self._connected: set[Link] = set()  # all, in whatever state
        self._deserted = asyncio.Event()
        self._deserted.set()

    # For those who use it

    async def listen(self, host: str, port: int) -> int:
        """Accept links at this address; returns the port, which is a free one where 0 was asked for.

        At 0.0.0.0 as at :: links are accepted over IPv4 and IPv6, where this machine has both: peers are told
        the address that the panel sees us come from, and that may be either.

        Raises:
            CannotListen: the address is not this machine's, the port is taken, or not allowed to us.
        """
        more = True
        while more:
            more = self._trust.load_some()
            await asyncio.sleep(0)  # others have their turn
        return await self._door.listen(host, port)

    def admit(self, peers: Iterable[Peer]) -> None:
        """Say who may connect and be dialled from now on, and under which certificate; others' links end."""
        self._trust.admit(peers)
        for link in list(self._all_open()):
            if self._trust.peer(link.peer) is None:
                link.close("The peer is not admitted any more.")
            elif self._trust.whose(link.certificate) is None:
                link.close("The peer has a new certificate.")
        if self._door.listens:
            self._load_anchors()

    async def get(self, identity: bytes) -> Link:
        """The oldest open link with this peer, else a new one. Those who ask at once share one dial.

        Raises:
            Unreachable: not admitted, without an address, not there, or it does not want us.
        """
        if (link := self._usable(identity)) is not None:
            link.touch()
            return link
        dial = self._dials.get(identity)
        if dial is None:
            peer = self._diallable(identity)
            dial = self._dials[identity] = asyncio.create_task(self._dial(peer))
            dial.add_done_callback(partial(self._dialled, identity))
        try:
            link = await asyncio.shield(dial)  # others may wait for the same
        except asyncio.CancelledError:
            if not dial.cancelled():
                raise
            raise Unreachable("This node has closed its links.", retry=False) from None
        if not link.open:  # its end may have been told before those who waited had their turn
            raise Unreachable(f"{_name(identity)} closed the link at once.", retry=True)
        return link

    async def close(self) -> None:
        """Accept and dial no more, close all links, and return when they are closed."""
        self._closed = True
        for timer in (self._loading, self._checking):
            if timer is not None:
                timer.cancel()
        self._door.close()
        for dial in self._dials.values():
            dial.cancel()
        await asyncio.gather(*self._dials.values(), return_exceptions=True)
        for link in list(self._connected):
            link.close("This node closes its links.")
        await self._deserted.wait()
        await self._door.wait_closed()

    # Called by links

    def judge(self, link: Link, certificate: bytes) -> bytes:
        """Let the link in under the identity that its certificate proves. Raises LinkError."""
        peer = self._trust.whose(certificate)
        if peer is None:
            raise HandshakeFailed("It is not admitted, or has a new certificate.", retry=True)
        if link.expected not in (b"", peer.identity):
            raise HandshakeFailed("It is another peer.", retry=False)
        links = self._open.get(peer.identity, [])
        if len(links) >= self._limits.links_per_peer:
            raise LinkEnded(f"There are {len(links)} links with this peer already.")
        if len(self) >= self._limits.links:
            raise LinkEnded(f"This node has its {self._limits.links} links already.")
        self._door.leave(link)
        self._open.setdefault(peer.identity, []).append(link)
        self._check_later()
        return peer.identity

    def forget(self, link: Link, was_open: bool, error: LinkError) -> None:
        self._connected.discard(link)
        self._door.leave(link)
        if not self._connected:
            self._deserted.set()
        if was_open:
            self._open[link.peer].remove(link)
            if not self._open[link.peer]:
                del self._open[link.peer]
            self._on_closed(link, error.sentence)

    # Accepting

    def _greet(self) -> Link:
        return self._connected_by(Link(SecureChannel(self._trust.accepting, accepting=True), self))

    def _load_anchors(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
        if self._trust.load_some():
            self._loading = asyncio.get_running_loop().call_later(BREATH_S, self._load_anchors)

    # Dialling

    def _diallable(self, identity: bytes) -> Peer:
        peer = self._trust.peer(identity)
        if self._closed:
            raise Unreachable("This node has closed its links.", retry=False)
        if identity == self._identity:
            raise Unreachable("This node needs no link with itself.", retry=False)
        if peer is None:
            raise Unreachable(f"{_name(identity)} is not in the directory, or not with its key.", retry=True)
        if not peer.address:
            raise Unreachable(f"{_name(identity)} accepts no links: it has no address.", retry=False)
        if len(self) + len(self._dials) >= self._limits.links:
            raise Unreachable(f"This node has its {self._limits.links} links already.", retry=True)
        return peer

    async def _dial(self, peer: Peer) -> Link:
        """Raises Unreachable. Cancelled by `close` alone."""
        where = f"{_name(peer.identity)} at {peer.address}"
        patience_s = self._times.dial_s
        try:
            async with asyncio.timeout(patience_s):
                return await self._connect(peer)
        except LinkError as error:
            raise Unreachable(f"{where} opens no link: {error.sentence}", retry=error.retry) from error
        except TimeoutError:
            raise Unreachable(f"{where} did not answer within {patience_s:g} s.", retry=True) from None
        except (OSError, OverflowError, ValueError) as error:  # the last two: an address that cannot be one
            raise Unreachable(f"{where} cannot be reached: {said(error)}.", retry=True) from error

    async def _connect(self, peer: Peer) -> Link:
        """Connect, shake hands and wait until the peer has spoken."""
        link = Link(SecureChannel(self._trust.dialling(peer), accepting=False), self, expected=peer.identity)
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self._connected_by(link), *_split(peer.address))
            failure = await link.ready
        finally:
            if not link.open:
                link.close("It was not wanted any more.")
        if failure is not None:
            raise failure
        return link

    def _dialled(self, identity: bytes, dial: asyncio.Task[Link]) -> None:
        del self._dials[identity]
        if not dial.cancelled():
            dial.exception()  # those who waited for it may all have gone

    # Links there are

    def _connected_by(self, link: Link) -> Link:
        """To be called by what makes the connection: from then on the link will be forgotten by itself."""
        self._connected.add(link)
        self._deserted.clear()
        return link

    def _usable(self, identity: bytes) -> Link | None:
        return next((link for link in self._open.get(identity, ()) if link.open), None)

    def _all_open(self) -> Iterator[Link]:
        return chain.from_iterable(self._open.values())

    def __len__(self) -> int:
        """How many links are open."""
        return sum(map(len, self._open.values()))

    def _check_later(self) -> None:
        if self._checking is None and not self._closed:
            loop = asyncio.get_running_loop()
            self._checking = loop.call_later(self._times.check_s, self._check)

    def _check(self) -> None:
        self._checking = None
        for link in list(self._all_open()):
            link.check(self._times)
        if self._open:
            self._check_later()


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _name(identity: bytes) -> str:
    return f"The peer {identity.hex()[:16]}"
