"""A submitter of sealed tasks, and the orders that a panel makes of them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec.structs import replace

from fogagent.messages import INLINE_BLOB_BYTES, Blob, Finished, Log, Message, Run, Sealed, Stream
from fogagent.sealing.result import Result, open_result
from fogagent.sealing.task import SealedSpec, Terms, seal_task
from fogagent.sealing.wrapping import TASK, binding, wrap_key
from fogagent.tests.fakes import FakePanel

RESERVATION = 7
SUBMITTER = X25519PrivateKey.generate()
TERMS = Terms(driver="python", timeout_s=60.0, cpu_millis=1000, memory_mb=256)
SPEC = SealedSpec(terms=TERMS, result_key=SUBMITTER.public_key().public_bytes_raw())


def sealed_order(attempt: int, spec: SealedSpec, node: bytes, sealing_key: bytes) -> tuple[Run, bytes]:
    """The order for this node, and the sealed content, which is inline where it is small enough."""
    task = seal_task(spec)
    info = TASK + binding(RESERVATION, node, task.key.content_sha256)
    small = task.content if len(task.content) <= INLINE_BLOB_BYTES else None
    order = Run(
        order=attempt + 100,
        attempt=attempt,
        task=attempt,
        **msgspec.structs.asdict(spec.terms),
        payload=Blob(sha256=sha256(task.content).hexdigest(), size=len(task.content), inline=small),
        sealed=Sealed(reservation=RESERVATION, wrapped=wrap_key(task.key.key, sealing_key, info)),
    )
    return order, task.content


def altered(order: Run, **changes: object) -> Run:
    return replace(order, **changes)


def result_from(panel: FakePanel, attempt: int, node: bytes) -> Result:
    """What the submitter gets of what the panel heard."""
    return open_result(sealed_pieces(panel, attempt), SUBMITTER, RESERVATION, node)


def sealed_pieces(panel: FakePanel, attempt: int) -> bytes:
    sealed = b""
    for report in panel.said:
        if isinstance(report, Log | Finished) and report.attempt == attempt:
            for piece in report.pieces:
                assert (piece.stream, piece.offset) == (Stream.SEALED, len(sealed))
                sealed += piece.data
    return sealed


def shows(marker: bytes, content: bytes) -> bool:
    """Whether the marker is in there, as it is or as base64."""
    return any(form in content for form in (marker, *_in_base64(marker)))


def messages_that_show(marker: bytes, said: Iterable[Message]) -> list[Message]:
    return [one for one in said if shows(marker, msgspec.msgpack.encode(one))]


def files_that_show(marker: bytes, folder: Path) -> list[Path]:
    """Every file below the folder is read, whole."""
    return [path for path in folder.rglob("*") if path.is_file() and shows(marker, path.read_bytes())]


def _in_base64(marker: bytes) -> list[bytes]:
    """Without the letters that depend on what stands beside it, wherever it begins."""
    return [b64encode(bytes(before) + marker)[-(-8 * before // 6) + 1 : -4] for before in range(3)]
