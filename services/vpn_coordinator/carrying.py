"""Orders of confidential tasks go to their nodes over circuits: a gateway, an agent, is asked to bring them.

The panel seals the order in a letter to the node, so that the gateway learns of it no more than the number
of the attempt, the node, and the sealed bytes. `carried` takes the answers, `sweeping` looks after what has
none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random

import msgspec
from msgspec.structs import replace

from fogagent.messages import Blob, Carry, Run, encode_message
from fogagent.overlay import letters
from fogagent.overlay.directory import Relay
from fogpanel import audit, live
from nodes import models as nodes
from nodes.identity import panel_identity
from nodes.outbox import NewOrder
from nodes.relay_directory.publishing import published_entry
from services.vpn_coordinator.choosing import chance, gateways
from services.vpn_coordinator.models import Carriage
from services.vpn_coordinator.tries import PAUSE_LEAST_S, SLACK_S, pause, timeout_s
from services.vpn_coordinator.troubles import Failed, Trouble
from tasks.orders import subject

TOPIC = "private-tasks"
LETTER_LASTS_S = 180.0
"""Beyond the time of its gateway. Clocks of agents may be off by as much, and an old one is worth nothing."""

NO_GATEWAY = (
    "No gateway can be had: start an agent with entry among its --flags, other than the one where the task "
    "is to run."
)
NOT_LISTED = "Its node is not in the relay directory, so nothing can be sealed for it."

_decode = msgspec.json.Decoder(Run).decode


def carry_orders(attempts: Sequence[tuple[int, Run]], now: datetime, rng: Random = chance) -> list[NewOrder]:
    """Orders to gateways to bring these (node, order to run) there; `settings.TASK_TRANSPORTS`.

    To be put into the outbox within the transaction that stores the attempts. What no gateway can be had for
    waits as a row of `Carriage`.
    """
    carriages = [_new(node_id, run, now) for node_id, run in attempts]
    contents = {run.attempt: run.payload for _, run in attempts if run.payload is not None}
    orders = ask(carriages, now, contents, rng)
    Carriage.objects.bulk_create(carriages)
    live.changed(TOPIC)
    return orders


def _new(node_id: int, run: Run, now: datetime) -> Carriage:
    assert run.sealed is not None and run.payload is not None, "a confidential task is sealed"
    kept = replace(run, payload=replace(run.payload, inline=None))
    return Carriage(
        attempt_id=run.attempt,
        node_id=node_id,
        run=encode_message(kept),
        size=run.payload.size,
        created_at=now,
        due_at=now,
    )


def ask(
    carriages: Iterable[Carriage],
    now: datetime,
    contents: Mapping[int, Blob] | None = None,
    rng: Random = chance,
) -> list[NewOrder]:
    """Choose a gateway for each of these, which have none, and note it in them; they are not saved here.

    Where it would be one that failed before, that waits for a while. ``contents`` by attempt: what may travel
    inside the order.
    """
    waiting = list(carriages)
    able = gateways(now, rng)
    entries = entries_of({carriage.node_id for carriage in waiting})
    orders = []
    for carriage in waiting:
        entry = entries.get(carriage.node_id)
        chosen = able.choose(carriage.node_id, carriage.tried)
        if entry is None:
            _wait(carriage, Failed(Trouble.NOT_SEALABLE, NOT_LISTED), now)
        elif chosen is None:
            _wait(carriage, Failed(Trouble.NO_GATEWAY, NO_GATEWAY), now)
        elif now < (rested_at := _rested_at(carriage, chosen)):
            carriage.due_at = rested_at
        else:
            content = (contents or {}).get(carriage.attempt_id)
            try:
                order = _order(carriage, entry, content, now)
            except letters.BadLetter as bad:
                _wait(carriage, Failed(Trouble.NOT_SEALABLE, str(bad)), now)
            else:
                _note_asked(carriage, chosen, now)
                orders.append(NewOrder(chosen, order, subject(carriage.attempt_id)))
    return orders


def _wait(carriage: Carriage, why: Failed, now: datetime) -> None:
    carriage.trouble, carriage.reason, carriage.sentence = why.trouble, "", audit.shorten(why.sentence)
    carriage.due_at = now + timedelta(seconds=PAUSE_LEAST_S)


def _rested_at(carriage: Carriage, gateway: int) -> datetime:
    """From when on this gateway may be asked (again)."""
    if gateway not in carriage.tried or carriage.failed_at is None:
        return carriage.created_at
    return carriage.failed_at + pause(carriage.tries)


def _order(carriage: Carriage, entry: Relay, content: Blob | None, now: datetime) -> Carry:
    """Raises BadLetter where nothing can be sealed for the node."""
    run = _decode(bytes(carriage.run))
    assert run.payload is not None
    patience_s = timeout_s(carriage.size)
    expires_at = now.timestamp() + patience_s + LETTER_LASTS_S
    return Carry(
        attempt=carriage.attempt_id,
        to=entry.identity,
        content=content or run.payload,
        letter=letters.write(panel_identity(), entry.identity, entry.sealing_key, run, expires_at),
        hops=carriage.hops,
        timeout_s=patience_s,
    )


def _note_asked(carriage: Carriage, gateway: int, now: datetime) -> None:
    carriage.gateway_id, carriage.asked_at = gateway, now
    carriage.trouble = carriage.reason = carriage.sentence = ""
    carriage.due_at = now + timedelta(seconds=timeout_s(carriage.size) + SLACK_S)


def entries_of(node_ids: Iterable[int]) -> dict[int, Relay]:
    """What the newest version of the directory says of these nodes."""
    rows = nodes.Relay.objects.filter(node_id__in=list(node_ids), since__isnull=False).only("published")
    return {row.node_id: entry for row in rows if (entry := published_entry(row)) is not None}
