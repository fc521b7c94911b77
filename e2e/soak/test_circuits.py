"""Ten thousand circuits come and go, and leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path

import psutil
import pytest

from fogagent.overlay.exit_streams import ECHO
from fogagent.overlay.onion.client import OnionClient
from fogagent.overlay.onion.path import Wishes
from fogagent.overlay.onion.stream import Stream
from fogagent.tests.overlays import EXIT, GUARD, MIDDLE, Node, nodes

SCALE = float(os.environ.get("FOG_SOAK_SCALE", "1"))
CIRCUITS = max(500, round(10_000 * SCALE))
AT_ONCE = 10
WARM = 2000  # as many build times are kept, and more
GROWTH_MB = 10
"""What four nodes in one process may grow by: caches of the interpreter and the allocator, no circuit."""

pytestmark = pytest.mark.soak


@pytest.mark.asyncio
async def test_circuits_that_are_built_used_and_let_go_leave_nothing(tmp_path: Path) -> None:
    async with nodes(tmp_path, ("entry",), GUARD, MIDDLE, EXIT) as made:
        client = made[0].overlay.client
        await build_and_use(client, WARM)
        before = await at_rest(made)
        await build_and_use(client, CIRCUITS)
        after = await at_rest(made)
    assert after["descriptors"] <= before["descriptors"]
    assert after["tasks"] <= before["tasks"]
    assert after["memory_mb"] - before["memory_mb"] < GROWTH_MB, (before, after)


async def build_and_use(client: OnionClient, number: int) -> None:
    """Build so many circuits, some at once, each with a stream that is echoed."""
    numbers = iter(range(number))

    async def one_after_the_other() -> None:
        for _ in numbers:
            own = await client.builder.build(Wishes())
            await echoed(own.circuit.open_stream(ECHO))
            own.circuit.close()

    await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))


async def echoed(stream: Stream) -> None:
    """Return when what was written has come back."""
    came = bytearray()
    ended = asyncio.Event()

    def on_end(code: str) -> None:
        ended.set()

    stream.set_reader(came.extend, on_end)
    stream.write(b"hello")
    stream.finish()
    await ended.wait()
    assert came == b"hello"


async def at_rest(made: list[Node]) -> dict[str, float]:
    """What the process holds once no circuit is left anywhere."""
    async with asyncio.timeout(30):
        while any(one.overlay.status().relayed_circuits for one in made):  # noqa: ASYNC110
            await asyncio.sleep(0)
    gc.collect()
    process = psutil.Process()
    return {
        "memory_mb": process.memory_info().rss / 2**20,
        "descriptors": process.num_fds(),
        "tasks": len(asyncio.all_tasks()),
    }
