"""The newest version of a panel's relay directory that was seen from here.

A signature says who made a directory, not that it is the last one. Whoever can choose what we get could give
one of last week, in which a node still stands that was thrown out since. Versions only grow, so an older one
than was seen is refused, as agents do.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec

from fogagent import private_file
from fogagent.client import settings
from fogagent.client.errors import ClientError
from fogagent.messages import Seconds, Value
from fogagent.overlay.directory import Directory, Version, in_utc


class Seen(Value, frozen=True):
    """Times are seconds since the epoch: the panel made it by its clock, and we saw it by ours."""

    version: Version
    made_at: Seconds
    seen_at: Seconds


class OlderDirectory(ClientError):
    """The panel gives an older directory than it gave before."""

    def __init__(self, given: Directory, seen: Seen) -> None:
        super().__init__(
            "The panel's directory of nodes is refused, so nothing was sealed. It is version "
            f"{given.version} of {in_utc(given.made_at)}, but on {in_utc(seen.seen_at)} version "
            f"{seen.version} of {in_utc(seen.made_at)} was seen from here. Nodes may stand in it that were "
            "thrown out since: somebody may be in between, or the panel was restored from a backup. Then it "
            "signs a newer one when it is started. Ask its operator; if this one is to be gone by all the "
            f"same: ./fog accept-directory {given.version}"
        )


class DirectoryMark:
    """What is kept about the panel with this key, in a file of its own."""

    def __init__(self, panel_key: bytes) -> None:
        self.path = settings.settings_path().parent / "directories" / f"{panel_key.hex()}.json"

    def newest(self) -> Seen | None:
        """Nothing, where none was seen yet.

        Raises:
            OSError, ValueError: it cannot be read, or is damaged.
        """
        with suppress(FileNotFoundError):
            return msgspec.json.decode(self.path.read_bytes(), type=Seen)
        return None

    def note(self, seen: Seen) -> None:
        """Keep it unless a newer one is: of two programs at once, either may come last. Raises OSError."""
        with self._alone():
            if seen.version > self._version():
                self.go_by(seen)

    def go_by(self, seen: Seen) -> None:
        """Keep it, whatever was seen before. Raises OSError."""
        private_file.replace(self.path, msgspec.json.encode(seen))

    def _version(self) -> int:
        try:
            newest = self.newest()
        except ValueError:
            return 0
        return 0 if newest is None else newest.version

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.path.parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
