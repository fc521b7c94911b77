from __future__ import annotations

import platform
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fogagent.drivers.base import Job, Permissions
from fogagent.drivers.pool import Pool
from fogagent.drivers.seccomp import UnknownArchitectureError, seccomp_filter
from fogagent.messages import Outcome
from fogagent.tests.driver_runs import Run, close, new_job

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pool(driver_cache: Path, sandbox_works: bool) -> AsyncIterator[Pool]:
    if not sandbox_works:
        pytest.skip("bubblewrap cannot make a sandbox here")
    pool = Pool(driver_cache, Permissions(allow_command=True), 1)
    await pool.start()
    yield pool
    await close(pool)


def shell(line: str, **wishes: Any) -> Job:
    return new_job("command", args=("sh", "-c", line), **wishes)


async def test_a_command_runs(pool: Pool) -> None:
    run = Run(pool, shell('cat; echo "$COLOUR" >&2; exit 3', stdin=b"in", env={"COLOUR": "red"}))
    result = await run.result()
    assert (result.outcome, result.exit_code) == (Outcome.EXIT_CODE, 3)
    assert (run.stdout, run.stderr) == ("in", "red\n")


async def test_a_command_is_nobody_without_powers(pool: Pool) -> None:
    run = Run(pool, shell("id -u; grep -E '^(CapEff|Seccomp|NoNewPrivs):' /proc/self/status"))
    await run.result()
    assert run.stdout.split() == ["65534", "CapEff:", "0" * 16, "NoNewPrivs:", "1", "Seccomp:", "2"]


async def test_a_command_sees_its_own_world_only(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("treasure")
    run = Run(pool, shell(f"cat {tmp_path}/secret /etc/shadow; ls /home /root; ls /proc | grep -c '^[0-9]'"))
    await run.result()
    assert "treasure" not in run.stdout
    assert int(run.stdout) < 8  # processes
    assert run.stderr.count("No such file") == 4


async def test_a_command_has_no_environment_but_its_own(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(pool, shell("env", env={"MINE": "1"}))
    await run.result()
    names = {line.partition("=")[0] for line in run.stdout.splitlines()}
    assert names == {"PATH", "HOME", "LANG", "PWD", "MINE"}


async def test_a_command_writes_to_its_own_tmp_only(pool: Pool) -> None:
    run = Run(pool, shell("echo x > /tmp/x && cat /tmp/x; touch /usr/x /etc/x"))
    assert (await run.result()).exit_code == 1
    assert run.stdout == "x\n"
    assert run.stderr.count("Read-only") >= 1


async def test_there_is_no_network_but_by_wish_and_permission(pool: Pool) -> None:
    run = Run(pool, shell("cat /proc/net/dev | grep -c :"))
    await run.result()
    assert run.stdout == "1\n"  # a loopback of its own
    result = await Run(pool, shell("true", network=True)).result()
    assert result.outcome is Outcome.UNAVAILABLE
    assert "--allow network" in result.sentence


@pytest.mark.parametrize(
    ("attempt", "refusal"),
    [
        ("unshare --user true", "Operation not permitted"),
        ("unshare --mount true", "Operation not permitted"),
        ("dmesg", "Operation not permitted"),
    ],
)
async def test_the_filter_refuses(pool: Pool, attempt: str, refusal: str) -> None:
    run = Run(pool, shell(attempt))
    assert (await run.result()).outcome is Outcome.EXIT_CODE
    assert refusal in run.stderr


async def test_a_program_that_is_not_there_is_invalid(pool: Pool) -> None:
    run = Run(pool, new_job("command", args=("no-such-program",)))
    result = await run.result()
    assert result.outcome is Outcome.INVALID
    assert "'no-such-program'" in result.sentence
    assert "No such file" in run.stderr


async def test_an_empty_command_is_invalid(pool: Pool) -> None:
    assert (await Run(pool, new_job("command")).result()).outcome is Outcome.INVALID


@pytest.mark.parametrize(
    "wishes",
    [
        {"env": {"A": "x\0--bind\0/\0/host"}},
        {"env": {"A\0x\0--bind\0/\0/host\0--setenv\0A": "x"}},
        {"args": ("sh", "-c", "true\0")},
    ],
)
async def test_nobody_tells_bubblewrap_more_than_a_command_and_its_environment(
    pool: Pool, tmp_path: Path, wishes: dict[str, Any]
) -> None:
    (tmp_path / "secret").write_text("treasure")
    run = Run(pool, new_job("command", **{"args": ("cat", f"/host{tmp_path}/secret"), **wishes}))
    result = await run.result()
    assert run.stdout == ""
    assert result.outcome is Outcome.INVALID
    assert "NUL" in result.sentence


async def test_death_by_signal_is_told(pool: Pool) -> None:
    result = await Run(pool, shell("kill -SEGV $$")).result()
    assert (result.outcome, result.exit_code) == (Outcome.EXIT_CODE, -11)
    assert result.sentence == "The program was killed by signal 11."


async def test_a_command_ends_with_everything_it_started_at_its_time_limit(pool: Pool) -> None:
    run = Run(pool, shell("while :; do :; done & echo started; wait", timeout_s=2))
    result = await run.result()
    assert result.outcome is Outcome.TIMEOUT
    assert run.stdout == "started\n"
    assert result.usage.cpu_s > 0.1


async def test_one_program_beyond_its_memory_is_refused_it(pool: Pool) -> None:
    line = "exec perl -e 'my $x = \"x\" x (400 << 20); print length $x'"
    run = Run(pool, shell(line, memory_mb=64))
    result = await run.result()
    assert result.outcome is not Outcome.SUCCEEDED
    assert run.stdout == ""


async def test_all_its_programs_together_are_held_to_its_memory(pool: Pool) -> None:
    hoard = 'perl -e \'my $x = "x" x (20 << 20); print STDERR "has"; sleep 600\' &'
    result = await Run(pool, shell(hoard * 8 + " wait", memory_mb=64)).result()
    assert result.outcome is Outcome.MEMORY
    assert "64 MB" in result.sentence
    assert result.usage.memory_peak_mb > 64


async def test_a_command_is_off_until_the_owner_allows_it(driver_cache: Path) -> None:
    pool = Pool(driver_cache, Permissions(), 1)
    await pool.start()
    result = await Run(pool, shell("true")).result()
    assert result.outcome is Outcome.UNAVAILABLE
    assert "--allow command" in result.sentence
    await close(pool)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
async def test_the_filter_is_well_formed(machine: str) -> None:
    instructions = [
        (program[0] | program[1] << 8, program[2], program[3], int.from_bytes(program[4:], "little"))
        for program in _cut(seccomp_filter(machine), 8)
    ]
    for here, (code, yes, no, _) in enumerate(instructions):
        if code & 7 == 5:  # a jump lands inside the program
            assert max(here + 1 + yes, here + 1 + no) < len(instructions)
    assert instructions[-1][0] == 6  # and it ends by returning


async def test_there_is_no_filter_for_unknown_processors() -> None:
    assert seccomp_filter() == seccomp_filter(platform.machine())
    with pytest.raises(UnknownArchitectureError, match="riscv64"):
        seccomp_filter("riscv64")


def _cut(content: bytes, size: int) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]
