"""A believable history for a panel that has none: so that pages can be measured and shown when full.

Nodes of every kind and status, tasks in every state with their attempts, decisions and output, events and
samples. Rows agree with each other as the panel's own would: what open attempts need is what their nodes
have reserved. The same seed makes the same history, up to its last moment, ``now``.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.management.color import no_style
from django.db import connection

from fogpanel.models import Event
from nodes.models import Node, Sample
from tasks.models import Attempt, Decision, Explanation, LogChunk, Task
from tasks.seeding.fleet import make_fleet, store_fleet
from tasks.seeding.history import History

WRITTEN = (Node, Sample, Task, Attempt, Explanation, Decision, LogChunk, Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``heard_for``: how long from now the nodes count as heard, though no agent speaks for them."""

    nodes: int
    tasks: int
    seed: int
    now: datetime
    span: timedelta
    heard_for: timedelta


def seed(plan: Plan, tell: Callable[[str], None]) -> None:
    """Write it all; ``tell`` hears how far it is.

    Raises:
        ValueError: the plan has tasks and no node that could have run them.
    """
    if plan.tasks and not plan.nodes:
        raise ValueError("nodes: tasks need at least one node that they ran on.")
    rng = random.Random(plan.seed)
    fleet = make_fleet(plan.nodes, rng, plan.now, plan.heard_for)
    history = History(fleet, rng, plan.now, plan.span)
    open_tasks = history.reserve(plan.tasks)
    store_fleet(fleet, rng, plan.now)
    tell(f"{plan.nodes:,} nodes")
    history.write(plan.tasks, open_tasks, tell)
    _go_on_counting()


def _go_on_counting() -> None:
    """Rows were written with their ids: where a sequence gives them out, it goes on after the last."""
    statements = connection.ops.sequence_reset_sql(no_style(), list(WRITTEN))
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        if connection.vendor == "postgresql":  # what its autovacuum would do a little later
            cursor.execute("ANALYZE")
