"""The folder in which an agent keeps who it is: one agent, one panel, one folder."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fogagent.address import PanelAddress
from fogagent.identity import Identity
from fogagent.messages import Key


class Locked(Exception):
    """Another agent runs with the same folder."""


class BadHome(Exception):
    """The folder's content cannot be used. ``str`` says what to do."""


class Membership(msgspec.Struct, frozen=True):
    """What enrolment gave: the panel's key, pinned from then on, and what we are called there."""

    url: str
    panel_key: Key
    node: int
    name: str


@dataclass(frozen=True)
class Home:
    path: Path

    @classmethod
    def of(cls, address: PanelAddress) -> Home:
        """The usual place for an agent of that panel."""
        share = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        return cls(Path(share) / "fogagent" / address.slug)

    @property
    def cache(self) -> Path:
        """Compiled modules: the drivers' own."""
        return self.path / "cache"

    @property
    def blobs(self) -> Path:
        return self.path / "blobs"

    @property
    def spool(self) -> Path:
        return self.path / "spool.sqlite3"

    @property
    def directory(self) -> Path:
        """The last good relay directory."""
        return self.path / "directory"

    @property
    def guards(self) -> Path:
        """The relays that our circuits enter by."""
        return self.path / "guards.json"

    @property
    def build_times(self) -> Path:
        """How long circuits took to build."""
        return self.path / "builds.json"

    @property
    def tunnels(self) -> Path:
        """The ports that tunnels had last."""
        return self.path / "tunnels.json"

    @property
    def link_certificate(self) -> Path:
        return self.path / "link.pem"

    @property
    def link_port(self) -> Path:
        """Where links were accepted last."""
        return self.path / "link.port"

    @property
    def onion_key(self) -> Path:
        return self.path / "onion.key"

    def lock(self) -> int:
        """Make the folder ours for as long as this process lives; returns the open descriptor.

        Raises:
            Locked: another process has it.
            OSError: the folder cannot be made or written to.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.chmod(0o700)
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise Locked(
                f"Another agent runs with {self.path}. Stop it first, or give this one a folder of its "
                "own with --state."
            ) from error
        return descriptor

    def identity(self) -> Identity:
        """The keys, made on first use. Raises BadHome for a damaged file."""
        try:
            return Identity.load_or_create(self.path / "identity.key")
        except ValueError as error:
            raise BadHome(f"{error} Restore it, or remove {self.path} and join again.") from error

    def membership(self) -> Membership | None:
        """What an earlier enrolment gave, if there was one. Raises BadHome for a damaged file."""
        try:
            return msgspec.json.decode(self._panel.read_bytes(), type=Membership)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadHome(f"{self._panel} is damaged ({error}). Remove it and join again.") from error

    def remember(self, membership: Membership) -> None:
        temporary = self._panel.with_suffix(".new")
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(membership), indent=2) + b"\n")
        temporary.replace(self._panel)

    @property
    def _panel(self) -> Path:
        return self.path / "panel.json"
