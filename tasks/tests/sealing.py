"""A fleet whose nodes can open what is sealed for them, and a submitter who seals."""

from __future__ import annotations

import base64
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from django.contrib.auth.models import User
from django.utils import timezone

from conftest import MakeNode
from fogagent.identity import Identity
from fogagent.messages import Run
from fogagent.overlay.directory import apply
from fogagent.sealing import task as sealing
from fogagent.sealing.task import SealedSpec, SealedTask, Terms, open_task, seal_task
from fogagent.sealing.wrapping import Wrap
from nodes.identity import panel_identity
from nodes.models import Node
from nodes.relay_directory.changes import changes_since
from nodes.relay_directory.publishing import publish
from nodes.tests.relays import listen, say
from tasks import reservations
from tasks.models import Task
from tasks.reservations import Reserved
from tasks.sealed_input import validate_outside

MARKER = "the marker of what is inside"


def not_refused(level: str, now: object) -> str:
    """A TASK_ADMISSION that serves every level."""
    return ""


def none_held_back() -> list[str]:
    """A PLACING_HELD_BACK that places tasks of every level."""
    return []


class SealingFleet:
    """Nodes with identities, all in the directory."""

    def __init__(self, make_node: MakeNode, count: int) -> None:
        self.identities: dict[int, Identity] = {}
        for _ in range(count):
            identity = Identity.generate()
            node = make_node(
                public_key=identity.public_key.hex(),
                sealing_key=identity.sealing_key.hex(),
                flags=["compute", "relay"],
            )
            self.identities[node.id] = identity
        now = timezone.now()
        listen(now)
        for node in Node.objects.filter(id__in=self.identities):
            assert say(node, now) == []
        assert publish(now) is not None

    def open(self, node_id: int, run: Run) -> SealedSpec:
        """What the node finds inside an order."""
        assert run.sealed is not None and run.payload is not None and run.payload.inline is not None
        return open_task(run.payload.inline, run.sealed, self.identities[node_id])


class Submitter:
    """Seals one task, and can seal it again for others."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.result_key = X25519PrivateKey.generate()
        terms = Terms(driver="python", timeout_s=60, cpu_millis=500, memory_mb=128)
        spec = SealedSpec(
            terms=terms,
            result_key=self.result_key.public_key().public_bytes_raw(),
            payload=f"print('{MARKER}')".encode(),
        )
        self.sealed: SealedTask = seal_task(spec)

    def reserve(self, **fields: Any) -> Reserved:
        spec = validate_outside({"cores": 0.5, "privacy": "private", **fields})
        choice = reservations.choose(spec, timezone.now())
        return reservations.reserve(self.user, choice, timezone.now())

    def wraps(self, reserved: Reserved) -> list[dict[str, str]]:
        """The content key for each node, as JSON has it."""
        now = timezone.now().timestamp()
        directory = apply(None, changes_since(0), panel_identity().public_key, now)
        nodes = [bytes.fromhex(node.public_key) for node in reserved.nodes]
        promised = sealing.Reservation(reservation=reserved.reservation.id, nodes=nodes)
        return [as_json(wrap) for wrap in self.sealed.key.wraps(promised, directory.relays)]

    @property
    def content(self) -> str:
        return base64.b64encode(self.sealed.content).decode()

    def hand_in(self, reserved: Reserved) -> Task:
        return reservations.hand_in(reserved.reservation, self.content, self.wraps(reserved), timezone.now())


def as_json(wrap: Wrap) -> dict[str, str]:
    return {"node": wrap.node.hex(), "wrapped": base64.b64encode(wrap.wrapped).decode()}
