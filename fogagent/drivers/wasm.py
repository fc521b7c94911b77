"""The `wasm` driver: WASI command modules, with no files and no sockets."""

from __future__ import annotations

import wasmtime

from fogagent.drivers import wasi
from fogagent.drivers.base import Ending, Job
from fogagent.drivers.workshop import Workshop
from fogagent.messages import Outcome

CORE_MODULE = b"\0asm\x01\x00\x00\x00"


def run(job: Job, workshop: Workshop) -> Ending:
    """Run the module in ``job.payload``; ``job.args`` follow the program's name, ``module.wasm``."""
    if not job.payload.startswith(CORE_MODULE):
        return _invalid(
            "payload: must be a WebAssembly core module in binary form (not text, not a component)."
        )
    try:
        compile_ = workshop.modules.compile_unkept if job.sealed else workshop.modules.compile
        module = compile_(job.payload)
    except wasmtime.WasmtimeError as error:
        return _invalid(f"payload: must be a WASI module that can run here: {_first_line(error)}")
    with workshop.stdin_file(job) as stdin:
        program = wasi.Program(module=module, argv=("module.wasm", *job.args), stdin=stdin)
        try:
            return wasi.execute(workshop.modules.engine, program, job, workshop.capture)
        except wasi.NotACommandError:
            return _invalid("payload: must be a WASI command; this module does not export `_start`.")


def _invalid(sentence: str) -> Ending:
    return Ending(outcome=Outcome.INVALID, sentence=sentence)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
