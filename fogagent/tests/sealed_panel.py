"""A small panel in memory that takes private tasks, and the nodes that it has; the sealing is real."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from fogagent.identity import Identity
from fogagent.messages import Outcome, Sealed
from fogagent.overlay.directory import encode_changes
from fogagent.sealing.result import Result, seal_result
from fogagent.sealing.task import SealedSpec, open_task
from fogagent.tests.directories import PANEL_KEY, by_identity, relay, signed
from fogagent.tests.web import Answer, Asked, Site, problem, shown

EXPIRES = "2030-01-01T00:00:00Z"


def ran(spec: SealedSpec) -> Result:
    """What the nodes make of a task, unless a test says otherwise."""
    out = b"ran " + spec.payload + b" ".join([b"", *(arg.encode() for arg in spec.args)])
    return Result(outcome=Outcome.SUCCEEDED, exit_code=0, stdout=out)


@dataclass
class Node:
    """Gets sealed content and a wrap, and answers with a sealed result; ``opened`` is what it saw."""

    name: str
    identity: Identity = field(default_factory=Identity.generate)
    behave: Callable[[SealedSpec], Result] = ran
    opened: list[SealedSpec] = field(default_factory=list)

    @property
    def public(self) -> str:
        return self.identity.public_key.hex()

    def run(self, content: bytes, sealed: Sealed) -> bytes:
        spec = open_task(content, sealed, self.identity)
        self.opened.append(spec)
        return seal_result(self.behave(spec), spec.result_key, sealed.reservation, self.identity)


class SealedPanel:
    """Reserves ``nodes[0]``; its tests change what it says. ``tasks`` are as GET shows them."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.nodes = [Node("atlas"), Node("brook")]
        self.listed = list(self.nodes)
        """Those in the directory."""
        self.version = 3
        """Of the directory."""
        self.level = {
            "level": "private",
            "refusal": "",
            "hides": "The panel does not see what runs.",
            "start_s": 1.25,
            "samples": 14,
            "transfers": 1,
            "bytes_per_s": 2_500_000.0,
            "sealed_bytes": 4096,
        }
        self.terms: dict[str, object] = {}
        """What it answers in place of what was asked."""
        self.content = b""
        self.results: dict[int, dict[str, Any]] = {}
        self.tasks: dict[int, dict[str, Any]] = {}
        self.reservations = 16
        self.ends = True
        """Whether its nodes run a task at once."""
        self.state = "succeeded"
        """In which tasks end, for the panel."""
        routes = {
            "GET /api/v1/agents/panel": shown(PANEL_KEY.hex()),
            "GET /api/v1/relay-directory": lambda asked: (200, self.directory()),
            "GET /api/v1/privacy": lambda asked: (200, {"items": [self.level]}),
            "POST /api/v1/reservations": self.reserve,
            "POST /api/v1/tasks/5/reservation": lambda asked: self.reserved(self.asked_first()),
            "POST /api/v1/tasks/5/reseal": self.reseal,
            "GET /api/v1/tasks/5": lambda asked: (200, self.tasks[5]),
            "GET /api/v1/tasks/5/logs": self.log,
            "GET /api/v1/tasks/5/sealed-result": self.result,
        }
        site.routes.update(routes)  # type: ignore[arg-type]

    def directory(self) -> bytes:
        relays = by_identity(
            relay(
                number,
                name=node.name,
                identity=node.identity.public_key,
                sealing_key=node.identity.sealing_key,
            )
            for number, node in enumerate(self.listed, start=1)
        )
        now = time.time()
        return encode_changes(signed(relays, self.version, made_at=now - 60, expires_at=now + 3600))

    def asked_first(self) -> dict[str, Any]:
        body: dict[str, Any] = self.posts("/api/v1/reservations")[0].body
        return body

    def posts(self, path: str) -> list[Asked]:
        return [asked for asked in self.site.asked if asked.method == "POST" and asked.path == path]

    # --- What it answers ------------------------------------------------------------------------------

    def reserve(self, asked: Asked) -> Answer:
        return self.reserved(asked.body)

    def reserved(self, body: dict[str, Any]) -> Answer:
        self.reservations += 1
        self.site.routes[f"POST /api/v1/reservations/{self.reservations}/task"] = self.hand_in
        node = self.nodes[0]
        terms = {
            "driver": body["driver"],
            "timeout_s": body["timeout_s"],
            "cpu_millis": round(1000 * body["cores"]),
            "memory_mb": body["memory_mb"],
            "network": body["network"],
        }
        return 201, {
            "reservation": self.reservations,
            "privacy": body["privacy"],
            "nodes": [{"identity": node.public, "name": node.name, "region": ""}],
            "expires_at": EXPIRES,
            "terms": terms | self.terms,
        }

    def hand_in(self, asked: Asked) -> Answer:
        self.content = base64.b64decode(asked.body["sealed"])
        self.tasks[5] = {
            "id": 5,
            "name": self.asked_first().get("name", ""),
            "url": "http://panel/tasks/5",
            "state": "queued",
            "driver": self.asked_first()["driver"],
            "node": None,
            "wait_reasons": [],
            "exit_code": None,
            "reason": "",
            "finished_at": None,
            "privacy": self.asked_first()["privacy"],
            "needs_resealing": False,
            "reseal_by": None,
            "content": {"payload_sha256": sha256(self.content).hexdigest()},
        }
        answer = {name: value for name, value in self.tasks[5].items() if name != "content"}
        if self.ends:
            self.run(asked.body["wraps"])
        else:
            self.tasks[5] |= {"needs_resealing": True, "reseal_by": EXPIRES}
        return 201, answer

    def reseal(self, asked: Asked) -> Answer:
        assert asked.body["reservation"] == self.reservations
        self.tasks[5] |= {"needs_resealing": False, "reseal_by": None}
        self.run(asked.body["wraps"])
        return 200, self.tasks[5]

    def run(self, wraps: list[dict[str, str]]) -> None:
        [wrap] = wraps
        node = self.nodes[0]
        assert wrap["node"] == node.public
        sealed = Sealed(reservation=self.reservations, wrapped=base64.b64decode(wrap["wrapped"]))
        self.finish(node, self.reservations, node.run(self.content, sealed))

    def finish(self, node: Node, reservation: int, result: bytes) -> None:
        self.tasks[5] |= {
            "state": self.state,
            "node": {"id": 1, "name": node.name},
            "finished_at": "2029-01-01T00:00:00Z",
        }
        self.results[5] = {
            "reservation": reservation,
            "node": node.public,
            "sealed": base64.b64encode(result).decode(),
        }

    def log(self, asked: Asked) -> Answer:
        return 200, {"chunks": [], "next": 0, "done": self.tasks[5]["finished_at"] is not None}

    def result(self, asked: Asked) -> Answer:
        if 5 not in self.results:
            return problem(409, "There is no result.", code="no-result")
        return 200, self.results[5]
