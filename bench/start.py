"""How long a second `./fog up` takes: until the panel answers, and until every service works.

The data folder, the static files and the compiled interpreter are there already, as they are on every
start but the first; five agents come back to a panel that knows them. The peer is the smallest thing
of its kind: Celery's worker and beat alone, on a broker that runs already, until the worker answers.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from celery import Celery

from bench.local_broker import broker_url
from bench.report import Better, Report, Row
from e2e.system.panel import Panel, until
from fogpanel.supervisor.check import services_work
from fogpanel.supervisor.running import read_running

AGENTS = 5
ANSWERS_BAR_S, WORKS_BAR_S = 10.0, 15.0
DEFAULT_TIMES = {"FOGPANEL_HEARTBEAT_S": "30", "FOGPANEL_TIMEOUT_S": "90", "FOGPANEL_SWEEP_S": "5"}

NOTHING = """
from celery import Celery
app = Celery(broker={url!r})
"""


def measure() -> Report:
    with tempfile.TemporaryDirectory(prefix="fogpanel-bench-") as folder:
        answers_s, works_s = _measure_panel(Path(folder))
        celery_s = _measure_celery(Path(folder))
    peer = "Celery, worker and beat alone"
    return Report(
        bench="start",
        rows=[
            _row("panel answers", answers_s, ANSWERS_BAR_S, peer, celery_s),
            _row("warm", works_s, WORKS_BAR_S, peer, celery_s),
        ],
    )


def _row(what: str, value: float, bar: float, peer: str, peer_value: float) -> Row:
    return Row(
        what=what,
        value=round(value, 2),
        unit="s",
        bar=bar,
        better=Better.LOWER,
        peer=peer,
        peer_value=round(peer_value, 2),
    )


def _measure_panel(folder: Path) -> tuple[float, float]:
    """Seconds until the first answer and until all services work and all agents are back."""
    panel = Panel(folder, agents=AGENTS, **DEFAULT_TIMES)
    panel.start()  # the first start, which also makes the data folder
    panel.stop()
    began = time.monotonic()
    panel.launch()
    try:
        url = until("the address is known", lambda: address(panel))
        with httpx.Client(base_url=url, trust_env=False) as client:
            until("the panel answers", lambda: health(client), every_s=0.02)
            answers_s = time.monotonic() - began
            until("every service works", lambda: services_work(health(client)), every_s=0.02)
        until("the agents are back", lambda: len(panel.working_nodes()) == AGENTS, every_s=0.02)
        return answers_s, time.monotonic() - began
    finally:
        panel.stop()


def address(panel: Panel) -> str | None:
    running = read_running(panel.data)
    return running.url if running else None


def health(client: httpx.Client) -> dict[str, dict[str, str]]:
    with contextlib.suppress(httpx.TransportError):
        answer = client.get("/health")
        if answer.is_success:
            found: dict[str, dict[str, str]] = answer.json()
            return found
    return {}


def _measure_celery(folder: Path) -> float:
    with broker_url() as url:
        (folder / "nothing.py").write_text(NOTHING.format(url=url))
        app = Celery(broker=url)
        began = time.monotonic()
        with _celery(folder, "worker"), _celery(folder, "beat"):
            until("the worker answers", lambda: app.control.ping(timeout=0.1))
            return time.monotonic() - began


@contextlib.contextmanager
def _celery(folder: Path, what: str) -> Iterator[None]:
    command = [sys.executable, "-m", "celery", "-A", "nothing", what]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield
        finally:
            process.terminate()
