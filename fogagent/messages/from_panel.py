"""What the panel says: orders, answers to what an agent asked for, and news."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

from fogagent.messages.fields import Count, Identifier, Key, Message, Seconds, Sentence, Sha256, Short
from fogagent.messages.handshake import Challenge, Welcome
from fogagent.messages.limits import DIRECTORY_PART_BYTES, MAX_LETTER_BYTES
from fogagent.messages.values import Blob, GuardedTunnel, Sealed, TunnelSpec


class Run(Message, frozen=True, kw_only=True):
    """Run one attempt of a task. ``payload`` is a script or a module; ``args`` is the argv of a command.

    With ``sealed``, what is to run, its arguments and its input are inside the payload, which only the node
    can open (`fogagent.sealing`); ``image``, ``args``, ``env`` and ``stdin`` are empty then.
    """

    order: Count = 0  # the outbox puts its number in when it sends
    attempt: Identifier
    task: Identifier
    driver: Short
    timeout_s: Seconds
    payload: Blob | None = None
    image: Sentence = ""
    args: Annotated[list[str], Meta(max_length=256)] = []
    env: dict[str, str] = {}
    stdin: Blob | None = None
    cpu_millis: Count = 1000
    memory_mb: Count = 256
    network: bool = False
    sealed: Sealed | None = None


class Carry(Message, frozen=True, kw_only=True):
    """Bring an order to run and its sealed content to another node, over a circuit that ends there.

    ``letter`` is for that node alone (`fogagent.overlay.letters`). `Carried` answers in place of an
    `Acknowledge`: until then the order is repeated, and given to another gateway when this one is gone.
    """

    order: Count = 0  # the outbox puts its number in when it sends
    attempt: Identifier
    to: Key
    content: Blob
    letter: Annotated[bytes, Meta(max_length=MAX_LETTER_BYTES)]
    hops: Annotated[int, Meta(ge=1, le=8)] = 3
    timeout_s: Seconds = 60.0


class Cancel(Message, frozen=True, kw_only=True):
    order: Count = 0  # the outbox puts its number in when it sends
    attempt: Identifier
    sentence: Sentence = ""


class Configure(Message, frozen=True, kw_only=True):
    """The beat this node is to keep, and the name it is known by."""

    order: Count = 0  # the outbox puts its number in when it sends
    heartbeat_s: Seconds
    timeout_s: Seconds


class SetTunnels(Message, frozen=True, kw_only=True):
    """The tunnels that this node is to have open from now on: these and no others.

    Those with passwords are apart: an agent too old to ask for them does not see them, and so opens no port
    that everybody could use.
    """

    order: Count = 0  # the outbox puts its number in when it sends
    tunnels: Annotated[list[TunnelSpec], Meta(max_length=100)]
    guarded: Annotated[list[GuardedTunnel], Meta(max_length=100)] = []


class TryCircuit(Message, frozen=True, kw_only=True):
    """Build a circuit, have some bytes echoed by its last relay, tell how that went, and let it go.

    ``through`` names the relays, the entry first; empty: ``hops`` of the node's own choice, of which the
    last is an exit (in ``exit_region``, unless that is empty) where ``to_exit`` says so.
    """

    order: Count = 0  # the outbox puts its number in when it sends
    trial: Identifier
    hops: Annotated[int, Meta(ge=1, le=8)] = 3
    through: Annotated[list[Key], Meta(max_length=8)] = []
    to_exit: bool = False
    exit_region: Short = ""
    size: Annotated[int, Meta(ge=1, le=16 * 1024 * 1024)] = 1000
    timeout_s: Seconds = 20.0


class Ack(Message, frozen=True):
    """These reports are stored; the agent may forget them."""

    seqs: Annotated[list[Identifier], Meta(max_length=10_000)]


class Chunk(Message, frozen=True):
    """One stretch of a blob. ``count`` is the number of chunks it has in all."""

    sha256: Sha256
    index: Count
    count: Count
    data: bytes


class Watch(Message, frozen=True):
    """Somebody looks at this node: beat every ``every_s`` for the next ``for_s`` seconds."""

    every_s: Seconds
    for_s: Seconds


class DirectoryNews(Message, frozen=True):
    """The relay directory has this version now; 0: there is none yet."""

    version: Count


class DirectoryPart(Message, frozen=True):
    """One stretch of encoded `fogagent.overlay.directory.Changes` to ``version``.

    The parts of an answer come in their order and make it whole together; one with the index 0 begins an
    answer anew.
    """

    version: Count
    index: Count
    count: Count
    data: Annotated[bytes, Meta(max_length=DIRECTORY_PART_BYTES)]


class Problem(Message, frozen=True):
    """Something the other end sent was refused. ``fatal`` says that the socket closes with it.

    ``retry`` tells whether coming back later can help.
    """

    code: Short
    sentence: Sentence
    fatal: bool = False
    retry: bool = True


FromPanel: TypeAlias = (
    Welcome
    | Challenge
    | Run
    | Carry
    | Cancel
    | Configure
    | SetTunnels
    | TryCircuit
    | Ack
    | Chunk
    | Watch
    | DirectoryNews
    | DirectoryPart
    | Problem
)
