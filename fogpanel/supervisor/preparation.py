"""What has to be there before the panel starts. Each step is stamped: a second start finds all done."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fogpanel.supervisor import frontend
from fogpanel.supervisor.child import Program, spawn
from fogpanel.supervisor.console import OURSELVES, Say
from fogpanel.supervisor.places import COMPILED, ROOT, DataFolder
from fogpanel.supervisor.problems import CannotStart
from fogpanel.supervisor.stamps import fingerprint, is_done, mark_done

REQUIREMENTS = ROOT / "requirements.txt"


@dataclass(frozen=True)
class Beginning:
    """What `manage.py begin` answers. The password is there on the first start only."""

    admin_password: str | None
    join_key: str | None
    panel_key: str


async def prepare_files(data: DataFolder, say: Say) -> None:
    """Fetch, build and compile what is not there yet.

    Raises:
        CannotStart: no network, or a step that failed; the sentence says which.
    """
    if await asyncio.to_thread(frontend.install):
        say(OURSELVES, "fetched the front-end packages")
    await asyncio.gather(build_agent_wheel(data), compile_interpreter(say))


async def build_agent_wheel(data: DataFolder) -> None:
    """The wheel that the panel hands to new nodes, out of this checkout."""
    stamp = data.agent_wheel / ".built"
    wanted = fingerprint([ROOT / "fogagent", ROOT / "pyproject.toml"])
    if is_done(stamp, wanted):
        return
    shutil.rmtree(data.agent_wheel, ignore_errors=True)
    data.agent_wheel.mkdir(parents=True)
    await run("the agent's wheel", "hatchling", "build", "-t", "wheel", "-d", str(data.agent_wheel))
    mark_done(stamp, wanted)


async def compile_interpreter(say: Say) -> None:
    """Python for WebAssembly, compiled for this machine; local agents share it."""
    stamp = COMPILED / ".compiled"
    wanted = fingerprint([REQUIREMENTS, ROOT / "fogagent" / "drivers" / "engine.py"])
    if is_done(stamp, wanted):
        return
    say(OURSELVES, "compiling Python for WebAssembly; this happens once")
    COMPILED.mkdir(parents=True, exist_ok=True, mode=0o700)
    await run("compiling Python for WebAssembly", "fogagent.drivers.prepare", str(COMPILED))
    mark_done(stamp, wanted)


def share_compiled(cache: Path) -> None:
    """Give an agent's cache what is compiled already, by hard links where the file system has them."""
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    for file in COMPILED.iterdir():
        target = cache / file.name
        if file.name.startswith(".") or target.exists():
            continue
        try:
            os.link(file, target)
        except OSError:
            shutil.copy2(file, target)


async def begin(data: DataFolder, env: Mapping[str, str], *, joining: int) -> Beginning:
    """Bring the database up to date; a join key for ``joining`` agents if there are any."""
    stamp = data.static_files / ".collected"
    wanted = fingerprint([ROOT / "static", REQUIREMENTS])
    fresh = not is_done(stamp, wanted)
    arguments = ["begin", "--join", str(joining), *(["--static"] if fresh else [])]
    answer = await run("preparing the database", "django", *arguments, env=env)
    if fresh:
        mark_done(stamp, wanted)
    return Beginning(**json.loads(answer.splitlines()[-1]))


async def run(what: str, module: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Run a Python module to its end and return what it printed. Raises CannotStart if it fails."""
    argv = (sys.executable, "-P", "-m", module, *arguments)
    process = await spawn(Program(name=module, argv=argv, env=env or {}), asyncio.subprocess.PIPE)
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    text = output.decode(errors="replace").strip()
    if process.returncode:
        raise CannotStart(f"This step failed: {what}.\n{text}")
    return text
