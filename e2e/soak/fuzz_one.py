"""Fuzz one target: ``python -m e2e.soak.fuzz_one NAME`` and libFuzzer's options.

To see again what was found: ``python -m e2e.soak.fuzz_one NAME FILE``.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["fogagent"]):
    from e2e.soak.fuzz_targets import TARGETS


if __name__ == "__main__":
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name].take)
    atheris.Fuzz()
