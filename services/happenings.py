"""What just happened: events merged with finished tasks, and the last minute of each node as lanes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import nlargest

from django.utils.html import format_html
from django.utils.safestring import SafeString

from fogpanel.models import Event
from fogpanel.templatetags.fog import SUBJECT_PAGES
from services.fleet import user_tasks
from tasks.models import Task
from tasks.states import TaskState
from tasks.templatetags.task_words import took

LINES = 10
EVENTS_AT_LEAST = 4  # a busy fleet must not wash them away
STREAM_S = 60.0
LANES = 8
BLOCKS_MAX = 200
NARROWEST_S = 0.2  # what is shorter is drawn as long as this, or nobody would see it


@dataclass(frozen=True, slots=True)
class Line:
    at: datetime
    level: str
    sentence: str | SafeString
    took: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """A task in its lane; ``x`` and ``width`` are in seconds from the lane's left edge."""

    state: str
    x: float
    width: float
    title: str


@dataclass(frozen=True, slots=True)
class Lane:
    name: str
    blocks: list[Block]


def newest_lines() -> list[Line]:
    """The newest of both; some are events whenever there are any."""
    events = [_event_line(event) for event in Event.objects.all()[:LINES]]
    finished = user_tasks().filter(finished_at__isnull=False).order_by("-finished_at").select_related("node")
    tasks = [_task_line(task) for task in finished[:LINES]]
    kept = events[:EVENTS_AT_LEAST]
    others = nlargest(LINES - len(kept), [*events[EVENTS_AT_LEAST:], *tasks], key=lambda line: line.at)
    return sorted([*kept, *others], key=lambda line: line.at, reverse=True)


def _event_line(event: Event) -> Line:
    if event.subject_kind not in SUBJECT_PAGES or event.subject_id is None:
        return Line(event.at, event.level, event.sentence)
    href = SUBJECT_PAGES[event.subject_kind].format(event.subject_id)
    return Line(event.at, event.level, format_html('<a href="{}">{}</a>', href, event.sentence))


def _task_line(task: Task) -> Line:
    assert task.finished_at is not None, "only finished tasks are asked for"
    where = format_html(" on <b>{}</b>", task.node.name) if task.node and task.started_at else ""
    sentence = format_html(
        '<a href="/tasks/{}">Task <b>{}</b> {}{}</a>', task.id, task.name, task.state, where
    )
    level = Event.Level.ERROR if task.state == TaskState.FAILED else Event.Level.INFO
    return Line(task.finished_at, level, sentence, took(task))


def stream(now: datetime) -> list[Lane]:
    """Who worked when in the last minute, by name; at most the `LANES` nodes that worked last."""
    since = now - timedelta(seconds=STREAM_S)
    placed = user_tasks().filter(node__isnull=False, started_at__isnull=False)
    finished = placed.filter(finished_at__gte=since).order_by("-finished_at")
    running = placed.filter(state=TaskState.RUNNING).order_by("-id")
    columns = ("node__name", "name", "state", "started_at", "finished_at")
    lanes: dict[str, Lane] = {}
    for tasks in (running, finished):
        for node, name, state, started_at, finished_at in tasks.values_list(*columns)[:BLOCKS_MAX]:
            if node in lanes or len(lanes) < LANES:
                lanes.setdefault(node, Lane(node, [])).blocks.append(
                    _block(name, state, started_at, finished_at, since, now)
                )
    return sorted(lanes.values(), key=lambda lane: lane.name)


def _block(
    name: str, state: str, started_at: datetime, finished_at: datetime | None, since: datetime, now: datetime
) -> Block:
    start = max(since, started_at)
    end = max(start, finished_at or now)
    x = (start - since).total_seconds()
    width = max(NARROWEST_S, (end - start).total_seconds())
    return Block(state, round(x, 2), round(width, 2), f"{name}: {state}")
