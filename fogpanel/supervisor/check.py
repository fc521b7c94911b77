"""`./fog up --check`: what a new user would try, tried by a program, with what it found."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

import httpx

from fogpanel.supervisor.panel import FIRST_ADMIN, Panel, local_client
from fogpanel.supervisor.samples import GREETING, sample
from fogpanel.supervisor.waiting import until

READY_PATIENCE_S = 120.0
TASK_PATIENCE_S = 60.0
WORKING = {"operational", "disabled"}
ABLE = {"active", "idle", "busy"}
ENDED = {"succeeded", "failed", "cancelled", "expired"}
ALWAYS = {"wasm", "python"}
"""Drivers that every node has; the others run where their owner allows them."""


@dataclass(frozen=True)
class Tried:
    """How one task went. ``seconds``: from handing it in to its stored result."""

    status: str
    seconds: float
    node: str | None


@dataclass(frozen=True)
class Report:
    seconds_to_ready: float
    agents: int
    services: dict[str, str]
    tasks: dict[str, Tried]

    @property
    def passed(self) -> bool:
        return (
            bool(self.services)
            and all(state in WORKING for state in self.services.values())
            and self.tasks.keys() >= ALWAYS
            and all(task.status == "succeeded" for task in self.tasks.values())
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def as_text(self) -> str:
        lines = [f"ready after {self.seconds_to_ready:.1f} s with {self.agents} agents"]
        lines += [f"  service {slug}: {state}" for slug, state in self.services.items()]
        lines += [
            f"  task {driver}: {task.status} after {task.seconds:.2f} s on {task.node or 'no node'}"
            for driver, task in self.tasks.items()
        ]
        return "\n".join([*lines, "passed" if self.passed else "FAILED"])


async def try_out(panel: Panel, began: float) -> Report:
    """Wait until every service works, then run a task of each driver that the fleet has.

    Nothing is raised for what does not work: the report says so.
    """
    async with signed_in(panel) as client:
        services = await wait_for(client, "/health", services_work)
        fleet = await joined(client, panel.wishes.agents)
        ready = time.monotonic() - began
        drivers = ALWAYS.union(*(drivers_of(node) for node in fleet))
        tasks = {driver: await try_driver(client, driver) for driver in sorted(drivers) if sample(driver)}
    return Report(round(ready, 2), len(fleet), services.get("services", {}), tasks)


@asynccontextmanager
async def signed_in(panel: Panel) -> AsyncIterator[httpx.AsyncClient]:
    async with local_client(panel) as client:
        answer = await client.post(
            "/api/v1/tokens",
            json={"username": FIRST_ADMIN, "password": panel.admin_password, "name": "check"},
        )
        answer.raise_for_status()
        client.headers["Authorization"] = f"Bearer {answer.json()['token']}"
        yield client


async def wait_for(
    client: httpx.AsyncClient,
    path: str,
    enough: Callable[[dict[str, Any]], bool],
    within_s: float = READY_PATIENCE_S,
) -> dict[str, Any]:
    """Ask again until ``enough`` is satisfied or time is up; the last answer either way."""
    body: dict[str, Any] = {}

    async def satisfied() -> bool:
        nonlocal body
        body = (await client.get(path)).json()
        return enough(body)

    await until(satisfied, within_s=within_s)
    return body


def services_work(health: dict[str, Any]) -> bool:
    states = health.get("services", {})
    return bool(states) and all(state in WORKING for state in states.values())


async def joined(client: httpx.AsyncClient, number: int) -> list[dict[str, Any]]:
    """The nodes that can take work, with what they offer; waits until there are ``number`` of them."""
    able: list[dict[str, Any]] = []

    async def all_there() -> bool:
        nonlocal able
        listed = (await client.get("/api/v1/nodes?limit=200")).json()["items"]
        nodes = [(await client.get(f"/api/v1/nodes/{node['id']}")).json() for node in listed]
        able = [node for node in nodes if node["status"] in ABLE and drivers_of(node) >= ALWAYS]
        return len(able) >= number

    await until(all_there, within_s=READY_PATIENCE_S, every_s=0.2)
    return able


def drivers_of(node: dict[str, Any]) -> set[str]:
    return {driver["name"] for driver in node["drivers"] if driver["available"]}


async def try_driver(client: httpx.AsyncClient, driver: str) -> Tried:
    began = time.monotonic()
    answer = await client.post(
        "/api/v1/tasks",
        json={"name": f"check {driver}", **(sample(driver) or {})},
        headers={"Idempotency-Key": str(uuid4())},
    )
    if answer.is_error:
        return Tried(f"refused: {answer.text}", round(time.monotonic() - began, 3), None)
    path = f"/api/v1/tasks/{answer.json()['id']}"
    task = await wait_for(client, path, lambda body: body["state"] in ENDED, TASK_PATIENCE_S)
    seconds = round(time.monotonic() - began, 3)
    status = task["state"]
    if status == "succeeded" and (await client.get(f"{path}/result")).text.strip() != GREETING:
        status = "wrong output"
    return Tried(status, seconds, (task.get("node") or {}).get("name"))
