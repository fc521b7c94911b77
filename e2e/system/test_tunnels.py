"""Tunnels between real agents: bytes cross three relays, and a relay that is killed is gone round."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import ProxySettings, sync_playwright

from bench.through_socks import LARGE, SMALL, SocksRefused, fetch, open_through, served_bytes, through
from e2e import chromium
from e2e.system.panel import ADMIN, Panel, until

RELAY = ("--flags", "relay,compute")
EXIT = (
    "--flags",
    "relay,exit",
    "--exit-allow",
    "lab=127.0.0.1:{served}",
    "--exit-allow",
    "page=127.0.0.1:{page}",
)
ENTRY = ("--flags", "entry,compute")
AGAIN_WITHIN_S = 3.0
"""From the end of a relay to the next stream."""
CURL_PROXY = 97  # its exit code where a proxy refuses


@dataclass
class Fog:
    """A panel with an entry, three relays and an exit that may reach this machine, and a tunnel."""

    panel: Panel
    agents: dict[str, subprocess.Popen[bytes]]
    tunnel: int
    socks: int
    served: int
    page: int

    def fetch(self, size: int) -> None:
        """Raises SocksRefused or OSError; what arrives is compared with what was served."""
        fetch(through(self.socks), ("127.0.0.1", self.served), size, bytearray(size + 10_000))

    def path_in_use(self) -> list[str]:
        """The stations of the circuit that carries a stream of the tunnel, the entry first."""
        entry = self.panel.nodes()["entry"]["id"]
        [told] = self.panel.get(f"/circuits?node={entry}")["items"]
        mine = [each for each in told["circuits"] if each["streams"] and self.tunnel in each["tunnels"]]
        return [hop["name"] for hop in mine[0]["path"]] if len(mine) == 1 else []


@pytest.fixture(scope="module")
def fog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fog]:
    folder: Path = tmp_path_factory.mktemp("tunnels")
    with served_bytes() as served, page_server() as page, Panel(folder, agents=0) as panel:
        flags = {"relay-1": RELAY, "relay-2": RELAY, "relay-3": RELAY, "exit": EXIT, "entry": ENTRY}
        agents = {
            name: panel.join(name, *(each.format(served=served, page=page) for each in options))
            for name, options in flags.items()
        }
        made = panel.post("/tunnels", {"name": "lab", "entry": "entry"})["id"]
        opened = until("the tunnel is open", lambda: _open(panel, made))
        fog = Fog(panel, agents, made, opened["port"], served, page)
        until("a stream crosses it", lambda: _fetches(fog))
        yield fog


@contextmanager
def page_server() -> Iterator[int]:
    """A web site of one page; its port."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<title>From afar</title><p>Hello from the other side."
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def _open(panel: Panel, tunnel: int) -> dict[str, object] | None:
    found: dict[str, object] = panel.get(f"/tunnels/{tunnel}")
    return found if found["state"] == "open" else None


def _fetches(fog: Fog) -> bool:
    try:
        fog.fetch(SMALL)
    except (SocksRefused, OSError):
        return False
    return True


def test_64_mib_cross_three_hops_and_arrive_as_they_were(fog: Fog) -> None:
    assert LARGE >= 64 * 1024 * 1024
    fog.fetch(LARGE)
    told = until("the tunnel tells of it", lambda: _carried(fog))
    assert told["hops"] == 3


def _carried(fog: Fog) -> dict[str, object] | None:
    told: dict[str, object] = fog.panel.get(f"/tunnels/{fog.tunnel}")
    return told if int(str(told["received_bytes"])) > LARGE else None


def test_a_tunnel_with_a_password_is_for_who_has_it(fog: Fog) -> None:
    asked = {"name": "shared", "entry": "entry", "require_password": True}
    made = fog.panel.post("/tunnels", asked)
    opened = until("the guarded tunnel is open", lambda: _open(fog.panel, made["id"]))
    port, password = opened["port"], made["password"]

    def curl(*options: str) -> subprocess.CompletedProcess[str]:
        line = ["curl", "-sS", "--max-time", "20", "--noproxy", "", "--socks5-hostname", f"127.0.0.1:{port}"]
        target = f"http://127.0.0.1:{fog.page}/"
        return subprocess.run([*line, *options, target], capture_output=True, text=True, check=False)

    for user in (ADMIN, f"{ADMIN}+work"):
        answer = curl("--proxy-user", f"{user}:{password}")
        assert "Hello from the other side." in answer.stdout, answer.stderr
    for options in ((), ("--proxy-user", f"{ADMIN}:wrong"), ("--proxy-user", f"nobody:{password}")):
        refused = curl(*options)
        assert (refused.returncode, refused.stdout) == (CURL_PROXY, ""), refused.stderr
    until("the entry tells of all three", lambda: _refused(fog.panel, made["id"]) == (2, 1))
    renewed = fog.panel.post(f"/tunnels/{made['id']}/password", {})["password"]
    until("the new one works", lambda: curl("--proxy-user", f"{ADMIN}:{renewed}").returncode == 0)
    assert curl("--proxy-user", f"{ADMIN}:{password}").returncode == CURL_PROXY
    fog.panel.answer("DELETE", f"/tunnels/{made['id']}")


def _refused(panel: Panel, tunnel: int) -> tuple[int, int]:
    """How often with a wrong password, and without one."""
    told = panel.get(f"/tunnels/{tunnel}")
    return told["wrong_passwords"], told["missing_passwords"]


def test_a_browser_loads_a_page_through_it(fog: Fog) -> None:
    proxy = ProxySettings(server=f"socks5://127.0.0.1:{fog.socks}", bypass="<-loopback>")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**chromium.launch_args(), proxy=proxy)
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{fog.page}/")
        assert (page.title(), page.inner_text("p")) == ("From afar", "Hello from the other side.")
        browser.close()


def test_what_the_exit_must_not_reach_is_refused(fog: Fog) -> None:
    panel_port = int(fog.panel.url.rpartition(":")[2])
    with pytest.raises(SocksRefused, match="not allowed"):
        fetch(through(fog.socks), ("127.0.0.1", panel_port), SMALL, bytearray(SMALL))
    with pytest.raises(SocksRefused, match="not allowed"):
        fetch(through(fog.socks), ("10.0.0.1", 80), SMALL, bytearray(SMALL))


def test_a_killed_relay_ends_the_open_stream_and_is_gone_round(fog: Fog) -> None:
    with socket.create_connection(("127.0.0.1", fog.socks), 20) as stream:
        open_through(stream, "127.0.0.1", fog.served)
        path = until("the entry tells which circuit is in use", fog.path_in_use)
        assert len(set(path)) == 4
        middle = path[2]
        began = time.monotonic()
        os.kill(fog.agents[middle].pid, signal.SIGKILL)
        with pytest.raises(ConnectionResetError):  # and not as if all had been said
            stream.recv(1)
    until("a new stream works", lambda: _fetches(fog))
    assert time.monotonic() - began < AGAIN_WITHIN_S
    assert fog.panel.get(f"/tunnels/{fog.tunnel}")["state"] == "open"
    fog.agents[middle] = fog.panel.join(middle, *RELAY)
