"""How long pages take on a full panel: every list, plain, filtered, searched, and far from its start.

10,000 nodes and 1,000,000 tasks on SQLite (`bench.full_panel`). Daphne serves them with all of its threads at
work, as under `./fog up`; requests come one after the other over loopback. ``p95`` is that of the slowest of
a page's addresses, each asked `LOOKS` times when it is warm. ``queries`` is the most that any of them needs,
counted in a process of its own.

Lists are measured beside Django's own Paginator, which counts and skips, and change lists beside Django's
ModelAdmin as it comes, both on the same rows; other pages beside ``/health``, the least that a request takes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import psutil

from bench.full_panel import environment, full_panel
from bench.local_broker import broker_url
from bench.report import Better, Report, Row, p95
from e2e.system.panel import until
from fogpanel.supervisor.broker import free_port
from fogpanel.supervisor.places import ROOT, DataFolder
from fogpanel.supervisor.programs import PYTHON

TIME_BAR_MS, QUERIES_BAR = 100.0, 15.0
WARM, LOOKS = 2, 20
SETTLED_PERCENT = 40.0  # of a core; what it uses in the end to look at the queue again and again is less
LEAST = "/health"

Pages = Mapping[str, Mapping[str, Any]]


def measure() -> Report:
    data = full_panel()
    inside = json.loads(_ask_inside())
    pages: Pages = inside["pages"]
    with (
        broker_url() as broker,
        _web_server(data, broker) as url,
        httpx.Client(base_url=url, headers={"Cookie": inside["cookie"]}, trust_env=False) as client,
    ):
        slowest = {page: _slowest(client, found["addresses"]) for page, found in pages.items()}
        least_ms = _p95_ms(client, LEAST)
    rows = [row for page, found in pages.items() for row in _rows(page, slowest[page][1], found, least_ms)]
    told = [f"{page}: {address}" for page, (address, _) in slowest.items()]
    return Report(bench="pages", rows=rows, note="\n".join(["slowest addresses:", *told]))


def _rows(page: str, value_ms: float, found: Mapping[str, Any], least_ms: float) -> list[Row]:
    return [
        Row(
            what=f"{page} p95",
            value=round(value_ms, 1),
            unit="ms",
            bar=TIME_BAR_MS,
            better=Better.LOWER,
            peer=found.get("peer", LEAST),
            peer_value=round(found.get("peer_ms", least_ms), 1),
        ),
        Row(
            what=f"{page} queries",
            value=found["queries"],
            unit="queries",
            bar=QUERIES_BAR,
            better=Better.LOWER,
        ),
    ]


def _slowest(client: httpx.Client, addresses: Sequence[str]) -> tuple[str, float]:
    times = {address: _p95_ms(client, address) for address in addresses}
    return max(times.items(), key=lambda timed: timed[1])


def _p95_ms(client: httpx.Client, address: str) -> float:
    for _ in range(WARM):
        client.get(address).raise_for_status()
    times = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        answer = client.get(address)
        times.append(1000 * (time.perf_counter() - began))
        assert answer.status_code == 200, f"{address}: {answer.status_code}"
    return p95(times)


def _ask_inside() -> str:
    command = [sys.executable, "-m", "bench.inside_pages"]
    return subprocess.run(
        command, cwd=ROOT, env=environment(), check=True, text=True, stdout=subprocess.PIPE
    ).stdout


@contextmanager
def _web_server(data: DataFolder, broker: str) -> Iterator[str]:
    """The full panel, without worker and beat: nothing is to be swept away."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        *PYTHON,
        "fogpanel.web_server",
        "-b",
        "127.0.0.1",
        "-p",
        str(port),
        "-v",
        "0",
        "fogpanel.asgi:application",
    ]
    env = environment(FOGPANEL_URL=url, REDIS_URL=broker)
    with (data.path / "web.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
    try:
        until("the panel answers", lambda: _answers(url))
        process = psutil.Process(server.pid)
        until("it has read the fleet and the queue", lambda: process.cpu_percent(1.0) < SETTLED_PERCENT)
        yield url
    finally:
        server.terminate()
        server.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url + LEAST, trust_env=False).is_success
    except httpx.TransportError:
        return False
