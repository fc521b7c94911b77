"""What just happened: events merged with finished tasks, and the last minute of each node as lanes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import nlargest

from fogpanel.models import Event
from fogpanel.templatetags.fog import duration
from services.fleet import user_tasks
from tasks.models import Task
from tasks.states import TaskState

LINES = 10
STREAM_S = 60.0
LANES = 8
BLOCKS_MAX = 200
LANE_H = 22
NAME_W = 110.0
TRACK_W = 610.0


@dataclass(frozen=True, slots=True)
class Line:
    at: datetime
    level: str
    sentence: str
    href: str = ""
    took: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    state: str
    x: float
    width: float
    title: str


@dataclass(frozen=True, slots=True)
class Lane:
    name: str
    y: int
    blocks: list[Block]


@dataclass(frozen=True, slots=True)
class Stream:
    lanes: list[Lane]
    width: float
    track_x: float
    track_width: float

    @property
    def height(self) -> int:
        return LANE_H * len(self.lanes)


def newest_lines(number: int = LINES) -> list[Line]:
    events = [Line(event.at, event.level, event.sentence, _page_of(event)) for event in Event.objects.all()[:number]]
    finished = user_tasks().filter(finished_at__isnull=False).order_by("-finished_at").select_related("node")
    return nlargest(number, [*events, *map(_told, finished[:number])], key=lambda line: line.at)


def _page_of(event: Event) -> str:
    pages = {"node": "/nodes/{}", "task": "/tasks/{}"}
    known = event.subject_kind in pages and event.subject_id is not None
    return pages[event.subject_kind].format(event.subject_id) if known else ""


def _told(task: Task) -> Line:
    assert task.finished_at is not None, "only finished tasks are asked for"
    where = f" on {task.node.name}" if task.node and task.started_at else ""
    took = duration((task.finished_at - task.started_at).total_seconds()) if task.started_at else ""
    level = Event.Level.ERROR if task.state == TaskState.FAILED else Event.Level.INFO
    return Line(task.finished_at, level, f"Task {task.name} {task.state}{where}", f"/tasks/{task.id}", took)


def stream(now: datetime) -> Stream:
    """Who worked when in the last minute; the nodes that worked last come first."""
    since = now - timedelta(seconds=STREAM_S)
    with_node = user_tasks().filter(node__isnull=False, started_at__isnull=False).select_related("node")
    finished = with_node.filter(finished_at__gte=since).order_by("-finished_at")[:BLOCKS_MAX]
    running = with_node.filter(state=TaskState.RUNNING).order_by("-id")[:BLOCKS_MAX]
    by_node: dict[str, list[Task]] = {}
    for task in [*running, *finished]:
        if task.node and (task.node.name in by_node or len(by_node) < LANES):
            by_node.setdefault(task.node.name, []).append(task)
    lanes = [
        Lane(name, LANE_H * i, [_block(task, since, now) for task in by_node[name]])
        for i, name in enumerate(sorted(by_node))
    ]
    return Stream(lanes, NAME_W + TRACK_W, NAME_W, TRACK_W)


def _block(task: Task, since: datetime, now: datetime) -> Block:
    start = max(since, task.started_at or now)
    end = max(start, task.finished_at or now)
    scale = TRACK_W / STREAM_S
    x = NAME_W + scale * (start - since).total_seconds()
    shown = task.state if task.state in ("running", "succeeded", "failed") else "other"
    return Block(shown, round(x, 1), round(max(2.0, scale * (end - start).total_seconds()), 1), f"{task.name}: {task.state}")
