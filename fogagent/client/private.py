"""Private tasks at a panel that is to learn nothing of them: hand in, seal again, open what came of it.

The panel chooses the nodes. Their keys come from the signed directory, and whatever else the panel says is
compared with what was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec import Meta
from msgspec.structs import replace

from fogagent.client.api import Api, Json
from fogagent.client.errors import ClientError, Refused
from fogagent.client.keyring import Keyring, TaskKeys
from fogagent.client.options import PUBLIC
from fogagent.client.sealed import Prepared
from fogagent.client.settings import HexKey
from fogagent.messages import Identifier, Value
from fogagent.overlay.directory import Relay
from fogagent.sealing.errors import NotInDirectory
from fogagent.sealing.result import Result, open_result
from fogagent.sealing.task import MAX_RESERVED, ContentKey, Reservation, Terms
from fogagent.sealing.wrapping import Wrap

NOT_FOUND = 404


class ReservedNode(Value, frozen=True):
    identity: HexKey
    name: str = ""


class Reserved(Value, frozen=True):
    """What the panel answers to POST /reservations, as far as we go by it."""

    reservation: Identifier
    privacy: str
    nodes: Annotated[list[ReservedNode], Meta(min_length=1, max_length=MAX_RESERVED)]
    terms: Terms

    @property
    def names(self) -> str:
        return ", ".join(node.name or node.identity[:8] for node in self.nodes)

    def to_seal_for(self) -> Reservation:
        nodes = [bytes.fromhex(node.identity) for node in self.nodes]
        return Reservation(reservation=self.reservation, nodes=nodes)


class SealedResult(Value, frozen=True):
    reservation: Identifier
    node: HexKey
    sealed: bytes


class PrivateTasks:
    """What one user does with private tasks at one panel. ``relays`` fetches and verifies the directory.

    Beside what is said, everything raises ClientError where the panel's answer must not be gone by.
    """

    def __init__(self, api: Api, keyring: Keyring, relays: Callable[[], Mapping[bytes, Relay]]) -> None:
        self._api = api
        self._keyring = keyring
        self._relays = relays
        self.folder = keyring.folder

    def hand_in(self, prepared: Prepared) -> Json:
        """The task, as the panel took it. Its keys are kept before it can have done so.

        Raises:
            Refused: there are no nodes for it now, or the panel refuses it for another reason.
            NotInDirectory: a node is not in the signed directory.
        """
        answer = self._api.reserve(prepared.told)
        reserved = _as_asked(answer, prepared.privacy, prepared.terms)
        wraps = self._wraps(prepared.task.key, reserved)
        keys = _keys_of(prepared).sealed_for(reserved.to_seal_for())
        self._keep(keys)
        task = self._api.hand_in(reserved.reservation, prepared.task.content, wraps)
        self._note_number(keys, task["id"])
        return task

    def _keep(self, keys: TaskKeys) -> None:
        try:
            self._keyring.keep(keys)
        except OSError as error:
            raise ClientError(
                f"The keys of the task cannot be kept in {self.folder}: {error}. Nobody could open its "
                "result without them, so nothing was handed in."
            ) from error

    def reseal(self, task: Json) -> Reserved:
        """Wrap the key of a task for other nodes, and return these. Raises as `hand_in` does."""
        keys = self.keys(task)
        reserved = _as_asked(self._api.reserve_again(task["id"]), keys.privacy, keys.terms)
        wraps = self._wraps(keys.content, reserved)
        self._keyring.change(keys.content_sha256, lambda keys: keys.sealed_for(reserved.to_seal_for()))
        self._api.reseal(task["id"], reserved.reservation, wraps)
        return reserved

    def result(self, task: Json) -> Result | None:
        """What came of the task, opened; nothing where the panel has no result of it.

        Raises:
            SealingError: it does not open, or is not by its node.
        """
        keys = self.keys(task)
        try:
            told = _read(self._api.sealed_result(task["id"]), SealedResult)
        except Refused as error:
            if error.code == "no-result":
                return None
            raise
        node = bytes.fromhex(told.node)
        if node not in keys.reservations.get(told.reservation, ()):
            raise ClientError(
                f"The panel gives a result of the node {told.node} for the reservation {told.reservation}, "
                "for which the task was not sealed. It was not opened."
            )
        result_key = X25519PrivateKey.from_private_bytes(keys.result_key)
        return open_result(told.sealed, result_key, told.reservation, node)

    def keys(self, task: Json) -> TaskKeys:
        """What was kept of this very task, also if the panel's acknowledgement never came.

        Raises:
            ClientError: there is nothing of it on this machine.
        """
        if task["privacy"] == PUBLIC:
            raise ClientError(f"Task {task['id']} is public: nothing of it is sealed.")
        keys = self._keyring.find(_content_of(task))
        if keys is None or keys.task not in (None, task["id"]):  # the panel may pass off one for another
            raise ClientError(
                f"The keys of task {task['id']}, which is {task['privacy']}, are not in {self.folder}. Only "
                "where it was handed in can its result be opened, or can it be sealed again."
            )
        self._note_number(keys, task["id"])
        return keys

    def _note_number(self, keys: TaskKeys, task_id: int) -> None:
        if keys.task is None:
            self._keyring.change(keys.content_sha256, lambda keys: replace(keys, task=task_id))

    def tidy(self, now: float) -> None:
        """Remove the keys of tasks that the panel has long forgotten."""
        self._keyring.tidy(self._is_there, now)

    def _is_there(self, task_id: int) -> bool:
        try:
            self._api.task(task_id)
        except Refused as error:
            return error.status != NOT_FOUND
        return True

    def _wraps(self, key: ContentKey, reserved: Reserved) -> Sequence[Wrap]:
        reservation = reserved.to_seal_for()
        try:
            return key.wraps(reservation, self._relays())
        except NotInDirectory:
            return key.wraps(reservation, self._relays())  # it may have come just after that one was made


def _content_of(task: Json) -> bytes:
    """Its hash; empty where the panel does not tell."""
    try:
        return bytes.fromhex(str((task["content"] or {}).get("payload_sha256")))
    except ValueError:
        return b""


Answer = TypeVar("Answer", Reserved, SealedResult)


def _read(answer: Json, kind: type[Answer]) -> Answer:
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError as error:
        raise ClientError(f"The panel's answer about a private task breaks the rules: {error}.") from error


def _as_asked(answer: Json, privacy: str, terms: Terms) -> Reserved:
    reserved = _read(answer, Reserved)
    for name, asked, told in (
        ("privacy", privacy, reserved.privacy),
        *((name, getattr(terms, name), getattr(reserved.terms, name)) for name in Terms.__struct_fields__),
    ):
        if told != asked:
            raise ClientError(
                f"The panel answers {name} = {told}, but {name} = {asked} was asked for. Nothing was sent."
            )
    return reserved


def _keys_of(prepared: Prepared) -> TaskKeys:
    return TaskKeys(
        privacy=prepared.privacy,
        terms=prepared.terms,
        content_key=prepared.task.key.key,
        content_sha256=prepared.task.key.content_sha256,
        result_key=prepared.result_key.private_bytes_raw(),
        reservations={},
    )
