"""`./fog up --check`: the panel tried on a machine where nothing of it runs yet."""

from __future__ import annotations

import json
import subprocess

from e2e.system.panel import supervisor_command, supervisor_env
from fogpanel.supervisor.places import ROOT


def test_a_check_reports_one_object_and_leaves_nothing() -> None:
    answer = subprocess.run(
        supervisor_command("up", "--check", "--json"),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=supervisor_env(),
    )
    assert answer.returncode == 0, answer.stderr
    report = json.loads(answer.stdout)
    assert report["agents"] == 5
    assert set(report["services"].values()) == {"operational"}
    statuses = {driver: task["status"] for driver, task in report["tasks"].items()}
    assert statuses["python"] == statuses["wasm"] == "succeeded"
