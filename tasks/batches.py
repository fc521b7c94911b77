"""Many tasks handed in at once: a list of specifications, or one and a table of parameters.

A batch is acknowledged when it is stored, specifications and all, in one transaction. Its tasks become
rows in stretches, so that no transaction keeps other writers waiting; whoever is interrupted in between,
the sweep goes on where the row says.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, TypeAlias

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Count, QuerySet
from django.utils import timezone

from fogpanel import audit, live
from fogpanel.access import AnyUser, Role, require
from fogpanel.rows import insert_each
from fogpanel.wakes import wake
from tasks.blobs import store_blobs
from tasks.fields import MIB, FieldError, Fields, in_bytes, shown
from tasks.models import Blob, Task, TaskBatch
from tasks.specification import SpecError, TaskSpec, Validator
from tasks.states import TaskState

BATCH_MOST = 10_000
STRETCH = 500  # tasks that become rows in one transaction
ERRORS_SHOWN = 20
FILLED_MOST = 64 * MIB
"""Characters in all texts that are made of a template: a short request can ask for far more."""
PLACE_COST = 32  # what a placeholder counts besides: to replace one by nothing takes its time, too
UNPACK_AFTER = timedelta(seconds=30)  # whoever handed it in has been interrupted by then

PLACEHOLDER = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


# --- Reading what was asked for ------------------------------------------------------------------


def read_batch(given: Mapping[str, Any]) -> tuple[str, list[TaskSpec]]:
    """The name and the specifications of a batch: ``tasks``, or ``template`` with ``parameters``.

    Raises:
        SpecError: with the first sentences about what is wrong; a field says which task it is of.
    """
    read = Fields(given)
    read.refuse_unknown(("name", "tasks", "template", "parameters"))
    name = read.text("name", most=200)
    specs: list[TaskSpec] = []
    validator = Validator()
    for index, one in enumerate(_asked(read, given)):
        if len(read.errors) >= ERRORS_SHOWN:
            break
        try:
            specs.append(validator.validate(one))
        except SpecError as error:
            read.errors += [_within(f"tasks[{index}]", wrong) for wrong in error.errors]
    if read.errors:
        raise SpecError(read.errors[:ERRORS_SHOWN])
    return name or f"batch of {len(specs)}", specs


def _asked(read: Fields, given: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    if "tasks" in given and ("template" in given or "parameters" in given):
        read.refuse("tasks", "must not be given together with template and parameters.")
        return []
    if "tasks" in given:
        return _objects(read, "tasks", given["tasks"])
    template = given.get("template")
    if not isinstance(template, Mapping):
        read.refuse("tasks", "is missing; give a list of tasks, or a template with parameters.")
        return []
    rows = _objects(read, "parameters", given.get("parameters"))
    filling = _Filling(read)
    return [filling.fill(template, row, index) for index, row in enumerate(rows) if not read.errors]


def _objects(read: Fields, field: str, value: object) -> Sequence[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        read.refuse(field, "must be a list of objects.")
        return []
    if not 1 <= len(value) <= BATCH_MOST:
        read.refuse(field, f"must be 1 to {BATCH_MOST:,} objects, were {len(value):,}.")
        return []
    return value


class _Filling:
    """Makes specifications out of a template, as long as all that it makes stays within `FILLED_MOST`."""

    def __init__(self, read: Fields) -> None:
        self._read = read
        self._left = FILLED_MOST

    def fill(self, template: Mapping[str, Any], row: Mapping[str, Any], index: int) -> Mapping[str, Any]:
        """The template with each ``${name}`` in its texts replaced by the row's value."""
        values = _Values(self._read, row, index)
        return {field: self._filled(value, values) for field, value in template.items()}

    def _filled(self, value: Any, values: _Values) -> Any:
        if isinstance(value, str):
            return self._replaced(value, values) if "${" in value else value
        if isinstance(value, list):
            return [self._filled(one, values) for one in value]
        if isinstance(value, Mapping):
            return {key: self._filled(one, values) for key, one in value.items()}
        return value

    def _replaced(self, text: str, values: _Values) -> str:
        if self._takes(text, values):
            return PLACEHOLDER.sub(lambda match: values[match[1]], text)
        if not self._read.errors:
            self._read.refuse("parameters", _TOO_MUCH)
        return ""

    def _takes(self, text: str, values: _Values) -> bool:
        """Whether there is room for what becomes of ``text``, which counts as well."""
        self._left -= len(text)
        if self._left < 0:
            return False
        for match in PLACEHOLDER.finditer(text):
            self._left -= PLACE_COST + len(values[match[1]])
            if self._left < 0:
                return False
        return not self._read.errors


_TOO_MUCH = (
    f"must fill the template with at most {in_bytes(FILLED_MOST, 'g')} of text in all; hand in fewer rows at "
    "once, or put what differs into args or env rather than into a long text."
)


class _Values(dict[str, str]):
    """The values of a row as texts, each looked at when it is first asked for."""

    def __init__(self, read: Fields, row: Mapping[str, Any], index: int) -> None:
        super().__init__()
        self._read, self._row, self._index = read, row, index

    def __missing__(self, name: str) -> str:
        self[name] = self._text(name)
        return self[name]

    def _text(self, name: str) -> str:
        value = self._row.get(name)
        if not isinstance(value, bool) and isinstance(value, str | int | float):
            return str(value)
        what = f"must be text or a number, was {shown(value)}" if name in self._row else "is missing"
        self._read.refuse(f"parameters[{self._index}].{name}", f"{what}; the template names ${{{name}}}.")
        return ""


def _within(place: str, error: FieldError) -> FieldError:
    return FieldError(f"{place}.{error.field}", f"{place}.{error.message}")


# --- Storing it ----------------------------------------------------------------------------------

TaskRow: TypeAlias = Sequence[Any]  # what a specification fills of a task's row, in the order of `_COLUMNS`

_COLUMNS = tuple(field.name for field in fields(TaskSpec))
_VALUES = attrgetter(*_COLUMNS)
_CONTENTS = (_COLUMNS.index("payload"), _COLUMNS.index("stdin"))


def store_batch(user: AnyUser, name: str, specs: Sequence[TaskSpec]) -> tuple[TaskBatch, list[TaskRow]]:
    """Store a batch and its first tasks in one transaction. `unpack` makes the others out of what is
    returned besides, which is kept with the batch as well.

    Raises Refusal for less than a submitter.
    """
    require(user, Role.SUBMITTER)
    assert isinstance(user, User)
    with transaction.atomic():
        now = timezone.now()
        blobs = store_blobs({content for spec in specs for content in (spec.payload, spec.stdin) if content})
        rows = [_row(spec, blobs) for spec in specs]
        batch = TaskBatch.objects.create(owner=user, name=name, size=len(specs), created_at=now)
        rest = rows[STRETCH:]
        _store_stretch(batch, rows[:STRETCH], now)
        batch.packed = zlib.compress(json.dumps(rest).encode(), level=1) if rest else None
        batch.save(update_fields=["stored", "packed"])
        sentence = f"{user} handed in {shown(name)}: {batch.size} tasks"
        audit.record("task.submitted", sentence, actor=user, subject=batch, after={"tasks": batch.size})
    return batch, rest


def unpack(batch_id: int, rest: Sequence[TaskRow]) -> None:
    """Make the tasks of this batch that are no rows yet, out of ``rest``. Several may try at once: each
    stretch is made by one of them."""
    while _unpack_stretch(batch_id, rest):
        pass


def _unpack_stretch(batch_id: int, rest: Sequence[TaskRow]) -> bool:
    with transaction.atomic():
        batch = TaskBatch.objects.select_for_update().defer("packed").get(id=batch_id)
        if batch.stored == batch.size:
            return False
        done = batch.stored - (batch.size - len(rest))
        _store_stretch(batch, rest[done : done + STRETCH], timezone.now())
        if batch.stored == batch.size:
            batch.packed = None
        batch.save(update_fields=["stored", "packed"] if batch.stored == batch.size else ["stored"])
    return True


def _store_stretch(batch: TaskBatch, rows: Sequence[TaskRow], now: datetime) -> None:
    """Make rows of these, the next; ``batch.stored`` counts on."""
    numbered = [
        (batch.owner_id, batch.id, batch.stored + index, now, now, *row) for index, row in enumerate(rows)
    ]
    insert_each(Task, ("owner", "batch", "batch_index", "created_at", "changed_at", *_COLUMNS), numbered)
    batch.stored += len(rows)
    wake("submitted")
    live.changed("tasks", "fleet")


def _row(spec: TaskSpec, blobs: Mapping[bytes, Blob]) -> TaskRow:
    values = list(_VALUES(spec))
    for place in _CONTENTS:
        values[place] = blobs[values[place]].sha256 if values[place] else None
    return values


def unpack_interrupted(now: datetime) -> None:
    """Make the tasks of batches whose storing was interrupted."""
    waiting = _packed().filter(created_at__lt=now - UNPACK_AFTER)
    for batch in waiting.order_by("id"):
        unpack(batch.id, _rest_of(batch))


def blobs_of_packed() -> set[str]:
    """Hashes of all blobs that tasks name which are no rows yet, so that no row refers to them."""
    rows = (row for batch in _packed() for row in _rest_of(batch))
    return {row[place] for row in rows for place in _CONTENTS if row[place]}


def _packed() -> QuerySet[TaskBatch]:
    return TaskBatch.objects.exclude(packed=None)


def _rest_of(batch: TaskBatch) -> Sequence[TaskRow]:
    rest: Sequence[TaskRow] = json.loads(zlib.decompress(bytes(batch.packed or b"")))
    return rest


def states(batch: TaskBatch) -> dict[str, int]:
    """How many of its tasks are in each state; what is no row yet is queued."""
    counted = Task.objects.filter(batch=batch).values_list("state").annotate(Count("id"))
    found = dict(counted.order_by("state"))
    if waiting := batch.size - batch.stored:
        found[TaskState.QUEUED] = found.get(TaskState.QUEUED, 0) + waiting
    return found
