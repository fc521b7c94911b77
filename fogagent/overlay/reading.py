"""Reading a stream step by step, for those who wait for so many bytes rather than take them as they come."""

from __future__ import annotations

import asyncio

from fogagent.overlay.onion.stream import Stream

HELD_BYTES = 128 * 1024
"""What has come and is not read yet makes the stream hold when it is about twice this."""


class StreamBroken(Exception):
    """The stream ended before its time. ``code`` names why, ``str`` is a sentence."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class _Tap(asyncio.ReadTransport):
    """How a reader that has enough makes the stream hold."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self._stream = stream

    def pause_reading(self) -> None:
        self._stream.hold()

    def resume_reading(self) -> None:
        self._stream.go_on()


def reader_of(stream: Stream) -> asyncio.StreamReader:
    """What comes over ``stream``. Its methods raise `StreamBroken` as well, also where data is left."""
    reader = asyncio.StreamReader(HELD_BYTES)
    reader.set_transport(_Tap(stream))

    def on_end(code: str) -> None:
        if code:
            sentence = stream.ending.sentence if stream.ending is not None else ""
            reader.set_exception(StreamBroken(code, sentence or f"The stream ended: {code}."))
        else:
            reader.feed_eof()

    stream.set_reader(reader.feed_data, on_end)
    return reader
