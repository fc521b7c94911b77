"""The agents that run beside the panel: what each of them is, and its share of the machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, islice

import psutil

from fogagent.instructions import ExitCode
from fogpanel.supervisor.child import Program
from fogpanel.supervisor.places import DataFolder

FINAL_CODES = frozenset({2, ExitCode.REFUSED, ExitCode.IMPOSTER})
"""Exit codes of `fogagent` after which starting it again cannot help: wrong use, refused by the panel."""


@dataclass(frozen=True)
class Kind:
    """A local agent to be. ``weight`` is its share of the machine beside the others'.

    All relay and mix. One is an exit: what leaves there leaves from this machine in any case, and to private
    addresses it leads nowhere.
    """

    name: str
    node_type: str
    region: str
    weight: int
    flags: str = "compute,relay,mix,entry"


KINDS = (
    # On the smallest machine that is worth while (two cores) one agent has a whole core, so that a
    # task that asks for one finds a place; the others have a quarter each.
    Kind("compute-eu-west", "compute_node", "eu-west", 4),
    Kind("edge-us-east", "edge_device", "us-east", 1),
    Kind("relay-eu-north", "relay_node", "eu-north", 1),
    Kind("mix-ap-south", "mixnode", "ap-south", 1),
    Kind("gateway-sa-east", "gateway", "sa-east", 1, "compute,relay,mix,entry,exit"),
)
LEAST_MEMORY_MB = 128
LEAST_CPU_MILLIS = 50


@dataclass(frozen=True)
class LocalAgent:
    kind: Kind
    cpu_millis: int
    memory_mb: int

    @property
    def name(self) -> str:
        return self.kind.name


def local_agents(number: int) -> list[LocalAgent]:
    """``number`` agents that share this machine: what they offer sums up to what it has."""
    return share_out(list(islice(kinds(), number)), machine_cpu_millis(), machine_memory_mb())


def kinds() -> Iterator[Kind]:
    """The kinds over and over, named apart: relay-eu-north, …, relay-eu-north-2, …"""
    for again in count(1):
        for kind in KINDS:
            yield (kind if again == 1 else replace(kind, name=f"{kind.name}-{again}"))


def share_out(chosen: list[Kind], cpu_millis: int, memory_mb: int) -> list[LocalAgent]:
    total = sum(kind.weight for kind in chosen)
    return [
        LocalAgent(
            kind,
            max(LEAST_CPU_MILLIS, cpu_millis * kind.weight // total),
            max(LEAST_MEMORY_MB, memory_mb * kind.weight // total),
        )
        for kind in chosen
    ]


def machine_cpu_millis() -> int:
    """The cores this process may use, which in a container are fewer than the machine has."""
    return (
        1000 * len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else 1000 * (os.cpu_count() or 1)
    )


def machine_memory_mb() -> int:
    return int(psutil.virtual_memory().total // 2**20)


def agent_program(
    agent: LocalAgent, data: DataFolder, *, url: str, panel_key: str, join_key: str | None
) -> Program:
    """How to start one. The key travels in the environment, where other users cannot read it."""
    argv = [
        *(sys.executable, "-P", "-m", "fogagent", "agent"),
        *(
            "--join",
            url,
            "--panel-key",
            panel_key,
            "--name",
            agent.name,
            "--state",
            str(data.agent(agent.name)),
        ),
        *("--type", agent.kind.node_type, "--region", agent.kind.region, "--flags", agent.kind.flags),
        *("--cores", f"{agent.cpu_millis / 1000:g}", "--memory-mb", str(agent.memory_mb)),
    ]
    env = {"FOG_JOIN_KEY": join_key} if join_key else {}
    return Program(name=agent.name, argv=tuple(argv), env=env, final_codes=FINAL_CODES)
