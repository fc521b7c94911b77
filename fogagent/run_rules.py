"""What an order to run must keep to before a node takes it on."""

from __future__ import annotations

from hashlib import sha256

from fogagent.messages import MAX_MODULE_BYTES, MAX_SEALED_BYTES, MAX_STDIN_BYTES, Blob, Run


def complaint(run: Run) -> str:
    """Why the order cannot be right, as a sentence for the task's owner, or nothing."""
    if run.sealed is not None and (wrong := _wrong_beside_sealed(run)):
        return wrong
    for what, blob, most in (
        ("payload", run.payload, MAX_MODULE_BYTES if run.sealed is None else MAX_SEALED_BYTES),
        ("stdin", run.stdin, MAX_STDIN_BYTES),
    ):
        if blob is None:
            continue
        if blob.size > most:
            return f"{what}: must have at most {most} bytes, has {blob.size}."
        if blob.inline is not None and not _fits(blob, blob.inline):
            return f"{what}: its content does not fit its hash {blob.sha256[:12]}…"
    return ""


def _wrong_beside_sealed(run: Run) -> str:
    if run.payload is None:
        return "payload: must be the sealed task."
    for what in ("image", "args", "env", "stdin"):
        if getattr(run, what):
            return f"{what}: must be inside the sealed task, not beside it."
    return ""


def _fits(blob: Blob, content: bytes) -> bool:
    # As with what is fetched: by its hash the panel, and a submitter who is told, know what ran.
    return len(content) == blob.size and sha256(content).hexdigest() == blob.sha256
