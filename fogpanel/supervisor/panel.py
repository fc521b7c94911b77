"""The whole panel: its processes started in order, watched, and stopped in the opposite order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from fogpanel.supervisor import address, broker, fleet, preparation, programs
from fogpanel.supervisor.broker import BROKER
from fogpanel.supervisor.child import Child, Program
from fogpanel.supervisor.console import Say
from fogpanel.supervisor.places import DataFolder
from fogpanel.supervisor.preparation import Beginning
from fogpanel.supervisor.problems import CannotStart
from fogpanel.supervisor.programs import BEAT, WEB, WORKER
from fogpanel.supervisor.running import Running, write_running
from fogpanel.supervisor.waiting import until

FIRST_ADMIN = "admin"
OURS = {WEB, WORKER, BEAT, BROKER}
PATIENCE_S = 60.0
"""How long the panel may take from its start to its first answer."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What `./fog up` was asked for. Port 0 means any that is free."""

    host: str = "127.0.0.1"
    port: int = 8000
    data: Path
    agents: int = 5


class Panel:
    """One running panel. `start` returns when it answers; `stop` leaves no process behind."""

    def __init__(self, wishes: Wishes, say: Say) -> None:
        self.wishes = wishes
        self.data = DataFolder(wishes.data.resolve())
        self.admin_password: str | None = None
        self._say = say
        self._ready = False
        self._children: list[Child] = []
        self._listener: socket.socket | None = None
        self._env: dict[str, str] = {}
        self.url = self.local_url = ""

    async def start(self) -> None:
        """Raises CannotStart, with nothing left running."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        self._listen()
        await preparation.prepare_files(self.data, self._say)
        await self._start_broker()
        agents = fleet.local_agents(self.wishes.agents)
        newcomers = sum(not (self.data.agent(agent.name) / "panel.json").exists() for agent in agents)
        beginning = await preparation.begin(self.data, self._env, joining=newcomers)
        self.admin_password = beginning.admin_password
        web = programs.web_server(self._fileno(), behind_proxy=self.url.startswith("https://"))
        for program in (web, programs.worker(), programs.beat()):
            self._run(program)
        await self._answering()
        for agent in agents:
            self._run_agent(agent, beginning)
        self._ready = True
        self._tell_others()

    async def stop(self) -> None:
        """Within 5 s: agents say goodbye to a panel that still listens, and the broker goes last."""
        self._ready = False
        await asyncio.gather(self._stop_agents_then_web(), self._stop(WORKER, BEAT))
        await self._stop(BROKER)
        if self._listener is not None:
            self._listener.close()

    async def _stop_agents_then_web(self) -> None:
        await self._stop(*(child.program.name for child in self._children if child.program.name not in OURS))
        await self._stop(WEB)

    async def _stop(self, *names: str) -> None:
        await asyncio.gather(*(child.stop() for child in self._children if child.program.name in names))

    def _listen(self) -> None:
        self._listener = address.listen(self.wishes.host, self.wishes.port)
        port = self._listener.getsockname()[1]
        self.url = address.public_url(self.wishes.host, port)
        self.local_url = address.local_url(self.wishes.host, port)
        self._env = {
            "FOGPANEL_DATA": str(self.data.path),
            "FOGPANEL_URL": self.url,
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": "fogpanel.settings",
        }

    def _fileno(self) -> int:
        assert self._listener is not None
        return self._listener.fileno()

    async def _start_broker(self) -> None:
        if os.environ.get("REDIS_URL"):
            return
        embedded = broker.prepare(self.data.broker)
        self._env["REDIS_URL"] = embedded.url
        self._run(embedded.program)
        await embedded.wait()

    def _run(self, program: Program) -> None:
        child = Child(replace(program, env={**self._env, **program.env}), self._say, self._tell_others)
        self._children.append(child)
        child.start()

    def _run_agent(self, agent: fleet.LocalAgent, beginning: Beginning) -> None:
        preparation.share_compiled(self.data.agent(agent.name) / "cache")
        self._run(
            fleet.agent_program(
                agent,
                self.data,
                url=self.url if self.url.startswith("https://") else self.local_url,
                panel_key=beginning.panel_key,
                join_key=beginning.join_key,
            )
        )

    async def _answering(self) -> None:
        """Wait until the panel answers. Raises CannotStart when it does not in time."""
        async with local_client(self) as client:

            async def answers() -> bool:
                with contextlib.suppress(httpx.TransportError):
                    return (await client.get("/health")).is_success
                return False

            if not await until(answers, within_s=PATIENCE_S):
                raise CannotStart(f"The panel did not answer within {PATIENCE_S:g} s; its log is above.")

    def _tell_others(self) -> None:
        children = {child.program.name: child.pid for child in self._children}
        broker_url = os.environ.get("REDIS_URL") or self._env.get("REDIS_URL", "")
        write_running(self.data, Running(os.getpid(), self.url, broker_url, self._ready, children))


def local_client(panel: Panel) -> httpx.AsyncClient:
    """A client for this panel's HTTP, past any proxy."""
    # Where a proxy ends TLS it says so; asking as it would keeps us from being sent to it.
    headers = {"X-Forwarded-Proto": "https"} if panel.url.startswith("https://") else {}
    return httpx.AsyncClient(base_url=panel.local_url, trust_env=False, timeout=30, headers=headers)


def greeting(panel: Panel) -> str:
    """What a person reads when the panel is up."""
    lines = ["", f"  Fogpanel is up:  {panel.url}"]
    if panel.admin_password and not os.environ.get("FOGPANEL_ADMIN_PASSWORD"):
        lines += first_sign_in(panel.admin_password)
    return "\n".join([*lines, "  Ctrl-C stops it.", ""])


def first_sign_in(password: str) -> list[str]:
    """Lines that tell the first admin's password."""
    return [
        f"  Sign in as       {FIRST_ADMIN}",
        f"  with password    {password}",
        "                   The password is shown this once: keep it.",
    ]
