"""A broker for a bench: REDIS_URL where it is set, else one of our own for as long as it is needed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fogpanel.supervisor import broker


@contextmanager
def broker_url() -> Iterator[str]:
    """Raises CannotStart where this machine has no server program."""
    if url := os.environ.get("REDIS_URL"):
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="fogpanel-bench-") as folder:
        embedded = broker.prepare(Path(folder))
        server = subprocess.Popen(embedded.program.argv, stdout=subprocess.DEVNULL)
        try:
            asyncio.run(embedded.wait())
            yield embedded.url
        finally:
            server.terminate()
            server.wait()
