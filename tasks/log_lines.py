"""What a task printed, as numbered lines for its page.

Chunks end where an agent's buffer ended, in the middle of a line or of a character. Only whole lines
are shown as lines; what is still open stands apart and is replaced until its end arrives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db.models import QuerySet

from tasks.models import Attempt, LogChunk, Task

SHOWN_LINES = 1000
OPEN_LINE_CHUNKS = 32
"""How far back the start of an open line is looked for."""

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Line:
    """``kind`` is stdout, stderr, or between: a line of the panel's own between two attempts."""

    kind: str
    text: str


@dataclass(slots=True)
class LogPart:
    """Lines that came after a position (the id of the last chunk seen), and what is still open."""

    lines: list[Line]
    open_lines: list[Line]
    position: int
    start: int = 1  # the number of the first line
    left_out: int = 0  # earlier lines that are not shown


@dataclass(slots=True)
class Splitter:
    """Makes lines of chunks. ``rests`` is what each stream of ``attempt`` printed since its last newline."""

    attempt: int | None = None
    rests: dict[str, bytes] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)

    def feed(self, chunk: LogChunk) -> None:
        if chunk.attempt_id != self.attempt:
            self._begin(chunk.attempt)
        pieces = (self.rests.pop(chunk.stream, b"") + bytes(chunk.content)).split(b"\n")
        if pieces[-1]:
            self.rests[chunk.stream] = pieces[-1]
        self.lines += [Line(chunk.stream, readable(piece)) for piece in pieces[:-1]]

    def _begin(self, attempt: Attempt) -> None:
        self.lines += self.open_lines()
        self.rests.clear()
        if self.attempt is not None:
            self.lines.append(Line("between", f"attempt {attempt.number} on {attempt.node.name}"))
        self.attempt = attempt.id

    def open_lines(self) -> list[Line]:
        return [Line(stream, readable(rest)) for stream, rest in sorted(self.rests.items(), reverse=True)]


def readable(line: bytes) -> str:
    """Text as a terminal would leave it: the last state of a line that was written over, no colours."""
    text = line.decode(errors="replace").rstrip("\r")
    return _ESCAPES.sub("", text.rpartition("\r")[2])


def chunks_of(task_id: int) -> QuerySet[LogChunk]:
    return LogChunk.objects.filter(attempt__task_id=task_id).select_related("attempt__node").order_by("id")


def read(task_id: int, after: int = 0) -> LogPart:
    """The lines after a position; from the start only the newest `SHOWN_LINES` are kept."""
    splitter = _resume(task_id, after) if after else Splitter()
    position = after
    for chunk in chunks_of(task_id).filter(id__gt=after):
        splitter.feed(chunk)
        position = chunk.id
    part = LogPart(splitter.lines, splitter.open_lines(), position)
    if not after and len(part.lines) > SHOWN_LINES:
        part.left_out = len(part.lines) - SHOWN_LINES
        part.start = 1 + sum(line.kind != "between" for line in part.lines[:-SHOWN_LINES])
        part.lines = part.lines[-SHOWN_LINES:]
    return part


def _resume(task_id: int, after: int) -> Splitter:
    """A splitter as it stood after the chunk ``after``."""
    seen = chunks_of(task_id).filter(id__lte=after)
    last = seen.last()
    if last is None:
        return Splitter()
    ours = seen.filter(attempt_id=last.attempt_id)
    rests = {stream: _open_line(ours.filter(stream=stream)) for stream in ("stdout", "stderr")}
    return Splitter(last.attempt_id, {stream: rest for stream, rest in rests.items() if rest})


def _open_line(chunks: QuerySet[LogChunk]) -> bytes:
    rest = b""
    newest = chunks.order_by("-id").values_list("content", flat=True)[:OPEN_LINE_CHUNKS]
    for content in newest:
        _, newline, tail = bytes(content).rpartition(b"\n")
        rest = tail + rest
        if newline:
            break
    return rest


def as_text(task: Task) -> Iterable[bytes]:
    """The whole log, for downloading: as it was printed, in the order of arrival."""
    for content in chunks_of(task.id).values_list("content", flat=True).iterator():
        yield bytes(content)
