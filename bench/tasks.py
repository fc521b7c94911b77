"""How many tasks a second go all the way: handed in over HTTP, stored, placed, run, result stored.

WebAssembly on two agents, every task with an argument of its own, its attempt, its decision and its
checked output; the panel runs with its default settings. ``batch`` hands all of them in by one request,
``one by one`` each by its own from several clients at once, ``single`` waits for each result.

The peers run the same module on two worker processes of their own: Celery with the same kind of broker,
singly and as a group, and Dask. Neither is durable: a broker or a scheduler that is killed loses what
it had.
"""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from bench.local_broker import broker_url
from bench.peers import NoPeer, python_with
from bench.report import Better, Report, Row
from e2e.system.panel import Panel, until
from e2e.system.samples import echo_module
from fogpanel.supervisor.places import ROOT

BATCH = 10_000
TASKS = 1000
CLIENTS = 8
SINGLES = 50
BATCH_BAR, SINGLE_BAR_MS = 2000.0, 15.0
DEFAULT_TIMES = {"FOGPANEL_HEARTBEAT_S": "30", "FOGPANEL_TIMEOUT_S": "90", "FOGPANEL_SWEEP_S": "5"}
SMALL = {"driver": "wasm", "cores": 0.01, "memory_mb": 16}
DASK = ("distributed==2026.8.0", "wasmtime>=50,<51")

Figures = dict[str, float]


def measure() -> Report:
    with tempfile.TemporaryDirectory(prefix="fogpanel-bench-") as folder:
        with Panel(Path(folder), agents=2, **DEFAULT_TIMES) as panel:
            ours = _measure_panel(panel)
        celery = _measure_celery(Path(folder))
    rows = _rows(ours, celery, {"batch": "Celery, a group", "one": "Celery", "single_ms": "Celery"})
    try:
        dask = _measure_dask()
    except NoPeer as reason:
        return Report(bench="tasks", rows=[*rows, *_without_dask(ours, str(reason))])
    return Report(bench="tasks", rows=rows + _rows(ours, dask, dict.fromkeys(ours, "Dask")))


def _rows(ours: Figures, theirs: Figures, peers: dict[str, str]) -> list[Row]:
    return [
        Row(
            what="batch",
            value=ours["batch"],
            unit="tasks/s",
            bar=BATCH_BAR,
            peer=peers["batch"],
            peer_value=theirs["batch"],
        ),
        Row(
            what="one by one",
            value=ours["one"],
            unit="tasks/s",
            peer=peers["one"],
            peer_value=theirs["one"],
        ),
        Row(
            what="single p50",
            value=ours["single_ms"],
            unit="ms",
            bar=SINGLE_BAR_MS,
            better=Better.LOWER,
            peer=peers["single_ms"],
            peer_value=theirs["single_ms"],
        ),
    ]


def _without_dask(ours: Figures, reason: str) -> list[Row]:
    return [Row(what="batch", value=ours["batch"], unit="tasks/s", bar=BATCH_BAR, peer=f"no Dask: {reason}")]


# --- Ours ------------------------------------------------------------------------------------------


def _measure_panel(panel: Panel) -> Figures:
    _hand_in_batch(panel, "warm", 500)
    return {
        "batch": _hand_in_batch(panel, "batch", BATCH),
        "one": _hand_in_singly(panel, "one", TASKS),
        "single_ms": _single_ms(panel),
    }


def _hand_in_batch(panel: Panel, name: str, number: int) -> float:
    """Tasks a second, from the request to the last stored result; then every output is checked."""
    template = {**SMALL, "name": name, "module": echo_module(), "args": [name + " ${number}"]}
    body = {"template": template, "parameters": [{"number": n} for n in range(number)]}
    began = time.perf_counter()
    with closing(panel.client()) as client:
        answer = client.post("/tasks/batch", json=body, timeout=120)
        answer.raise_for_status()
        _wait_for_all(panel, name, number)
        took = time.perf_counter() - began
        results = client.get(f"/tasks/batches/{answer.json()['id']}/results", timeout=120)
    printed = {line["index"]: line["stdout"] for line in map(json.loads, results.text.splitlines())}
    assert printed == {n: f"{name} {n}" for n in range(number)}
    return number / took


def _hand_in_singly(panel: Panel, name: str, number: int) -> float:
    """Tasks a second, from the first submission to the last stored result; then every output is checked."""
    began = time.perf_counter()
    ids: dict[int, str] = {}
    shares = [range(start, number, CLIENTS) for start in range(CLIENTS)]
    threads = [threading.Thread(target=_submit, args=(panel, name, share, ids)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _wait_for_all(panel, name, number)
    took = time.perf_counter() - began
    wrong = [task_id for task_id, expected in ids.items() if panel.output(task_id) != expected]
    assert len(ids) == number, "a submission failed"
    assert not wrong, f"wrong output: {wrong[:5]}"
    return number / took


def _submit(panel: Panel, name: str, share: range, ids: dict[int, str]) -> None:
    with closing(panel.client()) as client:
        for number in share:
            argument = f"{name} {number}"
            spec = {**SMALL, "name": name, "module": echo_module(), "args": [argument]}
            answer = client.post("/tasks", json=spec)
            answer.raise_for_status()
            ids[answer.json()["id"]] = argument


def _wait_for_all(panel: Panel, name: str, number: int) -> None:
    """Return when these tasks have ended, asking what an index answers; all of them must have succeeded."""
    unfinished = "SELECT 1 FROM tasks_task WHERE state IN ('queued', 'assigned', 'running') LIMIT 1"
    succeeded = "SELECT count(*) FROM tasks_task WHERE state = 'succeeded' AND name = ?"
    with closing(_database(panel)) as database:
        until("every task has ended", lambda: not database.execute(unfinished).fetchone(), every_s=0.02)
        assert database.execute(succeeded, (name,)).fetchone() == (number,)


def _single_ms(panel: Panel) -> float:
    """Milliseconds from a submission to its stored result, the median; one at a time."""
    with closing(panel.client()) as client, closing(_database(panel)) as database:

        def once(number: int) -> None:
            name = f"single {number}"
            answer = client.post(
                "/tasks", json={**SMALL, "name": name, "module": echo_module(), "args": [name]}
            )
            answer.raise_for_status()
            key = (answer.json()["id"],)
            query = "SELECT 1 FROM tasks_task WHERE state = 'succeeded' AND id = ?"
            until(f"{name} has succeeded", lambda: database.execute(query, key).fetchone(), every_s=0.001)

        return _median_ms(once)


def _database(panel: Panel) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{panel.data.path}/fogpanel.sqlite3?mode=ro", uri=True)


def _median_ms(once: Callable[[int], Any]) -> float:
    times = []
    for number in range(SINGLES):
        began = time.perf_counter()
        once(number)
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


# --- Dask ------------------------------------------------------------------------------------------


def _measure_dask() -> Figures:
    python = python_with("dask", DASK)
    command = [str(python), str(ROOT / "bench" / "dask_peer.py"), echo_module(), str(TASKS), str(SINGLES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise NoPeer((done.stderr.strip().splitlines() or ["it said nothing"])[-1])
    found = json.loads(done.stdout.splitlines()[-1])
    return {"batch": found["many"], "one": found["one"], "single_ms": found["single_ms"]}


# --- Celery ----------------------------------------------------------------------------------------


def _measure_celery(folder: Path) -> Figures:
    with broker_url() as url:
        os.environ["REDIS_URL"] = url
        try:
            with _worker(folder / "celery.log"):
                return _through_celery()
        finally:
            del os.environ["REDIS_URL"]


@contextmanager
def _worker(log: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "celery", "-A", "bench.celery_peer", "worker", "--concurrency", "2"]
    with log.open("wb") as output:
        worker = subprocess.Popen([*command, "--loglevel", "ERROR"], cwd=ROOT, stdout=output, stderr=output)
        try:
            yield
        finally:
            worker.terminate()
            worker.wait()


def _through_celery() -> Figures:
    from celery import group

    from bench.celery_peer import run_module

    def expect(results: list[str], name: str) -> None:
        assert results == [f"{name} {number}" for number in range(len(results))]

    module = echo_module()
    expect([run_module.delay(module, f"warm {number}").get(timeout=60) for number in range(50)], "warm")
    began = time.perf_counter()
    sent = [run_module.delay(module, f"one {number}") for number in range(TASKS)]
    expect([result.get(timeout=60) for result in sent], "one")
    one = TASKS / (time.perf_counter() - began)
    began = time.perf_counter()
    expect(group(run_module.s(module, f"many {n}") for n in range(TASKS))().get(timeout=60), "many")
    many = TASKS / (time.perf_counter() - began)
    single_ms = _median_ms(lambda number: run_module.delay(module, "single").get(timeout=60))
    return {"one": one, "batch": many, "single_ms": single_ms}
