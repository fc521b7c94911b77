"""Rows without objects: many written with one prepared statement, and queries that are text already.

For the few places that every task passes through, where the ORM would take most of the time: putting
one query together costs it as much as the database needs for fifty. All else is better off with the
ORM. Values are what the columns hold (for a foreign key, the key); nothing but the database checks them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from operator import attrgetter, itemgetter
from string import Formatter
from typing import Any, TypeAlias, TypeVar, cast

import msgspec
from django.db import connection, models, transaction
from django.db.models import Field, Model

Item = TypeVar("Item")
Row: TypeAlias = Sequence[Any]
Convert: TypeAlias = Callable[[Any], Any]

# Their columns take what Python has as it is.
PLAIN = (
    models.TextField,
    models.IntegerField,
    models.FloatField,
    models.BooleanField,
    models.BinaryField,
    models.ForeignKey,
)


def insert_each(
    model: type[Model], columns: Sequence[str], rows: Sequence[Row], *, ignore_conflicts: bool = False
) -> None:
    """Insert ``rows`` of values for ``columns``; the other columns get the defaults of their fields.

    ``ignore_conflicts``: a row that a unique key forbids is left out.
    """
    given = _fields(model, tuple(columns))
    others = _others(model, tuple(columns))
    defaults = tuple(field.get_default() for field in others)
    _execute(
        _insert(model, (*given, *others), ignore_conflicts),
        (*given, *others),
        [(*row, *defaults) for row in rows],
    )


def create(objects: Iterable[Model]) -> None:
    """Insert new objects of one model and give them their keys, as `bulk_create` does; no signals."""
    new = list(objects)
    if not new:
        return
    names, attributes = _columns(type(new[0]))
    rows = list(map(attrgetter(*attributes), new))
    with transaction.atomic(savepoint=False):
        keys = insert_numbered(type(new[0]), names, rows)
    for key, made in zip(keys, new, strict=True):
        made.pk = key
        made._state.adding, made._state.db = False, connection.alias


@lru_cache
def _columns(model: type[Model]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of its fields but the key, and the attributes that hold what their columns do."""
    fields = [field for field in model._meta.concrete_fields if not field.primary_key]
    return tuple(field.name for field in fields), tuple(field.attname for field in fields)


def insert_numbered(model: type[Model], columns: Sequence[str], rows: Sequence[Row]) -> list[int]:
    """Insert ``rows``, within a transaction, and return the primary keys that they were given, in order."""
    keys = _reserve_keys(model, len(rows))
    numbered = [(key, *row) for key, row in zip(keys, rows, strict=True)]
    insert_each(model, (_key(model).name, *columns), numbered)
    return keys


def update_each(model: type[Model], columns: Sequence[str], rows: Iterable[Row], *, where: str = "") -> int:
    """Set ``columns`` of each row; the last value of a row is its primary key.

    ``where`` is SQL that must hold besides, without parameters. Returns how many rows were changed.
    """
    fields = (*_fields(model, tuple(columns)), _key(model))
    return _execute(_update(model, fields, where), fields, list(rows))


def _execute(sql: str, fields: Sequence[Field[Any, Any]], rows: Sequence[Row]) -> int:
    if not rows:
        return 0
    with connection.cursor() as cursor:
        cursor.executemany(sql, _converted(fields, rows))
        return int(cursor.rowcount)


def _converted(fields: Sequence[Field[Any, Any]], rows: Sequence[Row]) -> Sequence[Row]:
    """Column by column, since few columns need anything done."""
    columns = list(zip(*rows, strict=True))
    for index, field in enumerate(fields):
        if (convert := _converter(field)) is not None:
            columns[index] = tuple(map(convert, columns[index]))
    return list(zip(*columns, strict=True))


def _converter(field: Field[Any, Any]) -> Convert | None:
    if isinstance(field, models.DateTimeField):
        return _moment()
    if isinstance(field, models.JSONField):
        return _json()
    if isinstance(field, models.CharField):
        return _without_enum
    if isinstance(field, PLAIN):
        return None
    return lambda value: field.get_db_prep_save(value, connection)


def _moment() -> Convert:
    adapt = connection.ops.adapt_datetimefield_value
    known: dict[datetime | None, Any] = {}

    def convert(value: datetime | None) -> Any:
        if value not in known:  # the rows of a batch share most of their times
            known[value] = adapt(value)
        return known[value]

    return convert


def _json() -> Convert:
    if connection.vendor == "sqlite":  # where it is text, and this makes it many times as fast
        return lambda value: None if value is None else msgspec.json.encode(value).decode()
    adapt = connection.ops.adapt_json_value
    return lambda value: None if value is None else adapt(value, None)


def _without_enum(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def select(sql: str, **given: Any) -> list[tuple[Any, ...]]:
    """The rows of a query in which ``{name}`` stands for a value given, or for a list of values in brackets.

    Rows come as the driver gives them: JSON as text (`json.loads`), a time as `as_time` reads it.
    """
    with connection.cursor() as cursor:
        cursor.execute(*_bound(sql, given))
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def change(sql: str, **given: Any) -> int:
    """Carry out a statement with values as in `select`; how many rows it changed."""
    with connection.cursor() as cursor:
        cursor.execute(*_bound(sql, given))
        return int(cursor.rowcount)


def for_update(*, skip_locked: bool = False) -> str:
    """What ends a `select` that locks its rows, where the database knows of that (see `nodes.locks`)."""
    if not connection.features.has_select_for_update:
        return ""
    return " FOR NO KEY UPDATE SKIP LOCKED" if skip_locked else " FOR NO KEY UPDATE"


def for_key_share() -> str:
    """What ends a `select` whose rows are to stay until the transaction ends; others may refer to them."""
    return " FOR KEY SHARE" if connection.features.has_select_for_update else ""


def as_time(value: datetime | str) -> datetime:
    """A time as it came from `select`. SQLite keeps it in UTC, as text, or without its zone where the driver
    knows the column."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _bound(sql: str, given: Mapping[str, Any]) -> tuple[str, list[Any]]:
    text: list[str] = []
    values: list[Any] = []
    for literal, name in _parts(sql):
        text.append(literal)
        if name is None:
            continue
        value = given[name]
        if isinstance(value, list | tuple | set | frozenset):
            text.append(f"({', '.join(['%s'] * len(value)) or 'NULL'})")
            values += value
        else:
            text.append("%s")
            is_time = isinstance(value, datetime)
            values.append(connection.ops.adapt_datetimefield_value(value) if is_time else value)
    return "".join(text), values


@lru_cache
def _parts(sql: str) -> tuple[tuple[str, str | None], ...]:
    return tuple((literal, name) for literal, name, _, _ in Formatter().parse(sql))


def pieces(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """``items`` in stretches of at most ``size``, for queries that name each."""
    return (items[start : start + size] for start in range(0, len(items), size))


# --- Statements ----------------------------------------------------------------------------------


def _key(model: type[Model]) -> Field[Any, Any]:
    assert model._meta.pk is not None
    return model._meta.pk


@lru_cache
def _fields(model: type[Model], columns: tuple[str, ...]) -> tuple[Field[Any, Any], ...]:
    return tuple(cast("Field[Any, Any]", model._meta.get_field(name)) for name in columns)


@lru_cache
def _others(model: type[Model], columns: tuple[str, ...]) -> tuple[Field[Any, Any], ...]:
    return tuple(
        field for field in model._meta.concrete_fields if field.name not in columns and not field.primary_key
    )


def _names(fields: Iterable[Field[Any, Any]]) -> list[str]:
    return [connection.ops.quote_name(field.column or field.name) for field in fields]


def _table(model: type[Model]) -> str:
    return connection.ops.quote_name(model._meta.db_table)


@lru_cache
def _insert(model: type[Model], fields: tuple[Field[Any, Any], ...], ignore_conflicts: bool) -> str:
    names = _names(fields)
    values = ", ".join(["%s"] * len(names))
    ending = " ON CONFLICT DO NOTHING" if ignore_conflicts else ""
    return f"INSERT INTO {_table(model)} ({', '.join(names)}) VALUES ({values}){ending}"


@lru_cache
def _update(model: type[Model], fields: tuple[Field[Any, Any], ...], where: str) -> str:
    *assigned, key = (f"{name} = %s" for name in _names(fields))
    condition = f"{key} AND {where}" if where else key
    return f"UPDATE {_table(model)} SET {', '.join(assigned)} WHERE {condition}"


def _reserve_keys(model: type[Model], number: int) -> list[int]:
    assert connection.in_atomic_block, "whoever reserves keys outside of a transaction may get another's"
    table, key = model._meta.db_table, _key(model).column
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            # One writer at a time: what its AUTOINCREMENT would give next is ours until we commit.
            cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
            last = cursor.fetchone()
            first = last[0] + 1 if last else 1
            return list(range(first, first + number))
        cursor.execute(
            "SELECT nextval(pg_get_serial_sequence(%s, %s)) FROM generate_series(1, %s)", [table, key, number]
        )
        return list(map(itemgetter(0), cursor.fetchall()))
