"""Somebody who hands in sealed tasks over the API, and believes of the panel only what its key has signed."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from e2e.system.api import Api, until
from fogagent.overlay.directory import judge
from fogagent.sealing.errors import NotInDirectory
from fogagent.sealing.result import Result, open_result
from fogagent.sealing.task import Reservation, SealedSpec, SealedTask, Terms, seal_task
from fogagent.sealing.wrapping import Wrap

ENDED = {"succeeded", "failed", "cancelled", "expired"}
FOR_NOW = {"no-node", "no-directory", "busy", "not-waiting", "not-served", "reservation-expired"}
"""Refusals of what may be granted, or is not needed, at another moment."""


@dataclass
class Private:
    """A sealed task, and what its submitter keeps of it."""

    outside: dict[str, Any]
    terms: Terms
    sealed: SealedTask
    result_key: X25519PrivateKey
    nodes: dict[int, list[bytes]] = field(default_factory=dict)  # reservation → for whom it was sealed
    id: int = 0  # once it is handed in

    @property
    def content(self) -> str:
        return base64.b64encode(self.sealed.content).decode()


def seal(
    level: str,
    payload: bytes,
    *,
    args: Sequence[str] = (),
    env: dict[str, str] | None = None,
    stdin: bytes = b"",
    driver: str = "python",
    **outside: Any,
) -> Private:
    terms = Terms(driver=driver, timeout_s=60, cpu_millis=250, memory_mb=outside.pop("memory_mb", 128))
    key = X25519PrivateKey.generate()
    inside = SealedSpec(
        terms=terms,
        result_key=key.public_key().public_bytes_raw(),
        args=list(args),
        env=env or {},
        payload=payload,
        stdin=stdin,
    )
    told = {
        "privacy": level,
        "driver": driver,
        "timeout_s": terms.timeout_s,
        "cores": terms.cpu_millis / 1000,
        "memory_mb": terms.memory_mb,
        **outside,
    }
    return Private(told, terms, seal_task(inside), key)


class Submitter:
    """To be used from one thread."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._panel_key = base64.b64decode(api.get("/agents/panel")["panel_key"])

    def hand_in(self, task: Private) -> Private:
        return self.use(task, self.reserve(task))

    def reserve(self, task: Private) -> Reservation:
        """Nodes for a task, as soon as there are some. What they promise to run must be what was asked."""
        told = self._insist("/reservations", task.outside)
        assert told["terms"] == {name: getattr(task.terms, name) for name in task.terms.__struct_fields__}
        return self._note(task, told)

    def use(self, task: Private, promised: Reservation) -> Private:
        body = {"sealed": task.content, "wraps": as_json(self._wraps(task, promised))}
        task.id = self._api.post(f"/reservations/{promised.reservation}/task", body)["id"]
        return task

    def reseal(self, task: Private) -> bool:
        """Seal it for other nodes; False where that cannot be, now or any more."""
        answer = self._api.answer("POST", f"/tasks/{task.id}/reservation", {})
        if answer.is_success:
            promised = self._note(task, answer.json())
            body = {"reservation": promised.reservation, "wraps": as_json(self._wraps(task, promised))}
            answer = self._api.answer("POST", f"/tasks/{task.id}/reseal", body)
        assert answer.is_success or may_pass(answer), answer.text
        return answer.is_success

    def result(self, task: Private) -> Result:
        """What came of it, which one of the nodes that it was sealed for must have signed."""
        told = self._api.get(f"/tasks/{task.id}/sealed-result")
        node = bytes.fromhex(told["node"])
        assert node in task.nodes[told["reservation"]]
        return open_result(base64.b64decode(told["sealed"]), task.result_key, told["reservation"], node)

    def wait(self, task: Private) -> dict[str, Any]:
        """The task as the panel shows it when it has ended."""
        return self._api.wait_for_state(task.id, *ENDED)

    def settle(self, tasks: Iterable[Private], within_s: float) -> dict[int, str]:
        """The states in which these have ended, each sealed again whenever its nodes are gone."""
        waiting = {task.id: task for task in tasks}
        ended: dict[int, str] = {}

        def look() -> bool:
            for told in self._api.get("/tasks?limit=200")["items"]:
                if told["id"] in waiting and told["state"] in ENDED:
                    del waiting[told["id"]]
                    ended[told["id"]] = told["state"]
                elif told["id"] in waiting and told["needs_resealing"]:
                    self.reseal(waiting[told["id"]])
            return not waiting

        until(f"{len(waiting)} sealed tasks have ended", look, within_s, every_s=0.25)
        return ended

    # --- Asking ----------------------------------------------------------------------------------

    def _wraps(self, task: Private, promised: Reservation) -> list[Wrap]:
        """The directory may be a moment behind the reservation."""

        def wrapped() -> list[Wrap]:
            encoded = self._api.content("/relay-directory")
            directory, _ = judge(None, encoded, self._panel_key, time.time())
            try:
                return task.sealed.key.wraps(promised, directory.relays)
            except NotInDirectory:
                return []

        found: list[Wrap] = until("the reserved nodes are in the directory", wrapped)
        return found

    def _note(self, task: Private, told: dict[str, Any]) -> Reservation:
        nodes = [bytes.fromhex(node["identity"]) for node in told["nodes"]]
        task.nodes[told["reservation"]] = nodes
        return Reservation(reservation=told["reservation"], nodes=nodes)

    def _insist(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask until it is granted, or refused for good."""

        def granted() -> dict[str, Any] | None:
            answer = self._api.answer("POST", path, body)
            assert answer.is_success or may_pass(answer), answer.text
            found: dict[str, Any] | None = answer.json() if answer.is_success else None
            return found

        answer: dict[str, Any] = until(f"POST {path} is granted", granted)
        return answer


def may_pass(refusal: httpx.Response) -> bool:
    """Whether asking again can help. A level that cannot be had now is said as a wrong field."""
    told = refusal.json()
    return told["code"] in FOR_NOW or [error["field"] for error in told.get("errors", ())] == ["privacy"]


def as_json(wraps: Iterable[Wrap]) -> list[dict[str, str]]:
    return [{"node": wrap.node.hex(), "wrapped": base64.b64encode(wrap.wrapped).decode()} for wrap in wraps]
