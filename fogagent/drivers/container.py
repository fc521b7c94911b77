"""The `container` driver: an image, run by the container engine of this machine.

CPU use is the engine's to account for and is not read, so `cpu_s` holds the client's own, next to none.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

import psutil

from fogagent.drivers.base import Ending, Job, Permissions, ending_of_exit
from fogagent.drivers.command import NO_NETWORK
from fogagent.drivers.supervised import run_program
from fogagent.drivers.workshop import Workshop
from fogagent.messages import Outcome

ENGINES = ("docker", "podman", "nerdctl")
ANSWER_S = 2.0
REMOVE_S = 10.0
NAME_PREFIX = "fogagent-"
NOT_ENABLED = "Not enabled by this machine's owner. Start the agent with --allow container."
NOT_SEALED = "driver: a container engine writes to disk what it runs; a private task needs another driver."
MAX_PROCESSES = 256

# Exit codes by which docker, podman and nerdctl say that the container did not get to run.
ENGINE_FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127


@dataclass(frozen=True, slots=True)
class Engine:
    """A container engine that answers, or in ``reason`` why there is none."""

    path: str = ""
    reason: str = ""


def find_engine() -> Engine:
    """The first engine on the PATH that answers within ANSWER_S seconds."""
    silent = []
    for name in ENGINES:
        path = shutil.which(name)
        if path is None:
            continue
        if _ask(path, "info") is not None:
            return Engine(path=path)
        silent.append(name)
    if silent:
        names = " and ".join(silent)
        return Engine(reason=f"Installed but not answering: {names}. Is the service running?")
    return Engine(reason=f"No container engine found ({', '.join(ENGINES)}).")


def version_of(engine: Engine) -> str:
    return (_ask(engine.path, "--version") or "").strip()


def run(job: Job, workshop: Workshop) -> Ending:
    """Run ``job.args`` in a container of ``job.image``; without args, the image's own command."""
    if refusal := _refusal(job, workshop.permissions):
        return refusal
    engine = find_engine()
    if engine.reason:
        return Ending(outcome=Outcome.UNAVAILABLE, sentence=engine.reason)
    name = container_name(workshop.agent_pid, job.attempt)
    with workshop.stdin_file(job) as stdin:
        finish = run_program([engine.path, *_arguments(job, name)], workshop.capture, stdin=stdin)
    return _ending(job, finish.status)


def container_name(agent_pid: int, attempt: int) -> str:
    return f"{NAME_PREFIX}{agent_pid}-{attempt}"


def remove(agent_pid: int, attempt: int) -> None:
    """Remove the container of a job whose worker was killed: the engine keeps it running otherwise."""
    engine = find_engine()
    if engine.path:
        _ask(engine.path, "rm", "--force", container_name(agent_pid, attempt), within_s=REMOVE_S)


def remove_orphans() -> None:
    """Remove the containers of agents that are gone."""
    engine = find_engine()
    if not engine.path:
        return
    listed = _ask(engine.path, "ps", "--all", "--filter", f"name=^{NAME_PREFIX}", "--format", "{{.Names}}")
    for name in (listed or "").split():
        pid = name.removeprefix(NAME_PREFIX).partition("-")[0]
        if name.startswith(NAME_PREFIX) and pid.isdigit() and not psutil.pid_exists(int(pid)):
            _ask(engine.path, "rm", "--force", name, within_s=REMOVE_S)


def _refusal(job: Job, permissions: Permissions) -> Ending | None:
    if not permissions.allow_container:
        return Ending(outcome=Outcome.UNAVAILABLE, sentence=NOT_ENABLED)
    if job.network and not permissions.allow_network:
        return Ending(outcome=Outcome.UNAVAILABLE, sentence=NO_NETWORK)
    if job.sealed:
        return Ending(outcome=Outcome.INVALID, sentence=NOT_SEALED)
    if not job.image or job.image.startswith("-"):
        return Ending(outcome=Outcome.INVALID, sentence="image: must name a container image.")
    return None


def _arguments(job: Job, name: str) -> list[str]:
    memory = f"{job.memory_mb}m"
    arguments = ["run", "--rm", "--interactive", "--name", name]
    arguments += [] if job.network else ["--network", "none"]
    arguments += ["--memory", memory, "--memory-swap", memory, "--cpus", f"{job.cpu_millis / 1000:.3f}"]
    arguments += ["--pids-limit", str(MAX_PROCESSES), "--read-only", "--tmpfs", "/tmp"]
    arguments += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    for key, value in job.env.items():
        arguments += ["--env", f"{key}={value}"]
    return [*arguments, job.image, *job.args]


def _ending(job: Job, status: int) -> Ending:
    if status == ENGINE_FAILED:
        sentence = f"The engine could not run image {job.image!r}. Standard error says why."
        return Ending(outcome=Outcome.UNAVAILABLE, sentence=sentence)
    if status in (NOT_EXECUTABLE, NOT_FOUND):
        sentence = f"args: the image has no such program to run (code {status}). Standard error says why."
        return Ending(outcome=Outcome.INVALID, exit_code=status, sentence=sentence)
    return ending_of_exit(128 - status if status > 128 else status)


def _ask(*argv: str, within_s: float = ANSWER_S) -> str | None:
    """What an engine says, or None when it fails or does not answer in time."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=within_s, check=True
        )
    except (subprocess.SubprocessError, OSError):
        return None
    return done.stdout.decode(errors="replace")
