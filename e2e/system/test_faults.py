"""kill -9, stopped panels and lost supervisors: what was acknowledged is done, once."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from e2e.system.panel import TIMEOUT_S, Panel, is_gone, supervisor_command, supervisor_env, until
from e2e.system.samples import count_slowly, counted, square
from e2e.system.stream import Stream, check_streams

TASKS = 500


@pytest.fixture
def own_panel(tmp_path: Path) -> Iterator[Panel]:
    with Panel(tmp_path) as started:
        yield started


def runs(panel: Panel, task: int) -> bool:
    return bool(panel.task(task)["state"] == "running")


def test_every_part_is_killed_under_a_stream_of_tasks(own_panel: Panel) -> None:
    stream = Stream(own_panel, TASKS)
    stream.start()
    victims = [own_panel.agents[0], "web", "worker", "beat", "broker"]
    for turn, victim in enumerate(victims, start=1):
        stream.wait_for(turn * TASKS // (len(victims) + 1))
        own_panel.kill(victim)
    check_streams(own_panel, [stream])
    assert own_panel.log.read_text().count("starting it again in") >= len(victims)


@pytest.mark.parametrize("stopped", [("web",), ("web", "worker", "beat")], ids="+".join)
def test_a_panel_that_was_away_loses_no_attempt(own_panel: Panel, stopped: tuple[str, ...]) -> None:
    tasks = [own_panel.submit(**count_slowly(20, 0.5)) for _ in range(2)]
    for task in tasks:
        until("it runs", partial(runs, own_panel, task))
    with own_panel.frozen(*stopped):
        away_since = time.monotonic()
        until("two timeouts have passed", lambda: time.monotonic() - away_since > 2 * TIMEOUT_S)
    for task in tasks:
        ended = own_panel.wait_for_state(task, "succeeded", "failed")
        assert (ended["state"], ended["attempts_made"]) == ("succeeded", 1)
        assert own_panel.output(task) == counted(20)


def test_work_goes_on_while_the_web_server_is_started_again(own_panel: Panel) -> None:
    task = own_panel.submit(**count_slowly(10, 0.4))
    until("it is under way", lambda: "line 0" in own_panel.log_text(task))
    own_panel.kill("web")
    ended = own_panel.wait_for_state(task, "succeeded", "failed")
    assert (ended["state"], ended["attempts_made"]) == ("succeeded", 1)
    assert own_panel.output(task) == counted(10)


def test_a_killed_supervisor_leaves_no_process_and_the_next_start_goes_on(own_panel: Panel) -> None:
    task = own_panel.submit(**square(21))
    own_panel.wait_for_state(task, "succeeded")
    pids = list(own_panel.pids().values())
    below = [child.pid for pid in pids for child in psutil.Process(pid).children(recursive=True)]
    own_panel.kill_supervisor()
    until("every process is gone", lambda: all(is_gone(pid) for pid in [*pids, *below]), within_s=10)
    own_panel.start()
    assert own_panel.output(task) == "441\n"


def test_a_second_supervisor_on_the_same_folder_says_so(panel: Panel) -> None:
    answer = subprocess.run(
        supervisor_command("up", "--port", "0", "--data", str(panel.data.path)),
        capture_output=True,
        text=True,
        env=supervisor_env(),
    )
    assert answer.returncode == 1
    assert f"already runs on {panel.data.path} at {panel.url}" in answer.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_in_order(tmp_path: Path, number: signal.Signals) -> None:
    started = Panel(tmp_path, agents=1)
    started.start()
    pids = list(started.pids().values())
    os.kill(started.running.pid, number)
    assert started.stop() == 0
    assert all(is_gone(pid) for pid in pids)
    assert not started.data.running.exists()
    assert "stopping" in started.log.read_text(errors="replace")
