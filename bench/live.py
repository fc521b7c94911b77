"""How long a change takes to the screen while 300 browsers watch, and how often it is drawn for them.

300 sockets with the topics of the panel's pages, 300 simulated agents that beat at the default pace, two real
agents with a stream of small tasks, and one Chromium that sees changes in its document: a heartbeat on its
node's page (from the moment before it is sent) and tasks that are cancelled in their list (from the moment
before the request). Both clocks are this machine's. Renders are the panel's own counters at `/metrics`.

The peer is a bare Channels group under the same Daphne with as many sockets and the same Chromium, which
stores and draws nothing: what one sends is passed on to all. A panel that drew for each browser by itself
would draw as often as a topic has browsers.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from random import Random

import httpx
from playwright.sync_api import Browser, Page, sync_playwright
from websockets.sync.client import connect

from bench.load_program import LoadProgram
from bench.report import Better, Report, Row, percentile
from e2e import chromium
from e2e.system.panel import ADMIN, Panel, supervisor_env, until
from e2e.system.samples import echo_module
from fogagent.identity import Identity
from fogpanel.supervisor.broker import free_port
from fogpanel.supervisor.places import ROOT
from fogpanel.supervisor.programs import PYTHON

ONLOOKERS, AGENTS = 300, 300
BEATS, CANCELLED, CHANGES_BARE = 150, 150, 150
ROWS = 50  # of a page of the task list
SCREEN_BAR_MS, RENDERS_BAR = 500.0, 1.0
PAUSE_S = (0.05, 0.4)  # between two changes, so that they fall anywhere in a tick
TASK_EVERY_S = 0.2
SETTLE_S = 2.0
DEFAULT_TIMES = {"FOGPANEL_HEARTBEAT_S": "30", "FOGPANEL_TIMEOUT_S": "90", "FOGPANEL_SWEEP_S": "5"}
SMALL = {"driver": "wasm", "cores": 0.01, "memory_mb": 16}
NOWHERE = {"region": "nowhere", "region_required": True}

# Keeps [what is shown, since when] of everything that `shown` finds, whenever the document changes.
WATCH = """(shown) => {
  const find = {
    load: () => document.body.textContent.match(/load \\d+\\.\\d\\d/g) ?? [],
    cancelled: () => [...document.querySelectorAll(".list-row[data-state=cancelled]")].map((row) => row.id),
  }[shown];
  let before = [];
  window.seen = [];
  new MutationObserver(() => {
    const at = performance.timeOrigin + performance.now();
    const now = find();
    for (const what of now) if (!before.includes(what)) window.seen.push([what, at]);
    before = now;
  }).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
}"""
SEEN = "([what, since]) => window.seen.find(([shown, at]) => shown === what && at >= since)?.[1] ?? null"


def measure() -> Report:
    with tempfile.TemporaryDirectory(prefix="fogpanel-bench-") as name, sync_playwright() as playwright:
        browser = playwright.chromium.launch(**chromium.launch_args())
        with Panel(Path(name), agents=2, **DEFAULT_TIMES) as panel:
            beats, cancelled, renders, watching = _measure_panel(panel, browser)
        bare = _measure_bare(Path(name), browser)
    return Report(bench="live", rows=_rows(beats, cancelled, bare, renders, watching))


def _rows(
    beats: Sequence[float], cancelled: Sequence[float], bare: Sequence[float], renders: float, watching: float
) -> list[Row]:
    def row(what: str, values: Sequence[float], share: float, bar: float | None = None) -> Row:
        return Row(
            what=what, value=round(percentile(values, share)), unit="ms", bar=bar, better=Better.LOWER,
            peer="bare Channels group", peer_value=round(percentile(bare, share)),
        )  # fmt: skip

    return [
        row("change to screen p99", [*beats, *cancelled], 99, SCREEN_BAR_MS),
        row("heartbeat to screen p50", beats, 50),
        row("task state to screen p50", cancelled, 50),
        Row(
            what="renders per topic and tick",
            value=renders,
            unit="renders",
            bar=RENDERS_BAR,
            better=Better.LOWER,
            peer="one for each browser",
            peer_value=round(watching, 1),
        ),
    ]


# --- The panel -------------------------------------------------------------------------------------


def _measure_panel(panel: Panel, browser: Browser) -> tuple[list[float], list[float], float, float]:
    """Times to the screen in ms of heartbeats and of cancelled tasks; renders; browsers to a topic."""
    _enrol(panel)
    page = browser.new_page()
    chromium.sign_in(page, panel.url, ADMIN, panel.password)
    with closing(panel.client()) as client, _tasks_coming(panel):
        waiting = [_wait_nowhere(client, number) for number in range(CANCELLED)]
        with _crowd(panel, page) as (crowd, topics):
            node_id = panel.get("/nodes?search=simulated-0")["items"][0]["id"]
            _open(page, f"{panel.url}/nodes/{node_id}", "load")
            time.sleep(SETTLE_S)  # who comes to look is shown a picture out of turn
            before = _counters(panel, client)
            beats = _time_beats(page, crowd)
            renders = _renders_each(before, _counters(panel, client))
            cancelled = [
                taken
                for start in range(0, CANCELLED, ROWS)
                for taken in _time_cancelling(page, panel, client, waiting[start : start + ROWS])
            ]
            crowd.check()
    watched = [topic for each in topics for topic in each]
    return beats, cancelled, renders, ONLOOKERS / len(topics) * len(watched) / len(set(watched))


def _time_beats(page: Page, crowd: Crowd) -> list[float]:
    opened_at, rng = time.time(), Random(1)
    for _ in range(BEATS):
        time.sleep(rng.uniform(*PAUSE_S))
        last = crowd.tell("beat")["serial"]
    sent = [(serial, at) for serial, at in crowd.tell("beats") if opened_at <= at and serial <= last]
    until("the page shows the last beat", lambda: len(shown_after(sent, _seen(page))) == len(sent))
    return shown_after(sent, _seen(page))


def shown_after(sent: Sequence[tuple[int, float]], seen: Sequence[tuple[str, float]]) -> list[float]:
    """Milliseconds from each beat to the first picture that shows it or a later one, which replaced it.

    ``sent`` is (serial, seconds since the epoch) and ``seen`` (what was shown, milliseconds), both in order.
    """
    times: list[float] = []
    for shown, seen_ms in seen:
        fitting = [
            n for n, (serial, at) in enumerate(sent) if _load(serial) == shown and 1000 * at <= seen_ms
        ]
        if fitting:
            times += [seen_ms - 1000 * at for _, at in sent[len(times) : fitting[-1] + 1]]
    return times


def _load(serial: int) -> str:
    """How the page shows the beat with this number (`bench.crowd.heartbeat`)."""
    return f"load {serial % 100 / 10:.2f}"


def _seen(page: Page) -> list[tuple[str, float]]:
    seen: list[tuple[str, float]] = page.evaluate("window.seen")
    return seen


def _time_cancelling(page: Page, panel: Panel, client: httpx.Client, tasks: Sequence[int]) -> list[float]:
    """Tasks that wait, cancelled one after the other in a list that shows them all."""
    _open(page, f"{panel.url}/tasks?tab=queued&after={max(tasks) + 1}", "cancelled")
    rng = Random(max(tasks))
    times = []
    for task_id in rng.sample(tasks, len(tasks)):
        time.sleep(rng.uniform(*PAUSE_S))
        at = time.time()
        client.post(f"/tasks/{task_id}/cancel").raise_for_status()
        times.append(_time_to_screen(page, f"task-{task_id}", at))
    return times


def _open(page: Page, address: str, shown: str) -> None:
    page.goto(address)
    page.locator("[data-testid=ws-status][data-status=connected]").wait_for()
    page.evaluate(WATCH, shown)


def _time_to_screen(page: Page, what: str, at: float) -> float:
    """Milliseconds from ``at`` (seconds since the epoch) until the document showed ``what``."""
    seen_ms: float = until(f"the page shows {what}", lambda: page.evaluate(SEEN, [what, 1000 * at]), 30, 0.03)
    return seen_ms - 1000 * at


def _wait_nowhere(client: httpx.Client, number: int) -> int:
    spec = {**SMALL, **NOWHERE, "name": f"waits {number}", "module": echo_module()}
    answer = client.post("/tasks", json=spec)
    answer.raise_for_status()
    return int(answer.json()["id"])


@contextmanager
def _tasks_coming(panel: Panel) -> Iterator[None]:
    """A stream of small tasks for as long as this lasts."""
    over = threading.Event()

    def hand_in() -> None:
        with closing(panel.client()) as client:
            while not over.wait(TASK_EVERY_S):
                client.post("/tasks", json={**SMALL, "name": "comes by", "module": echo_module()})

    thread = threading.Thread(target=hand_in)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# --- Counters --------------------------------------------------------------------------------------


def _counters(panel: Panel, client: httpx.Client) -> dict[tuple[str, str], float]:
    """(renders or shown, topic) → how often so far."""
    headers = {"Authorization": client.headers["Authorization"]}
    answer = httpx.get(f"{panel.url}/metrics", headers=headers, trust_env=False)
    answer.raise_for_status()
    found = re.findall(r'^fogpanel_live_(renders|shown)_total\{topic="(\w+)"\} (\S+)', answer.text, re.M)
    return {(what, topic): float(value) for what, topic, value in found}


def _renders_each(before: dict[tuple[str, str], float], after: dict[tuple[str, str], float]) -> float:
    """The most renders that a topic took whenever it was shown anew."""
    grown = {key: value - before.get(key, 0.0) for key, value in after.items()}
    shown = {topic: value for (what, topic), value in grown.items() if what == "shown" and value}
    assert {"node", "nodes", "tasks", "fleet"} <= shown.keys(), f"nobody watched: {shown}"
    return round(max(grown["renders", topic] / value for topic, value in shown.items()), 3)


# --- Who watches -----------------------------------------------------------------------------------


class Crowd(LoadProgram):
    """The sockets that look on (`bench.onlookers`), and simulated agents."""

    def check(self, agents: int = AGENTS) -> None:
        """All are there, and were shown something."""
        found = self.tell("check")
        assert (found["onlookers"], found["agents"]) == (ONLOOKERS, agents), found
        assert found["frames"] > 0, found


@contextmanager
def _crowd(panel: Panel, page: Page) -> Iterator[tuple[Crowd, list[list[str]]]]:
    """All connected, with the topics of each page."""
    key = Identity.load_or_create(panel.data.path / "panel.key").public_key.hex()
    cookie = "; ".join(f"{each['name']}={each['value']}" for each in page.context.cookies())
    topics = _topics_of_pages(panel, cookie)
    sockets = [f"{panel.url.replace('http', 'ws', 1)}/ws/live/?topics={','.join(each)}" for each in topics]
    options = ["--panel", panel.url, "--panel-key", key, "--agents", str(AGENTS), "--cookie", cookie]
    with _onlookers(sockets, *options) as crowd:
        yield crowd, topics


def _topics_of_pages(panel: Panel, cookie: str) -> list[list[str]]:
    """What the pages' own sockets subscribe to."""
    node, task = panel.get("/nodes")["items"][0]["id"], panel.get("/tasks")["items"][0]["id"]
    pages = (
        "/control-panel",
        "/nodes",
        f"/nodes/{node}",
        "/tasks",
        f"/tasks/{task}",
        "/services/fog_coordinator/",
    )
    found = []
    with httpx.Client(base_url=panel.url, headers={"Cookie": cookie}, trust_env=False) as client:
        for page in pages:
            socket = re.search(r'ws-connect="/ws/live/\?topics=([^"]+)"', client.get(page).text)
            assert socket, f"{page} has no live socket"
            found.append(socket[1].split(","))
    return found


def _onlookers(sockets: Sequence[str], *options: str) -> AbstractContextManager[Crowd]:
    return Crowd.started("bench.onlookers", *sockets, "--onlookers", str(ONLOOKERS), *options)


def _enrol(panel: Panel) -> None:
    env = supervisor_env(**DEFAULT_TIMES, FOGPANEL_DATA=str(panel.data.path))
    subprocess.run([*PYTHON, "bench.fleet_rows", "enrol", "0", str(AGENTS)], cwd=ROOT, env=env, check=True)


# --- The peer --------------------------------------------------------------------------------------


def _measure_bare(folder: Path, browser: Browser) -> list[float]:
    """Milliseconds to the screen of what is sent to a bare group."""
    port = free_port()
    url = f"ws://127.0.0.1:{port}/"
    daphne = [
        *PYTHON,
        "daphne",
        "-b",
        "127.0.0.1",
        "-p",
        str(port),
        "-v",
        "0",
        "bench.bare_group:application",
    ]
    with (
        (folder / "peer.log").open("wb") as log,
        subprocess.Popen(daphne, cwd=ROOT, env=supervisor_env(), stdout=log, stderr=log) as server,
    ):
        try:
            until("the peer listens", lambda: _accepts(url))
            with _onlookers([url]) as crowd:
                times = _time_bare(browser, url)
                crowd.check(agents=0)
            return times
        finally:
            server.terminate()


def _accepts(url: str) -> bool:
    try:
        connect(url, proxy=None).close()
    except OSError:
        return False
    return True


BARE_PAGE = """(url) => new Promise((opened) => {
  const socket = new WebSocket(url);
  socket.onmessage = (event) => { document.body.innerHTML = event.data; };
  socket.onopen = opened;
})"""


def _time_bare(browser: Browser, url: str) -> list[float]:
    page = browser.new_page()
    page.evaluate(BARE_PAGE, url)
    page.evaluate(WATCH, "load")
    rng = Random(2)
    times = []
    with connect(url, proxy=None) as sender:
        for number in range(CHANGES_BARE):
            time.sleep(rng.uniform(*PAUSE_S))
            shown = f"load {number / 10:.2f}"
            at = time.time()
            sender.send(f"<section>{shown}</section>" + "<p>as long as the rest of a picture</p>" * 100)
            sender.recv()  # what it sent itself; unread it would stop the connection
            times.append(_time_to_screen(page, shown, at))
    return times
