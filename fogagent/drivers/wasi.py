"""Running one WASI command module to its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import wasmtime

from fogagent.drivers.base import Ending, Job, ending_of_exit
from fogagent.drivers.capture import Capture
from fogagent.messages import Outcome

FUEL_PER_CORE_SECOND = 40_000_000_000
"""More WebAssembly instructions than any core executes in a second (a 3 GHz one measures 1 to 10 · 10⁹).

So a job that asked for a whole core ends by its time limit, never by this; one that asked for a
fraction of a core gets that fraction of the instructions for each second of its time limit.
"""
MAX_FUEL = 2**63 - 1
WASM_PAGE_BYTES = 64 * 1024
MAX_TABLE_ELEMENTS = 1_000_000
MB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A compiled module and what it is to see. ``visible`` is shown read-only as ``visible_as``."""

    module: wasmtime.InstancePre
    argv: Sequence[str]
    stdin: Path | None = None
    visible: Path | None = None
    visible_as: str = ""


def fuel_for(job: Job) -> int:
    return min(MAX_FUEL, max(1, int(FUEL_PER_CORE_SECOND * job.timeout_s * job.cpu_millis / 1000)))


def execute(engine: wasmtime.Engine, program: Program, job: Job, capture: Capture) -> Ending:
    """Run ``program`` within the limits of ``job``. Blocks; the worker's life bounds its wall time."""
    store = wasmtime.Store(engine)
    try:
        store.set_limits(
            memory_size=job.memory_mb * MB, table_elements=MAX_TABLE_ELEMENTS, instances=1, memories=1
        )
        fuel = fuel_for(job)
        store.set_fuel(fuel)
        store.set_wasi(_configure(program, job, capture))
        return _Run(store, fuel, job).ending(program.module)
    finally:
        store.close()


def _configure(program: Program, job: Job, capture: Capture) -> wasmtime.WasiConfig:
    config = wasmtime.WasiConfig()
    config.argv = list(program.argv)
    if job.env:
        config.env = list(job.env.items())
    if program.stdin is not None:
        config.stdin_file = program.stdin
    if program.visible is not None:
        config.preopen_dir(str(program.visible), program.visible_as, False)
    config.stdout_file = capture.stdout.path
    config.stderr_file = capture.stderr.path
    return config


class _Run:
    """One call of ``_start``: its store, the fuel it was given, and its memory once there is one."""

    def __init__(self, store: wasmtime.Store, fuel: int, job: Job) -> None:
        self.store = store
        self.fuel = fuel
        self.limit_mb = job.memory_mb
        self.memory: wasmtime.Memory | None = None

    def ending(self, module: wasmtime.InstancePre) -> Ending:
        try:
            self._call(module)
        except wasmtime.ExitTrap as exit_:
            return self._exited(exit_.code)
        except wasmtime.Trap as trap:
            return self._trapped(trap)
        except wasmtime.WasmtimeError as error:
            return self._failed(str(error))
        return self._exited(0)

    def _call(self, module: wasmtime.InstancePre) -> None:
        exports = module.instantiate(self.store).exports(self.store)
        memory = exports.get("memory")
        if isinstance(memory, wasmtime.Memory):
            self.memory = memory
        start = exports.get("_start")
        if not isinstance(start, wasmtime.Func):
            raise NotACommandError
        start(self.store)

    def _exited(self, code: int) -> Ending:
        return ending_of_exit(code, memory_peak_mb=self._memory_mb(), fuel=self._used())

    def _trapped(self, trap: wasmtime.Trap) -> Ending:
        if trap.trap_code is wasmtime.TrapCode.OUT_OF_FUEL:
            return self._stopped(
                Outcome.FUEL, f"The program used up its budget of {self.fuel:,} instructions."
            )
        if self._memory_is_full():
            return self._stopped(
                Outcome.MEMORY, f"The program used up its {self.limit_mb} MB of memory and trapped."
            )
        return self._stopped(Outcome.TRAP, f"The module trapped: {_cause(trap.message)}.")

    def _failed(self, message: str) -> Ending:
        if "exceeds memory limits" in message:
            return self._stopped(
                Outcome.MEMORY, f"The module asks for more memory than its {self.limit_mb} MB: {message}."
            )
        return self._stopped(Outcome.TRAP, f"The module failed: {_cause(message)}.")

    def _stopped(self, outcome: Outcome, sentence: str) -> Ending:
        return Ending(outcome=outcome, sentence=sentence, memory_peak_mb=self._memory_mb(), fuel=self._used())

    def _used(self) -> int:
        return self.fuel - self.store.get_fuel()

    def _memory_bytes(self) -> int:
        # A linear memory never shrinks, so what it has at the end is what it had at most.
        return self.memory.data_len(self.store) if self.memory is not None else 0

    def _memory_mb(self) -> int:
        return -(-self._memory_bytes() // MB)

    def _memory_is_full(self) -> bool:
        """Not one page could be added: the one case in which lack of memory is certain."""
        return self._memory_bytes() + WASM_PAGE_BYTES > self.limit_mb * MB


class NotACommandError(Exception):
    """The module has no ``_start``."""


def _cause(message: str) -> str:
    """The last line of a wasmtime message, which says what went wrong after where it did."""
    lines = [line.strip() for line in message.strip().splitlines() if line.strip()]
    cause = lines[-1] if lines else "no reason given"
    return cause.removeprefix("wasm trap: ").rstrip(".")
