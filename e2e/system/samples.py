"""Tasks for tests, with outputs that cannot be right by accident."""

from __future__ import annotations

import base64
from functools import cache
from typing import Any

from fogpanel.supervisor.places import ROOT

ECHO = ROOT / "services" / "canary.wat"


@cache
def echo_module() -> str:
    """A WebAssembly command that prints its first argument, in base64."""
    from wasmtime import wat2wasm

    return base64.b64encode(bytes(wat2wasm(ECHO.read_text()))).decode()


def echo(text: str) -> dict[str, Any]:
    return {"driver": "wasm", "module": echo_module(), "args": [text], "name": f"echo {text}"}


def square(number: int) -> dict[str, Any]:
    source = "import sys\nprint(int(sys.argv[1]) ** 2)\n"
    return {"driver": "python", "source": source, "args": [str(number)], "name": f"square {number}"}


def count_slowly(times: int, every_s: float) -> dict[str, Any]:
    """Prints a line, waits, prints the next: something that is under way for a known time."""
    source = (
        "import time\n"
        f"for number in range({times}):\n"
        "    print('line', number, flush=True)\n"
        f"    time.sleep({every_s})\n"
        "print('done')\n"
    )
    return {"driver": "python", "source": source, "name": f"count to {times}", "timeout_s": 300}


def counted(times: int) -> str:
    return "".join(f"line {number}\n" for number in range(times)) + "done\n"
