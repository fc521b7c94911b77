"""Check what clients of a panel saw while it was mistreated: `python e2e/soak/check_history.py FILE`.

The history is one JSON object a line, written by whoever tormented the panel, in the order in which it
happened. This program knows nothing of the panel; it only compares what clients were told:

    {"event": "acknowledged", "key": K, "task": T, "expected": TEXT}   a client's task was taken in
    {"event": "seen", "task": T, "state": S, "accepted": [A, …], "output": TEXT or null}
                                                                       a client looked at its task
    {"event": "listed", "tasks": [T, …]}                               all tasks there are, at the end
    {"event": "killed", "what": NAME}     {"event": "cut"}     {"event": "stopped", "what": NAME}

Promises: each acknowledged task was last seen succeeded, with the output expected and one accepted
attempt; what was once seen ended is never seen otherwise; no key made two tasks; no task is there that
nobody handed in. A history in which nothing was handed in or nothing was broken proves nothing.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ENDS = {"succeeded", "failed", "cancelled", "expired"}
BREAKS = {"killed", "cut", "stopped"}
SHOWN = 20

Event = Mapping[str, Any]


def read(path: Path) -> list[Event]:
    """The events of a history. Raises ValueError for a line that is not one."""
    events: list[Event] = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            event = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number} is not JSON: {error}") from error
        if not isinstance(event, dict) or "event" not in event:
            raise ValueError(f"line {number} is not an event: {line[:80]}")
        events.append(event)
    return events


def faults(events: Iterable[Event]) -> list[str]:
    """Every broken promise in this history, as sentences; none if all were kept."""
    events = list(events)
    kinds = Counter(event["event"] for event in events)
    found = [f"nothing was {what}: this history proves nothing" for what in missing(kinds)]
    expected = {event["task"]: event["expected"] for event in events if event["event"] == "acknowledged"}
    found += keys_with_two_tasks(events)
    found += changed_after_the_end(events)
    found += wrong_at_last(events, expected)
    found += not_as_listed(events, set(expected))
    return found


def missing(kinds: Mapping[str, int]) -> list[str]:
    lacks = [kind for kind in ("acknowledged", "seen", "listed") if not kinds.get(kind)]
    return lacks if any(kinds.get(kind) for kind in BREAKS) else [*lacks, "broken"]


def keys_with_two_tasks(events: Iterable[Event]) -> list[str]:
    """One key is one task, and one task has one key."""
    task_of: dict[str, int] = {}
    key_of: dict[int, str] = {}
    found = []
    for event in events:
        if event["event"] != "acknowledged":
            continue
        key, task = event["key"], event["task"]
        if task_of.setdefault(key, task) != task:
            found.append(f"key {key} made task {task_of[key]} and task {task}")
        if key_of.setdefault(task, key) != key:
            found.append(f"task {task} answers to key {key_of[task]} and to key {key}")
    return found


def changed_after_the_end(events: Iterable[Event]) -> list[str]:
    ended: dict[int, Event] = {}
    found = []
    for event in events:
        if event["event"] != "seen":
            continue
        before = ended.get(event["task"])
        if before is not None and result(event) != result(before):
            found.append(f"task {event['task']} had ended as {result(before)} and then was {result(event)}")
        elif event["state"] in ENDS:
            ended[event["task"]] = event
    return found


def result(event: Event) -> tuple[str, tuple[int, ...], str | None]:
    return event["state"], tuple(event["accepted"]), event["output"]


def wrong_at_last(events: Iterable[Event], expected: Mapping[int, str]) -> list[str]:
    last = {event["task"]: event for event in events if event["event"] == "seen"}
    found = []
    for task, output in sorted(expected.items()):
        seen = last.get(task)
        if seen is None:
            found.append(f"task {task} was acknowledged and never seen again")
        elif seen["state"] != "succeeded":
            found.append(f"task {task} was acknowledged and is {seen['state']}")
        elif len(seen["accepted"]) != 1:
            found.append(f"task {task} has {len(seen['accepted'])} accepted attempts")
        elif seen["output"] != output:
            found.append(f"task {task} printed {seen['output']!r} and not {output!r}")
    return found


def not_as_listed(events: Iterable[Event], acknowledged: set[int]) -> list[str]:
    found = []
    for event in events:
        if event["event"] == "listed":
            there = set(event["tasks"])
            found += [f"task {task} was acknowledged and is gone" for task in sorted(acknowledged - there)]
            found += [
                f"task {task} is there and nobody handed it in" for task in sorted(there - acknowledged)
            ]
    return found


def summary(events: Iterable[Event]) -> str:
    kinds = Counter(event["event"] for event in events)
    return ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: check_history.py FILE", file=sys.stderr)
        return 2
    try:
        events = read(Path(arguments[0]))
    except (OSError, ValueError) as error:
        print(f"check_history.py: {error}", file=sys.stderr)
        return 2
    found = faults(events)
    print(summary(events))
    print(
        "\n".join([*found[:SHOWN], f"{len(found)} promises broken"] if found else ["every promise was kept"])
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
