"""The Celery side of `bench tasks`: the same WebAssembly module, run in Celery's own worker processes."""

from __future__ import annotations

import base64
import os
import tempfile
from functools import cache
from pathlib import Path

import wasmtime
from celery import Celery

app = Celery("celery_peer", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.worker_prefetch_multiplier = 4


@cache
def _engine() -> wasmtime.Engine:
    return wasmtime.Engine()


@cache
def _module(encoded: str) -> wasmtime.Module:
    return wasmtime.Module(_engine(), base64.b64decode(encoded))


@app.task
def run_module(encoded: str, argument: str) -> str:
    """What the module prints for this argument."""
    with tempfile.NamedTemporaryFile() as output:
        wasi = wasmtime.WasiConfig()
        wasi.argv = ["module", argument]
        wasi.stdout_file = output.name
        store = wasmtime.Store(_engine())
        store.set_wasi(wasi)
        linker = wasmtime.Linker(_engine())
        linker.define_wasi()
        start = linker.instantiate(store, _module(encoded)).exports(store)["_start"]
        assert isinstance(start, wasmtime.Func)
        start(store)
        return Path(output.name).read_text()
