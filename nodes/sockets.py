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


_lock = threading.Lock()
_sockets: dict[int, AgentSocket] = {}


def put(socket: AgentSocket) -> AgentSocket | None:
    """Make ``socket`` the one for its node; returns the older one that it replaces, if any."""
    with _lock:
        older = _sockets.get(socket.node_id)
        if older is not None and older.epoch > socket.epoch:
            return socket
        _sockets[socket.node_id] = socket
        return older


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
            socket.refuse("replaced", "Another connection with this identity took over.", retry=False)


on_wake("took-over", _close_older)
