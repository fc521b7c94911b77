"""Whether private tasks can be had: asked of the rules first, and then seen by a canary.

Each call does one step and returns at once: send one, or look whether it is back. What it needs to remember
is in the canaries' own rows, so any worker can take the next step.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from fogpanel.parameters.catalogue import PROBE_S
from fogpanel.parameters.store import current
from services.vpn_coordinator import sealed_canary
from services.vpn_coordinator.admission import refusal
from services.vpn_coordinator.models import SealedCanary
from services.vpn_coordinator.sealed_rules import Came, Sealed
from tasks.privacy import Privacy

OLD_NEWS = timedelta(minutes=2)
"""A canary that was over so long ago and was not told of says nothing about now."""


def look(now: datetime, last_result_at: datetime | None) -> Sealed | None:
    """None: a canary is under way."""
    if refused := refusal(Privacy.CONFIDENTIAL, now):
        return Sealed() if refusal(Privacy.PRIVATE, now) else Sealed(refusal=refused)
    canary = sealed_canary.latest()
    if canary is None or (sealed_canary.end_if_over(canary, now) and _is_told(canary, now, last_result_at)):
        canary = sealed_canary.send(now)
    if canary.ended_at is None:
        return None
    node = canary.node.name if canary.node else ""
    came = Came(ok=canary.ok, step=canary.step, sentence=canary.sentence, node=node, took_ms=canary.took_ms)
    return Sealed(came=came)


def _is_told(canary: SealedCanary, now: datetime, last_result_at: datetime | None) -> bool:
    """Whether another one is to be sent after this one, which is over. What went well holds for a while: who
    asks again within it asks for the tunnels' sake."""
    over_at = canary.task.finished_at if canary.task and canary.task.finished_at else canary.deadline_at
    if now > over_at + OLD_NEWS:
        return True
    if last_result_at is None or canary.sent_at > last_result_at:
        return False
    return not canary.ok or now >= over_at + timedelta(seconds=current(PROBE_S) / 2)
