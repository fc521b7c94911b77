"""Both ends prove who they are (`fogagent.identity`). The panel speaks first."""

from __future__ import annotations

from fogagent.messages.fields import (
    Count,
    Identifier,
    Key,
    Message,
    Nonce,
    Seconds,
    Sentence,
    Short,
    Signature,
)

PROTOCOL = 1


class Challenge(Message, frozen=True):
    """The panel speaks first: its key (agents pin it) and a fresh nonce."""

    panel_key: Key
    nonce: Nonce
    protocol: int = PROTOCOL


class Hello(Message, frozen=True):
    """The agent's answer. ``signature`` covers the transcript of `fogagent.identity`."""

    agent_key: Key
    nonce: Nonce
    url: Sentence
    signature: Signature
    version: Short
    protocol: int = PROTOCOL


class Welcome(Message, frozen=True):
    """The panel proves itself in turn and tells the node its beat.

    ``spread_s``: when the connection is lost, the first try to return is due at a random moment of this time.
    """

    signature: Signature
    node: Identifier
    name: Short
    epoch: Count
    heartbeat_s: Seconds
    timeout_s: Seconds
    spread_s: Seconds = 0.0
