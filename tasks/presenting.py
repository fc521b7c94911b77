"""What a task's page shows. `page_of` is the same for everyone; `content_of` only for who may see content."""

from __future__ import annotations

import shlex
from typing import Any

from tasks import log_lines
from tasks.blobs import read_blob
from tasks.explaining import counted, decisions_of, explain, latest
from tasks.models import Attempt, Decision, Task
from tasks.privacy import IN_SHORT, Privacy
from tasks.states import FINAL, TaskState
from tasks.steps import steps_of

SOURCE_SHOWN = 64 * 1024
OUTPUT_SHOWN = 32 * 1024


def page_of(task: Task, decision: Decision | None = None) -> dict[str, Any]:
    """The parts that are pushed: status, steps, attempts and the decision (the newest unless given)."""
    attempts = list(task.attempts.select_related("node").order_by("id"))
    decisions = decisions_of(task)
    decision = decision or latest(decisions)
    return {
        "task": task,
        "final": task.state in FINAL,
        "waiting": task.state == TaskState.QUEUED,
        "wait_reasons": counted(task.wait_reasons),
        "attempts": [(attempt, made) for attempt, made in _with_decisions(attempts, decisions)],
        "doubted": [a for a in attempts if a.doubted_at and not a.ended_at],
        "open_attempt": next((a for a in reversed(attempts) if not a.ended_at and not a.doubted_at), None),
        "steps": steps_of(task, attempts),
        "explained": explain(decision) if decision else None,
        "decisions": decisions,
        **(_sealed(task) if task.is_sealed else {}),
    }


def _sealed(task: Task) -> dict[str, Any]:
    """Where it stands with the result, which nobody here can open: awaited, there, or none."""
    state = "awaited"
    if task.state in FINAL:
        accepted = task.accepted_attempt
        state = "there" if accepted is not None and accepted.result_chunks.exists() else "none"
    return {"sealed_state": state, "privacy_in_short": IN_SHORT[Privacy(task.privacy)]}


def _with_decisions(
    attempts: list[Attempt], decisions: list[Decision]
) -> list[tuple[Attempt, Decision | None]]:
    made = {decision.attempt_id: decision for decision in decisions}
    return [(attempt, made.get(attempt.id)) for attempt in attempts]


def content_of(task: Task) -> dict[str, Any]:
    """What its owner and operators see: source, arguments, input, log and result. Of a sealed task the panel
    has none of these."""
    if task.is_sealed:
        return {"sealed": True}
    return {
        "log": log_lines.read(task.id),
        "source": _shown(task) if task.driver == "python" and task.payload_id else "",
        "command_line": shlex.join(task.args),
        **result_of(task),
    }


def _shown(task: Task) -> str:
    assert task.payload_id
    return read_blob(task.payload_id)[:SOURCE_SHOWN].decode(errors="replace")


def result_of(task: Task) -> dict[str, Any]:
    """The attempt that counts, with the start of its standard output; nothing while the task is open."""
    if task.state not in FINAL:
        return {"result": None}
    attempt = task.accepted_attempt or task.attempts.order_by("-id").first()
    if attempt is None:
        return {"result": None}
    output = stdout_start(attempt)
    return {
        "result": attempt,
        "output": output[:OUTPUT_SHOWN].decode(errors="replace"),
        "output_cut": len(output) > OUTPUT_SHOWN,
        "output_gone": not output and bool((attempt.usage or {}).get("stdout_bytes")),
    }


def stdout_start(attempt: Attempt) -> bytes:
    """The standard output up to a little more than is shown."""
    chunks = attempt.log_chunks.filter(stream="stdout", offset__lte=OUTPUT_SHOWN).order_by("offset")
    return b"".join(bytes(content) for content in chunks.values_list("content", flat=True))
