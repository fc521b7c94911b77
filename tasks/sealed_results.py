"""What came of a sealed task, which only its submitter can open."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.models import Attempt, Task


@dataclass(frozen=True, slots=True)
class SealedResult:
    """``node`` is the identity of the node that sealed it, ``reservation`` the number it is bound to."""

    reservation: int
    node: bytes
    content: bytes


def sealed_result(task: Task) -> SealedResult | None:
    """Of the attempt that counts; None while there is none, or where it ended without a sealed result: its
    sentence says why then."""
    if task.accepted_attempt is None:
        return None
    attempt = Attempt.objects.select_related("node").get(id=task.accepted_attempt.id)
    chunks = attempt.result_chunks.order_by("offset").values_list("content", flat=True)
    content = b"".join(bytes(chunk) for chunk in chunks)
    if not content or attempt.reservation is None:
        return None
    return SealedResult(attempt.reservation, bytes.fromhex(attempt.node.public_key), content)
