"""Where the host names in relays' addresses lead: looked up in the background, published as networks.

Relays of one machine may go by many names, so the rule that no two relays of a path share a network needs
what the names lead to. Agents do not look names up for it: that would tell resolvers of their paths, and each
would see something else. So the panel does, and signs it. An agent dials what its own resolver says; who it
finds there is proved by the pinned certificate, and an answer that differs can only weaken this rule, as
moving between two look-ups can.

A name keeps each network for KEPT after it last led there. So one whose address goes back and forth changes
its entry a few times a day at most, and one that moved is kept away from both places for that time. A name
that led to more than MAX_NETWORKS lately, or to none, is published without, as a relay of unknown network.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from queue import Empty, SimpleQueue
from threading import BoundedSemaphore, Thread
from time import monotonic
from typing import TypeAlias

from django.db.models import F, Q

from fogagent.address import is_loopback
from fogagent.overlay.directory import MAX_NETWORKS
from fogagent.overlay.onion.roster import network
from fogpanel.rows import pieces
from nodes.models import HostName, Relay

EVERY = timedelta(minutes=15)
KEPT = timedelta(days=1)
"""Outlasts a resolver that is down for a night; not more, because what was true then proves little now."""
LIMIT_S = 5.0
"""For all names of one run."""
AT_ONCE = 400
UNDER_WAY = 32
"""Look-ups of one process: those that hang go on hanging in threads of their own, and no run waits."""

Resolve: TypeAlias = Callable[[str], Iterable[str]]
_slots = BoundedSemaphore(UNDER_WAY)


def look_up_due(now: datetime, resolve: Resolve | None = None, limit_s: float = LIMIT_S) -> None:
    """Look up names that were not for EVERY, and those that are new; forget those that no relay says."""
    _follow(_said())
    due = HostName.objects.filter(Q(tried_at=None) | Q(tried_at__lte=now - EVERY))
    rows = {row.name: row for row in due.order_by(F("tried_at").asc(nulls_first=True), "name")[:AT_ONCE]}
    found = look_up(rows, resolve or addresses_of, limit_s)
    for name, networks in found.items():
        rows[name].tried_at, rows[name].seen = now, _remembered(rows[name].seen, networks, now)
    HostName.objects.bulk_update([rows[name] for name in found], ["tried_at", "seen"], batch_size=AT_ONCE)


def look_up(names: Iterable[str], resolve: Resolve, limit_s: float) -> Mapping[str, Sequence[str]]:
    """The networks that each name leads to; none where it leads nowhere or nothing came in time. Names for
    which no look-up was free are left out."""
    answers: SimpleQueue[tuple[str, Sequence[str]]] = SimpleQueue()
    found: dict[str, Sequence[str]] = {}
    waiting, answered, deadline = deque(names), 0, monotonic() + limit_s
    while True:
        while waiting and _slots.acquire(blocking=False):
            found[waiting[0]] = ()
            Thread(target=_ask, args=(waiting.popleft(), resolve, answers), daemon=True).start()
        if answered == len(found):
            break
        try:
            name, found[name] = answers.get(timeout=max(0.0, deadline - monotonic()))
        except Empty:
            break
        answered += 1
    return found


def _ask(name: str, resolve: Resolve, answers: SimpleQueue[tuple[str, Sequence[str]]]) -> None:
    try:
        networks = sorted({network(ip_address(each)) for each in resolve(name)})
    except (OSError, ValueError):
        networks = []
    finally:
        _slots.release()
    answers.put((name, networks))


def addresses_of(name: str) -> Iterable[str]:
    """By the system's resolver, of both families.

    Raises:
        OSError: it leads nowhere.
        UnicodeError: it is too long for DNS.
    """
    return {str(found[4][0]) for found in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}


def name_in(address: str) -> str:
    """The host of ``host:port`` if it is a name to be looked up, else empty."""
    host = address.rpartition(":")[0]
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return "" if is_loopback(host) else host
    return ""


def published_networks(now: datetime) -> Mapping[str, list[str]]:
    """What to publish for each name; empty where that is unknown."""
    rows = HostName.objects.values_list("name", "seen")
    return {
        name: networks if len(networks := _lately(seen, now)) <= MAX_NETWORKS else [] for name, seen in rows
    }


def doubt(row: HostName | None, now: datetime) -> str:
    """Why a relay of that name is published without networks, as a sentence."""
    if row is None or row.tried_at is None:
        return "Its name is not looked up yet."
    count = len(_lately(row.seen, now))
    if count > MAX_NETWORKS:
        return f"Its name led to more than {MAX_NETWORKS} networks within a day, so none is believed."
    return (
        "The next directory tells its networks."
        if count
        else "Its name leads nowhere that the panel could find."
    )


def _said() -> set[str]:
    relays = Relay.objects.filter(node__approved_at__isnull=False, node__archived_at=None)
    return set(filter(None, map(name_in, relays.exclude(address="").values_list("address", flat=True))))


def _follow(said: set[str]) -> None:
    known = set(HostName.objects.values_list("name", flat=True))
    HostName.objects.bulk_create(
        [HostName(name=name) for name in sorted(said - known)], batch_size=AT_ONCE, ignore_conflicts=True
    )
    for some in pieces(sorted(known - said), AT_ONCE):
        HostName.objects.filter(name__in=some).delete()


def _remembered(seen: Mapping[str, float], networks: Iterable[str], now: datetime) -> dict[str, float]:
    """The newest of them, and one more than is published: enough to tell that there are too many."""
    lately = {each: seen[each] for each in _lately(seen, now)} | dict.fromkeys(networks, now.timestamp())
    newest = sorted(lately, key=lambda each: (-lately[each], each))
    return {each: lately[each] for each in newest[: MAX_NETWORKS + 1]}


def _lately(seen: Mapping[str, float], now: datetime) -> list[str]:
    return sorted(each for each, at in seen.items() if at > (now - KEPT).timestamp())
