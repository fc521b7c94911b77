"""What came of a sealed task, sealed by its node to the key that the submitter put inside the task.

A sealed result is one stretch of bytes: a wrap of 80 bytes (`wrapping`, purpose RESULT), then content as in
`content`. Its size without the wrap is one of `packing.BUCKETS`.

Outside stay the outcome and the usage, which the panel needs to end the attempt and to pay for it. The usage
there leaves out ``stdout_bytes`` and ``stderr_bytes``, which would undo the padding. Inside are both again,
in full: the submitter goes by these.

The panel cannot make a result, since it does not know the result key. But the result does not prove which
node made it: each node that opened the task can name another. Where that matters the node must sign.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec.structs import replace

from fogagent.messages import Outcome, Sentence, Usage, Value
from fogagent.sealing.content import new_content_key, open_bytes, seal_pieces
from fogagent.sealing.packing import pack, unpack
from fogagent.sealing.wrapping import RESULT, WRAPPED_BYTES, binding, unwrap_key, wrap_key


class Result(Value, frozen=True):
    """As `Finished` tells it of an open task; ``truncated``: output was cut at MAX_OUTPUT_BYTES."""

    outcome: Outcome
    exit_code: int | None = None
    sentence: Sentence = ""
    usage: Usage = Usage()
    truncated: bool = False
    stdout: bytes = b""
    stderr: bytes = b""


def seal_result(result: Result, result_key: bytes, reservation: int, node: bytes) -> bytes:
    """Raises WrongKey where nothing can be sealed for ``result_key``, the submitter's public key."""
    key = new_content_key()
    head = replace(result, stdout=b"", stderr=b"")  # which leaves them out: they are parts of their own
    header, *chunks = seal_pieces(pack(head, [result.stdout, result.stderr]), key)
    wrapped = wrap_key(key, result_key, binding(RESULT, reservation, node, header))
    return b"".join((wrapped, header, *chunks))


def open_result(sealed: bytes, result_key: X25519PrivateKey, reservation: int, node: bytes) -> Result:
    """What came of the task on this node.

    Raises:
        WrongKey: sealed for another key, or of another reservation or node; or its wrap was damaged.
        Damaged, UnknownVersion: it is not as it was sealed, or not in a format known here.
        BadContent: it opened, but is not a result.
    """
    wrapped, content = sealed[:WRAPPED_BYTES], memoryview(sealed)[WRAPPED_BYTES:]
    key = unwrap_key(wrapped, result_key, binding(RESULT, reservation, node, content))
    head, (stdout, stderr) = unpack(open_bytes(content, key), Result, parts=2)
    return replace(head, stdout=stdout, stderr=stderr)
