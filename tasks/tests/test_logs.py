"""Reading logs: text whatever the chunks cut, and waiting for more without asking all the time."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager

import pytest
from django.contrib.auth.models import User
from hypothesis import given
from hypothesis import strategies as st

from conftest import MakeNode
from fogpanel import wakes
from tasks.logs import _ring, read_log, split_character, stdout_of, watching
from tasks.models import Attempt, LogChunk, Task


@pytest.fixture
def attempt(submitter: User, make_node: MakeNode) -> Attempt:
    task = Task.objects.create(name="t", owner=submitter, driver="python", state="running")
    return Attempt.objects.create(task=task, node=make_node(), number=1)


def write(attempt: Attempt, *pieces: bytes, stream: str = "stdout", at: int = 0) -> None:
    for piece in pieces:
        LogChunk.objects.create(attempt=attempt, stream=stream, offset=at, content=piece)
        at += len(piece)


def test_chunks_come_in_order_and_in_pages(attempt: Attempt) -> None:
    write(attempt, b"one\n", b"two\n", b"three\n")
    first = read_log(attempt.task, 0, 2)
    assert [chunk.text for chunk in first.chunks] == ["one\n", "two\n"]
    second = read_log(attempt.task, first.next, 2)
    assert [(c.text, c.stream, c.attempt) for c in second.chunks] == [("three\n", "stdout", 1)]
    assert read_log(attempt.task, second.next, 2).chunks == []
    assert read_log(attempt.task, second.next, 2).next == second.next


def test_done_means_over_and_at_the_end(attempt: Attempt) -> None:
    write(attempt, b"one\n", b"two\n")
    assert not read_log(attempt.task, 0, 10).done
    Task.objects.update(state="succeeded")
    assert not read_log(attempt.task, 0, 1).done
    assert read_log(attempt.task, 0, 2).done


def test_a_cut_character_belongs_to_the_chunk_that_completes_it(attempt: Attempt) -> None:
    write(attempt, b"a\xe2", b"\x82", b"\xacb")
    write(attempt, b"\xc3", b"\xbc", stream="stderr")
    assert [chunk.text for chunk in read_log(attempt.task, 0, 10).chunks] == ["a", "", "€b", "", "ü"]


@pytest.mark.parametrize("cut", range(1, 4))
def test_a_cut_character_survives_the_end_of_a_page(attempt: Attempt, cut: int) -> None:
    whole = "a🦊b".encode()
    write(attempt, whole[: 1 + cut], whole[1 + cut :])
    first = read_log(attempt.task, 0, 1)
    second = read_log(attempt.task, first.next, 1)
    assert first.chunks[0].text + second.chunks[0].text == "a🦊b"


def test_bytes_that_are_no_text_are_marked_and_stop_nothing(attempt: Attempt) -> None:
    write(attempt, b"\xff\xfe", b"\x80\x80\x80\x80ok")
    assert "".join(chunk.text for chunk in read_log(attempt.task, 0, 10).chunks).endswith("ok")


@given(st.text(), st.integers(min_value=0))
def test_wherever_text_is_cut_nothing_of_it_is_lost(text: str, at: int) -> None:
    content = text.encode()
    at %= len(content) + 1
    whole, rest = split_character(content[:at])
    assert len(rest) < 4
    assert whole.decode() + (rest + content[at:]).decode() == text


def test_standard_output_is_put_together_by_offset(attempt: Attempt) -> None:
    write(attempt, b"world", at=6)
    write(attempt, b"hello ")
    write(attempt, b"not this", stream="stderr")
    assert stdout_of(attempt) == b"hello world"


@pytest.mark.asyncio
@pytest.mark.parametrize("topic", ["task:7", "log:7", "task"])
async def test_who_waits_is_woken_by_a_change(topic: str) -> None:
    with watching("task:7", "log:7") as changed:
        await asyncio.to_thread(wakes._deliver, "live", {topic})
        await asyncio.wait_for(changed.wait(), 30)
        changed.clear()
        wakes._deliver("live", {"task:70", "tasks"})
        await asyncio.sleep(0)
        assert not changed.is_set()


def test_a_waiter_whose_loop_is_closed_keeps_nothing_from_the_others() -> None:
    async def wait() -> tuple[AbstractContextManager[asyncio.Event], asyncio.Event]:
        waiting = watching("task:7", "log:7")
        return waiting, waiting.__enter__()

    gone, _ = asyncio.run(wait())
    with asyncio.Runner() as runner:
        here, changed = runner.run(wait())
        _ring(frozenset({"task:7"}))
        runner.run(asyncio.wait_for(changed.wait(), 30))
        here.__exit__(None, None, None)
    gone.__exit__(None, None, None)
