"""How well the tunnels do, judged from what was told of them. Pure: no clock, no database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.absent import NOBODY, Absent
from services.exit_echo import Echo
from services.models import State
from services.record import Figure, Probed
from services.vpn_coordinator.models import DEFAULT_HOPS
from services.vpn_coordinator.standing import Standing

SENTENCE_MOST = 300
WAITED_LONG_S = 60.0
"""A tunnel that was ordered so long ago and is not told of is not on its way any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One tunnel that is not stopped. ``age_s``: since it was created; ``bytes_per_s``: None is not known."""

    name: str
    standing: Standing
    sentence: str
    age_s: float
    clients: int
    bytes_per_s: float | None
    hops: int = DEFAULT_HOPS

    @property
    def pending(self) -> bool:
        return self.standing is Standing.ORDERED and self.age_s < WAITED_LONG_S

    @property
    def works(self) -> bool:
        return self.standing is Standing.OPEN

    @property
    def fails(self) -> bool:
        return not (self.works or self.pending)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fog:
    """What tunnels need: exits that are ready, in how many regions, nodes that grant entry, and relays.

    Relays are counted as far as the longest tunnel needs. ``hops``: the most that a tunnel can have now, as
    no entry is a relay for itself. ``echo``: None where none was tried lately. The absent ones grant the
    same and are not connected.
    """

    exits: int
    regions: int
    entries: int
    relays: int
    hops: int
    echo: Echo | None = None
    absent_exits: Absent = NOBODY
    absent_entries: Absent = NOBODY
    absent_relays: Absent = NOBODY


def judge(tunnels: Sequence[Checked], fog: Fog) -> Probed:
    state, sentence = _verdict(tunnels, fog)
    return Probed(state, _short(sentence), _figures(tunnels, fog))


def _verdict(tunnels: Sequence[Checked], fog: Fog) -> tuple[State, str]:
    if not tunnels:
        return _without_tunnels(fog)
    if not fog.exits:
        return State.DOWN, f"No exit is ready: nothing can leave the fog. {_exit_wanted(fog)}"
    failing = [tunnel for tunnel in tunnels if tunnel.fails]
    if failing:
        return _with_failing(failing, tunnels, fog)
    short = [tunnel for tunnel in tunnels if tunnel.hops > fog.hops]
    if short:
        return (
            State.DEGRADED,
            f"No new circuit can be built for {short[0].name}. {_too_few(short[0].hops, fog)}",
        )
    if fog.echo is not None and not fog.echo.ok:
        return State.DEGRADED, f"{NO_ECHO} {fog.echo.sentence}"
    opened = [tunnel for tunnel in tunnels if tunnel.works]
    if not opened:
        return State.OPERATIONAL, f"{_number(len(tunnels), 'tunnel')} being opened"
    clients = sum(tunnel.clients for tunnel in opened)
    return State.OPERATIONAL, f"{_number(len(opened), 'tunnel')} open, {_number(clients, 'client')}"


NO_EXIT = "Start an agent with relay,exit among its --flags where traffic may leave."
NO_ENTRY = "Start an agent with entry among its --flags on a machine whose programs are to use tunnels."
NO_RELAY = "Start agents with relay among their --flags, at addresses that other nodes reach."
NO_ECHO = (
    "Nothing came back from an exit over the last circuit: see the trials of the service Onion circuits."
)


def _without_tunnels(fog: Fog) -> tuple[State, str]:
    if not fog.exits:
        return State.DEGRADED, f"No tunnel yet, and no exit is ready. {_exit_wanted(fog)}"
    exits = f"{_number(fog.exits, 'exit')} in {_number(fog.regions, 'region')}"
    if not fog.entries:
        wanted = fog.absent_entries.advice if fog.absent_entries else NO_ENTRY
        return (
            State.DEGRADED,
            f"No tunnel yet; {exits} would do, but no connected node grants entry. {wanted}",
        )
    if fog.hops < DEFAULT_HOPS:
        return State.DEGRADED, f"No tunnel yet, and none can be built. {_too_few(DEFAULT_HOPS, fog)}"
    if fog.echo is not None and not fog.echo.ok:
        return State.DEGRADED, f"No tunnel yet. {NO_ECHO} {fog.echo.sentence}"
    return State.OPERATIONAL, f"No tunnel yet; {exits} {'is' if fog.exits == 1 else 'are'} ready."


def _exit_wanted(fog: Fog) -> str:
    return fog.absent_exits.advice if fog.absent_exits else NO_EXIT


def _too_few(hops: int, fog: Fog) -> str:
    """Of relays for so many hops: how many there are, and how to have more."""
    absent = fog.absent_relays
    there = (
        f"{fog.relays:,} of {fog.relays + absent.number:,} are connected"
        if absent
        else f"{fog.relays:,} {'is' if fog.relays == 1 else 'are'} ready"
    )
    wanted = absent.advice if absent else NO_RELAY
    needed = f"{_number(hops, 'hop')} {'needs' if hops == 1 else 'need'} as many relays besides the entry"
    itself = ", the entry among them" if fog.hops < fog.relays else ""
    return f"{needed}, and {there}{itself}. {wanted}"


def _with_failing(failing: Sequence[Checked], tunnels: Sequence[Checked], fog: Fog) -> tuple[State, str]:
    first = failing[0]
    lacks_relays = first.standing is Standing.STUCK and first.hops > fog.hops
    why = f"{first.name}: {_too_few(first.hops, fog) if lacks_relays else first.sentence}"
    if len(failing) == len(tunnels):
        return State.DOWN, f"No tunnel is open. {why}"
    verb = "is" if len(failing) == 1 else "are"
    return State.DEGRADED, f"{len(failing)} of {len(tunnels)} tunnels {verb} not open. {why}"


def _figures(tunnels: Sequence[Checked], fog: Fog) -> tuple[Figure, ...]:
    rates = [tunnel.bytes_per_s for tunnel in tunnels if tunnel.bytes_per_s is not None]
    kilobytes_per_s = round(sum(rates) / 1000, 1) if rates else None
    echo_ms = fog.echo.took_ms if fog.echo else None
    return (
        Figure("open tunnels", sum(tunnel.works for tunnel in tunnels)),
        Figure("clients", sum(tunnel.clients for tunnel in tunnels if tunnel.works)),
        Figure("throughput", kilobytes_per_s, "kB/s"),
        Figure("exit echo", None if echo_ms is None else round(echo_ms, 1), "ms"),
        Figure("exits ready", fog.exits),
        Figure("regions with exits", fog.regions),
    )


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _short(sentence: str) -> str:
    return sentence if len(sentence) <= SENTENCE_MOST else sentence[: SENTENCE_MOST - 1] + "…"
