"""Circuits of three hops over TLS links: what a stream carries, how soon it speaks, how fast one is built.

Four agents' parts in the overlay, each a process of its own: an entry with a SOCKS port, a guard, a middle
and an exit, which is allowed to reach the local server that all are measured against.

The peers are two private Tor networks of as many relays on the same machine (`bench.tor_network`): one as it
comes, whose timer holds it back where links are fast, and one that is tuned for one machine, which says more
about us. All three are there at the same time and take turns, streams as `bench.through_socks` has it,
circuits one by one, with the links between the relays open already.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.load_program import LoadProgram
from bench.peers import NoPeer
from bench.report import Better, Report, Row
from bench.through_socks import Connect, StreamFigures, direct, served_bytes, through
from bench.through_socks import measure as measure_streams
from bench.tor_config import Tuning
from bench.tor_network import tor_network

HOPS = 3
CIRCUITS = 50
THROUGHPUT_BAR, FIRST_BYTE_BAR_MS, BUILD_BAR_MS = 16.0, 50.0, 30.0
LOOPBACK = "lab=127.0.0.0/8"
NODES = (("entry",), ("relay", "guard"), ("relay",), ("relay", "exit"))
OURS = "ours"


@dataclass(frozen=True, slots=True)
class Network:
    """One that works: the way through it, and what builds a circuit and says how many seconds that took."""

    connect: Connect
    build_circuit_s: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Figures:
    streams: StreamFigures
    circuit_build_p50_ms: float


def measure() -> Report:
    with served_bytes() as port, ExitStack() as running:
        ours = running.enter_context(_our_network())
        peers = dict(peer(tuning, running) for tuning in Tuning)
        there = {name: network for name, network in peers.items() if network is not None}
        figures = _measure({OURS: ours, **there}, port)
        [bare] = measure_streams([direct], port)
    note = (
        f"without any overlay: {bare.throughput_mb_s:,.0f} MB/s, first byte {bare.first_byte_p50_ms:.1f} ms"
    )
    shown = [row for name in peers for row in rows(figures[OURS], figures.get(name), name)]
    return Report(bench="onion", rows=shown, note=note)


def _measure(networks: Mapping[str, Network], port: int) -> Mapping[str, Figures]:
    streams = measure_streams([network.connect for network in networks.values()], port)
    for network in networks.values():
        network.build_circuit_s()  # it may have to open the links
    built_s = [[network.build_circuit_s() for network in networks.values()] for _ in range(CIRCUITS)]
    builds_ms = [1000 * statistics.median(times) for times in zip(*built_s, strict=True)]
    return dict(zip(networks, map(Figures, streams, builds_ms), strict=True))


def rows(ours: Figures, theirs: Figures | None, peer: str) -> Sequence[Row]:
    def row(
        what: str, figure: Callable[[Figures], float], unit: str, bar: float, better: Better = Better.LOWER
    ) -> Row:
        beside = None if theirs is None else round(figure(theirs), 2)
        value = round(figure(ours), 2)
        return Row(what=what, value=value, unit=unit, bar=bar, better=better, peer=peer, peer_value=beside)

    return [
        row("throughput", lambda of: of.streams.throughput_mb_s, "MB/s", THROUGHPUT_BAR, Better.HIGHER),
        row("first byte p50", lambda of: of.streams.first_byte_p50_ms, "ms", FIRST_BYTE_BAR_MS),
        row("circuit build p50", lambda of: of.circuit_build_p50_ms, "ms", BUILD_BAR_MS),
    ]


# --- The networks ----------------------------------------------------------------------------------


def peer(tuning: Tuning, running: ExitStack) -> tuple[str, Network | None]:
    """A Tor network for as long as ``running``, and what it is called; or none, and why."""
    try:
        tor = running.enter_context(tor_network(tuning))
    except NoPeer as reason:
        return f"no Tor: {reason}", None
    *_, words = tuning.value
    return f"Tor {tor.version} {words}", Network(through(tor.socks_port), tor.build_circuit_s)


@contextmanager
def _our_network() -> Iterator[Network]:
    with _nodes() as (entry, *_):
        yield Network(through(_told(entry, socks=HOPS)), partial(_told, entry, build=HOPS))


@contextmanager
def _nodes() -> Iterator[Sequence[LoadProgram]]:
    with tempfile.TemporaryDirectory(prefix="fogpanel-bench-") as folder, ExitStack() as running:
        starts = (
            {
                "folder": f"{folder}/{number}",
                "number": number,
                "flags": flags,
                "exit_allow": [LOOPBACK],
            }
            for number, flags in enumerate(NODES, 1)
        )
        nodes = [
            running.enter_context(LoadProgram.started("bench.overlay_node", json.dumps(start)))
            for start in starts
        ]
        relays = [_told(node, entry=True) for node in nodes]
        for node in nodes:
            _told(node, relays=relays)
        yield nodes


def _told(node: LoadProgram, **what: object) -> Any:
    return node.tell(json.dumps(what))
