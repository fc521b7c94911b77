"""Making the next version of the relay directory, where something changed or the last one gets old.

A look reads what nodes are now, and compares each one's encoded entry with the one that is published. That
and the signing are done outside of any transaction; the new version is stored together with the entries that
changed, if nobody else stored one meanwhile. So any number of processes may look at once. Entries are
written under no other lock than that of the version, and nodes are not written at all, so nobody who has
locked nodes is waited for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import structlog
from django.db import IntegrityError, transaction

from fogagent.overlay.directory import MAX_CHANGES_BYTES, MAX_RELAYS, Relay, digest, sign
from fogpanel.parameters.catalogue import DIRECTORY_DAYS, GUARD_AFTER_DAYS
from fogpanel.parameters.store import current
from fogpanel.rows import as_time, select, update_each
from fogpanel.wakes import wake
from nodes import models
from nodes.handlers import KNOWN_FLAGS
from nodes.identity import panel_identity
from nodes.models import DirectoryVersion
from nodes.presence import listening_since
from nodes.relay_directory.guards import Candidate, choose_guards
from nodes.relay_directory.names import name_in, published_networks

DIRECTORY = "directory"
"""The wake that says that there is a new version."""

PAUSE_S = 5.0
RELAYS_PER_S = 100
"""Each version is told to all agents and asked for by all, so versions come the more seldom the more there
are: as if each agent asked once in so many seconds as there are hundreds of them, at most."""
GONE_LATELY_S = 60.0
"""So long a node that went stays in the directory: agents that are upgraded come back within it."""
CLOCKS = 1.05  # a little more than a lifetime is left where another host's clock is ahead
WHOLE_BYTES = MAX_CHANGES_BYTES * 3 // 4

log = structlog.get_logger(__name__)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Relay).decode

# Whoever is in the directory stays for a while after it went, and for as long as nobody could have heard it.
_LOOK = """
SELECT r.node_id, n.name, n.public_key, n.sealing_key, n.region, n.flags, n.unstable_since IS NULL,
       n.gone_at IS NULL,
       r.onion_key, r.certificate, r.address, r.family, r.bandwidth_kbps, r.since, r.published,
       n.approved_at IS NOT NULL AND n.archived_at IS NULL AND (
           n.gone_at IS NULL OR r.since IS NOT NULL AND (n.gone_at > {gone_lately} OR {deaf})
       )
FROM nodes_relay r JOIN nodes_node n ON n.id = r.node_id
ORDER BY r.node_id
"""


class Row(NamedTuple):
    """A row of `_LOOK`, as the driver gives it."""

    node_id: int
    name: str
    public_key: str
    sealing_key: str
    region: str
    flags: Any  # JSON
    is_stable: bool
    is_there: bool
    onion_key: str
    certificate: bytes
    address: str
    family: str
    bandwidth_kbps: int
    since: datetime | str | None
    published: bytes
    takes_part: bool


@dataclass(frozen=True)
class Draft:
    """What the next version would be: all its relays, and the rows to write for it: (published, since,
    node) of what came, went or changed."""

    relays: Mapping[bytes, Relay]
    changed: Sequence[tuple[bytes, datetime | None, int]]


def pause_s() -> float:
    """How long to leave between two versions, and between two looks."""
    newest = newest_version()
    return _pause_s(newest.relays if newest else 0)


def newest_version() -> DirectoryVersion | None:
    return DirectoryVersion.objects.order_by("-version").first()


def newest_number() -> int:
    """The number of the newest version; 0 where there is none."""
    return DirectoryVersion.objects.order_by("-version").values_list("version", flat=True).first() or 0


def published_entry(relay: models.Relay) -> Relay | None:
    """Its entry in the newest version, if it is in it."""
    return _decode(bytes(relay.published)) if relay.published else None


def publish(now: datetime) -> int | None:
    """Make a new version if it is time for one and something changed; its number, or None."""
    newest = newest_version()
    ages = newest is not None and _ages(newest, now)
    if newest is not None and not ages and _is_fresh(newest, now):
        return None
    draft = _draft(_look(now), now)
    if not draft.changed and not ages:
        return None
    return _store(draft, newest.version if newest else 0, now)


def publish_anew(now: datetime) -> int | None:
    """Make a new version also where nothing changed; None where there is none yet, or one came just now.

    After the database was put back, agents and clients have seen newer versions than it has and go by no
    older one. Numbers are times, so that whatever is made now is newer than all of them.
    """
    newest = newest_version()
    if newest is None or _is_fresh(newest, now):
        return None
    return _store(_draft(_look(now), now), newest.version, now)


def _pause_s(relays: int) -> float:
    return max(PAUSE_S, relays / RELAYS_PER_S)


def _is_fresh(version: DirectoryVersion, now: datetime) -> bool:
    # Other hosts' clocks may be ahead, but one that was ahead by far must not hold up all versions.
    return abs(now - version.made_at) < timedelta(seconds=_pause_s(version.relays))


def _ages(version: DirectoryVersion, now: datetime) -> bool:
    """Whether half of its time is over, or much more is left than the parameter wants by now."""
    left = version.expires_at - now
    lifetime = timedelta(days=current(DIRECTORY_DAYS))
    return not lifetime / 2 <= left <= lifetime * CLOCKS


# --- Looking ---------------------------------------------------------------------------------------


def _look(now: datetime) -> list[Row]:
    gone_lately = now - timedelta(seconds=GONE_LATELY_S)
    listening = listening_since(now)
    # A panel that was away itself takes nobody out before all had the time to come back.
    deaf = listening is None or listening > gone_lately
    return list(map(Row._make, select(_LOOK, gone_lately=gone_lately, deaf=deaf)))


def _draft(rows: Sequence[Row], now: datetime) -> Draft:
    present = [row for row in rows if row.takes_part]
    guards = choose_guards(
        [
            Candidate(row.node_id, _since(row, now).timestamp(), row.bandwidth_kbps, bool(row.is_there))
            for row in present
            if _may_guard(row)
        ],
        now.timestamp(),
        timedelta(days=current(GUARD_AFTER_DAYS)).total_seconds(),
    )
    led = published_networks(now)
    relays = {row.node_id: _relay(row, row.node_id in guards, led) for row in present}
    entries = _within_limits({node_id: _encode(relay) for node_id, relay in relays.items()})
    changed = [
        (entry, _since(row, now) if entry else None, row.node_id)
        for row in rows
        if (entry := entries.get(row.node_id, b"")) != row.published
    ]
    return Draft({relay.identity: relay for node_id, relay in relays.items() if node_id in entries}, changed)


def _since(row: Row, now: datetime) -> datetime:
    return as_time(row.since) if row.since else now


def _may_guard(row: Row) -> bool:
    return bool(row.address and row.is_stable and "relay" in _flags(row.flags))


def _relay(row: Row, is_guard: bool, led: Mapping[str, list[str]]) -> Relay:
    flags = _flags(row.flags)
    return Relay(
        node=row.node_id,
        name=row.name,
        identity=bytes.fromhex(row.public_key),
        onion_key=bytes.fromhex(row.onion_key),
        sealing_key=bytes.fromhex(row.sealing_key),
        certificate=bytes(row.certificate),
        address=row.address,
        family=row.family,
        region=row.region,
        flags=[*flags, "guard"] if is_guard else [*flags],
        bandwidth_kbps=row.bandwidth_kbps,
        networks=led.get(name_in(row.address), []) if led else [],
    )


@lru_cache
def _flags(text: str) -> tuple[str, ...]:
    """What an owner grants, in one order, so that an entry changes only when its meaning does."""
    granted = json.loads(text)
    return tuple(flag for flag in KNOWN_FLAGS if flag in granted)


def _within_limits(entries: Mapping[int, bytes]) -> Mapping[int, bytes]:
    """As many as agents take, the oldest nodes first."""
    kept: dict[int, bytes] = {}
    size = 0
    for node_id, entry in entries.items():
        size += len(entry)
        if len(kept) == MAX_RELAYS or size > WHOLE_BYTES:
            log.warning("The relay directory is full", relays=len(kept), left_out=len(entries) - len(kept))
            break
        kept[node_id] = entry
    return kept


# --- Storing ---------------------------------------------------------------------------------------


def _store(draft: Draft, previous: int, now: datetime) -> int | None:
    """Sign and store this as the successor of ``previous``; None if that has one already."""
    signed = _signed(draft, previous, now)
    rows = [(*row, signed.version) for row in draft.changed]
    try:
        with transaction.atomic():
            signed.save(force_insert=True)
            update_each(
                models.Relay,
                ("published", "since", "version"),
                [(published, since, version, node_id) for published, since, node_id, version in rows],
            )
            wake(DIRECTORY)
    except IntegrityError:
        return None
    return signed.version


def _signed(draft: Draft, previous: int, now: datetime) -> DirectoryVersion:
    # Never a number that was given out before, even where the database was put back to an older state.
    version = max(previous + 1, int(now.timestamp()))
    expires_at = now + timedelta(days=current(DIRECTORY_DAYS))
    of_all = digest(draft.relays)
    signature = sign(
        panel_identity().signing,
        version=version,
        made_at=now.timestamp(),
        expires_at=expires_at.timestamp(),
        digest=of_all,
    )
    return DirectoryVersion(
        version=version,
        previous=previous,
        made_at=now,
        expires_at=expires_at,
        digest=of_all.hex(),
        signature=signature.hex(),
        relays=len(draft.relays),
        changes=len(draft.changed),
    )
