"""When a node goes, what ran there runs elsewhere."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from tasks.closing import MOVED, open_attempts, stop
from tasks.doubt import doubt


def release_nodes(node_ids: Collection[int], sentence: str, now: datetime, *, silent: bool) -> None:
    """A node that fell silent may still work on what it has: that is in doubt. Any other is free of it."""
    if silent:
        doubt(node_ids, sentence, now)
    else:
        stop(open_attempts(node_id__in=list(node_ids)), MOVED, sentence, now)
