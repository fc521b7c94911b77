"""What a client does with a panel over HTTP: ask until it answers, hand in tasks, wait for them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

import httpx

PATIENCE_S = 120.0
ADMIN = "admin"


def until(what: str, true: Callable[[], Any], within_s: float = PATIENCE_S, every_s: float = 0.05) -> Any:
    """Look again until ``true()`` is truthy and return that; fail naming ``what`` when it never was."""
    deadline = time.monotonic() + within_s
    while not (found := true()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(every_s)
    return found


class Api:
    """A panel's API as its first admin uses it. ``url`` may change from one start to the next."""

    def __init__(self, url: str, password: str) -> None:
        self._url = url
        self.password = password
        self._client: httpx.Client | None = None

    @property
    def url(self) -> str:
        return self._url

    def is_up(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", trust_env=False, timeout=10).is_success
        except httpx.TransportError:
            return False

    def client(self) -> httpx.Client:
        """A client of the API, signed in as the first admin with every right."""
        client = httpx.Client(base_url=f"{self.url}/api/v1", trust_env=False, timeout=30)
        body = {"username": ADMIN, "password": self.password, "name": "tests", "scopes": ["admin"]}
        answer = client.post("/tokens", json=body)
        assert answer.status_code == 201, answer.text
        client.headers["Authorization"] = f"Bearer {answer.json()['token']}"
        return client

    def forget_client(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def get(self, path: str) -> Any:
        """GET, again while the panel is away."""
        return self._ask("GET", path).json()

    def post(self, path: str, body: dict[str, Any], key: str | None = None) -> Any:
        """POST once, however often it takes: the key makes the repetitions one."""
        return self._ask("POST", path, body, key or secrets.token_hex(16)).json()

    def content(self, path: str) -> bytes:
        """GET what is not JSON."""
        return self._ask("GET", path).content

    def _ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, key: str | None = None
    ) -> httpx.Response:
        answer = self.answer(method, path, body, key)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    def answer(
        self, method: str, path: str, body: dict[str, Any] | None = None, key: str | None = None
    ) -> httpx.Response:
        """Whatever the panel answers, be it a refusal; asked again while it is away."""
        headers = {"Idempotency-Key": key} if key else {}

        def attempt() -> httpx.Response | None:
            try:
                client = self._client = self._client or self.client()
                answer = client.request(method, path, json=body, headers=headers)
            except httpx.TransportError:
                return None
            return None if answer.status_code in {502, 503, 504} else answer

        answer: httpx.Response = until(f"{method} {path} is answered", lambda: keep(attempt()))[0]
        return answer

    # --- Tasks and nodes -------------------------------------------------------------------------

    def submit(self, **spec: Any) -> int:
        """Hand in a task; its id once the panel acknowledged it."""
        return int(self.post("/tasks", spec)["id"])

    def task(self, task_id: int) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/tasks/{task_id}")
        return found

    def wait_for_state(self, task_id: int, *states: str, within_s: float = PATIENCE_S) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            task = self.task(task_id)
            return task if task["state"] in states else None

        found: dict[str, Any] = until(f"task {task_id} is {' or '.join(states)}", reached, within_s)
        return found

    def output(self, task_id: int) -> str:
        return self._ask("GET", f"/tasks/{task_id}/result").text

    def log_text(self, task_id: int) -> str:
        return "".join(chunk["text"] for chunk in self.get(f"/tasks/{task_id}/logs?after=0&wait=0")["chunks"])

    def nodes(self) -> dict[str, dict[str, Any]]:
        return {node["name"]: node for node in self.get("/nodes?limit=200")["items"]}

    def working_nodes(self) -> set[str]:
        return {name for name, node in self.nodes().items() if node["status"] in {"active", "idle", "busy"}}

    def refusals(self) -> dict[str, str]:
        """Why tasks of a privacy level cannot be had now, by level; empty where they can."""
        return {quote["level"]: quote["refusal"] for quote in self.get("/privacy")["items"]}


def keep(answer: httpx.Response | None) -> tuple[httpx.Response] | None:
    """In a tuple an answer is true, even one that says 404."""
    return None if answer is None else (answer,)
