"""What the panel is for, without a browser: join a machine, hand in work, watch it, survive its loss."""

from __future__ import annotations

import os
import signal

from e2e.system.api import PATIENCE_S
from e2e.system.panel import Panel, until
from e2e.system.samples import count_slowly, counted, echo, square

LINES = 16
"""So many, each after half a second, that its node is killed before it has printed them all."""
LIMIT_S = 5
"""Within which a slow machine starts a script."""


def test_a_task_runs_and_its_output_is_stored(panel: Panel) -> None:
    task = panel.submit(**square(12))
    ended = panel.wait_for_state(task, "succeeded", "failed")
    assert ended["state"] == "succeeded", ended["reason"]
    assert panel.output(task) == "144\n"
    assert [attempt["accepted"] for attempt in ended["attempts"]] == [True]


def test_every_strategy_places_a_task_and_says_why(panel: Panel) -> None:
    strategies = ("round_robin", "least_loaded", "affinity_based", "proximity_based", "privacy_aware")
    tasks = {strategy: panel.submit(**echo(strategy), strategy=strategy) for strategy in strategies}
    for strategy, task in tasks.items():
        # No local node is onion-capable unless its flags say so; these do (relay).
        assert panel.wait_for_state(task, "succeeded", "failed")["state"] == "succeeded"
        assert panel.output(task) == strategy
        decision = panel.get(f"/tasks/{task}/decisions")["items"][-1]
        assert decision["strategy"] == strategy
        assert decision["chosen"]["name"] == panel.task(task)["node"]["name"]
        assert decision["considered"] >= len(panel.agents)


def test_the_log_grows_while_the_task_runs(panel: Panel) -> None:
    task = panel.submit(**count_slowly(1000, 0.1))
    begun = until("the first line is there", lambda: panel.log_text(task))
    more = until("there are more", lambda: (text := panel.log_text(task)) > begun and text)
    assert counted(1000).startswith(more)
    panel.post(f"/tasks/{task}/cancel", {})
    panel.wait_for_state(task, "cancelled")


def test_the_log_is_whole_in_the_end(panel: Panel) -> None:
    task = panel.submit(**count_slowly(4, 0.1))
    panel.wait_for_state(task, "succeeded")
    assert panel.log_text(task) == counted(4)


def test_a_task_that_fits_nowhere_waits_with_reasons_until_a_node_joins(panel: Panel) -> None:
    task = panel.submit(**echo("late"), labels={"room": "attic"})
    waiting = until("it waits with reasons", lambda: (found := panel.task(task))["wait_reasons"] and found)
    assert waiting["state"] == "queued"
    assert sum(reason["nodes"] for reason in waiting["wait_reasons"]) >= len(panel.agents)
    newcomer = panel.join("attic", "--label", "room=attic", "--cores", "1", "--memory-mb", "512")
    assert panel.wait_for_state(task, "succeeded")["node"]["name"] == "attic"
    newcomer.send_signal(signal.SIGTERM)
    assert newcomer.wait(PATIENCE_S) == 0
    until("its goodbye is seen", lambda: panel.nodes()["attic"]["status"] == "offline")


def test_work_moves_when_its_agent_is_killed(panel: Panel) -> None:
    doomed = panel.join("doomed", "--region", "af-south", "--cores", "1", "--memory-mb", "512")
    task = panel.submit(**count_slowly(LINES, 0.5), strategy="proximity_based", region="af-south")
    until("it is under way on the far node", lambda: "line 1" in panel.log_text(task))
    assert panel.task(task)["node"]["name"] == "doomed"
    os.kill(doomed.pid, signal.SIGKILL)
    moved = panel.wait_for_state(task, "succeeded", "failed")
    assert moved["state"] == "succeeded"
    assert moved["node"]["name"] in panel.agents
    assert panel.output(task) == counted(LINES)
    assert [attempt["accepted"] for attempt in moved["attempts"]] == [False, True]
    # Its node was silent, so it was only given up when the replacement had ended.
    assert moved["attempts"][0]["outcome"] == "superseded"
    assert panel.nodes()["doomed"]["status"] == "offline"


def test_a_running_task_is_cancelled(panel: Panel) -> None:
    task = panel.submit(**count_slowly(1000, 0.5))
    until("it runs", lambda: panel.task(task)["state"] == "running")
    panel.post(f"/tasks/{task}/cancel", {})
    panel.wait_for_state(task, "cancelled")
    until("its node is free", lambda: all(node["open_attempts"] == 0 for node in panel.nodes().values()))


def test_a_task_that_takes_too_long_is_stopped(panel: Panel) -> None:
    task = panel.submit(**{**count_slowly(1000, 0.2), "timeout_s": LIMIT_S, "max_attempts": 1})
    failed = panel.wait_for_state(task, "failed")
    assert failed["attempts"][0]["outcome"] == "timeout"
    assert "line 0" in panel.log_text(task)
