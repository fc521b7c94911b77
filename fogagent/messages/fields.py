"""What messages are made of: kinds of fields, each with its rule that decoding checks, and two bases."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from fogagent.messages.limits import MAX_SENTENCE

Short = Annotated[str, Meta(max_length=200)]
Sentence = Annotated[str, Meta(max_length=MAX_SENTENCE)]
Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
Nonce = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Meta(ge=0, lt=2**53)]
Identifier = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Seconds = Annotated[float, Meta(ge=0)]
Certificate = Annotated[bytes, Meta(min_length=1, max_length=2048)]
"""DER of a self-signed link certificate."""
HostPort = Annotated[
    str, Meta(max_length=262, pattern=r"^(?:(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[1-9][0-9]{0,4})?\Z")
]
"""``host:port``, an IPv6 address in brackets; empty: none."""


class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a message."""


class Message(Value, frozen=True, tag_field="type", tag=str.lower):
    """Something sent on its own. ``type`` is the lower-cased name of the struct."""
