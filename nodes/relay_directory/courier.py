"""One thread a process that tells the agents connected here of new versions, and carries long answers.

All at their own pace: thousands that were told in one second would ask in the next, and a whole directory
has megabytes, which would wait in memory for each agent that takes it in slowly. So agents are told some at a
time. Long answers go out part by part, to a few agents at once and to the others after them; who waits for
one is told of no newer version, else it would ask anew and might never get one whole.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from weakref import WeakKeyDictionary

from fogagent.messages import DirectoryNews, encode_message
from fogpanel.threads import Tireless
from fogpanel.wakes import Key, on_wake
from nodes import sockets
from nodes.relay_directory.publishing import DIRECTORY, newest_number
from nodes.sockets import AgentSocket

LOOK_S = 10.0
STEP_S = 0.1
NEWS_A_STEP = 20
"""Twice as many a second as `publishing.RELAYS_PER_S`: all hear of a version before there is a next."""
PARTS_A_STEP = 6
"""So to so many agents at once; 16 MB/s together."""


class Courier(Tireless):
    def __init__(self) -> None:
        super().__init__("courier")
        self._lock = threading.Lock()
        self._something = threading.Event()
        self._told: WeakKeyDictionary[AgentSocket, int] = WeakKeyDictionary()
        self._long: dict[AgentSocket, Iterator[bytes]] = {}
        self._version = 0
        self._news = b""
        self._to_tell: deque[AgentSocket] = deque()
        self._busy = False

    # --- From other threads --------------------------------------------------------------------------

    def follow(self, node_ids: Iterable[int]) -> None:
        """The agents of these nodes speak of the overlay, so they are to be told of new versions."""
        with self._lock:
            for socket in filter(None, map(sockets.get, node_ids)):
                self._told.setdefault(socket, 0)
        self._something.set()

    def answered(self, node_id: int, version: int, parts: Sequence[bytes] = ()) -> None:
        """This agent has that version, or will have it once these encoded messages are sent to it one by one,
        in place of what was still to be sent."""
        if (socket := sockets.get(node_id)) is None:
            return
        with self._lock:
            self._told[socket] = version
            if not parts:
                self._long.pop(socket, None)
                return
            self._long[socket] = iter(parts)
        self._something.set()

    def wake(self, _: frozenset[Key] = frozenset()) -> None:
        self._something.set()

    def start(self) -> None:
        on_wake(DIRECTORY, self.wake)
        super().start()

    # --- In its own ----------------------------------------------------------------------------------

    def turn(self) -> None:
        if self._something.wait(timeout=0.0 if self._busy else LOOK_S) or not self._busy:
            self._something.clear()
            self.look()
        self._busy = self.step()
        self._pause.wait(STEP_S)

    def look(self) -> None:
        """See who has not heard of the newest version."""
        self._version = newest_number()
        self._news = encode_message(DirectoryNews(version=self._version))
        with self._lock:
            behind = (socket for socket, told in self._told.items() if told < self._version)
            self._to_tell = deque(socket for socket in behind if socket not in self._long)

    def step(self) -> bool:
        """Tell some, and send some parts; whether there is more to do."""
        for _ in range(min(NEWS_A_STEP, len(self._to_tell))):
            self._tell(self._to_tell.popleft())
        with self._lock:
            waiting = list(islice(self._long.items(), PARTS_A_STEP))
        for socket, parts in waiting:
            self._send_next(socket, parts)
        return bool(self._to_tell or self._long)

    def _tell(self, socket: AgentSocket) -> None:
        with self._lock:
            if not _is_held(socket) or socket in self._long or self._told[socket] >= self._version:
                return  # it left, or asked by itself
            self._told[socket] = self._version
        socket.post([self._news])

    def _send_next(self, socket: AgentSocket, parts: Iterator[bytes]) -> None:
        part = next(parts, None)
        with self._lock:
            if self._long.get(socket) is not parts:
                return  # it asked anew meanwhile
            if part is None or not _is_held(socket):
                del self._long[socket]
                self._something.set()  # there may be a newer version to tell it of
                return
        socket.post([part])


def _is_held(socket: AgentSocket) -> bool:
    return sockets.get(socket.node_id) is socket


courier = Courier()
