"""The last good relay directory, on disk, so that a restarted agent has one before the panel is there."""

from __future__ import annotations

import os
from pathlib import Path

from fogagent.overlay.directory import Changes, Directory, decode_changes, encode_changes, reopen


class DirectoryFile:
    """A file of mode 600. For one thread at a time."""

    def __init__(self, path: Path, panel_key: bytes) -> None:
        self._path = path
        self._panel_key = panel_key

    def read(self) -> Directory | None:
        """The directory, verified anew, whatever its age; None where there is none.

        Raises:
            BadDirectory: the file is damaged, or not from this panel.
            OSError: it cannot be read.
        """
        try:
            encoded = self._path.read_bytes()
        except FileNotFoundError:
            return None
        return reopen(decode_changes(encoded), self._panel_key)

    def write(self, whole: Changes) -> None:
        """Replace what is there, at one blow. Raises OSError; what was there is then still there."""
        temporary = self._path.with_name(f"{self._path.name}.new")
        temporary.unlink(missing_ok=True)  # it may have been left by an earlier life, with any mode
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(encode_changes(whole))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
