"""Tunnels from the terminal, against a real HTTP server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fogagent.__main__ import main
from fogagent.client import settings
from fogagent.client.settings import SignedIn
from fogagent.tests.web import Site, problem, serving


@pytest.fixture
def panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with serving() as site:
        settings.save(SignedIn(site.url, "fpt_token"))
        yield site


def tunnel(**different: Any) -> dict[str, Any]:
    usual = {
        "id": 7,
        "name": "browsing",
        "state": "open",
        "sentence": "",
        "remarks": [],
        "entry": "atlas",
        "exit_region": "eu-north",
        "exit_node": None,
        "hops": 3,
        "port": 1080,
    }
    return usual | different


def test_a_list_shows_what_to_use(panel: Site, capsys: pytest.CaptureFixture[str]) -> None:
    other = tunnel(id=6, state="broken", sentence="The port is taken.", port=None, exit_region="")
    panel.routes["GET /api/v1/tunnels"] = (200, {"items": [tunnel(), other], "next": None})
    assert main(["tunnels"]) == 0
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [
        "7 browsing open atlas eu-north 3 socks5h://127.0.0.1:1080",
        "6 browsing broken atlas anywhere 3 The port is taken.",
    ]
    assert main(["tunnels", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [tunnel(), other]


def test_an_empty_list_says_what_to_do(panel: Site, capsys: pytest.CaptureFixture[str]) -> None:
    panel.routes["GET /api/v1/tunnels"] = (200, {"items": [], "next": None})
    assert main(["tunnels", "--stopped"]) == 0
    assert "./fog tunnels create NAME --entry NODE" in capsys.readouterr().err


def test_create_passes_on_what_was_asked_for_and_tells_what_may_surprise(
    panel: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    panel.routes["POST /api/v1/tunnels"] = (201, tunnel(remarks=["No exit is ready."]))
    line = "tunnels create browsing --entry atlas --exit-region eu-north --hops 2 --allow ann --allow bob"
    assert main(line.split()) == 0
    [asked] = panel.asked
    assert asked.body == {
        "name": "browsing",
        "entry": "atlas",
        "exit_region": "eu-north",
        "hops": 2,
        "allowed": ["ann", "bob"],
    }
    told = capsys.readouterr().err
    assert "tunnel 7 is ordered from atlas" in told and "No exit is ready." in told


def test_what_is_wrong_is_told(panel: Site, capsys: pytest.CaptureFixture[str]) -> None:
    panel.routes["POST /api/v1/tunnels"] = problem(422, "entry: there is no node “x”.")
    assert main(["tunnels", "create", "browsing", "--entry", "x"]) == 1
    assert "entry: there is no node “x”." in capsys.readouterr().err


def test_stop(panel: Site, capsys: pytest.CaptureFixture[str]) -> None:
    panel.routes["DELETE /api/v1/tunnels/7"] = (200, tunnel(state="stopped"))
    assert main(["tunnels", "stop", "7"]) == 0
    assert "tunnel 7 is stopped; atlas closes its port" in capsys.readouterr().err


def test_a_password_is_told_once_on_standard_output(panel: Site, capsys: pytest.CaptureFixture[str]) -> None:
    panel.routes["POST /api/v1/tunnels"] = (201, tunnel(require_password=True, password="first"))
    panel.routes["POST /api/v1/tunnels/7/password"] = (201, {"user": "ann", "password": "second"})
    assert main(["tunnels", "create", "browsing", "--entry", "atlas", "--require-password"]) == 0
    made = capsys.readouterr()
    assert made.out == "first\n" and "shown only now (Chromium cannot use" in made.err
    assert main(["tunnels", "password", "7"]) == 0
    renewed = capsys.readouterr()
    assert renewed.out == "second\n" and "a new password of ann for tunnel 7" in renewed.err
    assert [asked.body for asked in panel.asked] == [
        {"name": "browsing", "entry": "atlas", "require_password": True},
        {},
    ]


def test_an_existing_one_is_switched_to_requiring_a_password_and_back(
    panel: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    guarded = tunnel(require_password=True, password="first")
    panel.routes["PUT /api/v1/tunnels/7/require-password"] = (200, guarded)
    assert main(["tunnels", "require-password", "7"]) == 0
    told = capsys.readouterr()
    assert told.out == "first\n" and "tunnel 7 asks for a password as soon as atlas is told" in told.err
    open_to_all = tunnel(require_password=False, password=None)
    panel.routes["PUT /api/v1/tunnels/7/require-password"] = (200, open_to_all)
    assert main(["tunnels", "require-password", "7", "--off"]) == 0
    told = capsys.readouterr()
    assert told.out == "" and "tunnel 7 asks for no password as soon as atlas is told" in told.err
    assert [asked.body for asked in panel.asked] == [{"require_password": True}, {"require_password": False}]


def test_with_whom_it_is_shared(panel: Site, capsys: pytest.CaptureFixture[str]) -> None:
    panel.routes["PUT /api/v1/tunnels/7/allowed"] = (200, tunnel(allowed=["ann", "bob"]))
    assert main(["tunnels", "share", "7", "--allow", "ann", "--allow", "bob"]) == 0
    assert panel.asked[-1].body == {"allowed": ["ann", "bob"]}
    assert "tunnel 7 is shared with ann, bob" in capsys.readouterr().err
    panel.routes["PUT /api/v1/tunnels/7/allowed"] = (200, tunnel(allowed=[]))
    assert main(["tunnels", "share", "7"]) == 0
    assert panel.asked[-1].body == {"allowed": []}
    assert "tunnel 7 is shared with nobody" in capsys.readouterr().err


def test_a_list_tells_that_a_password_is_needed(panel: Site, capsys: pytest.CaptureFixture[str]) -> None:
    panel.routes["GET /api/v1/tunnels"] = (200, {"items": [tunnel(require_password=True)], "next": None})
    assert main(["tunnels"]) == 0
    assert "socks5h://USER:PASSWORD@127.0.0.1:1080" in capsys.readouterr().out
