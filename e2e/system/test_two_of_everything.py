"""Two web servers, two workers, two beats on one PostgreSQL and one broker: nobody notices which is which."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime

import pytest

from e2e.system.api import Api, until
from e2e.system.cluster import HOSTS, Cluster
from e2e.system.panel import SWEEP_S
from e2e.system.samples import count_slowly, counted, echo
from fogpanel.supervisor import postgres

TASKS = 60
SWEEP = "nodes.jobs.sweep_heartbeats"
STARTS = 6


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with postgres.throw_away() as server:
        if server is None:
            pytest.skip("PostgreSQL is not installed")
        with Cluster(tmp_path_factory.mktemp("cluster"), server) as started:
            yield started


def hand_in(api: Api, numbers: range, tasks: dict[int, int]) -> None:
    for number in numbers:
        tasks[number] = api.submit(**echo(f"piece {number}"), max_attempts=10)


def test_tasks_handed_in_on_both_hosts_end_once_each(cluster: Cluster) -> None:
    tasks: dict[int, int] = {}
    share = TASKS // len(HOSTS)
    clients = [
        threading.Thread(
            target=hand_in, args=(cluster.host(host), range(turn * share, (turn + 1) * share), tasks)
        )
        for turn, host in enumerate(HOSTS)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert len(tasks) == TASKS
    for number, task_id in tasks.items():
        ended = cluster.wait_for_state(task_id, "succeeded", "failed")
        assert [attempt["accepted"] for attempt in ended["attempts"]].count(True) == 1
        assert cluster.output(task_id) == f"piece {number}"
    until(
        "nothing is reserved any more", lambda: all(not n["open_attempts"] for n in cluster.nodes().values())
    )


def test_each_host_sees_what_the_other_did_while_it_happens(cluster: Cluster) -> None:
    one, other = (cluster.host(name) for name in HOSTS)
    task = one.submit(**count_slowly(4, 0.3))
    until("the other host has the first line", lambda: "line 0" in other.log_text(task))
    assert other.wait_for_state(task, "succeeded")["attempts_made"] == 1
    assert one.output(task) == other.output(task) == counted(4)


def test_a_task_is_cancelled_on_the_host_that_does_not_hold_its_agent(cluster: Cluster) -> None:
    for host in HOSTS:
        task = cluster.submit(**count_slowly(1000, 0.5))
        cluster.wait_for_state(task, "running")
        cluster.host(host).post(f"/tasks/{task}/cancel", {})
        cluster.wait_for_state(task, "cancelled", within_s=20)


def test_jobs_run_once_though_there_are_two_beats(cluster: Cluster) -> None:
    """Each start of a job is a claim of its row; a second beat must not halve the interval."""
    moments = [started(cluster)]
    while len(moments) < STARTS:
        moments.append(until("the sweep runs", lambda: later(started(cluster), moments[-1])))
    intervals = len(moments) - 1
    assert (moments[-1] - moments[0]).total_seconds() >= 0.8 * intervals * SWEEP_S


def started(cluster: Cluster) -> datetime:
    """When the sweep over silent nodes was last begun."""
    with cluster.database.connect() as connection:
        found = connection.execute("SELECT started_at FROM fogpanel_jobstate WHERE name = %s", [SWEEP])
        row = found.fetchone()
    assert row is not None
    moment: datetime = row[0]
    return moment


def later(moment: datetime, than: datetime) -> datetime | None:
    return moment if moment > than else None
