"""One worker process, as the pool sees it: its socket, its life, and the job it runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import fogagent
from fogagent.drivers import wire
from fogagent.drivers.base import Job

STOP_GRACE_S = 0.4
"""How long a worker that was told to stop may take to hand over output and usage before the kill."""
PACKAGE_ROOT = Path(fogagent.__file__).resolve().parents[1]


log = logging.getLogger("fogagent")


class Listener(Protocol):
    """Whom a child tells what happens to it. Everything is called on the event loop. What its worker cannot
    rightly have said may raise `wire.BadMessage`, which ends the worker."""

    def child_ready(self, child: Child) -> None: ...

    def child_output(self, child: Child, output: wire.Output) -> None: ...

    def child_ended(self, child: Child, ended: wire.Ended) -> None: ...

    def child_gone(self, child: Child) -> None: ...


class Child(asyncio.Protocol):
    """A worker process and our end of its socket pair."""

    def __init__(self, setup: wire.Setup, listener: Listener) -> None:
        self.ready = False
        self.stopping = False
        self.jobs_given = 0
        self.fault = ""
        """What it sent that no worker of ours would, if it was ended for that."""
        self.busy = False
        self.since = 0.0  # loop time of the last change between idle and busy
        self._listener = listener
        self._scratch = Path(setup.scratch)
        self._scratch.mkdir(mode=0o700, parents=True)
        self._unpacker = wire.Unpacker(wire.FROM_WORKER_BYTES)
        self._transport: asyncio.Transport | None = None
        self._unsent = wire.pack(setup)
        ours, theirs = socket.socketpair()
        with theirs:
            self._socket = ours
            self._process = _start(theirs)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def connect(self) -> None:
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=self._socket)

    def give(self, job: Job) -> None:
        """Have the worker run ``job``. It must be ready and have none."""
        assert self.ready and self._transport is not None
        self.jobs_given += 1
        self.busy = True
        self._transport.write(wire.pack(job))

    def stop(self) -> None:
        """Tell the worker to end now, running or not; kill it when it does not."""
        if self.stopping:
            return
        self.stopping = True
        if self._transport is None:
            self.kill()
        elif not self._transport.is_closing():
            self._transport.write_eof()
            asyncio.get_running_loop().call_later(STOP_GRACE_S, self.kill)

    def kill(self) -> None:
        """Kill the worker and whatever it started, if it still lives."""
        # The process was not waited for yet, so its id cannot have become somebody else's.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    async def bury(self) -> int:
        """Wait for the process to be over, remove its scratch directory; return its exit status."""
        self.kill()
        status = await asyncio.to_thread(self._process.wait)
        shutil.rmtree(self._scratch, ignore_errors=True)
        return status

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._unsent)
        self._unsent = b""

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._unpacker.feed(data):
                self._hear(wire.decode_from_worker(body))
        except wire.BadMessage as error:
            self._distrust(str(error))

    def _hear(self, message: wire.FromWorker) -> None:
        match message:
            case wire.Ended() if self.busy:
                self.busy = False  # before it is given the next one
                self._listener.child_ended(self, message)
            case wire.Output() if self.busy:
                self._listener.child_output(self, message)
            case wire.Ready() if not self.ready:
                self.ready = True
                self._listener.child_ready(self)
            case _:
                raise wire.BadMessage(f"The worker said {type(message).__name__} out of turn.")

    def _distrust(self, fault: str) -> None:
        """Nothing that it says counts any more."""
        log.warning("A worker was killed: %s", fault)
        self.fault = fault
        self.stopping = True
        self.kill()
        if self._transport is not None:
            self._transport.abort()

    def eof_received(self) -> None:
        """The worker is gone; returning nothing closes our end too."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.child_gone(self)


def _start(channel: socket.socket) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C in the agent's terminal is the agent's to handle, and the group
    # can be killed as one.
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "fogagent.drivers.worker"],
        stdin=channel.fileno(),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        env=worker_environment(),
    )


def worker_environment() -> dict[str, str]:
    """Our environment without the agent's own settings, which may hold its join key."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FOG_")}
    inherited = kept.get("PYTHONPATH")
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (str(PACKAGE_ROOT), inherited)))
    return kept
