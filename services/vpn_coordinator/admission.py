"""Whether tasks of a privacy level can be taken now (`settings.TASK_ADMISSION`), and else why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from random import Random

from fogagent.overlay.directory import Directory
from fogagent.overlay.onion.guards import Guards
from fogagent.overlay.onion.path import NoPath, Wishes, choose
from fogagent.overlay.onion.roster import Roster
from nodes.models import Node
from nodes.relay_directory.changes import changes_since
from nodes.relay_directory.publishing import newest_version
from services.models import ServiceState
from services.vpn_coordinator.carrying import NO_GATEWAY
from services.vpn_coordinator.choosing import chance, look_for
from services.vpn_coordinator.models import DEFAULT_HOPS, SLUG
from tasks.privacy import Privacy

GATEWAYS_TRIED = 3
"""Nobody's circuits lead through itself, so where one finds no path another may."""

DISABLED = "The VPN coordinator is disabled, so no order is carried; an operator can enable it on its page."
NOBODY_LISTED = (
    "No connected node is in the relay directory, so there is no key to seal for. An agent is in it some "
    "seconds after it has joined."
)
NO_MIXNET = (
    "Secret tasks wait for the mixnet, which this panel does not have yet; confidential is the strongest "
    "level there is."
)


def refusal(level: str, now: datetime) -> str:
    """A sentence on why tasks of this level cannot be taken now; empty where they can."""
    return _REFUSALS[Privacy(level)](now)


def _never(now: datetime) -> str:
    return ""


def _private(now: datetime) -> str:
    listed = Node.objects.filter(archived_at=None, connected=True, relay__since__isnull=False)
    return "" if listed.exists() else NOBODY_LISTED


def _confidential(now: datetime) -> str:
    if ServiceState.objects.filter(slug=SLUG, enabled=False).exists():
        return DISABLED
    return _private(now) or _without_way(now, chance)


def _secret(now: datetime) -> str:
    return NO_MIXNET


_REFUSALS: Mapping[Privacy, Callable[[datetime], str]] = {
    Privacy.PUBLIC: _never,
    Privacy.PRIVATE: _private,
    Privacy.CONFIDENTIAL: _confidential,
    Privacy.SECRET: _secret,
}


def _without_way(now: datetime, rng: Random) -> str:
    """Why no gateway finds a way to any node, by the rules that agents choose their paths by."""
    found = look_for(rng)
    ids = sorted(found, key=lambda node_id: not found[node_id])[:GATEWAYS_TRIED]
    if not ids:
        return NO_GATEWAY
    roster = _newest_roster()
    cut_off = Node.objects.filter(connected=False, relay__since__isnull=False)
    excluded = frozenset(map(bytes.fromhex, cut_off.values_list("public_key", flat=True)))
    wishes = Wishes(hops=DEFAULT_HOPS, excluded=excluded, needs_exit=False)
    why = ""
    for public_key in Node.objects.filter(id__in=ids).values_list("public_key", flat=True):
        try:
            choose(roster, wishes, Guards(), bytes.fromhex(public_key), rng, now.timestamp())
        except NoPath as error:
            why = error.sentence
        else:
            return ""
    return (
        f"A gateway needs {DEFAULT_HOPS} connected relays besides itself, of different owners and in "
        f"different networks, the last of which runs the task. {why}"
    )


def _newest_roster() -> Roster:
    newest = newest_version()
    assert newest is not None, "gateways are in a directory"
    return _roster(newest.version, newest.digest)


@lru_cache(maxsize=1)
def _roster(version: int, digest: str) -> Roster:
    """Of that directory, or of one that has come just now. With 10,000 relays it takes a tenth of a second,
    and versions come the more seldom the more relays there are."""
    changes = changes_since(0)
    relays = {relay.identity: relay for relay in changes.upserts}
    return Roster(Directory(changes.version, changes.made_at, changes.expires_at, relays))
