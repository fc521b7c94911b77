"""The orders that tasks give to nodes: run an attempt, cancel one."""

from __future__ import annotations

from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from msgspec.json import decode

from fogagent.messages import INLINE_BLOB_BYTES, Blob, Cancel, Run, Sealed
from nodes.outbox import NewOrder
from tasks import models
from tasks.models import BlobChunk, Reservation
from tasks.privacy import transport


def subject(attempt_id: int) -> str:
    """What orders about this attempt are filed under."""
    return f"attempt:{attempt_id}"


BLOBS_KEPT = 200


class Runnable(NamedTuple):
    """A task that is to run: what its order says and what it reserves. Columns of `tasks.models.Task`."""

    id: int
    attempts_made: int
    driver: str
    timeout_s: float
    payload_id: str | None
    image: str
    args: list[str]
    env: dict[str, str]
    stdin_id: str | None
    cpu_millis: int
    memory_mb: int
    disk_mb: int
    gpu_count: int
    network: bool
    privacy: str
    reservation: int | None


def runnable(row: Sequence[Any]) -> Runnable:
    """A row of these columns, in their order, as `fogpanel.rows.select` gives it."""
    columns = list(row)
    columns[_ARGS], columns[_ENV] = decode(row[_ARGS]), decode(row[_ENV])
    columns[_NETWORK] = bool(row[_NETWORK])
    return Runnable._make(columns)


_ARGS, _ENV, _NETWORK = map(Runnable._fields.index, ("args", "env", "network"))


def run_orders(attempts: Iterable[tuple[int, int, Runnable]], now: datetime) -> list[NewOrder]:
    """Orders to run these (node id, attempt id, task), in the way that the task's level asks for; small
    payloads travel inside them. What is sealed must have been sealed for its node."""
    attempts = list(attempts)
    blobs = _blobs.get_all(
        {sha256 for _, _, task in attempts for sha256 in (task.payload_id, task.stdin_id) if sha256}
    )
    wraps = wraps_of(task.reservation for _, _, task in attempts)
    orders: list[NewOrder] = []
    brought: dict[str, list[tuple[int, Run]]] = defaultdict(list)
    for node_id, attempt_id, task in attempts:
        run = _run(attempt_id, task, blobs, wraps.get((task.reservation, node_id)))
        if transport(task.privacy) is None:
            orders.append(NewOrder(node_id, run, subject(attempt_id)))
        else:
            brought[task.privacy].append((node_id, run))
    for level, runs in brought.items():
        bring = transport(level)
        assert bring is not None
        orders += bring(runs, now)
    return orders


def wraps_of(reservation_ids: Iterable[int | None]) -> dict[tuple[int | None, int], Sealed]:
    """The wrapped keys of these reservations, by reservation and node."""
    ids = {reservation_id for reservation_id in reservation_ids if reservation_id is not None}
    if not ids:
        return {}
    return {
        (reservation_id, int(node_id)): Sealed(reservation=reservation_id, wrapped=b64decode(wrapped))
        for reservation_id, wraps in Reservation.objects.filter(id__in=ids).values_list("id", "wraps")
        for node_id, wrapped in wraps.items()
    }


def _run(attempt_id: int, task: Runnable, blobs: Mapping[str, Blob], sealed: Sealed | None) -> Run:
    return Run(
        attempt=attempt_id,
        task=task.id,
        driver=task.driver,
        timeout_s=task.timeout_s,
        payload=blobs[task.payload_id] if task.payload_id else None,
        image=task.image,
        args=task.args,
        env=task.env,
        stdin=blobs[task.stdin_id] if task.stdin_id else None,
        cpu_millis=task.cpu_millis,
        memory_mb=task.memory_mb,
        network=task.network,
        sealed=sealed,
    )


class _Blobs:
    """Blobs as orders name them, the last used kept: the tasks of a batch mostly run the same program."""

    def __init__(self) -> None:
        self._kept: dict[str, Blob] = {}

    def get_all(self, hashes: set[str]) -> Mapping[str, Blob]:
        found = {sha256: blob for sha256 in hashes if (blob := self._kept.get(sha256)) is not None}
        if missing := hashes - found.keys():
            found |= _messages_of(missing)
            if len(self._kept) + len(missing) > BLOBS_KEPT:
                self._kept = {}
            self._kept |= {sha256: found[sha256] for sha256 in missing if sha256 in found}
        return found


_blobs = _Blobs()


def _messages_of(hashes: set[str]) -> dict[str, Blob]:
    sizes = dict(models.Blob.objects.filter(sha256__in=hashes).values_list("sha256", "size"))
    small = [sha256 for sha256, size in sizes.items() if size <= INLINE_BLOB_BYTES]
    # What is small enough to travel inline fits one chunk, and its index is 0.
    chunks = BlobChunk.objects.filter(blob_id__in=small, index=0).values_list("blob_id", "content")
    contents = {sha256: bytes(content) for sha256, content in chunks}
    return {
        sha256: Blob(sha256=sha256, size=size, inline=contents.get(sha256, b"") if sha256 in small else None)
        for sha256, size in sizes.items()
    }


def cancel_orders(attempts: Iterable[tuple[int, int]], sentence: str) -> list[NewOrder]:
    """Orders to stop these (node id, attempt id)."""
    return [
        NewOrder(node_id, Cancel(attempt=attempt_id, sentence=sentence), subject(attempt_id))
        for node_id, attempt_id in attempts
    ]
