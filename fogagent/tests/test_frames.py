"""Frames come out as they went in, however the network cuts them, and nothing else comes out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogagent.overlay.frames import MAX_PAYLOAD, FrameReader, Kind, frame_header
from fogagent.overlay.link_errors import BadFrame

Frame = tuple[int, bytes]

FRAMES = st.lists(
    st.one_of(
        st.just((int(Kind.KEEP_ALIVE), b"")),
        st.tuples(st.integers(1, 4), st.binary(max_size=50)),
        st.tuples(st.integers(1, 4), st.sampled_from([b"x" * MAX_PAYLOAD, b"y" * 16384])),
    ),
    max_size=8,
)


def written(frames: list[Frame]) -> bytes:
    return b"".join(frame_header(kind, len(payload)) + payload for kind, payload in frames)


def taken(reader: FrameReader) -> Iterator[Frame]:
    while (frame := reader.next()) is not None:
        yield frame


def pieces(stream: bytes, cuts: list[int]) -> Iterator[bytes]:
    ends = sorted({min(cut, len(stream)) for cut in cuts} | {len(stream)})
    for start, end in zip([0, *ends], ends, strict=False):
        yield stream[start:end]


@given(FRAMES, st.lists(st.integers(0, 200_000), max_size=20))
def test_any_split_gives_the_same_frames(frames: list[Frame], cuts: list[int]) -> None:
    reader = FrameReader()
    heard: list[Frame] = []
    for piece in pieces(written(frames), cuts):
        reader.feed(piece)
        heard += taken(reader)
    assert heard == frames


@given(FRAMES, st.lists(st.integers(0, 200_000), max_size=20), st.data())
def test_who_stops_in_between_loses_nothing(
    frames: list[Frame], cuts: list[int], data: st.DataObject
) -> None:
    reader = FrameReader()
    heard: list[Frame] = []
    for piece in pieces(written(frames), cuts):
        reader.feed(piece)
        heard += islice(taken(reader), data.draw(st.integers(0, 3)))
    assert [*heard, *taken(reader)] == frames


def test_byte_by_byte() -> None:
    frames = [(1, b"cell"), (0, b""), (4, b"")]
    reader = FrameReader()
    heard: list[Frame] = []
    for byte in written(frames):
        reader.feed(bytes([byte]))
        heard += taken(reader)
    assert heard == frames


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_noise_raises_nothing_but_bad_frames(noise: list[bytes]) -> None:
    reader = FrameReader()
    for piece in noise:
        reader.feed(piece)
        try:
            for kind, payload in taken(reader):
                assert kind in set(Kind)
                assert len(payload) <= MAX_PAYLOAD
        except BadFrame as error:
            assert error.sentence.startswith("The peer")
            return


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        (b"\x01\x00\x01\x01", "announced a frame of 65537 bytes"),
        (b"\xff\xff\xff\x04", "announced a frame of 16777215 bytes"),
        (b"\x00\x00\x00\x05", "unknown kind 5"),
        (b"GET ", "unknown kind 32"),
        (b"\x00\x00\x01\x00", "keep-alive with 1 bytes"),
    ],
)
def test_a_bad_frame_is_rejected_by_its_header(header: bytes, sentence: str) -> None:
    reader = FrameReader()
    reader.feed(header)
    for _ in range(2):  # and never skipped
        with pytest.raises(BadFrame, match=sentence) as caught:
            reader.next()
        assert not caught.value.retry


def test_the_largest_payload_passes_and_a_larger_one_is_not_sent() -> None:
    reader = FrameReader()
    reader.feed(written([(4, bytes(MAX_PAYLOAD))]))
    assert reader.next() == (4, bytes(MAX_PAYLOAD))
    with pytest.raises(ValueError, match="at most 65536 bytes"):
        frame_header(4, MAX_PAYLOAD + 1)
    with pytest.raises(ValueError, match="no frame of kind 5"):
        frame_header(5, 0)


def test_what_was_taken_is_forgotten() -> None:
    """What a reader keeps is less than a frame, however long the link lives and however large the pieces."""
    reader = FrameReader()
    stream = written([(1, bytes(5000))] * 1000)
    count = 0
    for start in range(0, len(stream), 262_144):
        reader.feed(stream[start : start + 262_144])
        count += len(list(taken(reader)))
        assert len(reader._bytes) < 5004
    assert count == 1000
