"""A throw-away PostgreSQL for tests: a cluster of its own in a temporary folder, on a free loopback port.

PostgreSQL refuses to run as root; started by root, it runs as the user of the system's package, or as
nobody, in a folder that belongs to that user.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fogpanel.supervisor.broker import free_port
from fogpanel.supervisor.lifeline import bound_to

if TYPE_CHECKING:
    from psycopg import Connection

USER = DATABASE = "fogpanel"
USERS = ("postgres", "nobody")
DEBIAN = Path("/usr/lib/postgresql")
PATIENCE_S = 30.0

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    # A killed server reads its log and loses nothing; only a machine that loses power would.
    "fsync": "off",
}


def find_programs() -> Path | None:
    """The folder of initdb and postgres; Debian's is not on the PATH. None where there is none."""
    newest = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]), reverse=True)
    on_path = shutil.which("initdb")
    found = [*newest, *([Path(on_path).resolve()] if on_path else [])]
    return next((path.parent for path in found if (path.parent / "postgres").exists()), None)


def unprivileged() -> str | None:
    """The user to run it as when we are root; None when we are not."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(user for user in USERS if user in known)


class Postgres:
    """One cluster. It may be stopped and started again, and keeps its address and what it stored."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._user = unprivileged()
        self._cluster = folder / "cluster"
        self._password = secrets.token_urlsafe(16)
        self.log = folder / "postgres.log"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._initialise(folder)

    @property
    def url(self) -> str:
        return f"postgres://{USER}:{self._password}@127.0.0.1:{self.port}/{DATABASE}"

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = ["postgres", "-D", str(self._cluster), "-p", str(self.port), *options]
        self._process = self._spawn(command)
        deadline = time.monotonic() + PATIENCE_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """As an administrator would in a hurry: connections are cut, what is committed is kept."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)
            self._process.wait(PATIENCE_S)
            self._process = None

    def _initialise(self, folder: Path) -> None:
        if self._user is not None:
            shutil.chown(folder, self._user)
        secret = folder / "password"
        secret.write_text(self._password)
        if self._user is not None:
            shutil.chown(secret, self._user)
        authentication = ["--auth=scram-sha-256", f"--username={USER}", f"--pwfile={secret}"]
        locale = ["--encoding=UTF8", "--locale=C.UTF-8"]
        made = self._spawn(["initdb", "-D", str(self._cluster), "--no-sync", *authentication, *locale])
        if made.wait() != 0:
            raise RuntimeError(f"initdb failed: {self.log.read_text()[-2000:]}")
        self.start()
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {DATABASE}")

    def connect(self, database: str = DATABASE) -> Connection:
        """A connection that commits each statement. Raises psycopg.OperationalError."""
        import psycopg  # not at the top: whoever starts a panel does without it

        address = f"{self.url.rpartition('/')[0]}/{database}"
        return psycopg.connect(address, autocommit=True, connect_timeout=2)

    def _answers(self) -> bool:
        import psycopg

        with suppress(psycopg.OperationalError):
            self.connect("postgres").close()
            return True
        return False

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(self._programs / command[0]), *command[1:]],
                cwd="/",
                env={"PATH": os.defpath, "LANG": "C.UTF-8", "TZ": "UTC"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
                group=pwd.getpwnam(self._user).pw_gid if self._user else None,
                extra_groups=[] if self._user else None,
                start_new_session=True,
                preexec_fn=bound_to(os.getpid()),
            )


@contextmanager
def throw_away() -> Iterator[Postgres | None]:
    """A running server for as long as the block lasts; None where PostgreSQL is not installed."""
    programs = find_programs()
    if programs is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="fogpanel-postgres-") as folder:
        server = Postgres(programs, Path(folder))
        try:
            yield server
        finally:
            server.stop()
