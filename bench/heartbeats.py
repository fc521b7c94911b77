"""How many heartbeats one web process takes in and stores, what thousands of agents cost it, and the sweep.

Simulated agents (`bench.crowd`) with real handshakes over real WebSockets, each beat in a frame of its own;
what counts is what is in the database, which is compared with what was sent. The panel runs with its
default settings and all its services. The peer is a bare Channels consumer under the same Daphne that
throws the same frames away: what nothing that stores could reach.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import psutil

from bench.load_program import LoadProgram
from bench.report import Better, Report, Row
from e2e.system.panel import Panel, supervisor_env, until
from fogagent.identity import Identity
from fogpanel.supervisor.broker import free_port
from fogpanel.supervisor.places import ROOT
from fogpanel.supervisor.programs import PYTHON, WEB

DEFAULT_TIMES = {"FOGPANEL_HEARTBEAT_S": "30", "FOGPANEL_TIMEOUT_S": "90", "FOGPANEL_SWEEP_S": "5"}
BEATING, MANY, SWEPT, SILENT = 600, 3000, 10_000, 100
WARM_S, MEASURED_S = 3.0, 10.0
INGEST_BAR, MEMORY_BAR_MB, SWEEP_BAR_MS = 2000.0, 600.0, 50.0
BEATS_EACH = 2  # before memory is looked at


def measure() -> Report:
    with tempfile.TemporaryDirectory(prefix="fogpanel-bench-") as name:
        with Panel(Path(name), agents=0, **DEFAULT_TIMES) as panel:
            _fleet_rows(panel, "enrol", "0", str(MANY))
            with _crowd(panel, BEATING) as crowd:
                ingest = crowd.beats_a_second()
            with _crowd(panel, MANY) as crowd:
                memory_mb = crowd.memory_mb(panel.pids()[WEB])
        _fleet_rows(panel, "enrol", str(MANY), str(SWEPT))
        sweep_ms, bare_sweep_ms = json.loads(_fleet_rows(panel, "sweep", str(SILENT)))
        peer_ingest, peer_memory_mb = _measure_peer(Path(name))
    peer = "bare Channels consumer"
    return Report(
        bench="heartbeats",
        rows=[
            Row(
                what="ingest",
                value=round(ingest),
                unit="beats/s",
                bar=INGEST_BAR,
                peer=f"{peer}, nothing stored",
                peer_value=round(peer_ingest),
            ),
            _cost(f"memory {MANY} agents", memory_mb, "MB", MEMORY_BAR_MB, f"{peer}, silent", peer_memory_mb),
            _cost(
                f"sweep {SWEPT}", sweep_ms, "ms", SWEEP_BAR_MS, "the same rows in plain SQL", bare_sweep_ms
            ),
        ],
    )


def _cost(what: str, value: float, unit: str, bar: float, peer: str, peer_value: float) -> Row:
    return Row(
        what=what,
        value=round(value, 1),
        unit=unit,
        bar=bar,
        better=Better.LOWER,
        peer=peer,
        peer_value=round(peer_value, 1),
    )


# --- The crowd -------------------------------------------------------------------------------------


class Crowd(LoadProgram):
    """Simulated agents (`bench.crowd`)."""

    def beats_a_second(self) -> float:
        self.tell(f"flood {WARM_S}")
        flood: dict[str, float] = self.tell(f"flood {MEASURED_S}")
        until("what is stored is what was sent last", lambda: self.tell("check")["wrong"] == 0)
        return flood["stored"] / flood["seconds"]

    def memory_mb(self, pid: int) -> float:
        """The most that the process had resident until all had beaten at their own pace."""
        most = 0

        def all_have_beaten() -> bool:
            nonlocal most
            most = max(most, psutil.Process(pid).memory_info().rss)
            return bool(self.tell("check")["beats"] >= BEATS_EACH)

        until("every agent has beaten", all_have_beaten, every_s=1)
        assert self.tell("check")["connected"] == MANY
        until("what is stored is what was sent last", lambda: self.tell("check")["wrong"] == 0)
        return most / 2**20


@contextlib.contextmanager
def _crowd(panel: Panel, agents: int) -> Iterator[Crowd]:
    panel_key = Identity.load_or_create(panel.data.path / "panel.key").public_key.hex()
    database = str(panel.data.path / "fogpanel.sqlite3")
    with _load(panel.url, agents, "--panel-key", panel_key, "--database", database) as crowd:
        yield crowd


def _load(url: str, agents: int, *options: str) -> AbstractContextManager[Crowd]:
    """A crowd of which all are connected."""
    return Crowd.started("bench.crowd", url, "--agents", str(agents), *options)


def _fleet_rows(panel: Panel, *arguments: str) -> str:
    env = _env(FOGPANEL_DATA=str(panel.data.path))
    command = [*PYTHON, "bench.fleet_rows", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, check=True, text=True, stdout=subprocess.PIPE).stdout


def _env(**more: str) -> dict[str, str]:
    return supervisor_env(**DEFAULT_TIMES, **more)


# --- The peer --------------------------------------------------------------------------------------


def _measure_peer(folder: Path) -> tuple[float, float]:
    """Beats a second and resident MB of the consumer that stores nothing."""
    port = free_port()
    command = [
        *PYTHON,
        "daphne",
        "-b",
        "127.0.0.1",
        "-p",
        str(port),
        "-v",
        "0",
        "bench.bare_channels:application",
    ]
    url = f"ws://127.0.0.1:{port}/"
    with (
        (folder / "peer.log").open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, env=_env(), stdout=log, stderr=log) as server,
    ):
        try:
            until("the peer listens", lambda: _listens(port))
            with _load(url, BEATING) as crowd:
                ingest = crowd.beats_a_second()
            with _load(url, MANY):
                return ingest, psutil.Process(server.pid).memory_info().rss / 2**20
        finally:
            server.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
