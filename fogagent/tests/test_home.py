"""Where an agent keeps who it is, and which addresses it may speak to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fogagent.address import BadAddress, PanelAddress
from fogagent.home import BadHome, Home, Locked, Membership

MEMBERSHIP = Membership(url="http://127.0.0.1:8000", panel_key=bytes(32), node=7, name="edge-1")


def test_a_folder_belongs_to_one_agent_at_a_time(tmp_path: Path) -> None:
    descriptor = Home(tmp_path / "a").lock()
    with pytest.raises(Locked, match="Another agent runs with"):
        Home(tmp_path / "a").lock()
    os.close(descriptor)
    os.close(Home(tmp_path / "a").lock())


def test_the_folder_is_private(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o755)
    os.close(Home(tmp_path / "a").lock())
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


def test_remembers_its_panel(tmp_path: Path) -> None:
    assert Home(tmp_path).membership() is None
    Home(tmp_path).remember(MEMBERSHIP)
    assert Home(tmp_path).membership() == MEMBERSHIP


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"url": 1}'])
def test_a_damaged_membership_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "panel.json").write_bytes(content)
    with pytest.raises(BadHome, match="join again"):
        Home(tmp_path).membership()


def test_a_damaged_identity_is_named(tmp_path: Path) -> None:
    (tmp_path / "identity.key").write_bytes(b"short")
    with pytest.raises(BadHome, match="is not an identity"):
        Home(tmp_path).identity()


def test_each_panel_has_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    one, two = (
        PanelAddress.parse(url, insecure=False) for url in ("https://a.example", "https://b.example/")
    )
    assert Home.of(one).path.parent == tmp_path / "fogagent"
    assert Home.of(one) != Home.of(two)
    assert Home.of(one) == Home.of(PanelAddress.parse("https://a.example/", insecure=False))


@pytest.mark.parametrize(
    ("url", "base", "socket"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000", "ws://127.0.0.1:8000/ws/agent/"),
        ("http://localhost:8000/", "http://localhost:8000", "ws://localhost:8000/ws/agent/"),
        ("http://[::1]:8000", "http://[::1]:8000", "ws://[::1]:8000/ws/agent/"),
        ("https://panel.example", "https://panel.example", "wss://panel.example/ws/agent/"),
        ("panel.example", "https://panel.example", "wss://panel.example/ws/agent/"),
        ("https://example.org/fog/", "https://example.org/fog", "wss://example.org/fog/ws/agent/"),
    ],
)
def test_addresses(url: str, base: str, socket: str) -> None:
    address = PanelAddress.parse(url, insecure=False)
    assert (address.base, address.socket) == (base, socket)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://panel.example", "--insecure"),
        ("http://192.168.1.5:8000", "--insecure"),
        ("ftp://panel.example", "must look like"),
        ("https://", "must look like"),
        ("https://panel.example:port", "panel.example:port"),
        ("https://ada@panel.example", "without user"),
        ("https://panel.example/?x=1", "without user, query"),
    ],
)
def test_addresses_that_will_not_do(url: str, words: str) -> None:
    with pytest.raises(BadAddress, match=words):
        PanelAddress.parse(url, insecure=False)


def test_insecure_is_a_choice() -> None:
    assert PanelAddress.parse("http://192.168.1.5:8000", insecure=True).socket.startswith("ws://")
