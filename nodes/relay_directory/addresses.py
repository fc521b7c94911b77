"""Where a relay can be reached: what its agent says, checked against where the agent connects from.

An agent that listens on all addresses says so (``0.0.0.0:9001`` or ``[::]:9001``); then the panel fills in
the address that it sees the agent come from. Behind a translating router that is the router's, so the port
has to be passed on there; and one beside the panel is seen on loopback, where no other machine reaches it. An
agent that knows better says where it is.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
"""As the last part of a name, resolvers take the whole for an IPv4 address: 127.1 is this machine."""


class Unusable(Exception):
    """Nobody can, or nobody should, connect there. ``str`` is a sentence that names the field."""


def reachable(said: str, seen: str | None) -> str:
    """The address to publish of an agent that ``said`` this and was ``seen`` to come from that address.

    Empty for an agent that cannot be reached.

    Raises:
        Unusable: it is no address, or not one that others may be sent to.
    """
    if not said:
        return ""
    host, _, digits = said.rpartition(":")
    port = int(digits)
    if not 1 <= port <= 65_535:
        raise Unusable(f"address: the port must be between 1 and 65535, was {port}.")
    return f"{_host(host.strip('[]').lower(), _parsed(seen or ''))}:{port}"


def _host(host: str, seen: Address | None) -> str:
    address = _parsed(host)
    if address is None:
        return _name(host, seen)
    if address.is_unspecified:
        if seen is None:
            raise Unusable("address: the panel cannot see where this agent connects from; name the host.")
        address = seen
    _check(address, seen)
    return f"[{address}]" if address.version == 6 else str(address)


def _name(host: str, seen: Address | None) -> str:
    *_, last = host.split(".")
    if not _NAME.fullmatch(host) or _NUMBER.fullmatch(last):
        raise Unusable(f"address: {host!r} is neither an IP address nor a host name.")
    if last == "localhost":
        _check(IPv4Address("127.0.0.1"), seen)
    return host


def _check(address: Address, seen: Address | None) -> None:
    """Other agents connect to what is published: nobody may send them to services of their own machines."""
    if address.is_loopback and not (seen is not None and seen.is_loopback):
        raise Unusable(
            f"address: {address} means each machine itself; only an agent on the panel's own may say it."
        )
    if address.is_link_local or address.is_multicast or address == IPv4Address("255.255.255.255"):
        raise Unusable(f"address: {address} is no address that other machines can connect to.")


def _parsed(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
