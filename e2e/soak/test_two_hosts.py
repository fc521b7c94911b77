"""Two of everything, mistreated: each acknowledged task has exactly one result, whatever was killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from e2e.soak import check_history
from e2e.soak.history import History, Submitter, Watcher, look, wait_for_all
from e2e.system.api import Api
from e2e.system.cluster import Cluster
from e2e.system.stream import every_task
from fogpanel.supervisor import postgres

SCALE = float(os.environ.get("FOG_SOAK_SCALE", "1"))
TASKS = max(200, round(2000 * SCALE))
CHAOS_S = max(40.0, 120 * SCALE)
CLIENTS = 4
KILL_EVERY_S = (2.0, 5.0)
CUT_EVERY = 3  # of so many kills one comes with a cut of every connection
AWAY_S = 10.0
"""How long PostgreSQL stands still in the middle."""
SETTLE_S = 600.0

pytestmark = pytest.mark.soak


def test_what_was_acknowledged_is_done_once(tmp_path: Path) -> None:
    with postgres.throw_away() as server:
        if server is None:
            pytest.skip("PostgreSQL is not installed")
        with Cluster(tmp_path, server) as cluster:
            history = History(tmp_path / "history.jsonl")
            try:
                live_through(cluster, history)
            except BaseException:
                print(cluster.tail())
                raise
    command = [sys.executable, check_history.__file__, str(history.path)]
    answer = subprocess.run(command, capture_output=True, text=True)
    print(answer.stdout)
    assert answer.returncode == 0, answer.stdout


def live_through(cluster: Cluster, history: History) -> None:
    share = TASKS // CLIENTS
    submitters = [
        Submitter(client(cluster), history, range(turn * share, (turn + 1) * share), 0.9 * CHAOS_S)
        for turn in range(CLIENTS)
    ]
    watchers = [Watcher(client(cluster), history, submitters, seed) for seed in range(2)]
    for person in (*submitters, *watchers):
        person.start()
    torment(cluster, history, random.Random(20_261))
    for submitter in submitters:
        submitter.finish()
    for watcher in watchers:
        watcher.done.set()
        watcher.finish()
    wait_for_all(cluster, SETTLE_S)
    for submitter in submitters:
        for task in submitter.acknowledged:
            look(cluster, history, task, submitters)
    history.write("listed", tasks=sorted(every_task(cluster)))


def client(cluster: Cluster) -> Api:
    """Somebody who has signed in while all was well."""
    api = Api(cluster.url, cluster.password)
    api.get("/nodes?limit=1")
    return api


def torment(cluster: Cluster, history: History, chance: random.Random) -> None:
    """Kill a process every few seconds, cut connections, and stop the database in the middle."""
    began = time.monotonic()
    victims = sorted(cluster.kept)
    kills = 0
    while (elapsed_s := time.monotonic() - began) < CHAOS_S:
        stop_or_start_database(cluster, history, elapsed_s)
        time.sleep(chance.uniform(*KILL_EVERY_S))
        history.write("killed", what=(victim := chance.choice(victims)))
        cluster.kill(victim)
        kills += 1
        if kills % CUT_EVERY == 0:
            history.write("cut")
            cluster.balancer.cut()
    stop_or_start_database(cluster, history, CHAOS_S)


def stop_or_start_database(cluster: Cluster, history: History, elapsed_s: float) -> None:
    """It is away for the ten seconds in the middle (and until the next kill)."""
    away = abs(elapsed_s - CHAOS_S / 2) <= AWAY_S / 2
    if away and cluster.database.is_running:
        history.write("stopped", what="postgres")
        cluster.database.stop()
    elif not away and not cluster.database.is_running:
        cluster.database.start()
        history.write("started", what="postgres")
