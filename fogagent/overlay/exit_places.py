"""An exit's connections, shared among those for whom it makes them.

An exit cannot tell its clients apart: it knows the circuit that a stream came on, and the relay, or the
client, before it on that circuit. So where all places are taken, one is had from the peer that has most; of
its circuits from the one that has most; and there it is the connection through which nothing went for the
longest time. The newcomer counts as one of its own peer and circuit.

That leaves each peer its equal share of the places, and each circuit of a peer its equal share of those, as
far as they want them, and nothing is kept free that anybody wants. Peers that act together have a share each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Generic, Protocol, TypeVar


class Holder(Protocol):
    """A connection, or one that is to become one."""

    @property
    def peer(self) -> bytes: ...

    @property
    def circuit(self) -> object: ...

    @property
    def used_at(self) -> float:
        """When something went through it last, by any clock, in seconds."""


H = TypeVar("H", bound=Holder)


class Places(Generic[H]):
    def __init__(self, most: int) -> None:
        self._most = most
        self._of_peers: dict[bytes, dict[H, None]] = {}  # the oldest first

    def __len__(self) -> int:
        return sum(map(len, self._of_peers.values()))

    def __iter__(self) -> Iterator[H]:
        return chain.from_iterable(self._of_peers.values())

    def take(self, newcomer: H) -> H | None:
        """Give it a place; who has lost his for it."""
        self._of_peers.setdefault(newcomer.peer, {})[newcomer] = None
        if len(self) <= self._most:
            return None
        self.release(loser := self._loser())
        return loser

    def release(self, holder: H) -> None:
        """It needs its place no more, if it has one."""
        holders = self._of_peers.get(holder.peer, {})
        holders.pop(holder, None)
        if not holders:
            self._of_peers.pop(holder.peer, None)

    def _loser(self) -> H:
        holders = max(self._of_peers.values(), key=len)
        of_circuits = Counter([holder.circuit for holder in holders])
        most = max(of_circuits.values())
        greedy = [holder for holder in holders if of_circuits[holder.circuit] == most]
        return min(greedy, key=lambda holder: holder.used_at)
