"""The log of a task as lines: whole lines only, in order, the same however they arrived."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from hypothesis import given
from hypothesis import strategies as st

from conftest import MakeNode
from tasks.log_lines import SHOWN_LINES, Line, Splitter, as_text, read, readable
from tasks.models import Attempt, LogChunk, Task

Pieces = list[tuple[str, bytes]]


@pytest.fixture
def task(submitter: User) -> Task:
    return Task.objects.create(name="frames", owner=submitter, driver="python")


def attempt_of(task: Task, make_node: MakeNode, number: int = 1) -> Attempt:
    return Attempt.objects.create(task=task, node=make_node(name=f"atlas-{number}"), number=number)


def store(attempt: Attempt, pieces: Pieces) -> list[int]:
    """Chunks as a node sends them; returns their ids."""
    offsets = dict.fromkeys(("stdout", "stderr"), 0)
    for kind, content in attempt.log_chunks.values_list("stream", "content"):
        offsets[kind] += len(content)
    ids = []
    for stream, content in pieces:
        chunk = LogChunk.objects.create(
            attempt=attempt, stream=stream, offset=offsets[stream], content=content
        )
        offsets[stream] += len(content)
        ids.append(chunk.pk)
    return ids


def test_a_line_that_is_not_over_stands_apart(task: Task, make_node: MakeNode) -> None:
    store(attempt_of(task, make_node), [("stdout", b"one\ntwo\nthr")])
    part = read(task.id)
    assert part.lines == [Line("stdout", "one"), Line("stdout", "two")]
    assert part.open_lines == [Line("stdout", "thr")]


def test_what_comes_later_completes_the_open_line(task: Task, make_node: MakeNode) -> None:
    attempt = attempt_of(task, make_node)
    first, *_ = store(attempt, [("stdout", "grö".encode()[:-1])])
    store(attempt, [("stdout", "grö".encode()[-1:] + b"n\n")])
    part = read(task.id, first)
    assert part.lines == [Line("stdout", "grön")]
    assert not part.open_lines


def test_streams_do_not_mix_within_a_line(task: Task, make_node: MakeNode) -> None:
    store(attempt_of(task, make_node), [("stdout", b"ou"), ("stderr", b"careful\n"), ("stdout", b"t\n")])
    assert read(task.id).lines == [Line("stderr", "careful"), Line("stdout", "out")]


def test_a_new_attempt_is_told_apart_and_ends_the_lines_before(task: Task, make_node: MakeNode) -> None:
    store(attempt_of(task, make_node, 1), [("stdout", b"unfinished")])
    store(attempt_of(task, make_node, 2), [("stdout", b"again\n")])
    assert read(task.id).lines == [
        Line("stdout", "unfinished"),
        Line("between", "attempt 2 on atlas-2"),
        Line("stdout", "again"),
    ]


def test_only_the_newest_lines_are_shown_and_their_numbers_stay(task: Task, make_node: MakeNode) -> None:
    count = SHOWN_LINES + 5
    store(attempt_of(task, make_node), [("stdout", b"".join(b"%d\n" % n for n in range(1, count + 1)))])
    part = read(task.id)
    assert (part.left_out, part.start, len(part.lines)) == (5, 6, SHOWN_LINES)
    assert part.lines[0].text == "6"


def test_nothing_new_changes_nothing(task: Task, make_node: MakeNode) -> None:
    *_, last = store(attempt_of(task, make_node), [("stdout", b"one\ntw")])
    part = read(task.id, last)
    assert (part.lines, part.open_lines, part.position) == ([], [Line("stdout", "tw")], last)


def test_the_download_is_what_was_printed(task: Task, make_node: MakeNode) -> None:
    store(attempt_of(task, make_node), [("stdout", b"a\r\n\xff"), ("stderr", b"b")])
    assert b"".join(as_text(task)) == b"a\r\n\xffb"


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (b"plain", "plain"),
        (b"10 %\r50 %\r100 %", "100 %"),
        (b"windows\r", "windows"),
        (b"\x1b[31mred\x1b[0m", "red"),
        (b"\xff\xfe", "��"),
        (b"tab\tkept, bell\x07 not", "tab\tkept, bell not"),
    ],
)
def test_a_line_reads_as_a_terminal_leaves_it(printed: bytes, shown: str) -> None:
    assert readable(printed) == shown


@given(st.lists(st.binary(max_size=6), max_size=8), st.data())
def test_lines_do_not_depend_on_where_chunks_end(contents: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(contents)
    cut = data.draw(st.integers(0, len(whole)))
    assert split([whole[:cut], whole[cut:]]) == split(contents)


def split(contents: list[bytes]) -> tuple[list[Line], list[Line]]:
    splitter = Splitter(attempt=1)
    for content in contents:
        splitter.feed(LogChunk(attempt_id=1, stream="stdout", content=content))
    return splitter.lines, splitter.open_lines()
