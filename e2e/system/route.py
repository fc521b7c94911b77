"""Which way sealed content took from its gateway to its node, by what the agents on it wrote down."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from e2e.system.traffic import Mark, Record, Traffic, Way, joined
from fogagent.messages import (
    Carry,
    FromAgent,
    FromPanel,
    Hello,
    Run,
    decode_from_agent,
    decode_from_panel,
    encode_message,
)
from fogagent.overlay.onion.cells import CELL_BYTES, unpack


class Route:
    """Of content of ``size`` bytes that was carried for an attempt since ``since``. No other circuit carried
    as much. ``identities`` are those of all agents, by name, hexadecimal."""

    def __init__(
        self, traffic: Traffic, since: Mark, identities: Mapping[str, str], attempt: int, size: int
    ) -> None:
        self._identities = identities
        self._names = {identity: name for name, identity in identities.items()}
        self._attempt, self._size = attempt, size
        self._records = {name: traffic.of(name, since) for name in identities}

    def path(self) -> list[str]:
        """Gateway first, node last."""
        [gateway] = [name for name in self._identities if self._orders(name, Carry)]
        path = [gateway]
        while following := self._large(path[-1], "out"):
            assert len(following) == 1 and len(path) <= len(self._identities)
            path += following
        return path

    def neighbours(self, name: str) -> tuple[set[str], set[str]]:
        """From whom it came there over a link, and to whom it went."""
        return self._large(name, "in"), self._large(name, "out")

    def told_of(self, name: str) -> set[str]:
        """Whose identity it heard or said in messages about the attempt."""
        return self._named(map(encode_message, self._messages(name)))

    def strangers_on_links(self, name: str) -> set[str]:
        """Whose identity crossed one of its links, neither end of which it is."""
        links = [record for record in self._records[name] if record.of == "link"]
        found = set()
        for channel, data in joined(links).items():
            found |= self._named([data]) - {name, self._names[channel.peer]}
        return found

    def ordered_over_own_connection(self, name: str) -> bool:
        return self._orders(name, Run)

    def _orders(self, name: str, kind: type[Run | Carry]) -> bool:
        return any(isinstance(message, kind) for message in self._messages(name))

    def _large(self, name: str, way: Way) -> set[str]:
        """At the other end of which links there is a circuit that carried as much."""
        sizes: Counter[tuple[str, int]] = Counter()
        for record in self._records[name]:
            if (record.of, record.way, len(record.data)) == ("link", way, CELL_BYTES):
                sizes[record.peer, unpack(record.data).circuit] += CELL_BYTES
        return {self._names[peer] for (peer, _), size in sizes.items() if size >= self._size}

    def _named(self, texts: Iterable[bytes]) -> set[str]:
        together = b"\n".join(texts)
        return {
            name
            for name, identity in self._identities.items()
            if any(form in together for form in forms(identity))
        }

    def _messages(self, name: str) -> Iterator[FromPanel | FromAgent | Hello]:
        """What the agent and the panel said about the attempt."""
        for record in self._records[name]:
            for message in _decoded(record) if record.of == "socket" else ():
                if getattr(message, "attempt", None) == self._attempt:
                    yield message


def _decoded(record: Record) -> list[FromPanel] | list[FromAgent | Hello]:
    text = record.data.decode()
    return decode_from_panel(text) if record.way == "in" else decode_from_agent(text)


def forms(identity: str) -> Iterator[bytes]:
    """How an identity can stand in a text."""
    raw = bytes.fromhex(identity)
    yield raw
    yield identity.encode()
    yield base64.b64encode(raw).rstrip(b"=")[:-1]
