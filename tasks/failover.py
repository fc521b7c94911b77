"""When a node goes, what ran there runs elsewhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime

from tasks.closing import open_attempts, stop
from tasks.doubt import doubt
from tasks.outcomes import MOVED


def release_nodes(sentences: Mapping[int, str], now: datetime, *, silent: bool) -> None:
    """A node that fell silent may still work on what it has: that is in doubt. Any other is free of it."""
    if silent:
        doubt(sentences, now)
        return
    nodes: dict[str, list[int]] = defaultdict(list)
    for node_id, sentence in sentences.items():
        nodes[sentence].append(node_id)
    for sentence, node_ids in nodes.items():
        stop(open_attempts(node_id__in=node_ids), MOVED, sentence, now)
