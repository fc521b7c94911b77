"""Two web servers, two workers, two beats on one PostgreSQL and one broker: nobody notices which is which."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from e2e.system.api import ADMIN, Api, until
from e2e.system.cluster import HOSTS, Cluster
from e2e.system.panel import SWEEP_S
from e2e.system.samples import count_slowly, counted, echo
from e2e.system.submitter import ENDED, Submitter, seal
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


@pytest.mark.parametrize("watched", HOSTS)
def test_a_browser_on_either_host_sees_a_task_end(cluster: Cluster, watched: str) -> None:
    """It is handed in on the other host, and its agent may be connected to any."""
    other = next(name for name in HOSTS if name != watched)
    task = cluster.host(other).submit(**count_slowly(2, 0.5))
    with live_socket(cluster.host(watched), f"task:{task}") as socket:
        frames = iter(lambda: str(socket.recv(timeout=60)), "")
        assert any("succeeded" in frame for frame in frames)


@contextmanager
def live_socket(api: Api, topics: str) -> Iterator[ClientConnection]:
    """The socket of a page that the admin has open."""
    with httpx.Client(base_url=api.url, trust_env=False, timeout=30) as browser:
        token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', browser.get("/sign-in").text)
        assert token is not None
        form = {"username": ADMIN, "password": api.password, "csrfmiddlewaretoken": token[1]}
        assert browser.post("/sign-in", data=form).headers["Location"] == "/control-panel"
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    address = f"{api.url.replace('http://', 'ws://')}/ws/live/?topics={topics}"
    headers = {"Cookie": cookies}
    with connect(address, origin=Origin(api.url), additional_headers=headers, proxy=None) as socket:
        yield socket


def test_a_task_is_cancelled_on_the_host_that_does_not_hold_its_agent(cluster: Cluster) -> None:
    for host in HOSTS:
        task = cluster.submit(**count_slowly(1000, 0.5))
        cluster.wait_for_state(task, "running")
        cluster.host(host).post(f"/tasks/{task}/cancel", {})
        cluster.wait_for_state(task, "cancelled")


def test_jobs_run_once_though_there_are_two_beats(cluster: Cluster) -> None:
    """Each start of a job is a claim of its row; a second beat must not halve the interval."""
    moments = [started(cluster)]
    while len(moments) < STARTS:
        moments.append(until("the sweep runs", lambda: later(started(cluster), moments[-1])))
    intervals = len(moments) - 1
    assert (moments[-1] - moments[0]).total_seconds() >= 0.8 * intervals * SWEEP_S


@pytest.mark.parametrize("level", ["private", "confidential"])
def test_a_sealed_task_is_handed_in_on_one_host_and_opened_on_the_other(cluster: Cluster, level: str) -> None:
    until("it is served", lambda: not cluster.refusals()[level])
    for host, other in (HOSTS, HOSTS[::-1]):
        task = seal(level, f"print('from {host}')".encode())
        Submitter(cluster.host(host)).hand_in(task)
        ended = cluster.host(other).wait_for_state(task.id, *ENDED)
        assert [attempt["accepted"] for attempt in ended["attempts"]].count(True) == 1
        assert Submitter(cluster.host(other)).result(task).stdout.decode() == f"from {host}\n"


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
