"""What some tests need beyond Python: a browser, a sandbox, a database. Fetched where that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from fogpanel.supervisor import broker, postgres
from fogpanel.supervisor.problems import CannotStart

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

TRY_BROWSER = """
import os
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    playwright.chromium.launch(args=args).close()
"""


def ensure_browser() -> str | None:
    """Find or fetch a Chromium: the machine's, Playwright's own, the system's package.

    Returns what to tell when there is none.
    """
    if any(map(shutil.which, CHROMIUMS)) or playwright_has_one():
        return None
    succeeds([sys.executable, "-m", "playwright", "install", "chromium"])
    if playwright_has_one() or (apt_install("chromium") and shutil.which("chromium")):
        return None
    return "There is no Chromium and none could be fetched; install one, for example: apt install chromium"


def playwright_has_one() -> bool:
    """Whether Playwright's Chromium is there and starts; it may lack a library of the system."""
    return succeeds([sys.executable, "-c", TRY_BROWSER])


def ensure_sandbox() -> str | None:
    """Find or fetch bubblewrap; what to tell when there is none."""
    if shutil.which("bwrap") or apt_install("bubblewrap"):
        return None
    return "bubblewrap is not installed (apt install bubblewrap): tests of the command driver are skipped"


def ensure_postgres() -> str | None:
    """Find or fetch the programs of a PostgreSQL server; what to tell when there are none."""
    if postgres.find_programs() or (apt_install("postgresql") and postgres.find_programs()):
        return None
    return "PostgreSQL is not installed (apt install postgresql): what needs it is skipped"


def ensure_broker() -> str | None:
    """Find or fetch a Redis or Valkey server; what to tell when there is none."""
    if has_broker() or ((apt_install("valkey-server") or apt_install("redis-server")) and has_broker()):
        return None
    return "There is no Redis or Valkey server (apt install redis-server): what starts a panel fails"


def has_broker() -> bool:
    try:
        broker.find_server()
    except CannotStart:
        return False
    return True


def apt_install(package: str) -> bool:
    """Install a package of the system, where that is Debian's kind and we are root."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "--yes", "--no-install-recommends", package]
    if not any(Path("/var/lib/apt/lists").glob("*Packages*")):
        succeeds(["apt-get", "update"], env)
    return succeeds(command, env)


def succeeds(command: list[str], env: dict[str, str] | None = None) -> bool:
    answer = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True)
    return answer.returncode == 0
