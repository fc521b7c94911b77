"""Writing many rows with one prepared statement, where a query for each would cost more than its work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from django.db import connection
from django.db.models import Field, Model


def update_each(
    model: type[Model], columns: Sequence[str], rows: Iterable[Sequence[Any]], *, where: str = ""
) -> int:
    """Set ``columns`` of each row; the last value of a row is its primary key.

    ``where`` is SQL that must hold besides, without parameters. Returns how many rows were changed.
    """
    fields = [*_fields(model, tuple(columns)), model._meta.pk]
    converted = [
        tuple(field.get_db_prep_save(value, connection) for field, value in zip(fields, row, strict=True))
        for row in rows
    ]
    if not converted:
        return 0
    with connection.cursor() as cursor:
        cursor.executemany(_update(model, tuple(columns), where), converted)
        return int(cursor.rowcount)


@lru_cache
def _fields(model: type[Model], columns: tuple[str, ...]) -> tuple[Field[Any, Any], ...]:
    return tuple(model._meta.get_field(name) for name in columns)  # type: ignore[misc]


@lru_cache
def _update(model: type[Model], columns: tuple[str, ...], where: str) -> str:
    quote = connection.ops.quote_name
    names = [field.column or field.name for field in (*_fields(model, columns), model._meta.pk)]
    *assigned, key = (f"{quote(name)} = %s" for name in names)
    condition = f"{key} AND {where}" if where else key
    return f"UPDATE {quote(model._meta.db_table)} SET {', '.join(assigned)} WHERE {condition}"
