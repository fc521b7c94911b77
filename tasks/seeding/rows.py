"""Rows of one table, written many at a time and without a model instance for each."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import DateTimeField, JSONField, Max, Model


class Rows:
    """Gathers rows of ``model`` until `write`. Columns that a row does not name have the model's default.

    Times are in UTC. JSON may be given as text, for what many rows share.
    """

    def __init__(self, model: type[Model], **same_for_all: object) -> None:
        self._table = model._meta.db_table
        self._fields = model._meta.concrete_fields
        blank = model(**same_for_all)
        self._template = [
            field.get_db_prep_save(getattr(blank, field.attname), connection) for field in self._fields
        ]
        self._columns = {field.attname: (index, _adapter(field)) for index, field in enumerate(self._fields)}
        self._id_at = self._columns["id"][0]
        self.next_id: int = (model._default_manager.aggregate(last=Max("pk"))["last"] or 0) + 1
        self._rows: list[list[Any]] = []

    def add(self, **values: Any) -> int:
        """Keep a row for `write`; returns its id."""
        row = self._template.copy()
        row[self._id_at] = self.next_id
        for name, value in values.items():
            index, adapt = self._columns[name]
            row[index] = adapt(value) if adapt is not None and value is not None else value
        self._rows.append(row)
        self.next_id += 1
        return self.next_id - 1

    def write(self) -> None:
        """Insert what was gathered, within the caller's transaction."""
        rows, self._rows = self._rows, []
        quote = connection.ops.quote_name
        columns = ", ".join(quote(field.column or field.attname) for field in self._fields)
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                with cursor.copy(f"COPY {quote(self._table)} ({columns}) FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(row)
            else:
                marks = ", ".join(["%s"] * len(self._fields))
                cursor.executemany(f"INSERT INTO {quote(self._table)} ({columns}) VALUES ({marks})", rows)


def _adapter(field: Any) -> Callable[[Any], Any] | None:
    if isinstance(field, JSONField):
        return _as_json
    if isinstance(field, DateTimeField) and not connection.features.supports_timezones:
        return _without_zone
    return None


def _as_json(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _without_zone(value: datetime) -> str:
    """As Django stores it; its own way there takes longer than SQLite takes for the row."""
    return str(value.replace(tzinfo=None))
