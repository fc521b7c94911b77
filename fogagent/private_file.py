"""Files with secrets: written wholly or not at all, readable by their user only."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile


def create(path: Path, content: bytes) -> None:
    """Make the file with mode 600; when another process was faster, its file stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with NamedTemporaryFile(dir=path.parent) as file, suppress(FileExistsError):
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        os.link(file.name, path)  # unlike a rename, never replaces what another just made
