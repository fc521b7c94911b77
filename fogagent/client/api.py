"""The panel's API as the client uses it: `/api/v1/` with a token, answers as plain dictionaries."""

from __future__ import annotations

import base64
import ssl
import time
import uuid
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import httpx
import msgspec

from fogagent.address import PanelAddress
from fogagent.client.errors import ClientError, Refused, Unreachable
from fogagent.sealing.wrapping import Wrap

TIMEOUT_S = 30.0
KEY_BYTES = 32
LOG_WAIT_S = 20
PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Between tries when the panel cannot be reached: about a quarter of a minute, as a restart takes."""
AWAY = frozenset({502, 503, 504})

Json: TypeAlias = dict[str, Any]


class Api:
    """One panel, one token. A POST that has to be sent again is the same request to the panel."""

    def __init__(
        self, address: PanelAddress, token: str = "", pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._address = address
        self._pause = pause
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(
            base_url=f"{address.base}/api/v1",
            headers=headers,
            timeout=TIMEOUT_S,
            trust_env=not address.loopback,  # a proxy cannot reach this machine's own loopback
            verify=ssl.create_default_context(),  # whom this machine trusts, also an authority of its own
        )

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.close()

    def create_token(self, username: str, password: str, name: str) -> str:
        body = {"username": username, "password": password, "name": name}
        return str(self._post("/tokens", body)["token"])

    def identity(self) -> str:
        """The panel's Ed25519 key in hexadecimal. Nobody needs to be signed in for it."""
        shown = str(self._get("/agents/panel").get("panel_key"))
        try:
            key = b64decode(shown, validate=True)
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise ClientError(f"{self._address.base} shows {shown[:80]!r} in place of its key.")
        return key.hex()

    def submit(self, task: Json) -> Json:
        return self._post("/tasks", task)

    def task(self, task_id: int) -> Json:
        return self._get(f"/tasks/{task_id}")

    def tasks(self, *, state: str | None, most: int) -> list[Json]:
        return self._list("/tasks", most, {"state": state} if state else {})

    def nodes(self, *, status: str | None, most: int) -> list[Json]:
        return self._list("/nodes", most, {"status": status} if status else {})

    def cancel(self, task_id: int) -> Json:
        return self._post(f"/tasks/{task_id}/cancel", {})

    def services(self) -> list[Json]:
        return list(self._get("/services")["items"])

    def topology(self) -> Json:
        return self._get("/topology")

    def tunnels(self, *, stopped: bool, most: int) -> list[Json]:
        return self._list("/tunnels", most, {"stopped": "true"} if stopped else {})

    def create_tunnel(self, tunnel: Json) -> Json:
        return self._post("/tunnels", tunnel)

    def share_tunnel(self, tunnel_id: int, allowed: list[str]) -> Json:
        return self._answer(
            lambda: self._http.put(f"/tunnels/{tunnel_id}/allowed", json={"allowed": allowed})
        )

    def tunnel_password(self, tunnel_id: int) -> Json:
        return self._post(f"/tunnels/{tunnel_id}/password", {})

    def guard_tunnel(self, tunnel_id: int, required: bool) -> Json:
        path, body = f"/tunnels/{tunnel_id}/require-password", {"require_password": required}
        return self._answer(lambda: self._http.put(path, json=body))

    def stop_tunnel(self, tunnel_id: int) -> Json:
        return self._answer(lambda: self._http.delete(f"/tunnels/{tunnel_id}"))

    def submit_batch(self, batch: Json) -> Json:
        return self._post("/tasks/batch", batch)

    def batch(self, batch_id: int) -> Json:
        return self._get(f"/tasks/batches/{batch_id}")

    def results(self, batch_id: int) -> Iterator[Json]:
        """Each task of the batch as it ends, until all have; a connection that breaks is made good."""
        seen: set[int] = set()
        pauses = iter(PAUSES_S)
        while True:
            try:
                for result in self._stream(f"/tasks/batches/{batch_id}/results"):
                    if result["index"] not in seen:
                        seen.add(result["index"])
                        pauses = iter(PAUSES_S)
                        yield result
                return
            except httpx.ReadTimeout:
                continue  # nothing ended for a while, or nobody is there: asking again tells which
            except httpx.TransportError as error:
                pause_s = next(pauses, None)
                if pause_s is None:
                    raise Unreachable(
                        f"The panel at {self._address.base} cannot be reached: {error}."
                    ) from error
                self._pause(pause_s)

    # --- Private tasks -----------------------------------------------------------------------------

    def privacy(self, content_bytes: int) -> list[Json]:
        """What each level hides, and what it costs for so much content."""
        return list(self._get("/privacy", {"size": content_bytes})["items"])

    def relay_directory(self) -> bytes:
        """As `fogagent.overlay.directory.judge` takes it; nothing of it is verified yet."""
        response = self._ask(lambda: self._http.get("/relay-directory"))
        if not response.is_success:
            self._read(response)
        return response.content

    def reserve(self, task: Json) -> Json:
        """Nodes for a task of which only the outside is told."""
        return self._post("/reservations", task)

    def hand_in(self, reservation: int, sealed: bytes, wraps: Sequence[Wrap]) -> Json:
        body = {"sealed": base64.b64encode(sealed).decode(), "wraps": _wraps(wraps)}
        return self._post(f"/reservations/{reservation}/task", body)

    def reserve_again(self, task_id: int) -> Json:
        """Other nodes for a task whose nodes are gone."""
        return self._post(f"/tasks/{task_id}/reservation", {})

    def reseal(self, task_id: int, reservation: int, wraps: Sequence[Wrap]) -> Json:
        return self._post(f"/tasks/{task_id}/reseal", {"reservation": reservation, "wraps": _wraps(wraps)})

    def sealed_result(self, task_id: int) -> Json:
        return self._get(f"/tasks/{task_id}/sealed-result")

    # --- Logs --------------------------------------------------------------------------------------

    def log(self, task_id: int, *, follow: bool, longest_s: int = LOG_WAIT_S) -> Iterator[list[Json]]:
        """What the task printed, page by page, until it is over, or only what there is so far.

        While there is nothing new an empty page comes now and then, at first sooner, then each ``longest_s``.
        """
        after, done = 0, False
        wait = 1 if follow else 0
        while not done:
            page = self._get(f"/tasks/{task_id}/logs", {"after": after, "wait": wait})
            yield page["chunks"]
            after, done = page["next"], page["done"]
            wait = min(2 * wait, longest_s)
            if not follow and not page["chunks"]:
                return

    # --- Requests ----------------------------------------------------------------------------------

    def _list(self, path: str, most: int, filters: Json) -> list[Json]:
        """Up to ``most`` items, over as many pages as that takes."""
        items: list[Json] = []
        query = filters
        while len(items) < most:
            page = self._get(path, query | {"limit": min(200, most - len(items))})
            items += page["items"]
            if page["next"] is None:
                break
            query = filters | {"after": page["next"]}
        return items

    def _stream(self, path: str) -> Iterator[Json]:
        """Objects, a line each. Raises httpx.TransportError when the panel is away or goes."""
        with self._http.stream("GET", path) as response:
            if response.status_code in AWAY:
                raise httpx.RemoteProtocolError(f"it answers {response.status_code}")
            if not response.is_success:
                response.read()
                self._read(response)
            for line in response.iter_lines():
                yield msgspec.json.decode(line)

    def _get(self, path: str, query: Json | None = None) -> Json:
        return self._answer(lambda: self._http.get(path, params=query))

    def _post(self, path: str, body: Json) -> Json:
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        return self._answer(lambda: self._http.post(path, json=body, headers=headers))

    def _answer(self, ask: Callable[[], httpx.Response]) -> Json:
        return self._read(self._ask(ask))

    def _ask(self, ask: Callable[[], httpx.Response]) -> httpx.Response:
        """Whatever the panel answers, as long as it does."""
        for pause_s in (*PAUSES_S, None):
            try:
                response = ask()
            except httpx.TransportError as error:
                failure = f"{error}" or type(error).__name__
            else:
                if response.status_code not in AWAY:
                    return response
                failure = f"it answers {response.status_code}"
            if pause_s is not None:
                self._pause(pause_s)
        raise Unreachable(f"The panel at {self._address.base} cannot be reached: {failure}.")

    def _read(self, response: httpx.Response) -> Json:
        try:
            body = msgspec.json.decode(response.content)
        except msgspec.DecodeError:
            body = None
        if not isinstance(body, dict):
            raise ClientError(
                f"{self._address.base} does not answer as a panel does ({response.status_code}). "
                "Is the address right?"
            )
        if not response.is_success:
            raise Refused(_sentence(body), status=response.status_code, code=str(body.get("code", "")))
        return body


def _wraps(wraps: Sequence[Wrap]) -> list[Json]:
    return [{"node": wrap.node.hex(), "wrapped": base64.b64encode(wrap.wrapped).decode()} for wrap in wraps]


def _sentence(problem: Json) -> str:
    """What a problem+json says to people: its detail, or one line for each field that is wrong."""
    errors = problem.get("errors") or []
    lines = [str(error["message"]) for error in errors if isinstance(error, dict) and "message" in error]
    return "\n".join(lines) or str(problem.get("detail") or problem.get("title") or "No reason was given.")
