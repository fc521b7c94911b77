"""Following a task from the terminal: its log as it grows, what becomes of it, and its exit code."""

from __future__ import annotations

from fogagent.client import show
from fogagent.client.api import Api, Json

FAILED = 1


class Follower:
    """Shows one public task until it is over."""

    def __init__(self, api: Api, task_id: int, *, quiet: bool = False) -> None:
        self._api = api
        self._task_id = task_id
        self._quiet = quiet
        self._attempt = 0
        self._where = Whereabouts()

    def follow(self) -> Json:
        """Return the task as it ended."""
        for chunks in self._api.log(self._task_id, follow=True):
            for chunk in chunks:
                self._print(chunk)
            if not chunks and not self._quiet:
                self._where.tell(self._api.task(self._task_id))
        task = self._api.task(self._task_id)
        if not self._quiet:
            self._where.tell(task)
        return task

    def show_now(self) -> None:
        """Print what there is so far."""
        for chunks in self._api.log(self._task_id, follow=False):
            for chunk in chunks:
                self._print(chunk)

    def _print(self, chunk: Json) -> None:
        if self._quiet:
            return
        if self._attempt and chunk["attempt"] != self._attempt:
            show.notice(f"--- attempt {chunk['attempt']} ---")
        self._attempt = chunk["attempt"]
        show.output(chunk["stream"], chunk["text"])


class Whereabouts:
    """Says where a task is, whenever that has changed."""

    def __init__(self) -> None:
        self._last = ""

    def tell(self, task: Json) -> None:
        where = f" on {task['node']['name']}" if task["node"] else ""
        reason = show.why(task)
        line = f"task {task['id']} {task['state']}{where}" + (f": {reason}" if reason else "")
        if line != self._last:
            self._last = line
            show.notice(line, show.STATE_STYLES.get(task["state"], ""))


def exit_code(task: Json) -> int:
    """What a shell should see: the task's own exit code, or 1 where it failed without one."""
    if task["state"] == "succeeded":
        return 0
    return (task["exit_code"] or 0) & 0xFF or FAILED
