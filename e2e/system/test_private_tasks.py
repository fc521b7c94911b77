"""Private tasks between real agents: what is sealed stays so, and a gateway that is killed costs seconds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.system.api import ADMIN
from e2e.system.panel import Panel, supervisor_env, until
from fogpanel.supervisor.places import ROOT

INSIDE = "what only its node may know"
GATEWAY = "gateway-sa-east"
WITHIN_S = 12.0
"""For one more gateway: a connection that broke is seen at once, and the sweep looks every two seconds."""


class Submitter:
    """Somebody at another machine, with the client and a token."""

    def __init__(self, panel: Panel, folder: Path) -> None:
        self._env = supervisor_env(XDG_CONFIG_HOME=str(folder / "config"))
        self._folder = folder
        body = {"username": ADMIN, "password": panel.password, "name": "elsewhere"}
        token = panel.post("/tokens", body)["token"]
        told, _ = self._fog("login", panel.url, "--token", token).communicate(timeout=30)
        assert "Signed in" in told, told

    def run(self, text: str, *options: str) -> subprocess.Popen[str]:
        """Hand in a script that prints this."""
        script = self._folder / "told.py"
        script.write_text(f"print({text!r})\n")
        return self._fog("run", str(script), "--cores", "0.05", *options)

    def _fog(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "fogagent", *arguments],
            cwd=ROOT,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    """With five agents, as `./fog up` starts them."""
    with Panel(tmp_path_factory.mktemp("panel"), agents=5) as panel:
        until("all services work", lambda: set(states(panel).values()) == {"operational"})
        yield panel


def states(panel: Panel) -> dict[str, str]:
    return {item["slug"]: item["state"] for item in panel.get("/services")["items"]}


@pytest.fixture(scope="module")
def submitter(panel: Panel, tmp_path_factory: pytest.TempPathFactory) -> Submitter:
    return Submitter(panel, tmp_path_factory.mktemp("elsewhere"))


@pytest.mark.parametrize("level", ["private", "confidential"])
def test_what_is_sealed_comes_back_and_is_nowhere_in_plain(
    panel: Panel, submitter: Submitter, level: str
) -> None:
    text = f"{INSIDE}, {level}"
    told, _ = submitter.run(text, "--privacy", level).communicate(timeout=60)
    assert text in told, f"{told}\n{panel.tail()}"
    # Neither the panel, nor its agents, which live beside it, have written any of it to a disk.
    written = [path for path in panel.log.parent.rglob("*") if path.is_file()]
    assert any(path.name.startswith("fogpanel.sqlite3") for path in written)
    assert not [path for path in written if text.encode() in path.read_bytes()]


def test_a_gateway_that_is_killed_costs_seconds(panel: Panel, submitter: Submitter) -> None:
    place = ("--region", "eu-west", "--region-required")
    gateway = panel.pids()[GATEWAY]
    # It is asked first, since it mainly is one; stopped, it does nothing.
    os.kill(gateway, signal.SIGSTOP)
    running = submitter.run(INSIDE, "--privacy", "confidential", *place)
    until("the task has its node", lambda: newest(panel)["state"] == "assigned")
    began = time.monotonic()
    os.kill(gateway, signal.SIGKILL)
    told, _ = running.communicate(timeout=60)
    took_s = time.monotonic() - began
    assert INSIDE in told, f"{told}\n{panel.tail()}"
    assert took_s < WITHIN_S


def newest(panel: Panel) -> dict[str, object]:
    found: dict[str, object] = panel.get("/tasks?limit=1")["items"][0]
    return found
