"""The WebAssembly engine of this node, and the modules compiled for it.

Loading a compiled module is code execution: the engine trusts it. So compiled modules live in a
directory that only we can write to, under a name that binds the module's content, the wasmtime
version and every setting that changes the code.
"""

from __future__ import annotations

import hashlib
import os
import platform
import stat
import tempfile
from collections import OrderedDict
from importlib.metadata import version
from pathlib import Path

import wasmtime

WASMTIME_VERSION = version("wasmtime")

# Off: whatever would let a module hold memory that the limit on its one linear memory does not see.
ENGINE_SETTINGS = {
    "consume_fuel": True,
    "wasm_threads": False,
    "wasm_multi_memory": False,
    "wasm_memory64": False,
    "wasm_gc": False,
    "wasm_exceptions": False,
}
ENGINE_KEY = hashlib.sha256(
    repr((WASMTIME_VERSION, platform.machine(), sorted(ENGINE_SETTINGS.items()))).encode()
).hexdigest()[:16]

MODULES_IN_MEMORY = 64
CACHE_BYTES = 512 * 1024 * 1024


class CacheError(Exception):
    """The cache directory cannot be trusted. The message says why and what to do."""


def private_directory(path: Path) -> Path:
    """Make ``path`` a directory that only this user can enter.

    Raises:
        CacheError: it exists and belongs to somebody else, or others may enter it.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise CacheError(f"{path} must be a directory, not a link or a file. Move it away.")
    if found.st_uid != os.getuid():
        raise CacheError(f"{path} belongs to another user. Give the agent a directory of its own.")
    if found.st_mode & 0o077:
        raise CacheError(f"Others can enter {path}. Run: chmod 700 {path}")
    return path


def new_engine() -> wasmtime.Engine:
    config = wasmtime.Config()
    for name, value in ENGINE_SETTINGS.items():
        setattr(config, name, value)
    return wasmtime.Engine(config)


class ModuleCache:
    """Compiled modules, in memory and on disk, ready to be instantiated with WASI."""

    def __init__(self, directory: Path) -> None:
        self.directory = private_directory(directory)
        self.engine = new_engine()
        self._linker = wasmtime.Linker(self.engine)
        self._linker.define_wasi()
        self._ready: OrderedDict[str, wasmtime.InstancePre] = OrderedDict()

    def path_of(self, sha256: str) -> Path:
        return compiled_path(self.directory, sha256)

    def compile(self, module: bytes) -> wasmtime.InstancePre:
        """The module, compiled now if it never was here.

        Raises:
            wasmtime.WasmtimeError: it is not a module, or imports what WASI does not have.
        """
        sha256 = hashlib.sha256(module).hexdigest()
        ready = self.load(sha256)
        if ready is None:
            compiled = wasmtime.Module(self.engine, module)
            store_file(self.path_of(sha256), bytes(compiled.serialize()))
            trim(self.directory, CACHE_BYTES)
            ready = self._keep(sha256, compiled)
        return ready

    def compile_unkept(self, module: bytes) -> wasmtime.InstancePre:
        """As `compile`, but it leaves no trace: neither the module, nor that one of this hash was used."""
        return self._linker.instantiate_pre(wasmtime.Module(self.engine, module))

    def load(self, sha256: str) -> wasmtime.InstancePre | None:
        """The module of this hash if it was compiled before, else None."""
        ready = self._ready.get(sha256)
        if ready is not None:
            self._ready.move_to_end(sha256)
            return ready
        path = self.path_of(sha256)
        if not path.exists():
            return None
        try:
            compiled = wasmtime.Module.deserialize_file(self.engine, str(path))
        except wasmtime.WasmtimeError:
            path.unlink(missing_ok=True)  # cut short, or made on another processor: compile again
            return None
        os.utime(path)  # so that `trim` takes what was not used for longest
        return self._keep(sha256, compiled)

    def _keep(self, sha256: str, compiled: wasmtime.Module) -> wasmtime.InstancePre:
        ready = self._ready[sha256] = self._linker.instantiate_pre(compiled)
        while len(self._ready) > MODULES_IN_MEMORY:
            self._ready.popitem(last=False)
        return ready


def compiled_path(directory: Path, sha256: str) -> Path:
    """Where the compiled form of the module with this hash is kept."""
    return directory / f"{sha256}-{ENGINE_KEY}.cwasm"


def store_file(path: Path, content: bytes) -> None:
    """Write a file that others see whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        file.write(content)
    Path(file.name).rename(path)


def trim(directory: Path, limit_bytes: int) -> None:
    """Remove the compiled modules that were not used for longest until the rest fits."""
    found = []
    for path in directory.glob("*.cwasm"):
        try:
            found.append((path.stat().st_mtime, path.stat().st_size, path))
        except FileNotFoundError:
            continue  # another worker trims too
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= limit_bytes:
            return
        path.unlink(missing_ok=True)
        total -= size
