"""The Dask side of `bench tasks`, run in an environment of its own: ``dask_peer.py MODULE TASKS SINGLES``.

A scheduler and two worker processes run the same WebAssembly module. Prints one JSON object. It imports
nothing of ours, and nothing that Dask's environment lacks.
"""

from __future__ import annotations

import base64
import json
import statistics
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import wasmtime


@cache
def compiled(encoded: str) -> tuple[wasmtime.Engine, wasmtime.Module]:
    engine = wasmtime.Engine()
    return engine, wasmtime.Module(engine, base64.b64decode(encoded))


def run_module(encoded: str, argument: str) -> str:
    engine, module = compiled(encoded)
    with tempfile.NamedTemporaryFile() as output:
        wasi = wasmtime.WasiConfig()
        wasi.argv = ["module", argument]
        wasi.stdout_file = output.name
        store = wasmtime.Store(engine)
        store.set_wasi(wasi)
        linker = wasmtime.Linker(engine)
        linker.define_wasi()
        start = linker.instantiate(store, module).exports(store)["_start"]
        assert isinstance(start, wasmtime.Func)
        start(store)
        return Path(output.name).read_text()


def main() -> None:
    from distributed import Client, LocalCluster

    module, tasks, singles = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.gather(client.map(run_module, [module] * 20, [f"warm {n}" for n in range(20)], pure=False))
        began = time.perf_counter()
        names = [f"many {n}" for n in range(tasks)]
        got = client.gather(client.map(run_module, [module] * tasks, names, pure=False))
        many = tasks / (time.perf_counter() - began)
        assert got == names
        began = time.perf_counter()
        futures = [client.submit(run_module, module, f"one {n}", pure=False) for n in range(tasks)]
        assert client.gather(futures) == [f"one {n}" for n in range(tasks)]
        one = tasks / (time.perf_counter() - began)
        times = []
        for number in range(singles):
            began = time.perf_counter()
            client.submit(run_module, module, f"single {number}", pure=False).result()
            times.append(1000 * (time.perf_counter() - began))
    print(json.dumps({"many": many, "one": one, "single_ms": statistics.median(times)}))


if __name__ == "__main__":
    main()
