"""Orders to run something sealed, and what it takes to write letters, for tests."""

from __future__ import annotations

from hashlib import sha256

from fogagent.identity import Identity
from fogagent.messages import Blob, Run, Sealed

PANEL, NODE, OTHER = Identity.generate(), Identity.generate(), Identity.generate()
NOW = 1_000_000.0
CONTENT = b"sealed content"
"""What it means does not matter to those who carry it."""


def blob(content: bytes, *, inline: bool = False) -> Blob:
    return Blob(sha256=sha256(content).hexdigest(), size=len(content), inline=content if inline else None)


def sealed_run(attempt: int = 5, content: bytes = CONTENT, **changes: object) -> Run:
    order: dict[str, object] = {
        "attempt": attempt,
        "task": 7,
        "driver": "wasm",
        "timeout_s": 60.0,
        "payload": blob(content),
        "sealed": Sealed(reservation=17, wrapped=bytes(80)),
    }
    return Run(**{**order, **changes})  # type: ignore[arg-type]
