from __future__ import annotations

import asyncio

import pytest

from fogagent.background import Background


async def _fail() -> None:
    raise ValueError("a bug")


@pytest.fixture
def told() -> list[BaseException]:
    return []


@pytest.fixture
def background(told: list[BaseException]) -> Background:
    return Background(told.append)


@pytest.mark.asyncio
async def test_what_fails_is_told_once_and_disturbs_nothing_else(
    background: Background, told: list[BaseException]
) -> None:
    may_end = asyncio.Event()
    other = background.begin(_wait(may_end))
    background.begin(_fail())
    may_end.set()
    await background.over()
    assert [str(error) for error in told] == ["a bug"]
    assert other.done() and not other.cancelled()


@pytest.mark.asyncio
async def test_over_also_waits_for_what_was_begun_meanwhile(background: Background) -> None:
    ended: list[str] = []

    async def begin_another() -> None:
        background.begin(note())

    async def note() -> None:
        await asyncio.sleep(0)
        ended.append("another")

    background.begin(begin_another())
    await background.over()
    assert ended == ["another"]


@pytest.mark.asyncio
async def test_stop_returns_when_what_it_cancelled_is_over(
    background: Background, told: list[BaseException]
) -> None:
    ended: list[str] = []

    async def clear_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("cleared up")

    background.begin(clear_up())
    await asyncio.sleep(0)
    await background.stop()
    assert ended == ["cleared up"] and told == []


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
