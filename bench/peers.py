"""Environments of their own for peers, under the data folder: what they bring does not touch ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fogpanel.supervisor.places import DEFAULT_DATA


class NoPeer(Exception):
    """A peer cannot be had on this machine; ``str`` says why."""


def python_with(name: str, requirements: Sequence[str]) -> Path:
    """The Python of the environment ``name`` in which ``requirements`` are installed; made once.

    Raises:
        NoPeer: they cannot be installed here.
    """
    folder = DEFAULT_DATA / "peers" / name
    python, stamp = folder / "bin" / "python", folder / "installed"
    wanted = "\n".join(requirements)
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    for command in ([sys.executable, "-m", "venv", "--clear", str(folder)], pip):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise NoPeer(said[-1] if said else f"{command[0]} failed")
    stamp.write_text(wanted)
    return python
