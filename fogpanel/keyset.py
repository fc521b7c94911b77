"""Keyset pages: a page is found by the key of its neighbour, so a deep one costs as little as the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Generic, TypeAlias, TypeVar

from django.db.models import Model, QuerySet
from pydantic import Field

M = TypeVar("M", bound=Model)

PAGE_SIZE = 50
Limit: TypeAlias = Annotated[int, Field(ge=1, le=200)]
"""How many rows a client of the API may ask for at once."""
COUNT_LIMIT = 1000
SEARCH_SPAN = 50_000
"""How many rows are looked through where no index finds those that are asked for."""


@dataclass(frozen=True, slots=True)
class Page(Generic[M]):
    """``before`` and ``after`` are the keys to ask for the neighbouring pages with; None at an end."""

    rows: list[M]
    before: object | None = None
    after: object | None = None


def find_page(
    sources: Sequence[QuerySet[M]],
    key: str,
    *,
    descending: bool = False,
    after: object | None = None,
    before: object | None = None,
    size: int = PAGE_SIZE,
) -> Page[M]:
    """One page of the union of disjoint ``sources``, each of which has an index that ends in ``key``.

    Several sources are cheaper than one with ``IN``: each is read in order and only ``size`` deep.
    """
    backwards = before is not None
    falling = descending != backwards
    cursor = before if backwards else after
    condition = {} if cursor is None else {f"{key}__{'lt' if falling else 'gt'}": cursor}
    order = f"-{key}" if falling else key
    rows = [row for source in sources for row in source.filter(**condition).order_by(order)[: size + 1]]
    if len(sources) > 1:
        rows.sort(key=attrgetter(key), reverse=falling)
    more = len(rows) > size
    rows = rows[:size]
    if backwards:
        rows.reverse()
    return _with_neighbours(
        rows, key, earlier=more if backwards else cursor is not None, later=backwards or more
    )


def _with_neighbours(rows: list[M], key: str, *, earlier: bool, later: bool) -> Page[M]:
    if not rows:
        return Page([])
    return Page(
        rows,
        before=getattr(rows[0], key) if earlier else None,
        after=getattr(rows[-1], key) if later else None,
    )


def newest(rows: QuerySet[M]) -> QuerySet[M]:
    """Those of ``rows`` that are among the newest `SEARCH_SPAN` of their table."""
    last = rows.model._default_manager.order_by("-pk").values_list("pk", flat=True).first() or 0
    return rows.filter(pk__gt=last - SEARCH_SPAN)


def count_capped(queryset: QuerySet[M], limit: int = COUNT_LIMIT) -> str:
    """How many rows there are, as text; beyond ``limit`` it stops counting and says "1,000+"."""
    count = len(queryset.order_by().values_list("pk", flat=True)[: limit + 1])
    return f"{limit:,}+" if count > limit else f"{count:,}"
