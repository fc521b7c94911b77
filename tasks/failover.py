"""When a node goes, what ran there runs elsewhere."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from nodes import outbox
from tasks.closing import LOST, MOVED, Ending, close, open_attempts
from tasks.orders import cancel_orders


def release_nodes(node_ids: Collection[int], sentence: str, now: datetime, *, fault: bool) -> None:
    """End all open attempts on these nodes; should the nodes live, they are told to stop."""
    attempts = open_attempts(node_id__in=list(node_ids))
    outcome = LOST if fault else MOVED
    close(attempts, [Ending(attempt_id=a.id, outcome=outcome, sentence=sentence) for a in attempts], now)
    outbox.put(cancel_orders(((a.node_id, a.id) for a in attempts), "The work was moved elsewhere."), now)
