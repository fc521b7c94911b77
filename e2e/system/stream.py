"""A stream of tasks handed in while things break, and the promise that is checked when it ends."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from e2e.system.api import Api, until
from e2e.system.samples import echo, square

PYTHON_EVERY = 10


@dataclass
class Stream:
    """Hands in ``number`` tasks, one after the other, from a thread of its own."""

    panel: Api
    number: int
    first: int = 0
    acknowledged: dict[int, str] = field(default_factory=dict)  # task id → the output it must have
    error: BaseException | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for number in range(self.first, self.first + self.number):
                task, output = self.hand_in(number)
                self.acknowledged[task] = output
        except BaseException as error:
            self.error = error

    def hand_in(self, number: int) -> tuple[int, str]:
        """The id of a task, and the output it must have."""
        spec, output = piece_of_work(number)
        return self.panel.submit(**spec, max_attempts=10), output

    def wait_for(self, number: int) -> None:
        """Until that many tasks were acknowledged."""
        until(
            f"{number} tasks are acknowledged",
            lambda: len(self.acknowledged) >= number or self.error,
            within_s=600,
        )
        assert self.error is None, self.error


def check_streams(panel: Api, streams: list[Stream]) -> None:
    """Every acknowledged task ended exactly once, with its right output; and there are no others."""
    for stream in streams:
        stream.wait_for(stream.number)
    until("all tasks have ended", lambda: not unfinished(panel), within_s=600, every_s=0.5)
    expected = {task: output for stream in streams for task, output in stream.acknowledged.items()}
    wrong = {
        task: found for task, output in expected.items() if (found := how_it_went(panel, task)) != (1, output)
    }
    assert not wrong
    assert every_task(panel) == set(expected)


def how_it_went(panel: Api, task_id: int) -> tuple[int, str]:
    """How many of its attempts were accepted, and what it printed, or why it did not."""
    task = panel.task(task_id)
    accepted = sum(attempt["accepted"] for attempt in task["attempts"])
    if task["state"] != "succeeded":
        return accepted, f"{task['state']}: {task['reason']}"
    return accepted, panel.output(task_id).strip()


def piece_of_work(number: int) -> tuple[dict[str, Any], str]:
    """Mostly small modules, now and then a script; and what each must print."""
    if number % PYTHON_EVERY == 0:
        return square(number), str(number**2)
    return echo(f"piece {number}"), f"piece {number}"


def unfinished(panel: Api) -> list[int]:
    return [
        task["id"]
        for state in ("queued", "assigned", "running")
        for task in panel.get(f"/tasks?state={state}&limit=1")["items"]
    ]


def every_task(panel: Api) -> set[int]:
    """The ids of all tasks, page by page."""
    found: set[int] = set()
    page = panel.get("/tasks?limit=200")
    while True:
        found |= {task["id"] for task in page["items"]}
        if page["next"] is None:
            return found
        page = panel.get(f"/tasks?limit=200&after={page['next']}")
