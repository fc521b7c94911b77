"""The container driver against a script that takes an engine's command line.

It stands for docker where none runs: it parses what docker would be told, writes it down, and runs
the "image's" program on the machine. What a real engine makes of the options is not tested here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from fogagent.drivers import container
from fogagent.drivers.base import Permissions
from fogagent.drivers.catalogue import driver_facts
from fogagent.drivers.pool import Pool
from fogagent.messages import Outcome
from fogagent.tests.driver_runs import Run, close, new_job

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENGINE = """#!/bin/sh
echo "$@" >> "$0.log"
case "$1" in
--version) echo "Stand-in version 1.0" ;;
info) [ ! -e "$0.down" ] ;;
ps) cat "$0.names" ;;
run)
    shift
    while :; do
        case "$1" in
        --rm | --interactive | --read-only) shift ;;
        --*) shift 2 ;;
        *) break ;;
        esac
    done
    image=$1
    shift
    [ "$image" = missing ] && echo "no such image" >&2 && exit 125
    command -v "$1" > /dev/null || exit 127
    exec "$@"
    ;;
esac
"""


class StandIn:
    """The script on the PATH, and what it was told."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "docker"
        self._path.write_text(ENGINE)
        self._path.chmod(0o700)
        self.list_names()

    def told(self) -> list[str]:
        log = self._path.with_suffix(".log")
        return log.read_text().splitlines() if log.exists() else []

    def go_down(self) -> None:
        self._path.with_suffix(".down").touch()

    def list_names(self, *names: str) -> None:
        self._path.with_suffix(".names").write_text("".join(f"{name}\n" for name in names))


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return StandIn(tmp_path)


@pytest_asyncio.fixture(loop_scope="module")
async def pool(driver_cache: Path, engine: StandIn) -> AsyncIterator[Pool]:
    pool = Pool(driver_cache, Permissions(allow_container=True), 1)
    await pool.start()
    yield pool
    await close(pool)


async def test_an_image_runs_confined(pool: Pool, engine: StandIn) -> None:
    job = new_job("container", image="box:1", args=("sh", "-c", "cat; exit 4"), stdin=b"in", env={"A": "b c"})
    run = Run(pool, job)
    result = await run.result()
    assert (result.outcome, result.exit_code, run.stdout) == (Outcome.EXIT_CODE, 4, "in")
    (told,) = [line for line in engine.told() if line.startswith("run ")]
    for option in (
        *("--rm", "--network none", "--read-only", "--cap-drop ALL", "--security-opt no-new-privileges"),
        *("--memory 256m", "--memory-swap 256m", "--cpus 1.000", "--env A=b c", "box:1 sh -c"),
    ):
        assert option in told


async def test_a_container_does_not_outlive_its_job(pool: Pool, engine: StandIn) -> None:
    run = Run(pool, new_job("container", image="box", args=("sh", "-c", "echo up; sleep 600")))
    await run.output()
    (name,) = [line.split("--name ")[1].split()[0] for line in engine.told() if line.startswith("run ")]
    pool.cancel(run.job.attempt, "Enough.")
    assert (await run.result()).outcome is Outcome.CANCELLED
    await close(pool)
    assert f"rm --force {name}" in engine.told()


@pytest.mark.parametrize(
    ("image", "program", "outcome"),
    [
        ("missing", "true", Outcome.UNAVAILABLE),
        ("box", "no-such-program", Outcome.INVALID),
        ("", "true", Outcome.INVALID),
        ("--privileged", "true", Outcome.INVALID),
    ],
)
async def test_what_cannot_run_is_told(pool: Pool, image: str, program: str, outcome: Outcome) -> None:
    result = await Run(pool, new_job("container", image=image, args=(program,))).result()
    assert result.outcome is outcome
    assert result.sentence


async def test_a_network_needs_the_owners_permission(pool: Pool) -> None:
    result = await Run(pool, new_job("container", image="box", args=("true",), network=True)).result()
    assert result.outcome is Outcome.UNAVAILABLE
    assert "--allow network" in result.sentence


async def test_containers_of_dead_agents_are_removed(engine: StandIn) -> None:
    engine.list_names("fogagent-999999999-7", "fogagent-1-8", "fogagent-web", "other-999999999-1")
    container.remove_orphans()
    assert [line for line in engine.told() if line.startswith("rm")] == ["rm --force fogagent-999999999-7"]


async def test_an_engine_that_answers_is_a_driver(engine: StandIn, driver_cache: Path) -> None:
    fact = driver_facts(Permissions(allow_container=True), driver_cache)[-1]
    assert (fact.name, fact.available, fact.version) == ("container", True, "Stand-in version 1.0")


async def test_an_engine_that_is_down_is_none(engine: StandIn, driver_cache: Path) -> None:
    engine.go_down()
    fact = driver_facts(Permissions(allow_container=True), driver_cache)[-1]
    assert not fact.available
    assert "docker" in fact.reason
    assert "not answering" in fact.reason
