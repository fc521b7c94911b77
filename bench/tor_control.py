"""As much of tor's control protocol as a bench needs: questions, and circuits timed by their events.

Source: Tor's control-spec. Replies are lines of a code, a mark (``-`` more follows, a space: the last) and
text; events have the code 650 and come between replies, never within one. Multi-line values (``+``) are not
asked for here.
"""

from __future__ import annotations

import re
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

PATIENCE_S = 60.0
EVENT, GOOD = "650", "250"


class ControlFailed(Exception):
    """tor did not do what it was asked; ``str`` is what it said."""


class Control:
    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._lines = stream.makefile("r", encoding="ascii", newline="\r\n")
        self._events: deque[str] = deque()

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[Self]:
        """Connect to a control socket that asks for no password: its folder is for its owner only."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(PATIENCE_S)
            stream.connect(str(path))
            with cls(stream) as control:
                control.ask("AUTHENTICATE")
                yield control

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def ask(self, command: str) -> list[str]:
        """The lines of the reply, without their codes. Raises ControlFailed."""
        self._stream.sendall(f"{command}\r\n".encode("ascii"))
        reply = []
        while True:
            code, mark, text = self._line()
            if code == EVENT:
                self._events.append(text)
                continue
            if code != GOOD:
                raise ControlFailed(text)
            reply.append(text)
            if mark == " ":
                return reply

    def socks_port(self) -> int:
        [listener, *_] = self.ask("GETINFO net/listeners/socks")  # net/listeners/socks="127.0.0.1:9050"
        return int(listener.rpartition(":")[2].rstrip('"'))

    def bootstrap_percent(self) -> int:
        [phase, *_] = self.ask("GETINFO status/bootstrap-phase")  # … BOOTSTRAP PROGRESS=45 TAG=…
        found = re.search(r" PROGRESS=(\d+) ", phase)
        return int(found[1]) if found else 0

    def build_circuit_s(self, path: Sequence[str]) -> float:
        """Seconds from asking for a circuit over these relays until it is built.

        It stays open. Nobody answers the cell that would close it, and while that is so TCP holds the next
        small one back (Nagle's algorithm, which tor leaves on): the circuit after it would seem to take 40 ms
        more, which is how long the other end may wait before it confirms what it got.

        Raises:
            ControlFailed: it was not built.
        """
        self.ask("SETEVENTS CIRC")
        self._events.clear()
        began = time.perf_counter()
        _, circuit = self.ask(f"EXTENDCIRCUIT 0 {','.join(path)}")[0].split()  # EXTENDED 12
        self._wait_until_built(circuit)
        return time.perf_counter() - began

    def _wait_until_built(self, circuit: str) -> None:
        while True:
            match self._event().split():
                case ["CIRC", number, "BUILT", *_] if number == circuit:
                    return
                case ["CIRC", number, "FAILED" | "CLOSED" as state, *why] if number == circuit:
                    raise ControlFailed(f"circuit {number} {state}: {' '.join(why)}")

    def _event(self) -> str:
        while not self._events:
            code, _, text = self._line()
            assert code == EVENT, f"nobody asked for {text}"
            self._events.append(text)
        return self._events.popleft()

    def _line(self) -> tuple[str, str, str]:
        line = self._lines.readline().rstrip("\r\n")
        if not line:
            raise ControlFailed("it ended")
        return line[:3], line[3], line[4:]
