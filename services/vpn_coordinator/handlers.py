"""What entries tell of their tunnels, stored: one look and one statement for a batch of statuses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from statistics import median
from typing import Any

from fogagent.messages import CircuitState, OverlayStatus, TunnelState
from fogpanel import audit, live
from fogpanel.models import Event
from fogpanel.rows import update_each
from nodes.models import Node
from nodes.telling import Told, record_each
from services.control import want_probe
from services.vpn_coordinator.models import SLUG, Tunnel
from services.vpn_coordinator.rates import Count, counted

COLUMNS = (
    "told_at",
    "is_open",
    "port",
    "sentence",
    "clients",
    "sent_bytes",
    "received_bytes",
    "wrong_passwords",
    "missing_passwords",
    "used_exit",
    "counted_at",
    "counted_bytes",
    "bytes_per_s",
    "best_bytes_per_s",
    "build_ms",
)
INTEGER_MOST = 2**31 - 1
NOT_THERE: dict[str, Any] = {
    "is_open": None,
    "port": 0,
    "sentence": "",
    "clients": 0,
    "used_exit": None,
    "counted_at": None,
    "bytes_per_s": None,
}
"""Of a tunnel that its entry does not know: it was restarted, or the order is on its way."""


def note_tunnels(received: Sequence[tuple[int, OverlayStatus]], now: datetime) -> None:
    """Take over what each node tells of the tunnels that it is to have open; the last status counts."""
    told = dict(received)
    tunnels = list(Tunnel.objects.filter(entry_id__in=told, stopped_at=None).order_by("id"))
    if not tunnels:
        return
    circuits = [circuit for status in told.values() for circuit in status.circuits if circuit.path]
    exits = _exits({circuit.path[-1] for circuit in circuits})
    rows, moved, turned = [], False, False
    opened: list[Told] = []
    broken: list[Told] = []
    for tunnel in tunnels:
        new = _told(tunnel, told[tunnel.entry_id], exits, now)
        if sentence := _opened(tunnel, new):
            opened.append(Told(tunnel.entry_id, sentence, tunnel))
        if sentence := _broken(tunnel, new):
            broken.append(Told(tunnel.entry_id, sentence, tunnel))
        moved |= (tunnel.is_open, tunnel.port) != (new["is_open"], new["port"])
        turned |= bool(tunnel.sentence) != bool(new["sentence"])
        # What is not told anew stays.
        rows.append((*(new.get(name, _present(tunnel, name)) for name in COLUMNS), tunnel.id))
    record_each("tunnel.opened", opened, now)
    record_each("tunnel.broken", broken, now, level=Event.Level.WARNING)
    update_each(Tunnel, COLUMNS, rows)
    live.changed("tunnels", *(f"tunnel:{tunnel.id}" for tunnel in tunnels))
    if moved or turned:
        want_probe(SLUG, now)
    if moved:  # lines that stay are not drawn anew: somebody may be selecting one
        live.changed("tunnel-lines")


def _present(tunnel: Tunnel, name: str) -> Any:
    return getattr(tunnel, "used_exit_id" if name == "used_exit" else name)


def _exits(identities: Iterable[bytes]) -> Mapping[bytes, int]:
    """The nodes with these keys, by key."""
    keys = [identity.hex() for identity in identities]
    found = Node.objects.filter(public_key__in=keys).values_list("public_key", "id") if keys else ()
    return {bytes.fromhex(key): node_id for key, node_id in found}


def _told(tunnel: Tunnel, status: OverlayStatus, exits: Mapping[bytes, int], now: datetime) -> dict[str, Any]:
    """The columns that this status changes."""
    state = next((state for state in status.tunnels if state.tunnel == tunnel.id), None)
    if state is None:
        return {**NOT_THERE, "told_at": now}
    serving = [circuit for circuit in status.circuits if tunnel.id in circuit.tunnels]
    trouble = "" if serving else status.trouble
    why = trouble if state.open else _without_port(state.sentence, tunnel)
    return {
        "told_at": now,
        "is_open": state.open,
        "port": state.port if state.open and state.port <= 65_535 else 0,
        "sentence": audit.shorten(why),
        "clients": min(state.clients, INTEGER_MOST),
        "wrong_passwords": min(state.wrong_passwords, INTEGER_MOST),
        "missing_passwords": min(state.missing_passwords, INTEGER_MOST),
        "sent_bytes": state.sent_bytes,
        "received_bytes": state.received_bytes,
        "used_exit": _used_exit(serving, exits),
        **_measured(tunnel, state, serving, now),
    }


def _without_port(sentence: str, tunnel: Tunnel) -> str:
    """Everybody reads why it is not open; a port that is taken may be that of somebody's other tunnel."""
    return re.sub(rf"\b{tunnel.wanted_port}\b", "…", sentence) if tunnel.wanted_port else sentence


def _used_exit(serving: Sequence[CircuitState], exits: Mapping[bytes, int]) -> int | None:
    """Where the circuit ends that carries most of its streams."""
    known = [circuit for circuit in serving if circuit.path and circuit.path[-1] in exits]
    busiest = max(known, key=lambda circuit: (circuit.streams, -circuit.age_s), default=None)
    return exits[busiest.path[-1]] if busiest else None


def _measured(
    tunnel: Tunnel, state: TunnelState, serving: Sequence[CircuitState], now: datetime
) -> dict[str, Any]:
    if not state.open:
        return {"counted_at": None, "bytes_per_s": None}
    before = Count(tunnel.counted_at, tunnel.counted_bytes, tunnel.bytes_per_s)
    after = counted(before, state.sent_bytes + state.received_bytes, now)
    measured: dict[str, Any] = {
        "counted_at": after.at,
        "counted_bytes": after.total,
        "bytes_per_s": after.bytes_per_s,
    }
    if after.bytes_per_s:
        measured["best_bytes_per_s"] = max(after.bytes_per_s, tunnel.best_bytes_per_s or 0.0)
    if serving:
        measured["build_ms"] = median(circuit.build_ms for circuit in serving)
    return measured


def _opened(tunnel: Tunnel, new: Mapping[str, Any]) -> str:
    """That it was opened; empty where that is not new."""
    return f"The tunnel {tunnel} is open" if new["is_open"] is True and not tunnel.is_open else ""


def _broken(tunnel: Tunnel, new: Mapping[str, Any]) -> str:
    """Why it is not open; empty where that is not new."""
    was_told = tunnel.is_open is False and tunnel.sentence == new["sentence"]
    if new["is_open"] is not False or was_told:
        return ""
    return f"The tunnel {tunnel} is not open: {new['sentence'] or 'its entry does not say why'}"
