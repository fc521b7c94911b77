"""What changed in the relay directory, for the agents that ask: encoded once, however many ask the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from fogagent.messages import DirectoryNews, DirectoryWanted, encode_message
from fogagent.overlay.directory import encode_changes
from fogagent.overlay.directory_parts import cut
from nodes.inbox import Reply
from nodes.relay_directory.changes import base_for, changes_since
from nodes.relay_directory.courier import courier
from nodes.relay_directory.publishing import newest_number

CACHE_BYTES = 64 * 1024 * 1024


class Answer(NamedTuple):
    version: int
    parts: Sequence[bytes]  # encoded messages


def send_directory(received: Sequence[tuple[int, DirectoryWanted]], now: datetime) -> Iterable[Reply]:
    """Answer each with what it lacks. A short answer goes out with the batch, a long one bit by bit."""
    newest = newest_number()
    for node_id, wanted in dict(received).items():  # the last of each
        if wanted.since >= newest:
            courier.answered(node_id, newest)
            yield node_id, DirectoryNews(version=newest)
            continue
        version, parts = answers.since(wanted.since, newest)
        if len(parts) == 1:
            courier.answered(node_id, version)
            yield node_id, parts[0]
        else:
            courier.answered(node_id, version, parts)


class Answers:
    """Those to the newest version, by the version they are changes to. For one thread: the inbox."""

    def __init__(self) -> None:
        self._newest = 0
        self._kept: dict[int, Answer] = {}

    def since(self, since: int, newest: int) -> Answer:
        """From an older version to the ``newest``, or to one that has come just now."""
        self._forget_older_than(newest)
        if since in self._kept:
            return self._kept[since]
        base = base_for(since)
        if base not in self._kept:
            answer = _answer(base)
            self._forget_older_than(answer.version)
            self._kept[base] = answer
            self._keep_in_bounds()
        return self._kept[base]

    def _forget_older_than(self, version: int) -> None:
        if version > self._newest:
            self._newest, self._kept = version, {}

    def _keep_in_bounds(self) -> None:
        while len(self._kept) > 1 and _size(self._kept.values()) > CACHE_BYTES:
            del self._kept[next(iter(self._kept))]


def _size(kept: Iterable[Answer]) -> int:
    return sum(len(part) for answer in kept for part in answer.parts)


def _answer(base: int) -> Answer:
    changes = changes_since(base)
    parts = cut(changes.version, encode_changes(changes))
    return Answer(changes.version, [encode_message(part) for part in parts])


answers = Answers()
