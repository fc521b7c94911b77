"""The fleet as it was: what is kept, for how long, and how the slider finds it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from conftest import MakeNode
from fogpanel import live
from nodes.models import Node
from services import topology
from services.fog_coordinator import flows, snapshots
from services.fog_coordinator.flows import Flow, recent_flows
from services.fog_coordinator.models import Snapshot
from services.fog_coordinator.thinning import surplus
from tasks.models import Attempt, Task

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
PATH = "/services/fog_coordinator/topology"


class TestThinning:
    def thinned(self, every: timedelta, over: timedelta) -> list[datetime]:
        """Snapshots of ``over``, one in ``every``, after a sweep."""
        taken = list(enumerate(NOW - over + i * every for i in range(int(over / every) + 1)))
        gone = set(surplus(taken, NOW))
        return [at for number, at in taken if number not in gone]

    def test_the_last_hour_is_kept_whole(self) -> None:
        assert len(self.thinned(10 * SECOND, HOUR)) == 361

    @pytest.mark.parametrize(
        ("young", "old", "spacing"),
        [(HOUR, DAY, 300 * SECOND), (DAY, 7 * DAY, HOUR), (7 * DAY, 90 * DAY, DAY / 2)],
    )
    def test_the_older_the_fewer(self, young: timedelta, old: timedelta, spacing: timedelta) -> None:
        kept = [at for at in self.thinned(spacing / 10, old) if NOW - at > young]
        assert abs(len(kept) - (old - young) / spacing) <= 1
        gaps = [later - earlier for earlier, later in itertools.pairwise(kept)]
        assert set(gaps[1:]) == {spacing}

    def test_nothing_is_kept_for_ever(self) -> None:
        assert surplus([(1, NOW - 91 * DAY)], NOW) == [1]

    def test_sweeping_again_changes_nothing(self) -> None:
        kept = list(enumerate(self.thinned(60 * SECOND, 8 * DAY)))
        assert surplus(kept, NOW) == []

    def test_rows_go(self) -> None:
        for age in (91 * DAY, 3 * HOUR, 3 * HOUR - SECOND, SECOND):
            Snapshot.objects.create(at=NOW - age, groups=[], nodes=[], flows=[])
        assert snapshots.thin(NOW) == 2
        assert snapshots.thin(NOW) == 0
        assert [NOW - row.at for row in Snapshot.objects.all()] == [3 * HOUR, SECOND]


class TestKeeping:
    def test_it_is_written_when_the_fleet_changed_or_after_a_while(self, make_node: MakeNode) -> None:
        now = timezone.now()
        node = make_node(name="atlas", deadline_at=now + HOUR)
        assert snapshots.keep(now) is not None
        assert snapshots.keep(now + 10 * SECOND) is None
        Node.objects.filter(id=node.id).update(free_cpu_millis=0)
        changed = snapshots.keep(now + 20 * SECOND)
        assert changed is not None
        assert changed.groups == [["eu-west", "compute_node", "busy", 1]]
        assert changed.nodes == [[node.id, "atlas", "eu-west", "compute_node", "busy"]]
        assert snapshots.keep(now + 49 * SECOND) is None
        assert snapshots.keep(now + 50 * SECOND) is not None
        assert snapshots.keep(now + 50 * SECOND) is None  # another worker was as fast

    def test_a_large_fleet_is_kept_as_counts(
        self, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(topology, "SHAPES_MAX", 3)
        for _ in range(5):
            make_node()
        kept = snapshots.keep(timezone.now())
        assert kept is not None
        assert (kept.nodes, kept.groups) == ([], [["eu-west", "compute_node", "idle", 5]])
        assert topology.draw(snapshots.past(kept).picture).nodes == 5

    def test_it_is_drawn_as_it_was(self, make_node: MakeNode) -> None:
        node = make_node(region="us-east")
        now = timezone.now()
        before = topology.topology(now)
        kept = snapshots.keep(now)
        Node.objects.filter(id=node.id).update(region="eu-west", free_cpu_millis=0)
        assert kept is not None
        kept.refresh_from_db()
        assert topology.draw(snapshots.past(kept).picture) == before


class TestFlows:
    @pytest.fixture
    def send(self, submitter: User) -> Callable[..., Attempt]:
        def make(
            node: Node, at: datetime, region: str = "", number: int = 1, task: Task | None = None
        ) -> Attempt:
            task = task or Task.objects.create(name="t", owner=submitter, driver="wasm", region=region)
            return Attempt.objects.create(task=task, node=node, number=number, created_at=at)

        return make

    def test_from_where_it_was_wanted_to_where_it_went(
        self, make_node: MakeNode, send: Callable[..., Attempt]
    ) -> None:
        west, east = make_node(region="eu-west"), make_node(region="us-east")
        send(east, NOW - 61 * SECOND, "us-east")
        for _ in range(2):
            send(east, NOW - 2 * SECOND, "eu-west")
        send(west, NOW - SECOND)
        found = recent_flows(NOW)
        assert found.flows == [Flow("eu-west", "us-east", False, 2), Flow("", "eu-west", False, 1)]
        assert (found.number, found.most, found.over_s) == (3, 2, 60)

    def test_what_moved_comes_from_where_it_was(
        self, make_node: MakeNode, send: Callable[..., Attempt]
    ) -> None:
        west, east = make_node(region="eu-west"), make_node(region="us-east")
        first = send(west, NOW - HOUR, "ap-east")
        send(east, NOW - SECOND, number=2, task=first.task)
        assert recent_flows(NOW).flows == [Flow("eu-west", "us-east", True, 1)]

    def test_a_busy_minute_is_told_by_its_end(
        self, make_node: MakeNode, send: Callable[..., Attempt], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(flows, "PLACEMENTS_MOST", 3)
        node = make_node()
        for age in range(6):
            send(node, NOW - (5 - age) * SECOND)
        assert recent_flows(NOW).over_s == 2


@pytest.fixture
def visitor(client: Client, viewer: User) -> Client:
    client.force_login(viewer)
    return client


@pytest.fixture
def three(make_node: MakeNode) -> list[Snapshot]:
    """Three moments: no node, one, two."""
    now = timezone.now()
    made = []
    for number in range(3):
        if number:
            make_node(name=f"node-of-moment-{number}")
        kept = snapshots.keep(now + number * SECOND)
        assert kept is not None
        made.append(kept)
    return made


class TestSlider:
    def test_its_right_end_is_now(self, three: list[Snapshot]) -> None:
        at_now = snapshots.slider()
        assert (at_now.position, at_now.now, at_now.is_now, at_now.snapshot_id) == (3, 3, True, None)
        assert (at_now.earlier, at_now.later) == (2, None)
        assert snapshots.slider(99).is_now
        first = snapshots.slider(0)
        assert (first.snapshot_id, first.earlier, first.later) == (three[0].id, None, 1)

    def test_it_stays_the_same_while_time_goes_on(self, three: list[Snapshot]) -> None:
        assert snapshots.slider(2, three[1].id).is_now
        assert snapshots.slider(1, three[1].id).snapshot_id == three[1].id

    def test_without_scripts_it_is_a_page(self, visitor: Client, three: list[Snapshot]) -> None:
        body = visitor.get(PATH, {"position": 1}).content.decode()
        past = body.split('data-testid="topology-past"')[1].split('data-testid="topology-present"')[0]
        assert "As it was" in past
        assert "node-of-moment-1" in past
        assert "node-of-moment-2" not in past
        assert f"position=0&amp;until={three[2].id}" in body
        assert f"position=2&amp;until={three[2].id}" in body

    def test_a_drag_gets_the_picture_and_leaves_the_slider_alone(
        self, visitor: Client, three: list[Snapshot]
    ) -> None:
        asked = {"HTTP_HX_REQUEST": "true", "HTTP_HX_TARGET": "past"}
        body = visitor.get(PATH, {"position": 2}, HTTP_HX_TRIGGER="moment", **asked).content.decode()  # type: ignore[arg-type]
        assert "node-of-moment-2" in body
        assert 'id="slider"' not in body
        stepped = visitor.get(PATH, {"position": 2}, **asked).content.decode()  # type: ignore[arg-type]
        assert 'id="slider" hx-swap-oob="true"' in stepped
        now = visitor.get(PATH, {"position": 3}, **asked).content.decode()  # type: ignore[arg-type]
        assert "picture" not in now

    def test_an_empty_past(self, visitor: Client) -> None:
        assert "no snapshot yet" in visitor.get(PATH).content.decode()

    def test_a_bad_position_is_named(self, visitor: Client) -> None:
        answer = visitor.get(PATH, {"position": "yesterday"})
        assert answer.status_code == 400
        assert "position:" in answer.content.decode()

    def test_the_present_is_pushed_into_the_page(self, visitor: Client, three: list[Snapshot]) -> None:
        found, key = live.find("routes")
        html, _ = found.render(key, 0)
        assert 'id="present"' in html
        page = visitor.get("/services/fog_coordinator/").content.decode()
        assert 'id="present"' in page
        assert ",routes" in page
