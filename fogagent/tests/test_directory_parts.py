"""Changes of the relay directory in frames: cut up, put together, and what never becomes whole."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from fogagent.messages import (
    DIRECTORY_PART_BYTES,
    MAX_FRAME_BYTES,
    DirectoryNews,
    DirectoryPart,
    DirectoryWanted,
    FrameError,
    OverlayFacts,
    decode_from_agent,
    decode_from_panel,
    encode_frame,
    encode_message,
    split_frames,
)
from fogagent.overlay.directory import BadDirectory, Refusal
from fogagent.overlay.directory_parts import MAX_PARTS, Assembly, cut

LONG = Random(7).randbytes(2 * DIRECTORY_PART_BYTES + 5)


def added(assembly: Assembly, parts: list[DirectoryPart]) -> list[bool]:
    return [assembly.add(part) for part in parts]


@pytest.mark.parametrize("length", [1, DIRECTORY_PART_BYTES, DIRECTORY_PART_BYTES + 1, len(LONG)])
def test_what_was_cut_becomes_whole_again(length: int) -> None:
    frames = split_frames([encode_message(part) for part in cut(9, LONG[:length])])
    assert max(map(len, frames)) <= MAX_FRAME_BYTES
    assembly = Assembly()
    parts = [part for frame in frames for part in decode_from_panel(frame)]
    assert all(isinstance(part, DirectoryPart) and assembly.add(part) for part in parts)
    assert assembly.take() == LONG[:length]
    assert not assembly
    assert assembly.take() is None


def test_half_an_answer_is_none() -> None:
    assembly = Assembly()
    added(assembly, cut(9, LONG)[:-1])
    assert assembly
    assert assembly.take() is None


@pytest.mark.parametrize(
    ("order", "taken"),
    [
        ([0, 2, 1], [True, False, True]),
        ([1, 2], [False, False]),
        ([0, 1, 1], [True, True, False]),
    ],
)
def test_parts_out_of_order_are_ignored(order: list[int], taken: list[bool]) -> None:
    assembly, parts = Assembly(), cut(9, LONG)
    assert added(assembly, [parts[index] for index in order]) == taken
    assert assembly.take() is None


def test_a_part_too_many_is_ignored() -> None:
    assembly, parts = Assembly(), cut(9, LONG)
    added(assembly, parts)
    assert not assembly.add(msgspec.structs.replace(parts[-1], index=3))
    assert assembly.take() == LONG
    assert not assembly.add(parts[-1])


def test_a_new_answer_replaces_a_half_one_and_parts_of_two_never_mix() -> None:
    assembly, old, new = Assembly(), cut(9, LONG), cut(10, LONG[::-1])
    assert (
        added(assembly, [old[0], new[0], old[1], new[1], old[2], new[2]]) == [True, True] + [False, True] * 2
    )
    assert assembly.take() == LONG[::-1]


def test_what_would_not_fit_in_memory_is_refused_at_its_first_part() -> None:
    for count in (0, MAX_PARTS + 1):
        with pytest.raises(BadDirectory) as caught:
            Assembly().add(DirectoryPart(version=9, index=0, count=count, data=b"x"))
        assert caught.value.reason == Refusal.TOO_MANY
    with pytest.raises(BadDirectory):
        cut(9, bytes(MAX_PARTS * DIRECTORY_PART_BYTES + 1))
    too_long = DirectoryPart(version=9, index=0, count=1, data=bytes(DIRECTORY_PART_BYTES + 1))
    with pytest.raises(FrameError, match="<="):
        decode_from_panel(encode_frame([too_long]))


def test_both_ends_know_the_messages() -> None:
    said = [
        OverlayFacts(onion_key=b"k" * 32, certificate=b"DER", address="[2001:db8::1]:9000", family="f"),
        DirectoryWanted(since=7),
    ]
    assert decode_from_agent(encode_frame([*said])) == said
    answered = [DirectoryNews(version=0), *cut(9, b"changes")]
    assert decode_from_panel(encode_frame([*answered])) == answered
    with pytest.raises(FrameError, match="address"):
        decode_from_agent(encode_frame([msgspec.structs.replace(said[0], address="no port")]))
