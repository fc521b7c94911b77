"""`./fog` itself, in a small checkout of its own: what it sets up, repairs, hands over and refuses."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fogpanel.supervisor.places import ROOT

TELL = "import os, sys; print(*sys.argv[1:], sep='|'); print(os.getcwd())"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with a space in its name: a client that tells its arguments, nothing to install."""
    root = tmp_path_factory.mktemp("launcher") / "fog panel"
    (root / "fogpanel" / "supervisor").mkdir(parents=True)
    (root / "fogagent").mkdir()
    (root / "fogagent" / "__init__.py").touch()
    (root / "fogagent" / "__main__.py").write_text(TELL)
    (root / "requirements.txt").write_text("# nothing\n")
    shutil.copy2(ROOT / "fog", root)
    shutil.copy2(ROOT / "fogpanel" / "supervisor" / "environment.py", root / "fogpanel" / "supervisor")
    return root


def fog(checkout: Path, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [str(options.pop("launcher", checkout / "fog")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, **options)  # type: ignore[call-overload,no-any-return]


def test_first_use_sets_up_and_the_second_does_nothing(checkout: Path) -> None:
    first = fog(checkout, "tasks", "--json", "a b")
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[0] == "tasks|--json|a b"
    assert "Installing the packages of requirements.txt" in first.stderr
    second = fog(checkout, "tasks")
    assert (second.returncode, second.stderr) == (0, "")


def test_it_works_through_links_and_from_other_folders(checkout: Path, tmp_path: Path) -> None:
    fog(checkout, "tasks")
    (tmp_path / "hop").symlink_to(checkout / "fog")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "fog").symlink_to("../hop")
    # A module of the caller's folder must not be taken for ours.
    (tmp_path / "fogagent.py").write_text("raise SystemExit('the wrong one')")
    answer = fog(checkout, "nodes", launcher=tmp_path / "bin" / "fog", cwd=tmp_path)
    assert answer.stdout.splitlines() == ["nodes", str(tmp_path)], answer.stderr


def test_a_broken_environment_is_repaired(checkout: Path) -> None:
    fog(checkout, "tasks")
    (checkout / ".venv" / "bin" / "python").unlink()
    shutil.rmtree(checkout / ".venv" / "lib")
    repaired = fog(checkout, "tasks")
    assert repaired.returncode == 0, repaired.stderr
    assert "Making a virtual environment" in repaired.stderr


def test_an_interrupted_set_up_is_finished_by_the_next(checkout: Path) -> None:
    fog(checkout, "tasks")
    (checkout / ".venv" / "installed-requirements.txt").unlink()
    assert "Installing the packages" in fog(checkout, "tasks").stderr
    assert fog(checkout, "tasks").stderr == ""


def test_no_network_is_one_sentence(checkout: Path) -> None:
    (checkout / "requirements.txt").write_text("fogpanel-needs-this==1.0\n")
    env = {
        **os.environ,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "1",
        "PIP_CONFIG_FILE": "/dev/null",
    }
    try:
        answer = fog(checkout, "tasks", env=env)
    finally:
        (checkout / "requirements.txt").write_text("# nothing\n")
    assert answer.returncode == 1
    assert "The Python package index cannot be reached; check the network" in answer.stderr.splitlines()[-1]


def old_python(folder: Path) -> Path:
    """A folder of programs in which every Python is 3.9."""
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14"):
        (folder / name).write_text('#!/bin/sh\ncase "$2" in *platform*) echo 3.9.2 ;; *) exit 1 ;; esac\n')
        (folder / name).chmod(0o755)
    return folder


def bare(checkout: Path, to: Path) -> Path:
    """The checkout as it is before any set-up."""
    shutil.copytree(checkout, to, ignore=shutil.ignore_patterns(".venv"))
    return to


def test_an_old_python_is_named_with_its_version(checkout: Path, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    env = {"PATH": f"{old_python(programs)}:/usr/bin:/bin"}
    answer = fog(bare(checkout, tmp_path / "bare"), "up", env=env)
    assert answer.returncode == 1
    assert answer.stderr == "fog: Python 3.11 or newer is needed; python3 on this machine is 3.9.2.\n"


def test_no_python_at_all(checkout: Path, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "dirname", "readlink"):
        (programs / name).symlink_to(shutil.which(name) or "")
    answer = fog(bare(checkout, tmp_path / "bare"), "up", env={"PATH": str(programs)})
    assert answer.returncode == 1
    assert "no python3 was found; on Debian and Ubuntu: apt install" in answer.stderr


def test_an_unknown_command_is_named(checkout: Path) -> None:
    answer = fog(checkout, "fly")
    assert answer.returncode == 1
    assert answer.stderr == "fog: there is no command 'fly'; ./fog help lists them.\n"


def test_help_needs_no_set_up(checkout: Path, tmp_path: Path) -> None:
    answer = fog(bare(checkout, tmp_path / "bare"), "help", env={"PATH": "/usr/bin:/bin"})
    assert answer.returncode == 0
    assert "./fog up" in answer.stdout
    assert not (tmp_path / "bare" / ".venv").exists()
