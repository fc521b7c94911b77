"""The `command` driver: an argv on this machine's programs, inside bubblewrap."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fogagent.drivers import limits
from fogagent.drivers.base import Ending, Job, Permissions, ending_of_exit
from fogagent.drivers.seccomp import UnknownArchitectureError, seccomp_filter
from fogagent.drivers.supervised import MB, Finish, run_program
from fogagent.drivers.workshop import Workshop
from fogagent.messages import Outcome

NOT_ENABLED = "Not enabled by this machine's owner. Start the agent with --allow command."
NOT_INSTALLED = "bubblewrap is not installed. Install it, for example: apt install bubblewrap"
NO_NETWORK = "network: not allowed by this machine's owner. Start the agent with --allow network."

SYSTEM_DIRECTORIES = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
SHOWN_ALWAYS = (
    *("/etc/alternatives", "/etc/ld.so.cache"),
    *("/etc/ssl/certs", "/etc/ca-certificates", "/etc/pki/tls"),
)
SHOWN_WITH_NETWORK = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf")
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}
NOBODY = "65534"
SELF_TEST_S = 5.0


def run(job: Job, workshop: Workshop) -> Ending:
    """Run ``job.args`` as a command; without a network unless both sides want one."""
    if refusal := _refusal(job, workshop.permissions):
        return refusal
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        return Ending(outcome=Outcome.UNAVAILABLE, sentence=NOT_INSTALLED)
    with sandbox(bubblewrap, job) as box, workshop.stdin_file(job) as stdin:
        finish = run_program(
            box.argv,
            workshop.capture,
            stdin=stdin,
            memory_mb=job.memory_mb,
            pass_fds=box.descriptors,
        )
        return _ending(job, finish, box.exit_code())


@dataclass(frozen=True, slots=True)
class Sandbox:
    """How to start a sandboxed command, and what bubblewrap tells about it."""

    argv: list[str]
    descriptors: tuple[int, ...]  # which the process must inherit
    status: IO[bytes]

    def exit_code(self) -> int | None:
        """The command's exit code, which bubblewrap tells only if it could start the command."""
        self.status.seek(0)
        for line in self.status.read().splitlines():
            told = json.loads(line)
            if "exit-code" in told:
                return int(told["exit-code"])
        return None


@contextlib.contextmanager
def sandbox(bubblewrap: str, job: Job) -> Iterator[Sandbox]:
    """The sandbox for ``job.args``, to be started while the context lasts.

    Raises:
        UnknownArchitectureError: there is no system call filter for this processor.
    """
    with _unnamed_file(seccomp_filter()) as filter_, _unnamed_file() as status:
        options = _options(job, filter_.fileno(), status.fileno())
        with _unnamed_file(b"".join(os.fsencode(option) + b"\0" for option in options)) as told:
            argv = [
                *(sys.executable, "-I", "-S", limits.__file__, str(job.memory_mb * MB)),
                *(bubblewrap, "--args", str(told.fileno()), "--", *job.args),
            ]
            yield Sandbox(argv, (filter_.fileno(), status.fileno(), told.fileno()), status)


def why_unusable() -> str:
    """Try the sandbox on `true`; return in words what is wrong with it, or an empty string."""
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        return NOT_INSTALLED
    try:
        with sandbox(bubblewrap, Job(attempt=1, driver="command", args=("true",))) as box:
            subprocess.run(
                box.argv,
                pass_fds=box.descriptors,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=SELF_TEST_S,
                check=True,
            )
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        return f"The sandbox does not work on this machine: {said[-1]}"
    except (subprocess.TimeoutExpired, OSError, UnknownArchitectureError) as error:
        return f"The sandbox does not work on this machine: {error}"
    return ""


def _refusal(job: Job, permissions: Permissions) -> Ending | None:
    if not permissions.allow_command:
        return Ending(outcome=Outcome.UNAVAILABLE, sentence=NOT_ENABLED)
    if job.network and not permissions.allow_network:
        return Ending(outcome=Outcome.UNAVAILABLE, sentence=NO_NETWORK)
    if not job.args:
        return Ending(outcome=Outcome.INVALID, sentence="args: must name the program to run.")
    # What is told to bubblewrap ends at one: the rest would be options of the submitter's choice.
    if any("\0" in text for text in (*job.args, *job.env, *job.env.values())):
        return Ending(outcome=Outcome.INVALID, sentence="args, env: must be without NUL characters.")
    return None


def _options(job: Job, filter_fd: int, status_fd: int) -> list[str]:
    """What bubblewrap is told. It reads this from a file: others could read its command line."""
    options = ["--unshare-all", "--unshare-user", "--uid", NOBODY, "--gid", NOBODY]
    options += ["--share-net"] if job.network else []
    options += ["--die-with-parent", "--new-session", "--hostname", "fog-task", "--cap-drop", "ALL"]
    options += ["--seccomp", str(filter_fd), "--json-status-fd", str(status_fd)]
    options += _file_system(job)
    options.append("--clearenv")
    for name, value in {**ENVIRONMENT, **job.env}.items():
        options += ["--setenv", name, value]
    return options


def _file_system(job: Job) -> list[str]:
    options = ["--ro-bind", "/usr", "/usr"]
    for path in map(Path, SYSTEM_DIRECTORIES):
        if path.is_symlink():
            options += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            options += ["--ro-bind", str(path), str(path)]
    for name in SHOWN_ALWAYS + (SHOWN_WITH_NETWORK if job.network else ()):
        options += ["--ro-bind-try", name, name]
    options += ["--proc", "/proc", "--dev", "/dev"]
    return [*options, "--size", str(job.memory_mb * MB), "--tmpfs", "/tmp", "--chdir", "/tmp"]


@contextlib.contextmanager
def _unnamed_file(content: bytes = b"") -> Iterator[IO[bytes]]:
    """An open file with this content that no path leads to, and that is on no disk."""
    with os.fdopen(os.memfd_create("fogagent"), "w+b") as file:
        file.write(content)
        file.seek(0)
        yield file


def _ending(job: Job, finish: Finish, exit_code: int | None) -> Ending:
    def stopped(outcome: Outcome, sentence: str) -> Ending:
        return Ending(
            outcome=outcome, sentence=sentence, cpu_s=finish.cpu_s, memory_peak_mb=finish.memory_peak_mb
        )

    if finish.exceeded:
        return stopped(Outcome.MEMORY, f"{finish.exceeded} and was killed.")
    if exit_code is None:
        return stopped(
            Outcome.INVALID,
            f"args: must name a program of this node; {job.args[0]!r} could not be started. "
            "Standard error says why.",
        )
    # As a shell does, bubblewrap reports death by signal N as 128 + N.
    code = 128 - exit_code if exit_code > 128 else exit_code
    return ending_of_exit(code, cpu_s=finish.cpu_s, memory_peak_mb=finish.memory_peak_mb)
