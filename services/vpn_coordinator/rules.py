"""How well the tunnels do, judged from what was told of them. Pure: no clock, no database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.models import State
from services.record import Figure, Probed
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
class Echo:
    """What became of the bytes that were last sent over a circuit to an exit, to be echoed there."""

    ok: bool
    sentence: str
    took_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fog:
    """What tunnels need: exits that are ready, in how many regions, and nodes that grant entry. ``echo``:
    None where none was tried lately."""

    exits: int
    regions: int
    entries: int
    echo: Echo | None = None


def judge(tunnels: Sequence[Checked], fog: Fog) -> Probed:
    state, sentence = _verdict(tunnels, fog)
    return Probed(state, _short(sentence), _figures(tunnels, fog))


def _verdict(tunnels: Sequence[Checked], fog: Fog) -> tuple[State, str]:
    if not tunnels:
        return _without_tunnels(fog)
    if not fog.exits:
        return State.DOWN, f"No exit is ready: nothing can leave the fog. {NO_EXIT}"
    failing = [tunnel for tunnel in tunnels if tunnel.fails]
    if failing:
        return _with_failing(failing, tunnels)
    opened = [tunnel for tunnel in tunnels if tunnel.works]
    if fog.echo is not None and not fog.echo.ok:
        return State.DEGRADED, f"Nothing came back from an exit over the last circuit. {fog.echo.sentence}"
    if not opened:
        return State.OPERATIONAL, f"{_number(len(tunnels), 'tunnel')} being opened"
    clients = sum(tunnel.clients for tunnel in opened)
    return State.OPERATIONAL, f"{_number(len(opened), 'tunnel')} open, {_number(clients, 'client')}"


NO_EXIT = "Start an agent with relay,exit among its --flags where traffic may leave."
NO_ENTRY = "Start an agent with entry among its --flags on a machine whose programs are to use tunnels."


def _without_tunnels(fog: Fog) -> tuple[State, str]:
    if not fog.exits:
        return State.DEGRADED, f"No tunnel yet, and no exit is ready. {NO_EXIT}"
    exits = f"{_number(fog.exits, 'exit')} in {_number(fog.regions, 'region')}"
    if not fog.entries:
        return (
            State.DEGRADED,
            f"No tunnel yet; {exits} would do, but no connected node grants entry. {NO_ENTRY}",
        )
    return State.OPERATIONAL, f"No tunnel yet; {exits} {'is' if fog.exits == 1 else 'are'} ready."


def _with_failing(failing: Sequence[Checked], tunnels: Sequence[Checked]) -> tuple[State, str]:
    first = failing[0]
    why = f"{first.name}: {first.sentence}"
    if len(failing) == len(tunnels):
        return State.DOWN, f"No tunnel is open. {why}"
    verb = "is" if len(failing) == 1 else "are"
    return State.DEGRADED, f"{len(failing)} of {len(tunnels)} tunnels {verb} not open. {why}"


def _figures(tunnels: Sequence[Checked], fog: Fog) -> tuple[Figure, ...]:
    rates = [tunnel.bytes_per_s for tunnel in tunnels if tunnel.bytes_per_s is not None]
    kilobytes_per_s = round(sum(rates) / 1000, 1) if rates else None
    return (
        Figure("open tunnels", sum(tunnel.works for tunnel in tunnels)),
        Figure("clients", sum(tunnel.clients for tunnel in tunnels if tunnel.works)),
        Figure("throughput", kilobytes_per_s, "kB/s"),
        Figure("exit echo", fog.echo.took_ms if fog.echo else None, "ms"),
        Figure("exits ready", fog.exits),
        Figure("regions with exits", fog.regions),
    )


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _short(sentence: str) -> str:
    return sentence if len(sentence) <= SENTENCE_MOST else sentence[: SENTENCE_MOST - 1] + "…"
