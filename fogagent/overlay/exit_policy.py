"""Which addresses an exit may dial: what is public, and what the exit's owner named. Pure.

The networks are those of the IANA special-purpose address registries (RFC 6890 and its followers), and the
addresses at which clouds hand out the credentials of a machine. A private IPv4 address stays refused in
every IPv6 form that embeds it. One form cannot be known from the address: a NAT64 prefix that a network
chose for itself out of its public range (RFC 6052); where there is one, its translator must refuse.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAIL_PORT = 25


class Rule(StrEnum):
    """Why an address is refused, by name."""

    NO_ADDRESS = "no-address"
    ZONE = "zone"
    NO_PORT = "no-port"
    MAIL = "mail"
    PANEL = "panel"
    THIS_MACHINE = "this-machine"
    UNSPECIFIED = "unspecified"
    LOOPBACK = "loopback"
    PRIVATE = "private"
    METADATA = "metadata"
    LINK_LOCAL = "link-local"
    CGNAT = "cgnat"
    MULTICAST = "multicast"
    BROADCAST = "broadcast"
    DOCUMENTATION = "documentation"
    RESERVED = "reserved"


SENTENCES = {
    Rule.NO_ADDRESS: "is not a numeric address",
    Rule.ZONE: "names a network interface, so it is meant for one link only",
    Rule.NO_PORT: "has no such port, as ports are 1 to 65535",
    Rule.MAIL: "Port 25 is refused, because exits that deliver mail are used for spam.",
    Rule.PANEL: "is the panel itself",
    Rule.THIS_MACHINE: "is the exit itself",
    Rule.UNSPECIFIED: "names no host",
    Rule.LOOPBACK: "is a loopback address, so the exit itself",
    Rule.PRIVATE: "is in a private network",
    Rule.METADATA: "is where a cloud hands out the secrets of its machines",
    Rule.LINK_LOCAL: "is link-local, so a neighbour of the exit",
    Rule.CGNAT: "is in the network between a provider and its customers",
    Rule.MULTICAST: "is a multicast address",
    Rule.BROADCAST: "is the broadcast address",
    Rule.DOCUMENTATION: "is for examples only",
    Rule.RESERVED: "is reserved",
}

# The first network that holds an address names the rule, so the small ones stand before those around them.
REFUSED_IPV4 = tuple(
    (IPv4Network(network), rule)
    for network, rule in {
        "0.0.0.0/8": Rule.UNSPECIFIED,
        "127.0.0.0/8": Rule.LOOPBACK,
        "10.0.0.0/8": Rule.PRIVATE,
        "172.16.0.0/12": Rule.PRIVATE,
        "192.168.0.0/16": Rule.PRIVATE,
        "169.254.169.254/32": Rule.METADATA,
        "100.100.100.200/32": Rule.METADATA,  # Alibaba Cloud
        "168.63.129.16/32": Rule.METADATA,  # Azure; looks public, but every machine there has its own
        "192.0.0.192/32": Rule.METADATA,  # Oracle Cloud
        "169.254.0.0/16": Rule.LINK_LOCAL,
        "100.64.0.0/10": Rule.CGNAT,
        "224.0.0.0/4": Rule.MULTICAST,
        "255.255.255.255/32": Rule.BROADCAST,
        "192.0.2.0/24": Rule.DOCUMENTATION,
        "198.51.100.0/24": Rule.DOCUMENTATION,
        "203.0.113.0/24": Rule.DOCUMENTATION,
        "192.0.0.0/24": Rule.RESERVED,  # protocol assignments
        "192.88.99.0/24": Rule.RESERVED,  # relays of 6to4, once
        "198.18.0.0/15": Rule.RESERVED,  # benchmarks
        "240.0.0.0/4": Rule.RESERVED,
    }.items()
)

REFUSED_IPV6 = tuple(
    (IPv6Network(network), rule)
    for network, rule in {
        "::/128": Rule.UNSPECIFIED,
        "::1/128": Rule.LOOPBACK,
        "fd00:ec2::254/128": Rule.METADATA,  # Amazon
        "fd20:ce::254/128": Rule.METADATA,  # Google
        "fc00::/7": Rule.PRIVATE,
        "fec0::/10": Rule.PRIVATE,  # site-local, the former fc00::/7
        "fe80::/10": Rule.LINK_LOCAL,
        "ff00::/8": Rule.MULTICAST,
        "2001:db8::/32": Rule.DOCUMENTATION,
        "3fff::/20": Rule.DOCUMENTATION,
        "64:ff9b:1::/48": Rule.PRIVATE,  # NAT64 within one network, where the IPv4 address may stand anywhere
    }.items()
)

# Of IPv6 only 2000::/3 is in public use. What is not named above and stands outside it is reserved.
PUBLIC_IPV6 = IPv6Network("2000::/3")
TEREDO = IPv6Network("2001::/32")
SIX_TO_FOUR = IPv6Network("2002::/16")
NAT64 = IPv6Network("64:ff9b::/96")
PROTOCOL_ASSIGNMENTS = IPv6Network("2001::/23")
EMBEDDED_IN_LAST_32_BITS = (
    IPv6Network("::ffff:0:0/96"),  # mapped
    IPv6Network("::/96"),  # compatible
    IPv6Network("::ffff:0:0:0/96"),  # translated
    NAT64,
)
ISATAP = 0x00005EFE
_ISATAP_MASK = 0xFDFFFFFF  # the bit that says whether the IPv4 address is unique in the world may be either


@dataclass(frozen=True)
class Refusal:
    rule: Rule
    sentence: str

    def __str__(self) -> str:
        return self.sentence


class BadAllowance(Exception):
    """An allowance that cannot be read. ``str`` names the rule and what to write."""


@dataclass(frozen=True)
class Allowance:
    """What an owner lets their exit dial beyond the public Internet, under a name of their own."""

    name: str
    network: Network
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Allowance:
        """Read ``lab=10.1.0.0/16``, ``lab=127.0.0.1:8080`` or ``lab=[fd00:1::/64]:443``.

        Raises:
            BadAllowance: it is none of these.
        """
        name, _, where = text.partition("=")
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", name):
            raise BadAllowance(f"{text!r}: must begin with a name and '=', as in lab=10.1.0.0/16.")
        if where.startswith("[") and "]" in where:
            network, _, rest = where[1:].partition("]")
        elif where.count(":") == 1:
            network, rest = where[: where.index(":")], where[where.index(":") :]
        else:
            network, rest = where, ""
        return cls(name, _read_network(text, network), _read_port(text, rest) if rest else None)

    def covers(self, address: Address, port: int) -> bool:
        return self.port in (None, port) and address in self.network


class ExitPolicy:
    """What one exit may dial.

    ``panel`` are the host of the panel and the addresses it resolves to: none of them is dialled, on any
    port, whatever is allowed; only an allowance with a port may lift that, for ports other than
    ``panel_port``. ``own`` are the addresses of this machine's interfaces: what listens on them may trust
    whoever comes from the machine itself, so a network that is allowed does not let them in; naming the very
    address or a port does. `know` replaces what was known of both.
    """

    def __init__(
        self,
        allowances: Iterable[Allowance] = (),
        *,
        panel: Iterable[str] = (),
        panel_port: int = 0,
        own: Iterable[str] = (),
    ) -> None:
        self.allowances = tuple(allowances)
        hosts = [host.strip("[]") for host in panel]
        self._panel_given = _addresses(hosts)
        self.panel_names = frozenset(_normal(host) for host in hosts if read_address(host) is None)
        self._panel_port = panel_port
        self.know(panel=(), own=own)

    def know(self, *, panel: Iterable[str], own: Iterable[str]) -> None:
        """The addresses that the panel's names lead to now, and those that this machine has now."""
        self._panel = self._panel_given | _addresses(panel)
        self._own = frozenset(address for address in _addresses(own) if not address.is_loopback)

    def refusal_of_name(self, name: str) -> Refusal | None:
        """Why this host name is not even resolved; None where only its addresses decide."""
        if _normal(name) in self.panel_names:
            return _refusal(name, Rule.PANEL)
        return None

    def refusal(self, address: str, port: int) -> Refusal | None:
        """Why this numeric address may not be dialled at this port; None where it may."""
        if "%" in address:
            return _refusal(address, Rule.ZONE)
        read = read_address(address)
        if read is None:
            return _refusal(address, Rule.NO_ADDRESS)
        if not 1 <= port <= 65535:
            return _refusal(address, Rule.NO_PORT)
        return self._refusal(read, port)

    def _refusal(self, address: Address, port: int) -> Refusal | None:
        covering = [allowance for allowance in self.allowances if allowance.covers(address, port)]
        by_port = any(allowance.port is not None for allowance in covering)
        if port == MAIL_PORT and not by_port:
            return Refusal(Rule.MAIL, SENTENCES[Rule.MAIL])
        forms = [address, *embedded(address)]
        if self._panel.intersection(forms) and (port == self._panel_port or not by_port):
            return _refusal(address, Rule.PANEL)
        named = by_port or any(allowance.network.num_addresses == 1 for allowance in covering)
        if self._own.intersection(forms) and not named:
            return _refusal(address, Rule.THIS_MACHINE)
        if covering:
            return None
        for form in forms:
            if rule := _special(form):
                return _refusal(address, rule, form)
        return None


def read_address(text: str) -> Address | None:
    """The address as it is dialled: an IPv4 address that was mapped into IPv6 is the IPv4 address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _addresses(texts: Iterable[str]) -> frozenset[Address]:
    return frozenset(address for text in texts if (address := read_address(text)) is not None)


def embedded(address: Address) -> list[IPv4Address]:
    """The IPv4 addresses that an IPv6 address may lead to, or through."""
    if isinstance(address, IPv4Address):
        return []
    bits = int(address)
    last = IPv4Address(bits & 0xFFFFFFFF)
    found = [last] if any(address in network for network in EMBEDDED_IN_LAST_32_BITS) else []
    if address in SIX_TO_FOUR:
        found.append(IPv4Address(bits >> 80 & 0xFFFFFFFF))
    if address in TEREDO:
        found += [IPv4Address(bits >> 64 & 0xFFFFFFFF), IPv4Address(~bits & 0xFFFFFFFF)]
    if bits >> 32 & _ISATAP_MASK == ISATAP:
        found.append(last)
    return found


def _refusal(address: object, rule: Rule, form: Address | None = None) -> Refusal:
    subject = str(address)[:60]
    if form in (None, address):
        return Refusal(rule, f"{subject} {SENTENCES[rule]}.")
    return Refusal(rule, f"{subject} embeds {form}, which {SENTENCES[rule]}.")


def _special(address: Address) -> Rule | None:
    table = REFUSED_IPV4 if isinstance(address, IPv4Address) else REFUSED_IPV6
    for network, rule in table:
        if address in network:
            return rule
    if isinstance(address, IPv6Address) and not _in_public_use(address):
        return Rule.RESERVED
    return None


def _in_public_use(address: IPv6Address) -> bool:
    if address in PROTOCOL_ASSIGNMENTS:
        return address in TEREDO
    return address in PUBLIC_IPV6 or address in NAT64


def _normal(name: str) -> str:
    return name.removesuffix(".").casefold()


def _read_network(text: str, network: str) -> Network:
    try:
        read = ipaddress.ip_network(network)
    except ValueError as error:
        raise BadAllowance(f"{text!r}: {error}.") from error
    if isinstance(read, IPv6Network) and read.overlaps(EMBEDDED_IN_LAST_32_BITS[0]):
        raise BadAllowance(f"{text!r}: name an IPv4 network as such, not in its IPv6 form.")
    return read


def _read_port(text: str, port: str) -> int:
    if re.fullmatch(r":[0-9]{1,5}", port) and 1 <= int(port[1:]) <= 65535:
        return int(port[1:])
    raise BadAllowance(f"{text!r}: after the network may stand ':' and a port, 1 to 65535.")
