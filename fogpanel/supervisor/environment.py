"""Makes the virtual environment and installs the pinned packages, once.

`./fog` runs this file as a script, with any Python 3.11 it finds, before anything is installed: it
uses the standard library only. What is installed is remembered by a stamp over each requirement file,
written last, so that a second start does nothing and an interrupted one is made good by the next.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = VENV / "install.log"

NETWORK_TROUBLE = re.compile(
    r"NewConnectionError|Name or service not known|Temporary failure in name resolution|"
    r"Network is unreachable|Connection refused|ConnectTimeout|ReadTimeout|Max retries exceeded"
)


class CannotSetUp(Exception):
    """Setting up failed; ``str`` is one sentence that says why and what to do."""


def install(names: list[str]) -> None:
    """Install what these requirement files of the checkout name, where that was not done yet.

    Raises:
        CannotSetUp: no venv module, no network, an unwritable folder, a package that does not install.
    """
    with alone():
        if not is_healthy():
            make_environment()
        for name in names:
            stamp, wanted = VENV / f"installed-{name}", stamp_text(ROOT / name)
            if read(stamp) != wanted:
                say(f"Installing the packages of {name}; this happens once.")
                pip_install(name)
                stamp.write_text(wanted)


@contextmanager
def alone() -> Iterator[None]:
    """Hold the lock of the checkout: two launchers started at once set up one after the other."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def stamp_text(requirements: Path) -> str:
    """What must be the same for an installation to be still good: the file and the Python it is for."""
    return f"{platform.python_version()} {hashlib.sha256(requirements.read_bytes()).hexdigest()}\n"


def read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def is_healthy() -> bool:
    """Whether the environment is there, whole, and for the Python that it was made with."""
    if not PYTHON.exists():
        return False
    if Path(sys.prefix) == VENV:  # it is what runs this
        return importlib.util.find_spec("pip") is not None
    return subprocess.run([PYTHON, "-I", "-c", "import pip"], capture_output=True).returncode == 0


def make_environment() -> None:
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise CannotSetUp(
            f"Python {version} is here without its venv module; on Debian and Ubuntu: "
            f"apt install python{version}-venv"
        )
    say("Making a virtual environment in .venv.")
    # A virtual environment that is broken may still be what runs this: ask the Python beneath it.
    base = getattr(sys, "_base_executable", None) or sys.executable
    made = subprocess.run([base, "-m", "venv", "--clear", VENV], capture_output=True, text=True)
    if made.returncode:
        raise CannotSetUp(
            f"The virtual environment could not be made: {last_line(made.stdout + made.stderr)}"
        )


def pip_install(name: str) -> None:
    command = [
        str(PYTHON),
        "-I",
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "-r",
        str(ROOT / name),
    ]
    with LOG.open("w") as log:
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode
    if code == 0:
        return
    said = LOG.read_text(errors="replace")
    if NETWORK_TROUBLE.search(said):
        raise CannotSetUp(
            "The Python package index cannot be reached; check the network and run this again. "
            f"Details: {LOG}"
        )
    errors = [line for line in said.splitlines() if line.startswith("ERROR")] or said.splitlines()
    raise CannotSetUp(
        f"pip could not install {name}: {last_line(errors[-1] if errors else '')} Details: {LOG}"
    )


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it did not say why."


def say(sentence: str) -> None:
    print(f"fog: {sentence}", file=sys.stderr, flush=True)


def main() -> int:
    try:
        install(sys.argv[1:])
    except CannotSetUp as problem:
        say(str(problem))
        return 1
    except OSError as error:
        say(f"Cannot write to {error.filename or ROOT}: {error.strerror}.")
        return 1
    except KeyboardInterrupt:
        say("Interrupted; the next start goes on from here.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
