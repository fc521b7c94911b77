"""A fog for private tasks: nodes that compute, gateways, relays, all of whose traffic is written down."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from e2e.system.api import PATIENCE_S, until
from e2e.system.panel import TIMEOUT_S, Panel
from e2e.system.traffic import FOLDER, Traffic

RECORDED = "e2e.system.recorded"
COMPUTE = ("--flags", "compute,relay", "--cores", "1", "--memory-mb", "1024", "--region", "here")
"""Nodes of one region and one larger than the others, so that tests can say who is chosen."""
AGENTS: Mapping[str, tuple[str, ...]] = {
    "node-1": COMPUTE,
    "node-2": COMPUTE,
    "node-3": COMPUTE,
    "node-4": (*COMPUTE[:-1], "there"),
    "gateway-1": ("--flags", "entry,relay", "--type", "gateway"),
    "gateway-2": ("--flags", "entry,relay", "--type", "gateway"),
    "relay-1": ("--flags", "relay", "--type", "relay_node"),
}
NODES = [name for name in AGENTS if name.startswith("node")]
GATEWAYS = [name for name in AGENTS if name.startswith("gateway")]


class PrivateFog(Panel):
    """A panel and `AGENTS`. Starts on entering, with each program run by `e2e.system.recorded`."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.folder = folder
        temporary, written = folder / "temporary", folder / "traffic"
        for path in (temporary, written):
            path.mkdir()
        super().__init__(folder, agents=0, **{"TMPDIR": str(temporary), FOLDER: str(written), **env})
        self.traffic = Traffic(written)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        super().start()
        for name in AGENTS:
            self._start(name)
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """All are at work, whatever was done to them before."""
        until("all agents are in", lambda: set(AGENTS) <= self.working_nodes())
        until("the nodes can run Python", lambda: all(map(self.runs_python, NODES)))
        until("confidential tasks are served", lambda: not self.refusals()["confidential"])

    # --- Its agents ------------------------------------------------------------------------------

    def _start(self, name: str, *arguments: str) -> None:
        """Arguments that come later prevail."""
        self._running[name] = self.start_agent(name, *AGENTS[name], *arguments)

    def _spawn(self, command: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        python, path, module, *rest = command
        assert module == "-m"
        return super()._spawn([python, path, module, RECORDED, *rest], env)

    def kill_agent(self, name: str, when: Callable[[], bool]) -> None:
        """kill -9 it at a moment when ``when()`` is true, and start it again at once."""
        process = self._running[name]
        until(f"{name} is caught in the act", lambda: _stands_still(process, when))
        process.kill()
        process.wait()
        self._start(name)

    @contextmanager
    def without(self, names: Sequence[str]) -> Iterator[None]:
        """While these have stopped in order."""
        self._stop(names)
        try:
            yield
        finally:
            self._start_again(names)

    @contextmanager
    def without_relaying(self, names: Sequence[str]) -> Iterator[None]:
        """While these compute as before, but are no relays."""
        self._stop(names)
        self._start_again(names, "--flags", "compute")
        try:
            yield
        finally:
            self._stop(names)
            self._start_again(names)

    def _stop(self, names: Iterable[str]) -> None:
        stopped = [self._running.pop(name) for name in names]
        for process in stopped:
            process.send_signal(signal.SIGTERM)
        for process in stopped:
            process.wait(PATIENCE_S)

    def _start_again(self, names: Sequence[str], *arguments: str) -> None:
        for name in names:
            self._start(name, *arguments)
        until("they are back", lambda: set(names) <= self.working_nodes())

    # --- What is known of it ---------------------------------------------------------------------

    @property
    def database(self) -> Path:
        return self.data.path / "fogpanel.sqlite3"

    def select(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of its database, past the panel."""
        with closing(sqlite3.connect(self.database, timeout=20)) as connection:
            return connection.execute(query, values).fetchall()

    def identities(self) -> dict[str, str]:
        """The hexadecimal identity of each agent, by name."""
        return dict(self.select("SELECT name, public_key FROM nodes_node"))

    def is_to_carry(self, gateway: str) -> bool:
        """Whether it was asked to bring an order, and did not."""
        return bool(self.select(_TO_CARRY, gateway))

    def is_to_run(self, node: str) -> bool:
        return bool(self.select(_TO_RUN, node))


def _stands_still(process: subprocess.Popen[bytes], when: Callable[[], bool]) -> bool:
    """Stop it until that is true; where it has not become so before it would be missed, let it go on."""
    process.send_signal(signal.SIGSTOP)
    goes_on_at = time.monotonic() + TIMEOUT_S / 2
    while not (caught := when()) and time.monotonic() < goes_on_at:
        time.sleep(0.02)
    if not caught:
        process.send_signal(signal.SIGCONT)
    return caught


_TO_CARRY = """
SELECT 1 FROM vpn_coordinator_carriage c JOIN nodes_node n ON n.id = c.gateway_id
WHERE n.name = ? AND c.brought_at IS NULL AND c.ended_at IS NULL
"""
_TO_RUN = """
SELECT 1 FROM tasks_attempt a JOIN nodes_node n ON n.id = a.node_id WHERE n.name = ? AND a.ended_at IS NULL
"""
