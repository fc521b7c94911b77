"""What a node tells of its own circuits and guards."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from fogagent.messages import MAX_SENTENCE, CircuitState, GuardState, PathVerdict, TunnelSpec
from fogagent.overlay.directory import Directory
from fogagent.overlay.onion.client import OnionClient
from fogagent.overlay.onion.guards import Guard, Guards
from fogagent.overlay.onion.own_circuit import OwnCircuit
from fogagent.overlay.onion.verdicts import verdicts
from fogagent.overlay.tunnels import wishes_of

CIRCUITS_TOLD = 100
TOLD_BYTES = 256 * 1024
"""Of circuits in one status, in which others have their say by what they call their relays: half a frame."""


@dataclass(frozen=True)
class Telling:
    """What circuits are told by: ``tunnels`` are those that are open, ``me`` is this node's identity."""

    client: OnionClient
    directory: Directory | None
    tunnels: Sequence[TunnelSpec]
    me: bytes

    def circuits(self) -> list[CircuitState]:
        """Of the youngest, as many as may be told."""
        told: list[CircuitState] = []
        left = TOLD_BYTES
        for own in reversed(self.client.circuits[-CIRCUITS_TOLD:]):
            state = self._state(own)
            left -= len(msgspec.json.encode(state))
            if left < 0:
                break
            told.append(state)
        return told[::-1]

    def _state(self, own: OwnCircuit) -> CircuitState:
        now = time.monotonic()
        streams = own.circuit.streams
        return CircuitState(
            path=[relay.identity for relay in own.path],
            age_s=now - own.built_at,
            build_ms=1000 * own.build_s,
            streams=len(streams),
            sent_bytes=streams.sent_bytes,
            received_bytes=streams.received_bytes,
            rotates_in_s=None if own.used_at is None else max(0.0, own.rotates_at - now),
            tunnels=self._served_by(own),
            verdicts=self._verdicts(own),
        )

    def _served_by(self, own: OwnCircuit) -> list[int]:
        """The tunnel that uses it, or those that may."""
        if isinstance(own.isolation, tuple):
            return [own.isolation[0]]
        return [spec.tunnel for spec in self.tunnels if wishes_of(spec) == own.wishes]

    def _verdicts(self, own: OwnCircuit) -> list[PathVerdict]:
        if self.directory is None:
            return []
        found = verdicts(
            own.path, self.directory, own.wishes, self.client.builder.guards, self.me, time.time()
        )
        return [
            PathVerdict(rule=each.rule, state=each.state, sentence=each.sentence[:MAX_SENTENCE])
            for each in found
        ]


def guard_states(guards: Guards, now: float) -> list[GuardState]:
    """``now`` in seconds since the epoch."""
    return [_guard_state(guard, guards.aside_sentence(guard.identity, now)) for guard in guards.kept]


def _guard_state(guard: Guard, sentence: str) -> GuardState:
    return GuardState(
        identity=guard.identity,
        since=guard.since,
        until=guard.since + guard.lasts_s,
        reached=guard.confirmed_at is not None,
        sentence=sentence,
    )
