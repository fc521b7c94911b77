"""Relays of a usual fog are stopped and started: circuits and tunnels say why and what to do, and recover."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.system.panel import Panel, until
from fogpanel.supervisor.fleet import KINDS

PROBE_S = 1.0
WITHIN_S = 30.0
"""From a stop or a start until both services tell of it; with the usual settings up to half a minute more."""
AGENTS = [kind.name for kind in KINDS]
EXIT = "gateway-sa-east"


class Fog:
    """A panel and the five agents of a plain `./fog up`, which nobody starts again but we."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self._agents: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        for kind in KINDS:
            if kind.name in names:
                options = ("--type", kind.node_type, "--region", kind.region, "--flags", kind.flags)
                self._agents[kind.name] = self.panel.join(kind.name, *options)

    def stop(self, *names: str, number: signal.Signals = signal.SIGTERM) -> None:
        for name in names:
            self._agents[name].send_signal(number)
        for name in names:
            self._agents[name].wait()

    def told(self) -> dict[str, tuple[str, str]]:
        """State and sentence of each service."""
        items = self.panel.get("/services")["items"]
        return {item["slug"]: (item["state"], item["sentence"]) for item in items}

    def wait_for(self, slug: str, state: str, *parts: str) -> str:
        """Until the service is in this state for this reason; its sentence."""

        def so() -> str:
            now, sentence = self.told()[slug]
            seen.append(f"{now}: {sentence}")
            return sentence if now == state and all(part in sentence for part in parts) else ""

        seen: list[str] = []
        try:
            return str(until(f"{slug} is {state}", so, WITHIN_S))
        except AssertionError as never:
            raise AssertionError(f"{never}, with {parts}; told were {list(dict.fromkeys(seen))}") from None

    def wait_until_well(self, tunnels: str) -> None:
        self.wait_for("onion", "operational", "A circuit over 3 relays was built in")
        self.wait_for("vpn_coordinator", "operational", tunnels)


NO_TUNNEL = "No tunnel yet; 1 exit in 1 region is ready."
ONE_TUNNEL = "1 tunnel open, 0 clients"


@pytest.fixture(scope="module")
def fog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fog]:
    folder: Path = tmp_path_factory.mktemp("relays")
    with Panel(folder, agents=0, FOGPANEL_PROBE_S=f"{PROBE_S:g}") as panel:
        fog = Fog(panel)
        fog.start(*AGENTS)
        fog.wait_until_well(NO_TUNNEL)
        yield fog


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_too_few_relays_for_three_hops(fog: Fog, number: signal.Signals) -> None:
    fog.stop("edge-us-east", "relay-eu-north", number=number)
    told = fog.wait_for("onion", "degraded", "needs 3 relays", "3 of 5 are connected")
    told += fog.wait_for("vpn_coordinator", "degraded", "3 hops need", "3 of 5 are connected")
    assert told.count("Start the agents of ") == 2
    assert (told.count("edge-us-east"), told.count("relay-eu-north")) == (2, 2)
    fog.start("edge-us-east", "relay-eu-north")
    fog.wait_until_well(NO_TUNNEL)


def test_no_exit_and_then_no_relay_at_all(fog: Fog) -> None:
    fog.stop(EXIT)
    again = f"Start the agent of {EXIT} again."
    fog.wait_for("vpn_coordinator", "degraded", f"No tunnel yet, and no exit is ready. {again}")
    fog.wait_for("onion", "operational")  # four relays are enough for circuits that stay inside
    fog.stop(*(name for name in AGENTS if name != EXIT))
    told = fog.wait_for("onion", "degraded", "All 5 relays are away, so no circuit can be built.")
    assert "Start the agents of " in told
    assert told.endswith(" and 2 more again.")
    fog.wait_for("vpn_coordinator", "degraded", again)
    fog.start(*AGENTS)
    fog.wait_until_well(NO_TUNNEL)


def test_a_tunnel_that_nothing_crosses(fog: Fog) -> None:
    fog.panel.post("/tunnels", {"name": "lab", "entry": AGENTS[0]})
    fog.wait_until_well(ONE_TUNNEL)
    fog.stop("edge-us-east", "mix-ap-south")
    fog.wait_for("vpn_coordinator", "down", "No tunnel is open. lab: 3 hops need", "Start the agents of ")
    fog.stop(EXIT)
    nothing = f"No exit is ready: nothing can leave the fog. Start the agent of {EXIT} again."
    fog.wait_for("vpn_coordinator", "down", nothing)
    fog.start("edge-us-east", "mix-ap-south", EXIT)
    fog.wait_until_well(ONE_TUNNEL)
