"""The fleet at a glance, its map, and what just happened there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from coordinator.geo import REGION_POINTS
from coordinator.values import Availability, NodeType
from fogpanel import audit
from nodes.models import Node
from services import fleet, happenings, topology
from services.fleet import Span
from services.fleet_groups import groups
from services.map_grid import COLUMNS, SPAN, places
from tasks.models import Task
from tasks.states import TaskState

pytestmark = pytest.mark.django_db
MakeNode = Callable[..., Node]
MakeTask = Callable[..., Task]
SECOND = timedelta(seconds=1)


@pytest.fixture
def now() -> datetime:
    return timezone.now()


@pytest.fixture
def make_task(submitter: User) -> MakeTask:
    def make(**columns: object) -> Task:
        usual = {"name": "work", "owner": submitter, "driver": "wasm"}
        return Task.objects.create(**(usual | columns))

    return make


def summary(now: datetime) -> fleet.Summary:
    return fleet.summary(now, groups(now))


def test_an_empty_fleet(now: datetime) -> None:
    found = summary(now)
    assert (found.nodes_total, found.cpu_percent, found.running, found.queued) == (0, 0, 0, 0)
    assert (found.oldest_queued_s, found.failed_share, found.finished_per_s) == (None, None, 0)


def test_nodes_by_status(make_node: MakeNode, now: datetime) -> None:
    make_node()
    make_node(free_cpu_millis=500)
    make_node(free_cpu_millis=0)
    make_node(availability=Availability.MAINTENANCE)
    make_node(deadline_at=now - SECOND)
    make_node(archived_at=now)
    make_node(approved_at=None)
    found = summary(now)
    assert found.nodes == {"idle": 1, "active": 1, "busy": 1, "maintenance": 1, "offline": 1}
    assert (found.nodes_here, found.nodes_total) == (4, 5)
    assert found.nodes_in_words == "2 idle or active · 1 busy · 1 maintenance · 1 offline"
    assert found.node_parts == [("ok", 2), ("busy", 1), ("mute", 1), ("bad", 1)]


def test_what_is_offline_offers_nothing(make_node: MakeNode, now: datetime) -> None:
    make_node(cpu_millis=2000, free_cpu_millis=500, memory_mb=4096, free_memory_mb=1024)
    make_node(cpu_millis=8000, deadline_at=now - SECOND)
    found = summary(now)
    assert (found.cpu_reserved_millis, found.cpu_millis, found.cpu_percent) == (1500, 2000, 75)
    assert (found.memory_reserved_mb, found.memory_mb, found.memory_percent) == (3072, 4096, 75)


def test_work_in_numbers(make_task: MakeTask, now: datetime) -> None:
    make_task(created_at=now - 4 * SECOND)
    make_task(created_at=now - 2 * SECOND)
    make_task(state=TaskState.RUNNING, started_at=now - 10 * SECOND)
    for age_s, state in ((1, "succeeded"), (30, "succeeded"), (50, "failed"), (600, "succeeded")):
        make_task(state=state, started_at=now - (age_s + 5) * SECOND, finished_at=now - age_s * SECOND)
    make_task(canary=True, state=TaskState.FAILED, finished_at=now)
    make_task(canary=True)
    found = summary(now)
    assert (found.running, found.queued) == (1, 2)
    assert found.oldest_queued_s == pytest.approx(4)
    assert found.finished_per_s == pytest.approx(3 / 60)
    assert found.failed_percent == pytest.approx(25)
    assert sum(found.finished_course) == 3
    assert found.running_course[-1] == 1
    assert max(found.running_course) == 2


def test_a_busy_fleet_is_measured_over_a_shorter_time(
    make_task: MakeTask, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "COUNTED_TO", 10)
    for tenth in range(30):
        at = now - tenth * SECOND / 10
        make_task(state=TaskState.SUCCEEDED, started_at=at, finished_at=at)
    assert summary(now).finished_per_s == pytest.approx(10 / 0.9)


def test_courses_follow_the_spans(now: datetime) -> None:
    spans = [Span(now - 60 * SECOND, now - 30 * SECOND), Span(now - 29 * SECOND, None), Span(None, None)]
    assert fleet.running_course(spans, now, 60.0) == [1.0] * 14 + [0.0] + [1.0] * 15
    assert [i for i, number in enumerate(fleet.finished_course(spans, now, 60.0)) if number] == [14]


class TestTopology:
    def test_regions_go_from_west_to_east_and_unknown_ones_come_last(
        self, make_node: MakeNode, now: datetime
    ) -> None:
        for region in ("eu-west", "moon-base", "us-east", "ap-east", "eu-west"):
            make_node(region=region)
        found = topology.topology(now)
        assert [(region.name, region.nodes) for region in found.regions] == [
            ("us-east", 1),
            ("eu-west", 2),
            ("ap-east", 1),
            ("moon-base", 1),
        ]

    def test_a_shape_is_a_node_and_leads_to_its_page(self, make_node: MakeNode, now: datetime) -> None:
        node = make_node(name="atlas", node_type=NodeType.GATEWAY)
        [region] = topology.topology(now).regions
        [shape] = region.shapes
        assert shape.mark.href == f"/nodes/{node.id}"
        assert shape.mark.title == "atlas: gateway, idle"
        assert len(shape.points.split()) == 6
        assert region.svg.startswith(f'<a href="/nodes/{node.id}" aria-label="atlas: gateway, idle"><polygon')
        assert region.svg.endswith("<title>atlas: gateway, idle</title></polygon></a>")

    def test_what_stands_in_a_picture_is_escaped(self) -> None:
        [region] = topology.lay_out(
            [topology.Mark("r", NodeType.COMPUTE_NODE, "idle", "<a> & b", "/nodes/1")], {"r": 1}, 1
        ).regions
        assert 'aria-label="&lt;a&gt; &amp; b"' in region.svg
        assert "<title>&lt;a&gt; &amp; b</title>" in region.svg

    def test_a_large_fleet_shares_shapes(
        self, make_node: MakeNode, now: datetime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(topology, "SHAPES_MAX", 10)
        for _ in range(25):
            make_node()
        found = topology.topology(now)
        assert (found.nodes, found.nodes_per_shape) == (25, 3)
        [region] = found.regions
        assert len(region.shapes) == 9
        assert region.shapes[0].mark.title == "25 × compute node, idle"

    def test_shapes_stay_in_their_cell(self) -> None:
        marks = [topology.Mark("r", NodeType.MIXNODE, "idle", "x")] * 300
        [region] = topology.lay_out(marks, {"r": 300}, 1).regions
        assert max(shape.reach for shape in region.shapes) <= topology.REACH_MAX

    def test_cells_follow_the_globe(self) -> None:
        found = places(["eu-north", "sa-east", "us-west", "ap-south", "eu-west-2", "moon-base"])
        columns = {name: column for name, (column, _) in found.items()}
        rows = {name: row for name, (_, row) in found.items()}
        assert columns["us-west"] < columns["eu-west-2"] < columns["eu-north"] < columns["ap-south"]
        assert rows["eu-north"] < rows["us-west"] < rows["sa-east"] < rows["moon-base"]

    @pytest.mark.parametrize("count", [0, 1, 7, 40])
    def test_no_region_covers_another(self, count: int) -> None:
        names = [*[f"{name}-{i}" for i in range(3) for name in REGION_POINTS][:count], "x", "y", ""]
        taken = [(column + i, row) for column, row in places(names).values() for i in range(SPAN)]
        assert len(set(taken)) == SPAN * len(names)
        assert all(1 <= column <= COLUMNS for column, _ in taken)

    def test_every_kind_of_node_has_a_shape(self) -> None:
        assert set(topology.CORNERS) == set(NodeType)


class TestHappenings:
    def test_events_and_finished_tasks_in_one_line_of_time(
        self, make_node: MakeNode, make_task: MakeTask, now: datetime
    ) -> None:
        node = make_node(name="atlas")
        audit.record("node.joined", "Node <atlas> joined", subject=node)
        task = make_task(
            state=TaskState.FAILED,
            node=node,
            started_at=now - 2 * SECOND,
            finished_at=now + SECOND,
        )
        make_task(state=TaskState.SUCCEEDED, finished_at=now, canary=True)
        first, second = happenings.newest_lines()
        assert first.sentence == f'<a href="/tasks/{task.id}">Task <b>work</b> failed on <b>atlas</b></a>'
        assert (first.level, first.took) == ("error", "3 s")
        assert second.sentence == f'<a href="/nodes/{node.id}">Node &lt;atlas&gt; joined</a>'

    def test_a_busy_fleet_does_not_wash_events_away(self, make_task: MakeTask, now: datetime) -> None:
        audit.record("panel.started", "The panel was started")
        for i in range(20):
            make_task(state=TaskState.SUCCEEDED, started_at=now, finished_at=now + (i + 60) * SECOND)
        lines = happenings.newest_lines()
        assert len(lines) == happenings.LINES
        assert lines[-1].sentence == "The panel was started"

    def test_lanes_of_the_last_minute(self, make_node: MakeNode, make_task: MakeTask, now: datetime) -> None:
        atlas, brook = make_node(name="atlas"), make_node(name="brook")
        make_task(node=brook, state="running", started_at=now - 15 * SECOND)
        make_task(node=atlas, state="succeeded", started_at=now - 90 * SECOND, finished_at=now - 30 * SECOND)
        make_task(node=atlas, state="failed", started_at=now - 30 * SECOND, finished_at=now - 30 * SECOND)
        make_task(node=atlas, state="failed", started_at=now - 99 * SECOND, finished_at=now - 61 * SECOND)
        lanes = happenings.stream(now)
        assert [lane.name for lane in lanes] == ["atlas", "brook"]
        assert sorted((b.state, b.x, b.width) for b in lanes[0].blocks) == [
            ("failed", 30.0, happenings.NARROWEST_S),
            ("succeeded", 0.0, 30.0),
        ]
        assert [(b.state, b.x, b.width) for b in lanes[1].blocks] == [("running", 45.0, 15.0)]
