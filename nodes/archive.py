"""Nodes long gone leave the lists. Their history stays, and so does their place: they may come back."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Q, QuerySet

from fogpanel import audit, live
from fogpanel.parameters.catalogue import ARCHIVE_DAYS
from fogpanel.parameters.store import current
from nodes import outbox
from nodes.gone import give_work_away
from nodes.locks import with_nodes
from nodes.models import Node

ARCHIVE_MOST = 100


def archive_long_gone(now: datetime, listening: datetime) -> list[int]:
    """Archive what has been offline for ARCHIVE_DAYS; returns the ids.

    A panel that has just been started itself gives every node one full timeout to come back first.
    """
    gone = _long_gone(now).order_by("id").values_list("id", "timeout_s")[:ARCHIVE_MOST]
    return [
        node_id
        for node_id, timeout_s in gone
        if listening + timedelta(seconds=timeout_s) <= now and _archive(node_id, now)
    ]


def _long_gone(now: datetime) -> QuerySet[Node]:
    since = now - timedelta(days=current(ARCHIVE_DAYS))
    never_came = Q(last_contact_at=None, approved_at__lt=since)
    return Node.objects.filter(
        never_came | Q(last_contact_at__lt=since),
        connected=False,
        archived_at=None,
        approved_at__isnull=False,
    )


def _archive(node_id: int, now: datetime) -> bool:
    def archive() -> bool:
        node = _long_gone(now).filter(id=node_id).first()
        if node is None:  # it came back since we looked
            return False
        Node.objects.filter(id=node_id).update(archived_at=now, drain_deadline_at=None, changed_at=now)
        give_work_away({node_id: "its node was archived"}, now, silent=False)
        outbox.withdraw_all(node_id, now)
        sentence = f"{node.name} was archived: offline for more than {current(ARCHIVE_DAYS):g} days"
        audit.record("node.archived", sentence, subject=node)
        live.changed("nodes", "fleet", "topology", f"node:{node_id}")
        return True

    return with_nodes([node_id], archive)
