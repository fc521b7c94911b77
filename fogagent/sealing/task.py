"""A sealed task: what is inside, what is written outside, and how client and node come to share it.

Outside (`Envelope`) stays what the panel needs to place the task and to charge for it. Of the size of what is
inside it sees one of `packing.BUCKETS`. A name, if the submitter gives one, is outside too: clients must not
make one up from the name of a file.

The client keeps the `ContentKey` until the task has ended. When the reserved nodes are used up it wraps the
key for the next reservation; nothing is encrypted or uploaded twice, nor need the content be kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from fogagent.identity import Identity
from fogagent.messages import (
    MAX_ARGS_BYTES,
    MAX_ENV_BYTES,
    MAX_STDIN_BYTES,
    Count,
    Identifier,
    Key,
    Run,
    Sealed,
    Seconds,
    Sentence,
    Short,
    Value,
)
from fogagent.overlay.directory import Relay
from fogagent.sealing.content import KEY_BYTES, new_content_key, open_bytes, seal_pieces
from fogagent.sealing.errors import Altered, BadContent, NotInDirectory, TooLarge, WrongKey
from fogagent.sealing.packing import pack, unpack
from fogagent.sealing.wrapping import TASK, Wrap, binding, unwrap_key, wrap_key

MAX_RESERVED = 3
"""A first node and up to two standbys."""
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


class Terms(Value, frozen=True):
    """What an order says about the task beside its content. ``timeout_s`` is wall time."""

    driver: Short
    timeout_s: Seconds
    cpu_millis: Count
    memory_mb: Count
    network: bool = False


class Envelope(Terms, frozen=True):
    """What is written outside. The panel knows besides it what concerns the panel alone, such as priority and
    number of attempts."""

    disk_mb: Count = 0
    gpu_count: Count = 0
    strategy: Short = ""
    region: Short = ""
    region_required: bool = False
    labels: dict[Short, Short] = {}


class SealedSpec(Value, frozen=True):
    """What is inside. ``payload`` is the script or module; ``args`` is the argv of a command or container.

    ``terms`` repeats what is outside, so that the node notices when the panel orders something else: the
    same text run by another driver, or with the network open.

    ``result_key`` is X25519, made by the client for this task alone. It travels inside: outside, the panel
    could put its own in its place and read the result.
    """

    terms: Terms
    result_key: Key
    image: Sentence = ""
    args: Annotated[list[str], Meta(max_length=256)] = []
    env: dict[str, str] = {}
    payload: bytes = b""
    stdin: bytes = b""


class Reservation(Value, frozen=True):
    """The nodes that the panel chose for a task, named by identity, the first one first. It keeps no room on
    them."""

    reservation: Identifier
    nodes: Annotated[list[Key], Meta(min_length=1, max_length=MAX_RESERVED)]


@dataclass(frozen=True)
class ContentKey:
    """What the client keeps of a task that it sealed: enough to wrap the key once more."""

    key: bytes = field(repr=False)
    content_sha256: bytes
    """32 bytes, of the sealed content."""

    def wraps(self, reservation: Reservation, relays: Mapping[bytes, Relay]) -> list[Wrap]:
        """The content key for each reserved node. ``relays`` are those of a directory that was verified.

        The keys come from the directory, never from whoever made the reservation.

        Raises:
            NotInDirectory: a reserved node is not in it. Then nothing is wrapped for the others either.
            WrongKey: nothing can be sealed for a node's key.
        """
        reserved = [(node, _relay(node, relays)) for node in reservation.nodes]
        return [self._wrap(reservation.reservation, node, relay) for node, relay in reserved]

    def _wrap(self, reservation: int, node: bytes, relay: Relay) -> Wrap:
        info = TASK + binding(reservation, node, self.content_sha256)
        return Wrap(node=node, wrapped=wrap_key(self.key, relay.sealing_key, info))


@dataclass(frozen=True)
class SealedTask:
    """The sealed content, which goes to the panel, and its key, which stays with the client."""

    content: bytes = field(repr=False)
    key: ContentKey


def seal_task(spec: SealedSpec) -> SealedTask:
    """Encrypt a task under a new content key. Raises TooLarge, and BadContent for what no node would run."""
    if sentence := _too_large(spec):
        raise TooLarge(sentence)
    if sentence := _ill_formed(spec):
        raise BadContent(sentence)
    key = new_content_key()
    head = replace(spec, payload=b"", stdin=b"")  # which leaves them out: they are parts of their own
    pieces = pack(head, [spec.payload, spec.stdin])
    content = b"".join(seal_pieces(pieces, key))
    return SealedTask(content, ContentKey(key, sha256(content).digest()))


def open_task(content: bytes, sealed: Sealed, identity: Identity) -> SealedSpec:
    """What the node with this identity is to run.

    Raises:
        WrongKey: not wrapped for this node, reservation and content; or content or wrap were damaged.
        Damaged, UnknownVersion: the content was wrapped so, but is not in a format known here.
        BadContent: it opened, but is not a task, or not one whose result can be sealed.
    """
    info = TASK + binding(sealed.reservation, identity.public_key, sha256(content).digest())
    key = unwrap_key(sealed.wrapped, identity.sealing, info)
    head, (payload, stdin) = unpack(open_bytes(content, key), SealedSpec, parts=2)
    spec = replace(head, payload=payload, stdin=stdin)
    if sentence := _too_large(spec) or _ill_formed(spec):
        raise BadContent(sentence)
    _check_result_key(spec.result_key)
    return spec


def check_terms(terms: Terms, order: Run) -> None:
    """Raises Altered where the order differs from what the submitter sealed."""
    for name in Terms.__struct_fields__:
        sealed, ordered = getattr(terms, name), getattr(order, name)
        if sealed != ordered:
            raise Altered(f"The order says {name} = {ordered}, but the submitter sealed {name} = {sealed}.")


def _check_result_key(result_key: bytes) -> None:
    """Before the task runs, not when its result is to be sealed."""
    try:
        wrap_key(bytes(KEY_BYTES), result_key, b"")
    except WrongKey as error:
        raise BadContent(f"The task has no key that its result can be sealed for: {error}") from error


def _too_large(spec: SealedSpec) -> str:
    """Checked at both ends: the panel, which checks open tasks, cannot see. The whole content has a bucket,
    which leaves less for a payload than an open task may have."""
    for what, size, most in (
        ("standard input has", len(spec.stdin), MAX_STDIN_BYTES),
        ("arguments have", sum(len(arg.encode(errors="replace")) for arg in spec.args), MAX_ARGS_BYTES),
        (
            "environment has",
            sum(len((name + text).encode(errors="replace")) for name, text in spec.env.items()),
            MAX_ENV_BYTES,
        ),
    ):
        if size > most:
            return f"Sealed {what} at most {most} bytes, here {size}."
    return ""


def _ill_formed(spec: SealedSpec) -> str:
    """What no program can be given. Drivers hand texts on to programs for which a NUL ends them."""
    for name in spec.env:
        if not ENV_NAME.fullmatch(name):
            return (
                "Names in a sealed environment are letters, digits and _, do not start with a digit and have "
                f"at most 100 characters; {name[:40]!r} is not such a name."
            )
    if any("\0" in text for text in (*spec.args, *spec.env.values(), spec.image)):
        return "Sealed arguments and environments are texts without NUL characters."
    return ""


def _relay(node: bytes, relays: Mapping[bytes, Relay]) -> Relay:
    if node not in relays:
        raise NotInDirectory(
            f"The reserved node {node.hex()} is not in the signed directory. Fetch the directory again; "
            "if it still is not there, do not send the task."
        )
    return relays[node]
