"""A program that makes load for a bench, in a process of its own: told what to do line by line.

It says a line of JSON when it is ready and one in answer to each command, and is ended with the bench.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from e2e.system.panel import supervisor_env
from fogpanel.supervisor.places import ROOT
from fogpanel.supervisor.programs import PYTHON


class LoadProgram:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @classmethod
    @contextmanager
    def started(cls, module: str, *arguments: str) -> Iterator[Self]:
        """The program while it is ready."""
        with subprocess.Popen(
            [*PYTHON, module, *arguments],
            cwd=ROOT,
            env=supervisor_env(),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            program = cls(process)
            try:
                program._answer()
                yield program
            finally:
                process.terminate()

    def tell(self, command: str) -> Any:
        """Carry out ``command``; what it answers."""
        assert self._process.stdin is not None
        print(command, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the load program ended"
        return json.loads(line)
