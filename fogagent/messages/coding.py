"""Frames: messages to JSON and back, in as few as their limits allow."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from fogagent.messages.fields import Message
from fogagent.messages.from_agent import FromAgent
from fogagent.messages.from_panel import FromPanel
from fogagent.messages.handshake import Hello
from fogagent.messages.limits import MAX_FRAME_BYTES, MAX_MESSAGES_PER_FRAME


class FrameError(Exception):
    """A frame that the sender should not have sent. ``str`` is a sentence that says what is wrong."""


Decoded = TypeVar("Decoded")

_encoder = msgspec.json.Encoder()
_from_agent = msgspec.json.Decoder(list[FromAgent | Hello])
_from_panel = msgspec.json.Decoder(list[FromPanel])


def encode_message(message: Message) -> bytes:
    """One message as JSON, ready to be put in a frame by `join_frame`."""
    return _encoder.encode(message)


def join_frame(encoded: list[bytes]) -> str:
    """A frame out of messages that are encoded already."""
    return (b"[" + b",".join(encoded) + b"]").decode()


def encode_frame(messages: list[Message]) -> str:
    return _encoder.encode(messages).decode()


def split_frames(encoded: list[bytes]) -> list[str]:
    """Pack encoded messages, in order, into as few frames as the two limits allow."""
    frames: list[str] = []
    batch: list[bytes] = []
    size = 2
    for one in encoded:
        if batch and (size + len(one) + 1 > MAX_FRAME_BYTES or len(batch) >= MAX_MESSAGES_PER_FRAME):
            frames.append(join_frame(batch))
            batch, size = [], 2
        batch.append(one)
        size += len(one) + 1
    if batch:
        frames.append(join_frame(batch))
    return frames


def decode_from_agent(text: str) -> list[FromAgent | Hello]:
    """Decode what an agent sent.

    Raises:
        FrameError: too long, not JSON, nested too deeply, not a list, an unknown type, or a field that breaks
            its rule.
    """
    messages = _decoded(_from_agent, text)
    if len(messages) > MAX_MESSAGES_PER_FRAME:
        raise FrameError(
            f"A frame holds at most {MAX_MESSAGES_PER_FRAME} messages, this one {len(messages)}."
        )
    return messages


def decode_from_panel(text: str) -> list[FromPanel]:
    """Decode what the panel sent. Raises FrameError as `decode_from_agent` does."""
    return _decoded(_from_panel, text)


def _decoded(decoder: msgspec.json.Decoder[Decoded], text: str) -> Decoded:
    _check_length(text)
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise FrameError(f"A message breaks its rules: {error}.") from error
    except msgspec.DecodeError as error:
        raise FrameError(f"The frame is not JSON: {error}.") from error
    except RecursionError as error:  # also in a field that nobody knows, which is skipped
        raise FrameError("A message is nested too deeply.") from error


def _check_length(text: str) -> None:
    # Characters never outnumber bytes, so a text that is short enough needs no second look.
    if len(text) > MAX_FRAME_BYTES or (not text.isascii() and len(text.encode()) > MAX_FRAME_BYTES):
        raise FrameError(f"A frame holds at most {MAX_FRAME_BYTES} bytes.")
