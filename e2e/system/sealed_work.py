"""Tasks to be sealed: marked ones, whose traces are looked for, and a stream of small ones."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

from e2e.system.leaks import Marker
from e2e.system.samples import ECHO, echo_module
from e2e.system.stream import PYTHON_EVERY, Stream
from e2e.system.submitter import Private, Submitter, seal

BEYOND_INLINE = "#" * 40_000
"""So large a script is fetched, and kept in the cache of blobs, where it may be."""
BACKWARDS = """
import os, sys
print(sys.argv[1][::-1])
print(sys.stdin.read()[::-1])
print(os.getenv("TOLD")[::-1], file=sys.stderr)
"""


def script(marker: Marker) -> str:
    return f"# {marker.text('source')}\n{BACKWARDS}{BEYOND_INLINE}"


def marked_openly(marker: Marker) -> dict[str, Any]:
    return {
        "driver": "python",
        "source": script(marker),
        "args": [marker.text("argv")],
        "env": {"TOLD": marker.text("env")},
        "stdin": marker.text("stdin"),
    }


def marked(level: str, marker: Marker) -> Private:
    """The same, sealed."""
    return seal(
        level,
        script(marker).encode(),
        args=[marker.text("argv")],
        env={"TOLD": marker.text("env")},
        stdin=marker.text("stdin").encode(),
    )


def marked_module(level: str, marker: Marker) -> Private:
    """WebAssembly, which is compiled before it runs: that would carry what is in its data."""
    from wasmtime import wat2wasm

    data = f'(data (i32.const 60000) "{marker.text("module")}")'
    module = wat2wasm(ECHO.read_text().rstrip().removesuffix(")") + data + ")")
    return seal(level, bytes(module), driver="wasm", args=[marker.text("argv")])


@dataclass
class SealedStream(Stream):
    """Confidential ones, mostly small modules, now and then a script."""

    tasks: list[Private] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._submitter = Submitter(self.panel)

    @property
    def over(self) -> bool:
        return self.goes_on(self.number)

    def goes_on(self, until: int) -> bool:
        """Whether so many tasks are handed in, or all."""
        return len(self.tasks) >= min(until, self.number) or self.error is not None

    def hand_in(self, number: int) -> tuple[int, str]:
        task, output = piece_of_sealed_work(number)
        self._submitter.hand_in(task)
        self.tasks.append(task)
        return task.id, output


def piece_of_sealed_work(number: int) -> tuple[Private, str]:
    """A task, and what it must print."""
    if number % PYTHON_EVERY == 0:
        return seal("confidential", b"print(%d ** 2)" % number, max_attempts=10), f"{number**2}\n"
    module, text = base64.b64decode(echo_module()), f"sealed {number}"
    return seal("confidential", module, driver="wasm", args=[text], max_attempts=10), text
