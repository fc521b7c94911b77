"""What agents report about attempts. A report counts only for an open attempt of the node it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from fogagent.messages import (
    LOG_PIECE_BYTES,
    MAX_OUTPUT_BYTES,
    MAX_SEALED_BYTES,
    Chunk,
    Fetch,
    Finished,
    Holding,
    Log,
    Piece,
    Problem,
    Started,
    Stream,
)
from fogpanel import live
from fogpanel.rows import change, insert_each
from nodes import outbox
from nodes.inbox import Reply
from nodes.models import Node, Order
from tasks.closing import Ending, OpenAttempt, close, open_attempts, open_reported
from tasks.doubt import end_undelivered, trust
from tasks.models import BlobChunk, LogChunk, ResultChunk, Task
from tasks.orders import cancel_orders, subject
from tasks.outcomes import LOST
from tasks.states import TaskState, sources

CANCEL_MOST = 1000
"""How many attempts one Holding can make us cancel; the next connection tells of the rest."""


def mark_started(received: Sequence[tuple[int, Started]], now: datetime) -> None:
    """Work began. Times are the panel's own, since agents' clocks may be off."""
    attempts = open_reported({(message.attempt, node_id) for node_id, message in received})
    _note_start([attempt.id for attempt in attempts if attempt.started_at is None], now)
    # What is in doubt does not make its task run: a replacement is wanted until its node is back.
    task_ids = [attempt.task_id for attempt in attempts if attempt.doubted_at is None]
    Task.objects.filter(id__in=task_ids, state__in=sources(TaskState.RUNNING)).update(
        state=TaskState.RUNNING, started_at=now, changed_at=now
    )
    live.changed("tasks", "fleet", *(f"task:{task_id}" for task_id in task_ids))


def _note_start(attempt_ids: list[int], now: datetime) -> None:
    if attempt_ids:
        change("UPDATE tasks_attempt SET started_at = {now} WHERE id IN {ids}", now=now, ids=attempt_ids)


def store_logs(received: Sequence[tuple[int, Log]], now: datetime) -> None:
    attempts = open_reported({(message.attempt, node_id) for node_id, message in received})
    here = {(attempt.id, attempt.node_id): attempt for attempt in attempts}
    _store_pieces(
        (here[message.attempt, node_id], message.pieces)
        for node_id, message in received
        if (message.attempt, node_id) in here
    )
    live.changed(*{f"log:{attempt.task_id}" for attempt in attempts})


def _store_pieces(pieces_of: Iterable[tuple[OpenAttempt, Sequence[Piece]]]) -> None:
    """Rows that are there already stay; nothing is stored beyond the size at which output is cut, and of a
    sealed task nothing but its sealed result."""
    pieces = [(attempt, piece) for attempt, some in pieces_of for piece in some]
    printed = [
        (attempt.id, piece.stream.value, piece.offset, piece.data)
        for attempt, piece in pieces
        if attempt.reservation is None and _is_printed(piece)
    ]
    insert_each(LogChunk, ("attempt", "stream", "offset", "content"), printed, ignore_conflicts=True)
    sealed = [
        (attempt.id, piece.offset, piece.data)
        for attempt, piece in pieces
        if attempt.reservation is not None and _is_of_result(piece)
    ]
    insert_each(ResultChunk, ("attempt", "offset", "content"), sealed, ignore_conflicts=True)


def _is_printed(piece: Piece) -> bool:
    return piece.stream != Stream.SEALED and piece.offset + len(piece.data) <= MAX_OUTPUT_BYTES


def _is_of_result(piece: Piece) -> bool:
    """Agents cut a result every so many bytes; pieces that overlap could be stored without end."""
    is_cut_so = piece.offset % LOG_PIECE_BYTES == 0
    return piece.stream == Stream.SEALED and is_cut_so and piece.offset + len(piece.data) <= MAX_SEALED_BYTES


def accept_results(received: Sequence[tuple[int, Finished]], now: datetime) -> None:
    """Attempts ended. The first report of an open attempt counts; any other changes nothing."""
    reports: dict[tuple[int, int], Finished] = {}
    for node_id, message in received:
        reports.setdefault((message.attempt, node_id), message)
    attempts = open_reported(reports.keys())
    ended = [reports[attempt.id, attempt.node_id] for attempt in attempts]
    _store_pieces((attempt, report.pieces) for attempt, report in zip(attempts, ended, strict=True))
    _note_start([attempt.id for attempt in attempts if attempt.started_at is None], now)
    close(attempts, [_ending(report) for report in ended], now)


def _ending(report: Finished) -> Ending:
    return Ending(
        attempt_id=report.attempt,
        outcome=report.outcome.value,
        sentence=report.sentence.replace("\0", ""),  # which PostgreSQL does not store
        exit_code=report.exit_code,
        usage=report.usage,
        truncated=report.truncated,
    )


def reconcile_holdings(received: Sequence[tuple[int, Holding]], now: datetime) -> None:
    """Nodes connected and said what they have. What one should have but has not is lost; what it has but
    should not have (its work was moved meanwhile) is cancelled; what was in doubt and is there goes on.

    An order that it has not acknowledged is not lost: the outbox sends it again.
    """
    held = {node_id: set(message.attempts) for node_id, message in received}
    expected = open_attempts(node_id__in=list(held))
    missing = [attempt for attempt in expected if attempt.id not in held[attempt.node_id]]
    acknowledged = _acknowledged(missing)
    forgotten = [attempt for attempt in missing if attempt.id in acknowledged]
    sentence = "its agent was restarted"
    close(forgotten, [Ending(attempt_id=a.id, outcome=LOST, sentence=sentence) for a in forgotten], now)
    end_undelivered([a for a in missing if a.doubted_at and a.id not in acknowledged], now)
    trust([attempt for attempt in expected if attempt.id in held[attempt.node_id]], now)
    for attempt in expected:
        held[attempt.node_id].discard(attempt.id)
    unwanted = [
        (node_id, attempt_id) for node_id, stale in held.items() for attempt_id in sorted(stale)[:CANCEL_MOST]
    ]
    moved = "This attempt is no longer wanted: its work was moved."
    outbox.put(cancel_orders(unwanted, moved), now)


def _acknowledged(attempts: Sequence[OpenAttempt]) -> set[int]:
    """Those that their nodes had when they connected: they had begun, or their orders were acknowledged."""
    if not attempts:
        return set()
    attempt_of = {subject(attempt.id): attempt for attempt in attempts}
    acked = Order.objects.filter(subject__in=attempt_of, kind__in=("run", "carry")).exclude(acked_at=None)
    since = dict(Node.objects.filter(id__in={a.node_id for a in attempts}).values_list("id", "connected_at"))
    found = {attempt.id for attempt in attempts if attempt.started_at is not None}
    for about, kind, acked_at in acked.values_list("subject", "kind", "acked_at"):
        attempt = attempt_of[about]
        connected_at = since[attempt.node_id]
        assert acked_at is not None and connected_at is not None, "the node is connected"
        # What is carried is acknowledged by its gateway: perhaps it came after the node had connected.
        if kind == "run" or acked_at < connected_at:
            found.add(attempt.id)
    return found


def send_blobs(received: Sequence[tuple[int, Fetch]], now: datetime) -> Iterable[Reply]:
    """Send the rest of a blob to a node whose open attempt needs it, or that is to carry it to one. A hash is
    no permission."""
    for node_id, message in received:
        if message.sha256 not in _blobs_of(message.attempt, node_id):
            yield (
                node_id,
                Problem(code="no-such-blob", sentence="No open attempt of this node needs this blob."),
            )
            continue
        chunks = list(BlobChunk.objects.filter(blob_id=message.sha256).order_by("index"))
        for chunk in chunks[message.index :]:
            yield (
                node_id,
                Chunk(sha256=message.sha256, index=chunk.index, count=len(chunks), data=bytes(chunk.content)),
            )


def _blobs_of(attempt_id: int, node_id: int) -> set[str | None]:
    """What this node may have for this attempt."""
    needed = open_attempts(id=attempt_id)
    if not needed:
        return set()
    [attempt] = needed
    if attempt.node_id == node_id:
        return {attempt.payload_id, attempt.stdin_id}
    carried = Order.objects.filter(
        node_id=node_id, kind="carry", subject=subject(attempt_id), acked_at=None, withdrawn_at=None
    )
    return {attempt.payload_id} if carried.exists() else set()
