"""What the people of a seeded panel hand in: batches of like tasks, each with a program and a strategy."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

from django.contrib.auth.models import Group, User

from coordinator.values import RoutingStrategy
from fogpanel.access import Role
from nodes.models import Node
from tasks.blobs import store_blobs
from tasks.seeding.rows import Rows

PEOPLE = ("ada", "ben", "chen", "dora", "emil", "fatima", "goran", "hana", "ivo", "june", "kofi", "lena")
PROGRAMS = {  # name of a task → its program
    "render frame": "import sys\nfor row in range(40):\n    print('row', row, 'of', sys.argv[1])\n",
    "thumbnail": "import sys, zlib\nprint(zlib.crc32(sys.argv[1].encode()))\n",
    "sensor digest": "import hashlib, sys\nprint(hashlib.sha256(sys.argv[1].encode()).hexdigest())\n",
    "index shard": "import sys\nprint(sorted(sys.argv[1]))\n",
    "forecast tile": "import math, sys\nprint(math.sqrt(len(sys.argv[1])))\n",
    "transcode chunk": "import sys\nprint(sys.argv[1][::-1])\n",
}
SIZES = ((100, 64), (250, 128), (500, 256), (1000, 256), (1000, 512), (2000, 1024))  # (cpu_millis, memory_mb)
BEST_SHOWN = MISSES_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What the tasks of one batch have in common, and how they were decided on."""

    name: str
    owner: User
    payload: str
    strategy: RoutingStrategy
    cpu_millis: int
    memory_mb: int
    size: int
    median_s: float
    considered: int
    eligible: int
    rejected: str  # JSON
    explanation: int


class Work:
    def __init__(self, nodes: Sequence[Node], rng: random.Random, explanations: Rows) -> None:
        self._rng = rng
        self._nodes = nodes
        self._explanations = explanations
        self._people = [_person(name) for name in PEOPLE]
        programs = {name: source.encode() for name, source in PROGRAMS.items()}
        stored = store_blobs(programs.values())
        self._payloads = {name: stored[content].sha256 for name, content in programs.items()}

    def next_batch(self) -> Batch:
        rng = self._rng
        name = rng.choice(list(PROGRAMS))
        cpu_millis, memory_mb = rng.choice(SIZES)
        strategy = rng.choice(list(RoutingStrategy))
        count = len(self._nodes)
        fell = {
            "silent": count * 3 // 100,
            "maintenance": count * 2 // 100,
            "cpu": rng.randrange(1 + count // 20),
        }
        return Batch(
            name=name,
            owner=rng.choice(self._people),
            payload=self._payloads[name],
            strategy=strategy,
            cpu_millis=cpu_millis,
            memory_mb=memory_mb,
            size=rng.choice((1, 1, 5, 40, 200, 500)),
            median_s=rng.choice((0.4, 2.0, 8.0, 30.0)),
            considered=count,
            eligible=count - sum(fell.values()),
            rejected=json.dumps({reason: number for reason, number in fell.items() if number}),
            explanation=self._explain(rng),
        )

    def _explain(self, rng: random.Random) -> int:
        """Some of the nodes, best first, then some that were not eligible."""
        shown = rng.sample(self._nodes, min(len(self._nodes), BEST_SHOWN + MISSES_SHOWN))
        best = shown[: max(1, len(shown) - MISSES_SHOWN)]
        scores = sorted((rng.uniform(0.3, 1.0) for _ in best), reverse=True)
        rows = [_row(node, round(score, 4)) for node, score in zip(best, scores, strict=True)]
        rows += [_row(node, None) for node in shown[len(best) :]]
        shape = f"{rng.getrandbits(64):016x}"
        return self._explanations.add(rows=rows, shape=shape, fleet_version=rng.randrange(1, 10**6))


def _row(node: Node, score: float | None) -> dict[str, object]:
    fell = score is None
    return {
        "node_id": node.id,
        "name": node.name,
        "region": node.region,
        "score": score or 0.0,
        "parts": {} if fell else {"load": score},
        "reason": "cpu" if fell else None,
        "detail": f"cpu: 0 of {node.cpu_millis} millicores free" if fell else "",
    }


def _person(name: str) -> User:
    """A submitter who cannot sign in: nobody knows a password."""
    person, made = User.objects.get_or_create(username=name)
    if made:
        person.set_unusable_password()
        person.save(update_fields=["password"])
        person.groups.add(Group.objects.get(name=Role.SUBMITTER))
    return person
