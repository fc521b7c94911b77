"""Whether bytes are a WebAssembly module that nodes can run."""

from __future__ import annotations

import hashlib
from functools import cache

import wasmtime

KNOWN_MODULES = 100


def wrong_with(module: bytes) -> str:
    """What keeps these bytes from being a core WebAssembly module, as a sentence; empty if nothing."""
    if not module.startswith(b"\0asm"):
        start = module[:4].hex(" ") or "nothing"
        return f"must start with the bytes 00 61 73 6d of a WebAssembly module, starts with {start}."
    if module[4:8] == b"\x0d\0\1\0":
        return "is a WebAssembly component; build it as a core module for WASI preview 1 instead."
    return _known_modules.problem(module)


class _KnownModules:
    """What was found about the modules looked at last: the tasks of a batch mostly run the same one."""

    def __init__(self) -> None:
        self._found: dict[bytes, str] = {}

    def problem(self, module: bytes) -> str:
        digest = hashlib.sha256(module).digest()
        if digest not in self._found:
            if len(self._found) >= KNOWN_MODULES:
                self._found = {}
            self._found[digest] = _invalid(module)
        return self._found[digest]


_known_modules = _KnownModules()


def _invalid(module: bytes) -> str:
    try:
        wasmtime.Module.validate(_engine(), module)
    except wasmtime.WasmtimeError as error:
        reason = str(error).replace("\n", " ").strip().rstrip(".")
        return f"is truncated or not valid WebAssembly: {reason[:300]}."
    return ""


@cache
def _engine() -> wasmtime.Engine:
    return wasmtime.Engine()
