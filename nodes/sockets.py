"""The agents' sockets that this process holds, by node."""

from __future__ import annotations

import threading
from typing import Protocol

from fogpanel.wakes import Key, on_wake


class AgentSocket(Protocol):
    """What other threads may ask of an agent's connection. Both calls return at once."""

    node_id: int
    epoch: int

    def post(self, encoded: list[bytes]) -> None:
        """Send these encoded messages, together with others that are due soon."""

    def refuse(self, code: str, sentence: str, *, retry: bool) -> None:
        """Say why, then close."""


REPLACED = "Another connection with this identity took over."

_lock = threading.Lock()
_sockets: dict[int, AgentSocket] = {}


def put(socket: AgentSocket) -> bool:
    """Make ``socket`` the one for its node; False if a newer connection of that node is here already."""
    with _lock:
        known = _sockets.get(socket.node_id)
        if known is not None and known.epoch > socket.epoch:
            return False
        _sockets[socket.node_id] = socket
        return True


def drop(socket: AgentSocket) -> None:
    with _lock:
        if _sockets.get(socket.node_id) is socket:
            del _sockets[socket.node_id]


def get(node_id: int) -> AgentSocket | None:
    return _sockets.get(node_id)


def held() -> list[AgentSocket]:
    with _lock:
        return list(_sockets.values())


def _close_older(keys: frozenset[Key]) -> None:
    for key in keys:
        node_id, epoch = map(int, str(key).split(":"))
        socket = get(node_id)
        if socket is not None and socket.epoch < epoch:
            socket.refuse("replaced", REPLACED, retry=False)


on_wake("took-over", _close_older)
