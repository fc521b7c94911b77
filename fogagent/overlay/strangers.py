"""Who dials us and has not proven who it is: anybody may, so there are few places, and a rule for them.

Where all are taken, one gives way to the newcomer: the oldest of the network that has most, the newcomer
counted with its own. A network may have all that nobody else wants, so that there is no number to be set for
those behind one firewall or in one data centre.
"""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv6Address, ip_address
from typing import Generic, TypeVar

T = TypeVar("T")

IPV4_BYTES, IPV6_BYTES = 3, 6
"""The /24 is the least that is routed, and within it addresses are cheap. Of IPv6 a /48 is what one site is
given; whoever has a /64, which is what one machine is given, has 2**64 addresses in it."""


def source_network(host: str, port: int) -> str:
    """From where somebody dials us, given the address and the port that the connection comes from.

    On this machine everybody is a network of his own: dozens of agents may have the same address, and nobody
    here needs our places to get in our way.
    """
    address = ip_address(host)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return f"{address} port {port}"
    return address.packed[: IPV4_BYTES if address.version == 4 else IPV6_BYTES].hex()


class Strangers(Generic[T]):
    """Those who have a place now."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._networks: dict[T, str] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self._networks)

    def let_in(self, stranger: T, network: str) -> T | None:
        """Give it a place; who has lost his for it."""
        self._networks[stranger] = network
        if len(self) <= self._most:
            return None
        held = Counter(self._networks.values())
        most = max(held.values())
        leaves = next(each for each, network in self._networks.items() if held[network] == most)
        del self._networks[leaves]
        return leaves

    def discard(self, stranger: T) -> None:
        """It has proven who it is, or is gone."""
        self._networks.pop(stranger, None)
