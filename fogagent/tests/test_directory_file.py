"""The relay directory on disk: replaced whole, readable by its owner only, and never trusted unread."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fogagent.overlay.directory import BadDirectory, Refusal, encode_changes
from fogagent.overlay.directory_file import DirectoryFile
from fogagent.tests.directories import PANEL_KEY, by_identity, relay, signed

THREE = by_identity([relay(1), relay(2), relay(3)])
WHOLE = signed(THREE, 7)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "directory"


def file_at(path: Path) -> DirectoryFile:
    return DirectoryFile(path, PANEL_KEY)


def test_what_is_written_is_read_again(path: Path) -> None:
    assert file_at(path).read() is None
    file_at(path).write(WHOLE)
    read = file_at(path).read()
    assert read is not None
    assert (read.version, read.relays) == (7, THREE)
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_new_one_replaces_the_old_at_one_blow(path: Path) -> None:
    file_at(path).write(WHOLE)
    path.with_name("directory.new").write_bytes(b"what a killed agent left half written")
    with path.open("rb") as old:
        file_at(path).write(signed({}, 8))
        assert old.read() == encode_changes(WHOLE)  # whoever was reading it has read it whole
    read = file_at(path).read()
    assert read is not None
    assert read.version == 8
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_written_leaves_the_old_one(path: Path) -> None:
    file_at(path).write(WHOLE)
    path.with_name("directory.new").mkdir()
    with pytest.raises(OSError):
        file_at(path).write(signed({}, 8))
    assert path.read_bytes() == encode_changes(WHOLE)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        encode_changes(WHOLE)[:-1],
        encode_changes(WHOLE).replace(b"relay-2", b"relay-9"),
        encode_changes(signed(THREE, 7, base=6)),
    ],
)
def test_a_damaged_file_is_none(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(BadDirectory):
        file_at(path).read()


def test_another_panels_directory_is_none(path: Path) -> None:
    file_at(path).write(WHOLE)
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    with pytest.raises(BadDirectory) as caught:
        DirectoryFile(path, other).read()
    assert caught.value.reason == Refusal.FORGED
