"""Circuits that nodes are asked to try: asked for, answered by a report, or ended by their deadline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import QuerySet

from fogagent.messages import CircuitTried, TryCircuit
from fogpanel import live, retention
from fogpanel.rows import select, update_each
from nodes import models as nodes
from nodes import outbox
from services.exit_echo import Echo
from services.onion.models import Trial
from services.onion.standing import listed

TIMEOUT_S = 15.0
SLACK_S = 5.0
"""Beyond its time, for the way there and back."""
ECHOED_BYTES = 1000
MAY_TRY = ("entry", "compute")
LOOKED_AT = 50
"""Nodes among which one is drawn; they begin at a random place, so all have their turn."""

NEWS = timedelta(minutes=5)
KEPT = timedelta(days=2)
KEPT_WHOLE = timedelta(hours=1)


class Builder(NamedTuple):
    """A node that may try circuits now."""

    node_id: int
    name: str
    identity: bytes


@dataclass(frozen=True)
class Wanted:
    """What is to be tried. ``through`` names the relays, or is empty where the node chooses ``hops``."""

    hops: int
    size: int = ECHOED_BYTES
    to_exit: bool = False
    through: tuple[bytes, ...] = ()
    relay_id: int | None = None


def builders(rng: Random) -> list[Builder]:
    """Some nodes that are connected, know the directory and whose owners let them work, in random order."""
    last = nodes.Relay.objects.order_by("-node_id").values_list("node_id", flat=True).first() or 0
    start = rng.randint(0, last)
    speaking = listed().filter(node__connected=True, node__gone_at=None)
    columns = ("node_id", "node__name", "node__public_key", "node__flags")
    ordered = speaking.order_by("node_id").values_list(*columns)
    rows = list(ordered.filter(node_id__gt=start)[:LOOKED_AT])
    rows += ordered.filter(node_id__lte=start)[: LOOKED_AT - len(rows)]
    found = [
        Builder(node_id, name, bytes.fromhex(public_key))
        for node_id, name, public_key, flags in rows
        if not set(MAY_TRY).isdisjoint(flags)
    ]
    rng.shuffle(found)
    return found


def ask(builder: Builder, wanted: Wanted, now: datetime) -> Trial:
    """Order this node to try it."""
    with transaction.atomic():
        trial = Trial.objects.create(
            node_id=builder.node_id,
            relay_id=wanted.relay_id,
            hops=wanted.hops,
            to_exit=wanted.to_exit,
            size=wanted.size,
            path=[identity.hex() for identity in wanted.through],
            asked_at=now,
            deadline_at=now + timedelta(seconds=TIMEOUT_S + SLACK_S),
        )
        order = TryCircuit(
            trial=trial.id,
            hops=wanted.hops,
            through=list(wanted.through),
            to_exit=wanted.to_exit,
            size=wanted.size,
            timeout_s=TIMEOUT_S,
        )
        outbox.put([outbox.NewOrder(builder.node_id, order, _subject(trial))], now)
        live.changed("relays")
    return trial


def end_if_late(trial: Trial, now: datetime) -> bool:
    """Whether it is over, by a report or by its deadline, which is noted in it."""
    if trial.ended_at is not None:
        return True
    if now <= trial.deadline_at:
        return False
    silence = (trial.deadline_at - trial.asked_at).total_seconds()
    sentence = f"{trial.node.name} did not tell how it went within {silence:.0f} s."
    with transaction.atomic():
        unanswered = Trial.objects.filter(id=trial.id, ended_at=None)
        if unanswered.update(ended_at=now, ok=False, sentence=sentence):
            # A node that comes back late has better things to do.
            outbox.withdraw([_subject(trial)], now)
            live.changed("relays")
    trial.refresh_from_db()
    return True


def let_go_if_abandoned(trial: Trial, now: datetime) -> bool:
    """Whether its node went before it told how it went, which says nothing about circuits: it is dropped."""
    if trial.ended_at is not None or trial.node.connected:
        return False
    with transaction.atomic():
        dropped, _ = Trial.objects.filter(id=trial.id, ended_at=None).delete()
        outbox.withdraw([_subject(trial)], now)
        live.changed("relays")
    return bool(dropped)


def _subject(trial: Trial) -> str:
    return f"trial:{trial.id}"


# --- Reports -----------------------------------------------------------------------------------------

_OPEN = "SELECT id, node_id, hops, path FROM onion_trial WHERE id IN {ids} AND ended_at IS NULL"

TOLD = ("ended_at", "ok", "sentence", "path", "build_ms", "echo_ms", "kbps")


class Asked(NamedTuple):
    node_id: int
    hops: int
    through: list[str]  # empty where the node was to choose


def store_tried(received: Sequence[tuple[int, CircuitTried]], now: datetime) -> None:
    """Note how trials went; a handler like those of `nodes.handlers`.

    A node can answer only for its own, and only while nobody waits in vain for it already.
    """
    told = {report.trial: (node_id, report) for node_id, report in received}
    asked = {
        trial_id: Asked(node_id, hops, _list(path))
        for trial_id, node_id, hops, path in select(_OPEN, ids=list(told))
    }
    rows = [
        (*_row(report, asked[trial_id], now), trial_id)
        for trial_id, (node_id, report) in sorted(told.items())
        if trial_id in asked and asked[trial_id].node_id == node_id
    ]
    update_each(Trial, TOLD, rows, where="ended_at IS NULL")
    live.changed("relays")


def _row(report: CircuitTried, asked: Asked, now: datetime) -> tuple[object, ...]:
    path = [identity.hex() for identity in report.path]
    problem = _problem(report, path, asked)
    measured = (None, None, None) if problem else (report.build_ms, report.echo_ms, report.kbps)
    return (now, not problem, problem, path or asked.through, *measured)


def _list(stored: Any) -> list[str]:
    """A list as `select` gives it: as text, or read already."""
    return list(json.loads(stored) if isinstance(stored, str) else stored)


def _problem(report: CircuitTried, path: Sequence[str], asked: Asked) -> str:
    """What went wrong, as a sentence; empty if nothing."""
    if not report.ok:
        return report.sentence.replace("\0", "") or "Its node does not say why it failed."
    if len(path) != asked.hops:
        return f"Its circuit had {len(path)} relays in place of {asked.hops}."
    if asked.through and path != asked.through:
        return "Its circuit led through another relay than the one that was asked for."
    return ""


# --- Looking back ------------------------------------------------------------------------------------


def of_choice() -> QuerySet[Trial]:
    """Those over relays that the nodes chose, the newest first."""
    return Trial.objects.filter(relay=None).select_related("node").order_by("-id")


def last_to_exit(now: datetime) -> Echo | None:
    """Of the last, if it was to end at an exit and is not long ago (`settings.EXIT_ECHO`): what it says, it
    says of tunnels too.

    Where the last did not lead to an exit there was none, and how it went with those before is old news.
    """
    last = of_choice().exclude(ended_at=None).first()
    lately = last is not None and last.ended_at is not None and last.ended_at > now - NEWS
    if last is None or not last.to_exit or not lately:
        return None
    return Echo(ok=last.ok, sentence=last.sentence, took_ms=last.echo_ms)


def of_relays() -> QuerySet[Trial]:
    """Those that measured one relay, the newest first."""
    return Trial.objects.filter(relay__isnull=False).select_related("node").order_by("-id")


def thin(now: datetime, previous: datetime | None) -> int:
    """Let the old ones go, and of those that went well leave one minute in five after the first hour."""
    gone = retention.delete(Trial.objects.filter(asked_at__lt=now - KEPT).order_by("asked_at"))
    aged = Trial.objects.filter(ok=True, asked_at__lt=now - KEPT_WHOLE).exclude(
        asked_at__minute__in=range(0, 60, 5)
    )
    if previous is not None:
        aged = aged.filter(asked_at__gte=previous - KEPT_WHOLE)
    return gone + retention.delete(aged.order_by("asked_at"))


def hex_names(trials: Sequence[Trial]) -> set[str]:
    """The identities in their paths."""
    return {identity for trial in trials for identity in trial.path}


def route(path: Sequence[str], names: Mapping[str, str]) -> str:
    """A path in words: the names of its relays, the entry first."""
    return " → ".join(names.get(identity, f"{identity[:8]}…") for identity in path)
