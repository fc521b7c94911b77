"""A stream of tasks handed in while things break, and the promise that is checked when it ends."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from e2e.system.panel import Panel, until
from e2e.system.samples import echo, square

ENDED = {"succeeded", "failed", "cancelled", "expired"}
PYTHON_EVERY = 10


@dataclass
class Stream:
    """Hands in ``number`` tasks, one after the other, from a thread of its own."""

    panel: Panel
    number: int
    acknowledged: dict[int, str] = field(default_factory=dict)  # task id → the output it must have
    error: BaseException | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for number in range(self.number):
                spec, output = piece_of_work(number)
                self.acknowledged[self.panel.submit(**spec, max_attempts=10)] = output
        except BaseException as error:
            self.error = error

    def wait_for(self, number: int) -> None:
        """Until that many tasks were acknowledged."""
        until(
            f"{number} tasks are acknowledged",
            lambda: len(self.acknowledged) >= number or self.error,
            within_s=300,
        )
        assert self.error is None, self.error

    def check(self) -> None:
        """Every acknowledged task ended exactly once, with its right output; and there are no others."""
        self.wait_for(self.number)
        until("all tasks have ended", lambda: not unfinished(self.panel), within_s=300, every_s=0.5)
        wrong = {}
        for task_id, output in self.acknowledged.items():
            task = self.panel.task(task_id)
            accepted = [attempt for attempt in task["attempts"] if attempt["accepted"]]
            said = self.panel.output(task_id) if task["state"] == "succeeded" else task["reason"]
            if task["state"] != "succeeded" or len(accepted) != 1 or said.strip() != output:
                wrong[task_id] = (task["state"], len(accepted), said)
        assert not wrong
        assert every_task(self.panel) == set(self.acknowledged)


def piece_of_work(number: int) -> tuple[dict[str, Any], str]:
    """Mostly small modules, now and then a script; and what each must print."""
    if number % PYTHON_EVERY == 0:
        return square(number), str(number**2)
    return echo(f"piece {number}"), f"piece {number}"


def unfinished(panel: Panel) -> list[int]:
    return [
        task["id"]
        for state in ("queued", "assigned", "running")
        for task in panel.get(f"/tasks?state={state}&limit=1")["items"]
    ]


def every_task(panel: Panel) -> set[int]:
    """The ids of all tasks, page by page."""
    found: set[int] = set()
    page = panel.get("/tasks?limit=200")
    while True:
        found |= {task["id"] for task in page["items"]}
        if page["next"] is None:
            return found
        page = panel.get(f"/tasks?limit=200&after={page['next']}")
