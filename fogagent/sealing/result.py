"""What came of a sealed task, sealed by its node to the key that the submitter put inside the task.

A sealed result is one stretch of bytes:

     0  80   the content key, wrapped (`wrapping`, purpose RESULT)
    80  64   Ed25519 signature by the node's identity over SIGNED, then the same binding of 72 bytes that
             the wrap has: reservation, node, SHA-256 of the content that follows
   144   …   sealed content (`content`), with a size of `packing.BUCKETS`

Outside stay the outcome and the usage, which the panel needs to end the attempt and to pay for it. The usage
there leaves out ``stdout_bytes`` and ``stderr_bytes``, which would undo the padding, and ``fuel``, which
would tell of what ran. Inside are both again, in full: the submitter goes by these.

The panel cannot make a result, since it does not know the result key; another node that opened the task
cannot make one in the name of this one. As the header of the content commits to its key, the submitter can
show content, content key and signature to others as proof of what the node said.
"""

from __future__ import annotations

from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec.structs import replace

from fogagent.identity import BadSignature, Identity, verify
from fogagent.messages import Outcome, Sentence, Usage, Value
from fogagent.sealing.content import new_content_key, open_bytes, seal_pieces
from fogagent.sealing.errors import Cut, NotByNode
from fogagent.sealing.packing import pack, unpack
from fogagent.sealing.wrapping import RESULT, WRAPPED_BYTES, binding, unwrap_key, wrap_key

SIGNED = b"fogpanel sealed result v1\0"
SIGNATURE_BYTES = 64
PREFACE_BYTES = WRAPPED_BYTES + SIGNATURE_BYTES


class Result(Value, frozen=True):
    """As `Finished` tells it of an open task; ``truncated``: output was cut at MAX_OUTPUT_BYTES."""

    outcome: Outcome
    exit_code: int | None = None
    sentence: Sentence = ""
    usage: Usage = Usage()
    truncated: bool = False
    stdout: bytes = b""
    stderr: bytes = b""


def seal_result(result: Result, result_key: bytes, reservation: int, node: Identity) -> bytes:
    """Raises WrongKey where nothing can be sealed for ``result_key``, the submitter's public key."""
    key = new_content_key()
    head = replace(result, stdout=b"", stderr=b"")  # which leaves them out: they are parts of their own
    content = b"".join(seal_pieces(pack(head, [result.stdout, result.stderr]), key))
    bound = binding(reservation, node.public_key, sha256(content).digest())
    return wrap_key(key, result_key, RESULT + bound) + node.sign(SIGNED, bound) + content


def open_result(sealed: bytes, result_key: X25519PrivateKey, reservation: int, node: bytes) -> Result:
    """What came of the task on this node, which signed it.

    Raises:
        NotByNode: not signed by this node for this reservation, or damaged. Cut, where most is missing.
        WrongKey: sealed for another key; or its wrap was damaged.
        Damaged, UnknownVersion: the node did not seal it as it should, or in a format not known here.
        BadContent: it opened, but is not a result.
    """
    if len(sealed) < PREFACE_BYTES:
        raise Cut("The sealed result is cut: it ends before its content.")
    wrapped, signature = sealed[:WRAPPED_BYTES], sealed[WRAPPED_BYTES:PREFACE_BYTES]
    content = memoryview(sealed)[PREFACE_BYTES:]
    bound = binding(reservation, node, sha256(content).digest())
    _check_signature(node, bound, signature)
    key = unwrap_key(wrapped, result_key, RESULT + bound)
    head, (stdout, stderr) = unpack(open_bytes(content, key), Result, parts=2)
    return replace(head, stdout=stdout, stderr=stderr)


def _check_signature(node: bytes, bound: bytes, signature: bytes) -> None:
    try:
        verify(node, SIGNED, bound, signature)
    except BadSignature as error:
        raise NotByNode(
            f"The result was not signed by the node {node.hex()} for this task, or was changed since."
        ) from error
