"""Which nodes a list shows: search, filters and keyset pages, all in SQL."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast

from fogpanel.keyset import Page, count_capped, find_page
from nodes.models import Node
from nodes.status import with_status

ARCHIVED = "archived"
"""Asks for the nodes that left the fleet, in place of a status."""


class Query(TypedDict, total=False):
    """What the filter form asks for; a missing or empty value filters nothing."""

    q: str
    status: str
    type: str
    region: str
    after: str
    before: str


def matching(query: Query, now: datetime) -> QuerySet[Node]:
    """The nodes of the fleet (or the archived ones) that meet every filter, with their status annotated."""
    status = query.get("status")
    archived = status == ARCHIVED
    present = Node.objects.filter(archived_at__isnull=not archived, approved_at__isnull=False)
    nodes = with_status(present, now)
    for column, value in (
        ("status", "" if archived else status),
        ("node_type", query.get("type")),
        ("region", query.get("region")),
    ):
        if value:
            nodes = nodes.filter(**{column: value})
    return search(nodes, query.get("q", ""))


def search(nodes: QuerySet[Node], words: str) -> QuerySet[Node]:
    """Every word must occur in the name, host name, region or a label."""
    if words:
        nodes = nodes.annotate(labels_text=Cast("labels", TextField()))
    for word in words.split():
        nodes = nodes.filter(
            Q(name__icontains=word)
            | Q(hostname__icontains=word)
            | Q(region__icontains=word)
            | Q(labels_text__icontains=word)
        )
    return nodes


def page(query: Query, now: datetime) -> Page[Node]:
    return find_page(
        [matching(query, now)], "name", after=query.get("after") or None, before=query.get("before") or None
    )


def count(query: Query, found: Page[Node], now: datetime) -> str:
    """How many nodes match, as text; one page that holds them all needs no second look."""
    if found.before is None and found.after is None:
        return f"{len(found.rows):,}"
    return count_capped(matching(query, now))


def newest_id() -> int:
    """The node that joined last, let in or not; 0 where there is none."""
    return Node.objects.order_by("-id").values_list("id", flat=True).first() or 0


def waiting_for_approval() -> QuerySet[Node]:
    return Node.objects.filter(archived_at=None, approved_at=None).order_by("created_at")


def regions() -> list[str]:
    """The regions that nodes name, for the filter."""
    named = Node.objects.filter(archived_at=None).exclude(region="")
    return list(named.order_by("region").values_list("region", flat=True).distinct())
