"""Circuits of three hops over TLS links: what a stream carries, how soon it speaks, how fast one is built.

Four agents' parts in the overlay, each a process of its own: an entry with a SOCKS port, a guard, a middle
and an exit, which is allowed to reach the local server that all are measured against. Streams are measured
as `bench.through_socks` does for everybody, circuits while their links are open, as the peer's are.

The peer is a private Tor network of as many relays on the same machine (`bench.tor_network`).
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from bench.load_program import LoadProgram
from bench.peers import NoPeer
from bench.report import Better, Report, Row
from bench.through_socks import StreamFigures, direct, served_bytes, through
from bench.through_socks import measure as measure_streams
from bench.tor_network import TorFigures, measure_tor

HOPS = 3
CIRCUITS = 50
THROUGHPUT_BAR, FIRST_BYTE_BAR_MS, BUILD_BAR_MS = 16.0, 50.0, 30.0
LOOPBACK = "lab=127.0.0.0/8"
NODES = (("entry",), ("relay", "guard"), ("relay",), ("relay", "exit"))


@dataclass(frozen=True, slots=True)
class Figures:
    streams: StreamFigures
    circuit_build_p50_ms: float


def measure() -> Report:
    with served_bytes() as port:
        ours = _measure_ours(port)
        bare = measure_streams(direct, port)
        try:
            tor: TorFigures | None = measure_tor(port)
            peer = f"a private Tor network, {tor.version}" if tor else ""
        except NoPeer as reason:
            tor, peer = None, f"no Tor: {reason}"
    note = (
        f"without any overlay: {bare.throughput_mb_s:,.0f} MB/s, first byte {bare.first_byte_p50_ms:.1f} ms"
    )
    return Report(bench="onion", rows=_rows(ours, tor, peer), note=note)


def _rows(ours: Figures, tor: TorFigures | None, peer: str) -> Sequence[Row]:
    measured = (
        ("throughput", ours.streams.throughput_mb_s, "MB/s", THROUGHPUT_BAR, Better.HIGHER),
        ("first byte p50", ours.streams.first_byte_p50_ms, "ms", FIRST_BYTE_BAR_MS, Better.LOWER),
        ("circuit build p50", ours.circuit_build_p50_ms, "ms", BUILD_BAR_MS, Better.LOWER),
    )
    theirs: Sequence[float | None] = (
        (tor.streams.throughput_mb_s, tor.streams.first_byte_p50_ms, tor.circuit_build_p50_ms)
        if tor
        else (None, None, None)
    )
    return [
        Row(
            what=what,
            value=round(value, 1),
            unit=unit,
            bar=bar,
            better=better,
            peer=peer,
            peer_value=None if other is None else round(other, 1),
        )
        for (what, value, unit, bar, better), other in zip(measured, theirs, strict=True)
    ]


def _measure_ours(port: int) -> Figures:
    with _nodes() as (entry, *_):
        build_s = [_told(entry, build=HOPS) for _ in range(1 + CIRCUITS)][1:]  # the first opens the links
        socks = _told(entry, socks=HOPS)
        return Figures(measure_streams(through(socks), port), 1000 * statistics.median(build_s))


@contextmanager
def _nodes() -> Iterator[Sequence[LoadProgram]]:
    with tempfile.TemporaryDirectory(prefix="fogpanel-bench-") as folder, ExitStack() as running:
        starts = (
            {
                "folder": f"{folder}/{number}",
                "number": number,
                "flags": flags,
                "exit_allow": ["lab=127.0.0.0/8"],
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
