"""The program that judges a history finds each fault that is planted in a good one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from e2e.soak import check_history

GOOD: list[dict[str, Any]] = [
    {"event": "acknowledged", "key": "k1", "task": 1, "expected": "one"},
    {"event": "seen", "task": 1, "state": "running", "accepted": [], "output": None},
    {"event": "killed", "what": "a/web"},
    {"event": "acknowledged", "key": "k2", "task": 2, "expected": "two"},
    {"event": "acknowledged", "key": "k2", "task": 2, "expected": "two"},
    {"event": "seen", "task": 1, "state": "succeeded", "accepted": [11], "output": "one"},
    {"event": "seen", "task": 2, "state": "succeeded", "accepted": [12], "output": "two"},
    {"event": "seen", "task": 1, "state": "succeeded", "accepted": [11], "output": "one"},
    {"event": "listed", "tasks": [1, 2]},
]


def test_a_good_history_has_no_faults() -> None:
    assert check_history.faults(GOOD) == []


@pytest.mark.parametrize(
    ("line", "changes", "fault"),
    [
        (4, {"task": 3}, "key k2 made task 2 and task 3"),
        (4, {"key": "k3"}, "task 2 answers to key k2 and to key k3"),
        (5, {"output": "uno"}, "task 1 had ended as"),
        (7, {"accepted": [13]}, "task 1 had ended as"),
        (7, {"state": "queued", "accepted": [], "output": None}, "task 1 had ended as"),
        (6, {"task": 9}, "task 2 was acknowledged and never seen again"),
        (6, {"state": "failed"}, "task 2 was acknowledged and is failed"),
        (6, {"accepted": [12, 13]}, "task 2 has 2 accepted attempts"),
        (6, {"accepted": []}, "task 2 has 0 accepted attempts"),
        (6, {"output": "one"}, "task 2 printed 'one' and not 'two'"),
        (8, {"tasks": [1]}, "task 2 was acknowledged and is gone"),
        (8, {"tasks": [1, 2, 3]}, "task 3 is there and nobody handed it in"),
        (8, {"event": "noted"}, "nothing was listed"),
        (2, {"event": "noted"}, "nothing was broken"),
    ],
)
def test_a_planted_fault_is_found(line: int, changes: dict[str, Any], fault: str) -> None:
    history = [{**event, **(changes if number == line else {})} for number, event in enumerate(GOOD)]
    assert any(found.startswith(fault) for found in check_history.faults(history))


def test_by_hand(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    command = [sys.executable, check_history.__file__, str(history)]
    for events, code, said in ((GOOD, 0, "every promise was kept"), (GOOD[:-2], 1, "nothing was listed")):
        history.write_text("".join(json.dumps(event) + "\n" for event in events))
        answer = subprocess.run(command, capture_output=True, text=True)
        assert (answer.returncode, said in answer.stdout) == (code, True)
    history.write_text("what?\n")
    answer = subprocess.run(command, capture_output=True, text=True)
    assert (answer.returncode, "line 1 is not JSON" in answer.stderr) == (2, True)
