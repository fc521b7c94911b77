"""Which drivers this node has, found out by trying them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from fogagent.drivers import command, container
from fogagent.drivers.base import Permissions
from fogagent.drivers.engine import WASMTIME_VERSION
from fogagent.drivers.prepare import prepared
from fogagent.drivers.python import INTERPRETER_VERSION
from fogagent.messages import DriverFact

BEING_PREPARED = "The Python interpreter is being prepared on this node; it takes some seconds, once."


def driver_facts(permissions: Permissions, cache_dir: Path, preparation_error: str = "") -> list[DriverFact]:
    """One fact a driver. Blocks for up to some seconds: a sandbox and a container engine are tried.

    ``preparation_error`` says why the python driver never will be ready, if that is so.
    """
    return [
        DriverFact(name="wasm", available=True, version=f"wasmtime {WASMTIME_VERSION}"),
        _python(cache_dir, preparation_error),
        _command(permissions),
        _container(permissions),
    ]


def _python(cache_dir: Path, preparation_error: str) -> DriverFact:
    version = f"CPython {INTERPRETER_VERSION}"
    if prepared(cache_dir):
        return DriverFact(name="python", available=True, version=version)
    reason = preparation_error or BEING_PREPARED
    return DriverFact(name="python", available=False, reason=reason, version=version)


def _command(permissions: Permissions) -> DriverFact:
    reason = command.why_unusable() if permissions.allow_command else command.NOT_ENABLED
    if reason:
        return DriverFact(name="command", available=False, reason=reason)
    said = subprocess.run(["bwrap", "--version"], capture_output=True, text=True, check=True)
    return DriverFact(name="command", available=True, version=said.stdout.strip())


def _container(permissions: Permissions) -> DriverFact:
    if not permissions.allow_container:
        return DriverFact(name="container", available=False, reason=container.NOT_ENABLED)
    engine = container.find_engine()
    if engine.reason:
        return DriverFact(name="container", available=False, reason=engine.reason)
    return DriverFact(name="container", available=True, version=container.version_of(engine))
