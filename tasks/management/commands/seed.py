"""`manage.py seed`: fill an empty panel with nodes and tasks that never were."""

from __future__ import annotations

from argparse import RawDescriptionHelpFormatter
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from nodes.models import Node
from tasks import seeding

NODES_MOST, TASKS_MOST = 100_000, 10_000_000

HELP = """\
Fill a panel with invented nodes, tasks and events, to see and measure it when it is full.

Stop the panel first, and name its data folder: FOGPANEL_DATA=/tmp/full ./fog manage seed. A panel that
has nodes is refused unless --add says that they may mix.

Seeded nodes have no agents. They count as heard for --heard-h hours; after that the panel finds them
silent and moves their work, as it would with machines that were switched off. Until then it sends new
tasks to them, which nobody runs. The same --seed makes the same history."""


class Command(BaseCommand):
    help = HELP

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        return super().create_parser(*args, formatter_class=RawDescriptionHelpFormatter, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--nodes", type=int, default=10_000, help="how many nodes (10,000)")
        parser.add_argument("--tasks", type=int, default=1_000_000, help="how many tasks (1,000,000)")
        parser.add_argument("--days", type=float, default=7.0, help="how far back the tasks reach (7)")
        parser.add_argument("--heard-h", type=float, default=24.0, help="how long they count as heard (24)")
        parser.add_argument("--seed", type=int, default=1, help="another history (1)")
        parser.add_argument("--add", action="store_true", help="also where there are nodes already")

    def handle(
        self, *, nodes: int, tasks: int, days: float, heard_h: float, seed: int, add: bool, **_: Any
    ) -> None:
        for name, value, most in (("nodes", nodes, NODES_MOST), ("tasks", tasks, TASKS_MOST)):
            if not 0 <= value <= most:
                raise CommandError(f"--{name}: must be between 0 and {most:,}, was {value:,}.")
        if Node.objects.exists() and not add:
            raise CommandError("This panel has nodes already; --add mixes invented ones with them.")
        plan = seeding.Plan(
            nodes=nodes,
            tasks=tasks,
            seed=seed,
            now=timezone.now(),
            span=timedelta(days=days),
            heard_for=timedelta(hours=heard_h),
        )
        try:
            seeding.seed(plan, lambda line: self.stderr.write(line))
        except ValueError as error:
            raise CommandError(str(error)) from error
