"""`./fog up`: the panel in the foreground until Ctrl-C, or started elsewhere, tried and stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from fogpanel.supervisor import preparation
from fogpanel.supervisor.check import Report, try_out
from fogpanel.supervisor.console import OURSELVES, Console
from fogpanel.supervisor.panel import Panel, Wishes, first_sign_in, greeting
from fogpanel.supervisor.places import DataFolder
from fogpanel.supervisor.running import sole_supervisor


async def up(wishes: Wishes) -> int:
    """Run the panel until it is told to stop. Raises CannotStart."""
    console = Console()
    with sole_supervisor(DataFolder(wishes.data.resolve())):
        panel = Panel(wishes, console.say)
        working = asyncio.create_task(run_until_cancelled(panel))
        stop_on_signals(working)
        try:
            await working
        except asyncio.CancelledError:
            console.say(OURSELVES, "stopped")
    return 0


async def prepare(folder: DataFolder) -> int:
    """What a host needs before its programs are started by something else. Raises CannotStart."""
    say = Console().say
    await preparation.prepare_files(folder, say)
    env = {"FOGPANEL_DATA": str(folder.path), "DJANGO_SETTINGS_MODULE": "fogpanel.settings"}
    beginning = await preparation.begin(folder, env, joining=0)
    if beginning.admin_password and not os.environ.get("FOGPANEL_ADMIN_PASSWORD"):
        print("\n".join(first_sign_in(beginning.admin_password)), flush=True)
    say(OURSELVES, f"{folder.path} is prepared, and the database is up to date")
    return 0


async def run_until_cancelled(panel: Panel) -> None:
    await panel.start()
    try:
        print(greeting(panel), flush=True)
        await asyncio.Event().wait()
    finally:
        await panel.stop()


ELSEWHERE = ("DATABASE_URL", "REDIS_URL", "FOGPANEL_URL", "FOGPANEL_DATA")
"""Settings that would lead a check to what is in use."""


async def check(agents: int, as_json: bool) -> int:
    """Start a panel on a free port and a temporary folder, try it and stop it. Raises CannotStart."""
    for name in ELSEWHERE:
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory(prefix="fogpanel-check-") as folder:
        wishes = Wishes(port=0, data=Path(folder), agents=agents)
        panel = Panel(wishes, Console().say)
        working = asyncio.create_task(run_check(panel))
        stop_on_signals(working)
        try:
            report = await working
        except asyncio.CancelledError:
            return 130
    print(json.dumps(report.as_json()) if as_json else report.as_text(), flush=True)
    return 0 if report.passed else 1


async def run_check(panel: Panel) -> Report:
    began = time.monotonic()
    await panel.start()
    try:
        return await try_out(panel, began)
    finally:
        await panel.stop()


def stop_on_signals(working: asyncio.Task[None] | asyncio.Task[Report]) -> None:
    """The first of these signals stops in order; impatience does not leave processes behind."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if not working.cancelling():
            sys.stderr.write("\n")
            working.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
