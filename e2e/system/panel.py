"""A real panel for tests: `./fog up` on a free port and a temporary folder, with short heartbeats."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from e2e.system.api import ADMIN, PATIENCE_S, Api, until
from fogpanel.supervisor.fleet import local_agents
from fogpanel.supervisor.lifeline import bound_to
from fogpanel.supervisor.places import ROOT, DataFolder
from fogpanel.supervisor.preparation import share_compiled
from fogpanel.supervisor.running import Running, read_running
from fogpanel.supervisor.up import ELSEWHERE

__all__ = ["ADMIN", "Panel", "until"]  # with the two that all who have a panel need

HEARTBEAT_S = 0.5
TIMEOUT_S = 2.0
SWEEP_S = 1.0

START_S = 240.0
"""The first start compiles Python: ten seconds of a core, which a busy machine shares with many."""

SHORT_TIMES = {
    "FOGPANEL_HEARTBEAT_S": str(HEARTBEAT_S),
    "FOGPANEL_TIMEOUT_S": str(TIMEOUT_S),
    "FOGPANEL_SWEEP_S": str(SWEEP_S),
}


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def supervisor_command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "fogpanel.supervisor", *arguments]


def supervisor_env(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    return {**kept, "PYTHONPATH": str(ROOT), **SHORT_TIMES, **more}


class Panel(Api):
    """Starts on entering, stops on leaving; what every process said is in ``log``."""

    def __init__(self, folder: Path, *, agents: int = 3, **env: str) -> None:
        super().__init__("", secrets.token_urlsafe(12))
        self.data = DataFolder(folder / "data")
        self.log = folder / "panel.log"
        self.agents = [agent.name for agent in local_agents(agents)]
        self._folder = folder
        self._env = supervisor_env(FOGPANEL_ADMIN_PASSWORD=self.password, **env)
        self._process: subprocess.Popen[bytes] | None = None
        self._others: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for other in self._others:
            other.kill()
            other.wait()
        self.forget_client()
        self.stop()

    # --- The panel's processes -------------------------------------------------------------------

    def start(self) -> None:
        """Start it and wait until it answers and all agents can work; the port is another each time."""
        self.launch()
        until("the panel is up", self._is_up, START_S)
        until("the agents are in", lambda: all(map(self.runs_python, self.agents)), START_S)

    def launch(self) -> None:
        """Start it and return at once."""
        self.forget_client()
        arguments = ["up", "--port", "0", "--data", str(self.data.path), "--agents", str(len(self.agents))]
        self._process = self._spawn(supervisor_command(*arguments), self._env)

    def stop(self) -> int:
        """Ask it to stop and return its exit code."""
        assert self._process is not None
        self.forget_client()
        for pid in self.pids().values():  # a frozen process cannot end in order
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(PATIENCE_S)

    def kill_supervisor(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @property
    def running(self) -> Running:
        found = read_running(self.data)
        assert found is not None, self.tail()
        return found

    @property
    def url(self) -> str:
        return self.running.url

    def pids(self) -> dict[str, int]:
        found = read_running(self.data)
        return {name: pid for name, pid in found.children.items() if pid} if found else {}

    def kill(self, name: str) -> None:
        """kill -9 one process and wait until the supervisor has started it again."""
        before = self.pids()[name]
        os.kill(before, signal.SIGKILL)
        until(f"{name} runs again", lambda: self.pids().get(name, before) != before)

    @contextlib.contextmanager
    def frozen(self, *names: str) -> Iterator[None]:
        """Let these processes do nothing for a while."""
        pids = [self.pids()[name] for name in names]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def join(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        """Join one more agent as a user would, not kept by the supervisor; returns when it can work."""
        process = self.start_agent(name, *options)
        until(f"{name} is in and can run Python", lambda: self.runs_python(name))
        return process

    def start_agent(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        """Start an agent, for the first time or again, and return at once."""
        share_compiled(self.home(name) / "cache")  # five seconds of two cores otherwise
        key = self.post("/join-keys", {"note": name})["key"]
        command = [sys.executable, "-P", "-m", "fogagent", "agent", "--join", self.url, "--name", name]
        command += ["--state", str(self.home(name)), *options]
        process = self._spawn(command, {**self._env, "FOG_JOIN_KEY": key})
        self._others.append(process)
        return process

    def home(self, name: str) -> Path:
        """The folder of an agent that was joined."""
        return self._folder / name

    def runs_python(self, name: str) -> bool:
        node = self.nodes().get(name)
        if node is None or not node["connected"]:
            return False
        drivers = self.get(f"/nodes/{node['id']}")["drivers"]
        return any(driver["name"] == "python" and driver["available"] for driver in drivers)

    def tail(self, characters: int = 4000) -> str:
        return self.log.read_text(errors="replace")[-characters:]

    def _spawn(self, command: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=bound_to(os.getpid()),
            )

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.tail()
        found = read_running(self.data)
        return found is not None and found.pid == self._process.pid and found.ready
