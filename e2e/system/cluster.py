"""Two of everything: two hosts with web server, worker and beat each, on PostgreSQL and one broker.

The programs are those of the unit files in docs/deploy, kept running as systemd would. Agents and clients
come through one balanced address, or ask one host directly. Hosts share no folder: what the second one
needs of the first is copied as the guide says.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from e2e.system import units
from e2e.system.api import Api, until
from e2e.system.balancer import Balancer
from e2e.system.panel import supervisor_command, supervisor_env
from fogpanel.supervisor import broker
from fogpanel.supervisor.broker import free_port
from fogpanel.supervisor.lifeline import bound_to
from fogpanel.supervisor.places import ROOT
from fogpanel.supervisor.postgres import Postgres
from fogpanel.supervisor.preparation import share_compiled

HOSTS = ("a", "b")
PROGRAMS = ("web", "worker", "beat")
BROKER = "broker"
SHARED_FILES = ("secret_key", "panel.key")
"""What every host of a panel has the same of: see docs/deployment.md."""
UNHURRIED = {"FOGPANEL_HEARTBEAT_S": "1", "FOGPANEL_TIMEOUT_S": "8"}
"""Six programs and their agents share the cores: what is slow must not be taken for dead."""
LOOK_EVERY_S = 0.1
RESTART_S = 0.5
STOP_S = 10.0


@dataclass
class Kept:
    """A process that is started again when it ends."""

    argv: list[str]
    env: Mapping[str, str]
    log: Path
    cwd: Path = ROOT
    process: subprocess.Popen[bytes] | None = None
    ended_at: float = 0.0

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv,
                cwd=self.cwd,
                env=dict(self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=bound_to(os.getpid()),
            )

    def keep(self, now: float) -> None:
        if self.process is None or self.process.poll() is None:
            self.ended_at = 0.0
        elif not self.ended_at:
            self.ended_at = now
        elif now - self.ended_at >= RESTART_S:
            self.start()

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    def wait(self, within_s: float) -> None:
        """Until it has ended; then it is made to."""
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(within_s)
            self.process.kill()
            self.process.wait()


class Cluster(Api):
    """Starts on entering, stops on leaving. Its own API goes through the balanced address."""

    def __init__(self, folder: Path, database: Postgres, *, agents: int = 4, **env: str) -> None:
        super().__init__("", secrets.token_urlsafe(12))
        self.database = database
        self.agents = [f"node-{number}" for number in range(agents)]
        self.kept: dict[str, Kept] = {}
        self._folder = folder
        self._ports = {host: free_port() for host in HOSTS}
        self.balancer = Balancer(list(self._ports.values()))
        self._hosts = {
            host: Api(f"http://127.0.0.1:{port}", self.password) for host, port in self._ports.items()
        }
        self._more_env = {**UNHURRIED, **env}
        self._keeper = threading.Thread(target=self._keep_all, daemon=True)
        self._lock = threading.Lock()
        self._stopping = False
        self._stopped = threading.Event()

    # --- Starting and stopping -------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        self.balancer.start()
        embedded = broker.prepare(self._folder / BROKER)
        self._env = supervisor_env(
            FOGPANEL_URL=f"http://127.0.0.1:{self.balancer.port}",
            FOGPANEL_ADMIN_PASSWORD=self.password,
            DATABASE_URL=self.database.url,
            REDIS_URL=embedded.url,
        )
        self._env |= self._more_env
        self._keep(BROKER, list(embedded.program.argv), {}, Path("/"))
        self._keeper.start()
        self._prepare_hosts()
        for host in HOSTS:
            for name in PROGRAMS:
                self._start_program(host, name)
        for host in HOSTS:
            until(f"host {host} answers", self.host(host).is_up)
        for number, agent in enumerate(self.agents):
            self._start_agent(agent, HOSTS[number % len(HOSTS)])
        until("the agents are in", lambda: set(self.agents) <= self.working_nodes())

    def _prepare_hosts(self) -> None:
        """The first host makes the panel; the others are given its keys first."""
        first = self.data(HOSTS[0])
        for host in HOSTS:
            if host != HOSTS[0]:
                self.data(host).mkdir(mode=0o700)
                for name in SHARED_FILES:
                    shutil.copy2(first / name, self.data(host) / name)
            done = subprocess.run(
                supervisor_command("prepare", "--data", str(self.data(host))),
                cwd=ROOT,
                env=self._env,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr

    def _start_program(self, host: str, name: str) -> None:
        unit = f"fogpanel-{name}"
        env = {**self._env, **units.environment(unit), "FOGPANEL_DATA": str(self.data(host))}
        del env["PYTHONPATH"]  # they find the panel in their working directory
        self._keep(f"{host}/{name}", units.command(unit, self._ports[host]), env)

    def _start_agent(self, name: str, host: str) -> None:
        """An agent that keeps to the balanced address; it enrols by the host named."""
        share_compiled(self._folder / name / "cache")
        key = self.host(host).post("/join-keys", {"note": name})["key"]
        command = [sys.executable, "-P", "-m", "fogagent", "agent", "--join", self.url, "--name", name]
        command += ["--state", str(self._folder / name), "--cores", "0.5", "--memory-mb", "512"]
        command += ["--flags", "compute,relay,entry"]
        self._keep(name, command, {**self._env, "FOG_JOIN_KEY": key})

    def _keep(self, name: str, argv: list[str], env: Mapping[str, str], cwd: Path = ROOT) -> None:
        log = self._folder / f"{name.replace('/', '-')}.log"
        kept = Kept(argv, {"PATH": os.environ["PATH"], **env}, log, cwd)
        kept.start()
        self.kept[name] = kept

    def _keep_all(self) -> None:
        """In a thread that lives as long as the cluster: the kernel ends with it what it started."""
        while not self._stopped.wait(LOOK_EVERY_S):
            with self._lock:
                for kept in [] if self._stopping else list(self.kept.values()):
                    kept.keep(time.monotonic())

    def stop(self) -> None:
        for api in (self, *self._hosts.values()):
            api.forget_client()
        with self._lock:
            self._stopping = True
        for kept in self._but_the_broker():
            kept.signal(signal.SIGTERM)
        for kept in self._but_the_broker():
            kept.wait(STOP_S)
        self.kept[BROKER].wait(0)
        self._stopped.set()
        if self._keeper.is_alive():
            self._keeper.join()
        self.balancer.stop()

    def _but_the_broker(self) -> list[Kept]:
        return [kept for name, kept in self.kept.items() if name != BROKER]

    # --- What there is ---------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.balancer.port}"

    def data(self, host: str) -> Path:
        return self._folder / f"data-{host}"

    def host(self, name: str) -> Api:
        """The API of one host, past the balancer."""
        return self._hosts[name]

    def pid(self, name: str) -> int | None:
        process = self.kept[name].process
        return process.pid if process is not None and process.poll() is None else None

    def kill(self, name: str) -> None:
        """kill -9; it is started again after a moment."""
        if (pid := self.pid(name)) is not None:
            os.kill(pid, signal.SIGKILL)

    def tail(self, characters: int = 4000) -> str:
        """The last words of every process."""
        logs = sorted(self._folder.glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-characters:]}" for log in logs)
