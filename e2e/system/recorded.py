"""Run one of our programs and write down what it says and hears: `python -m e2e.system.recorded MODULE ARGS…`

- `fogagent`: the frames on its links, the messages on its socket to the panel, and which jobs it begins.
- `fogpanel.supervisor`: of the web server that it starts, requests, answers and messages on sockets.

All of it is taken above TLS, where whoever holds the connection's keys can read it.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

from e2e.system.traffic import TrafficLog

ORDINARY, RECORDED = "fogpanel.asgi:application", "e2e.system.recorded_panel:application"


def main(argv: Sequence[str]) -> None:
    module, *arguments = argv
    if module == "fogagent":
        record_agent(TrafficLog(arguments[arguments.index("--name") + 1]))
    else:
        have_panel_recorded()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def have_panel_recorded() -> None:
    """The web server that our supervisor starts is to serve the panel as `recorded_panel` wraps it."""
    from fogpanel.supervisor import programs
    from fogpanel.supervisor.child import Program

    make = programs.web_server

    def web_server(listener: int, *, behind_proxy: bool) -> Program:
        program = make(listener, behind_proxy=behind_proxy)
        assert program.argv[-1] == ORDINARY
        return replace(program, argv=(*program.argv[:-1], RECORDED))

    programs.web_server = web_server


def record_agent(log: TrafficLog) -> None:
    record_links(log)
    record_socket(log)
    record_jobs(log)


def record_links(log: TrafficLog) -> None:
    from fogagent.overlay.link import Link
    from fogagent.overlay.links import Links

    begin, send = Links.__init__, Link.send

    def begin_recorded(
        self: Links, certificate: Any, on_frame: Callable[[Link, int, bytes], None], *args: Any, **more: Any
    ) -> None:
        def heard(link: Link, kind: int, payload: bytes) -> None:
            log.note("link", "in", link.peer.hex(), payload)
            on_frame(link, kind, payload)

        begin(self, certificate, heard, *args, **more)

    def send_recorded(self: Link, kind: int, payload: bytes) -> None:
        log.note("link", "out", self.peer.hex(), payload)
        send(self, kind, payload)

    _replace(Links, "__init__", begin_recorded)
    _replace(Link, "send", send_recorded)


def record_socket(log: TrafficLog) -> None:
    from websockets.asyncio.connection import Connection

    send, receive = Connection.send, Connection.recv

    async def send_recorded(self: Connection, message: str) -> None:
        log.note("socket", "out", "panel", message)
        await send(self, message)

    async def receive_recorded(self: Connection) -> str | bytes:
        message: str | bytes = await receive(self)
        log.note("socket", "in", "panel", message)
        return message

    _replace(Connection, "send", send_recorded)
    _replace(Connection, "recv", receive_recorded)


def record_jobs(log: TrafficLog) -> None:
    from fogagent.drivers.pool import Pool

    run = Pool.run

    async def run_recorded(self: Pool, job: Any, *args: Any, **more: Any) -> Any:
        log.note("job", "in", str(job.attempt))
        return await run(self, job, *args, **more)

    _replace(Pool, "run", run_recorded)


def _replace(owner: type, name: str, by: Callable[..., Any]) -> None:
    setattr(owner, name, wraps(getattr(owner, name))(by))


if __name__ == "__main__":
    main(sys.argv[1:])
