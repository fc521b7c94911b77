"""Clients that hand in tasks and look at them while a panel is mistreated, and write down what they saw."""

from __future__ import annotations

import json
import random
import secrets
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from e2e.system import submitter
from e2e.system.api import Api, until
from e2e.system.sealed_work import piece_of_sealed_work
from e2e.system.stream import piece_of_work
from e2e.system.submitter import Private

REPEAT_EVERY = 10
"""Every so many tasks a client sends the same request again, as after a lost answer."""
SEALED_EVERY = 8
"""So many tasks have one among them that is confidential."""
LOOK_EVERY_S = 0.2


class History:
    """A file with one event a line, for `e2e.soak.check_history`. Any thread may write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def write(self, event: str, **facts: Any) -> None:
        at = round(time.monotonic() - self._began, 3)
        with self._lock, self.path.open("a") as file:
            file.write(json.dumps({"at": at, "event": event, **facts}) + "\n")


class Person(threading.Thread):
    """Works until it is done; what went wrong is in ``error``."""

    def __init__(self, api: Api, history: History) -> None:
        super().__init__(daemon=True)
        self.api, self.history = api, history
        self.error: BaseException | None = None

    def work(self) -> None:
        raise NotImplementedError

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:
            self.error = error
        finally:
            self.api.forget_client()

    def finish(self) -> None:
        self.join()
        if self.error is not None:
            raise self.error


class Submitter(Person):
    """Hands in ``numbers`` spread over ``within_s`` seconds."""

    def __init__(self, api: Api, history: History, numbers: range, within_s: float) -> None:
        super().__init__(api, history)
        self.numbers, self.within_s = numbers, within_s
        self.acknowledged: list[int] = []
        self.sealed: dict[int, Private] = {}
        self._sealing = submitter.Submitter(api)

    def work(self) -> None:
        began = time.monotonic()
        for done, number in enumerate(self.numbers):
            early_s = began + self.within_s * done / len(self.numbers) - time.monotonic()
            time.sleep(max(0.0, early_s))
            self.hand_in(number)

    def hand_in(self, number: int) -> None:
        if number % SEALED_EVERY == 0:
            self.hand_in_sealed(number)
        else:
            self.hand_in_openly(number)

    def hand_in_sealed(self, number: int) -> None:
        task, output = piece_of_sealed_work(number)
        self._sealing.hand_in(task)
        self.sealed[task.id] = task
        key = f"reservation {max(task.nodes)}"
        self.history.write("acknowledged", key=key, task=task.id, expected=output.strip())
        self.acknowledged.append(task.id)

    def hand_in_openly(self, number: int) -> None:
        spec, output = piece_of_work(number)
        key = secrets.token_hex(16)
        for _ in range(2 if number % REPEAT_EVERY == 0 else 1):
            task = self.api.post("/tasks", {**spec, "max_attempts": 10}, key)["id"]
            self.history.write("acknowledged", key=key, task=task, expected=output)
        self.acknowledged.append(task)


class Watcher(Person):
    """Looks at the tasks of ``submitters``, one at a time, those that ended as well, until told to stop."""

    def __init__(self, api: Api, history: History, submitters: list[Submitter], seed: int) -> None:
        super().__init__(api, history)
        self.submitters = submitters
        self.done = threading.Event()
        self._chance = random.Random(seed)

    def work(self) -> None:
        while not self.done.wait(LOOK_EVERY_S):
            tasks = [task for submitter in self.submitters for task in submitter.acknowledged]
            if tasks:
                look(self.api, self.history, self._chance.choice(tasks), self.submitters)


def look(api: Api, history: History, task_id: int, submitters: Iterable[Submitter]) -> None:
    """See how a task is and note it."""
    task = api.task(task_id)
    accepted = [attempt["number"] for attempt in task["attempts"] if attempt["accepted"]]
    output = printed(api, task_id, submitters) if task["state"] == "succeeded" else None
    history.write("seen", task=task_id, state=task["state"], accepted=accepted, output=output)


def printed(api: Api, task_id: int, submitters: Iterable[Submitter]) -> str:
    """What a task printed, by whoever can open it."""
    sealed = next((each.sealed[task_id] for each in submitters if task_id in each.sealed), None)
    if sealed is None:
        return api.output(task_id).strip()
    return submitter.Submitter(api).result(sealed).stdout.decode().strip()


def wait_for_all(api: Api, within_s: float) -> None:
    """Until no task is under way."""

    def under_way() -> bool:
        states = ("queued", "assigned", "running")
        return any(api.get(f"/tasks?state={state}&limit=1")["items"] for state in states)

    until("all tasks have ended", lambda: not under_way(), within_s=within_s, every_s=0.5)
