"""Following a private task from the terminal: where it is, sealing it again when it must be, and its end."""

from __future__ import annotations

from fogagent.client import show
from fogagent.client.api import Api, Json
from fogagent.client.errors import Refused
from fogagent.client.following import Whereabouts
from fogagent.client.private import PrivateTasks
from fogagent.messages import Outcome
from fogagent.sealing.errors import NotInDirectory
from fogagent.sealing.result import Result

LOOK_S = 3
"""A task that waits to be sealed again should not wait long for us."""
CONFLICT = 409


class PrivateFollower:
    """Follows one private task; ``quiet`` for those who print its JSON alone."""

    def __init__(self, api: Api, private: PrivateTasks, task_id: int, *, quiet: bool = False) -> None:
        self._api = api
        self._private = private
        self._task_id = task_id
        self._quiet = quiet
        self._where = Whereabouts()
        self._complaint = ""

    def follow(self) -> Json:
        """Return the task as it ended and print what it printed."""
        for _ in self._api.log(self._task_id, follow=True, longest_s=LOOK_S):
            task = self._api.task(self._task_id)
            if task["finished_at"] is None:
                self._attend(task)
        return self._conclude(self._api.task(self._task_id))

    def show_now(self) -> None:
        """Print what it printed, if it is over: before, nothing comes out of it."""
        task = self._api.task(self._task_id)
        if task["finished_at"] is None:
            self._where.tell(task)
            show.notice(f"What it prints is sealed, and comes when it is over: ./fog logs -f {task['id']}")
        else:
            self._conclude(task)

    def _conclude(self, task: Json) -> Json:
        result = self._private.result(task)
        ended = concluded(task, result)
        if not self._quiet:
            print_output(result)
            self._where.tell(ended)
        return ended

    def _attend(self, task: Json) -> None:
        if not self._quiet:
            self._where.tell(task)
        if task["needs_resealing"]:
            self._reseal(task)

    def _reseal(self, task: Json) -> None:
        try:
            reserved = self._private.reseal(task)
        except NotInDirectory as error:
            self._complain(str(error))
        except Refused as error:
            if error.status != CONFLICT:
                raise
            if error.code != "not-waiting":  # else a node came back, or another program was faster
                self._complain(str(error))
        else:
            self._say(f"task {task['id']} is sealed again, for {reserved.names}", style="yellow")

    def _complain(self, sentence: str) -> None:
        """It is tried again, so once is enough."""
        if sentence != self._complaint:
            self._complaint = sentence
            self._say(f"task {self._task_id} is not sealed again yet: {sentence}", style="yellow")

    def _say(self, text: str, style: str) -> None:
        if not self._quiet:
            show.notice(text, style)


def concluded(task: Json, result: Result | None) -> Json:
    """The task with what its result says. What the panel says of the end counts only as far as it agrees."""
    if result is None:
        lost = task["state"] == "succeeded"
        return task | _differs("succeeded", "but has no result of it (any more)") if lost else task
    told = task | {"exit_code": result.exit_code, "reason": result.sentence or task["reason"]}
    succeeded = result.outcome is Outcome.SUCCEEDED
    if succeeded is not (task["state"] == "succeeded"):
        told |= _differs(task["state"], f"but its result, which its node signed, says {result.outcome}")
    return told


def _differs(state: str, words: str) -> Json:
    return {"state": "failed", "reason": f"The panel calls it {state}, {words}. Do not rely on it."}


def print_output(result: Result | None) -> None:
    if result is None:
        return
    show.raw_output("stdout", result.stdout)
    show.raw_output("stderr", result.stderr)
    if result.truncated:
        show.notice("It printed more than is kept: the rest was cut off on its node.", style="yellow")
