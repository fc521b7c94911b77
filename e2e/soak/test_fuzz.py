"""Whatever strangers send, nothing falls over: coverage-guided fuzzing of each door for a while."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.soak.fuzz_targets import TARGETS

SCALE = float(os.environ.get("FOG_SOAK_SCALE", "1"))
FUZZ_S = max(3, round(20 * SCALE))
"""For each target, without its start."""
START_S = 180
INPUT_S = 10
"""No input may take longer than this."""
INPUT_BYTES = 16 * 1024
MEMORY_MB = 1024

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_comes_is_taken_or_refused(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: it has wheels for x86-64 Linux and CPython up to 3.13 only")
    answer = fuzz(name, tmp_path)
    print(answer.stdout[-500:])
    found = [f"{path.name}: {path.read_bytes().hex()}" for path in tmp_path.glob("found-*")]
    assert answer.returncode == 0 and not found, "\n".join([*found, answer.stdout[-5000:]])


def fuzz(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What was found is written to ``found-*`` in the folder."""
    command = [sys.executable, "-m", "e2e.soak.fuzz_one", name, str(corpus(name, folder / "corpus"))]
    options: dict[str, object] = {
        "max_total_time": FUZZ_S,
        "timeout": INPUT_S,
        "max_len": INPUT_BYTES,
        "rss_limit_mb": MEMORY_MB,
        "artifact_prefix": folder / "found-",
        "print_final_stats": 1,
    }
    if TARGETS[name].words:
        options["dict"] = words(name, folder / "words")
    command += [f"-{option}={value}" for option, value in options.items()]
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        timeout=FUZZ_S + START_S,
    )  # fmt: skip


def corpus(name: str, folder: Path) -> Path:
    folder.mkdir()
    for number, seed in enumerate(TARGETS[name].seeds()):
        (folder / str(number)).write_bytes(seed)
    return folder


def words(name: str, path: Path) -> Path:
    """A dictionary as libFuzzer reads it."""
    path.write_text("".join(f"{json.dumps(word)}\n" for word in TARGETS[name].words))
    return path
