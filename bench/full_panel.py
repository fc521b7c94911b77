"""A full panel for benches: 10,000 nodes and 1,000,000 tasks, in a data folder of its own that is kept.

The product's own seeding makes it, once; it is made anew when that has changed. A program that talks to
Django about it is one of its own (`bench.inside_pages`), since a bench imports none.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Mapping

from e2e.system.panel import supervisor_command, supervisor_env
from fogpanel.supervisor.places import DEFAULT_DATA, ROOT, DataFolder
from fogpanel.supervisor.stamps import is_done, mark_done

NODES, TASKS = 10_000, 1_000_000
FOLDER = DEFAULT_DATA / "bench" / "full-panel"
HEARD_H = 24 * 365 * 10  # for as long as anybody will keep it
DEFAULT_TIMES = {"FOGPANEL_HEARTBEAT_S": "30", "FOGPANEL_TIMEOUT_S": "90", "FOGPANEL_SWEEP_S": "5"}
SEEDING = ("tasks/seeding", "tasks/management/commands/seed.py")


def full_panel() -> DataFolder:
    """The folder, with its database at the present migrations."""
    data, stamp, wanted = DataFolder(FOLDER), FOLDER / "seeded", _seeding()
    seeded = is_done(stamp, wanted)
    if not seeded:
        shutil.rmtree(FOLDER, ignore_errors=True)
    _run(supervisor_command("prepare", "--data", str(FOLDER)))
    if not seeded:
        print(f"seeding {NODES:,} nodes and {TASKS:,} tasks into {FOLDER}, once", file=sys.stderr)
        counts = ["--nodes", str(NODES), "--tasks", str(TASKS), "--heard-h", str(HEARD_H)]
        _run([sys.executable, "manage.py", "seed", *counts])
        mark_done(stamp, wanted)
    return data


def environment(**more: str) -> Mapping[str, str]:
    """For a process that works on the full panel."""
    return supervisor_env(**DEFAULT_TIMES, FOGPANEL_DATA=str(FOLDER), **more)


def _run(command: list[str]) -> None:
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, stdout=sys.stderr)


def _seeding() -> str:
    """What the seeding is made of, wherever the checkout lies."""
    digest = hashlib.sha256(f"{NODES} {TASKS} {HEARD_H}".encode())
    for part in SEEDING:
        for file in sorted([ROOT / part] if part.endswith(".py") else (ROOT / part).glob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()
