"""The coordinator in memory, as a library and a simulator: on a fake clock, without sleeping."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Sequence

import pytest

from coordinator.errors import DerivedStatus, DuplicateNode, DuplicateTask, UnknownNode
from coordinator.fog_coordinator import FogCoordinator
from coordinator.tests.fleets import BIG, NOW, a_node, a_task
from coordinator.values import (
    Decision,
    NodeStatus,
    NodeType,
    Resources,
    RoutingStrategy,
    TaskId,
)

pytestmark = pytest.mark.asyncio

WHOLE_NODE = Resources(cpu_millis=4000, memory_mb=1024)


class Clock:
    """Time that passes only when told to; those who sleep on it wake when their time has come."""

    def __init__(self) -> None:
        self.now = NOW
        self.sleepers: list[tuple[float, asyncio.Event]] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self.sleepers.append((self.now + seconds, woken))
        await woken.wait()

    async def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [woken for at, woken in self.sleepers if at <= self.now]
        self.sleepers = [(at, woken) for at, woken in self.sleepers if at > self.now]
        for woken in due:
            woken.set()
        await settle()


async def settle() -> None:
    """Let every task of the loop run until it waits: nothing here waits for the outside."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fog(clock: Clock) -> FogCoordinator:
    return FogCoordinator(clock=clock, sleep=clock.sleep, rng=random.Random(0))


async def test_a_node_is_registered_once(fog: FogCoordinator) -> None:
    assert (await fog.register_node(a_node(1, last_contact=0.0))).last_contact == NOW
    with pytest.raises(DuplicateNode, match="1 is registered already"):
        await fog.register_node(a_node(1))
    assert [node.node_id for node in await fog.list_nodes()] == [1]


async def test_a_node_is_unregistered_only_when_known(fog: FogCoordinator) -> None:
    await fog.register_node(a_node(1))
    assert await fog.unregister_node(1) == ()
    assert await fog.get_node(1) is None
    with pytest.raises(UnknownNode, match="no node 1"):
        await fog.unregister_node(1)


async def test_status_is_what_the_operator_asks_for_and_never_what_follows_from_work(
    fog: FogCoordinator, clock: Clock
) -> None:
    await fog.register_node(a_node(1))
    await fog.update_node_status(1, NodeStatus.MAINTENANCE)
    assert [node.node_id for node in await fog.list_nodes(NodeStatus.MAINTENANCE)] == [1]
    await fog.update_node_status(1, NodeStatus.ACTIVE)
    assert len(await fog.list_nodes(NodeStatus.IDLE)) == 1
    await fog.update_node_status(1, NodeStatus.OFFLINE)
    assert len(await fog.list_nodes(NodeStatus.OFFLINE)) == 1
    for derived in (NodeStatus.IDLE, NodeStatus.BUSY):
        with pytest.raises(DerivedStatus, match="cannot be set"):
            await fog.update_node_status(1, derived)
    with pytest.raises(UnknownNode):
        await fog.update_node_status(2, NodeStatus.ACTIVE)


async def test_nodes_are_listed_by_status_and_type(fog: FogCoordinator) -> None:
    assert await fog.list_nodes() == []
    await fog.register_node(a_node(1, node_type=NodeType.GATEWAY))
    await fog.register_node(a_node(2))
    await fog.route_task(a_task(1, needs=WHOLE_NODE, labels={}), RoutingStrategy.ROUND_ROBIN)
    assert [node.node_id for node in await fog.list_nodes(NodeStatus.BUSY)] == [1]
    assert [node.node_id for node in await fog.list_nodes(NodeStatus.IDLE)] == [2]
    assert [node.node_id for node in await fog.list_nodes(node_type=NodeType.GATEWAY)] == [1]
    assert await fog.list_nodes(NodeStatus.IDLE, NodeType.GATEWAY) == []


async def test_work_that_ends_returns_its_capacity_and_lets_the_next_in(fog: FogCoordinator) -> None:
    await fog.register_node(a_node(1))
    assert (await fog.route_task(a_task("first", needs=WHOLE_NODE))) is not None
    assert await fog.route_task(a_task("second", needs=WHOLE_NODE)) is None
    assert (await fog.complete_task("first")) is True
    place = await fog.find_task("second")
    assert place is not None and place.node_id == 1
    assert await fog.complete_task("second") is True
    node = await fog.get_node(1)
    assert node is not None and node.free == BIG


async def test_a_report_from_elsewhere_or_a_second_one_changes_nothing(fog: FogCoordinator) -> None:
    await fog.register_node(a_node(1))
    await fog.route_task(a_task("job", needs=WHOLE_NODE))
    assert await fog.complete_task("job", node_id=2) is False
    assert await fog.complete_task("job", node_id=1) is True
    assert await fog.complete_task("job", node_id=1) is False
    node = await fog.get_node(1)
    assert node is not None and node.free == BIG


async def test_what_waits_says_why_and_is_placed_when_a_node_joins(fog: FogCoordinator) -> None:
    await fog.register_node(a_node(1))
    assert await fog.route_task(a_task("job", needs=Resources(gpus=1))) is None
    decision = await fog.last_decision("job")
    assert decision is not None and decision.rejected == {"gpu": 1}
    await fog.register_node(a_node(2, total=Resources(cpu_millis=1000, memory_mb=1000, gpus=1)))
    place = await fog.find_task("job")
    assert place is not None and place.node_id == 2


async def test_a_task_is_handed_in_once(fog: FogCoordinator) -> None:
    await fog.route_task(a_task("job"))
    with pytest.raises(DuplicateTask):
        await fog.route_task(a_task("job"))
    with pytest.raises(DuplicateTask):
        await fog.route_tasks([a_task("new"), a_task("new")])
    assert await fog.find_task("new") is None


async def test_many_tasks_go_by_priority_and_come_back_in_their_order(fog: FogCoordinator) -> None:
    await fog.register_node(a_node(1))
    low = a_task("low", needs=WHOLE_NODE, priority=1)
    high = a_task("high", needs=WHOLE_NODE, priority=9)
    assert [each.chosen for each in await fog.route_tasks([low, high])] == [None, 1]


async def test_the_work_of_a_failed_node_runs_elsewhere(fog: FogCoordinator) -> None:
    await fog.register_node(a_node(1))
    await fog.route_task(a_task("job"))
    await fog.register_node(a_node(2))
    assert await fog.handle_node_failure(1) == ("job",)
    place = await fog.find_task("job")
    assert place is not None and place.node_id == 2 and place.task.avoid == {1}
    failed = await fog.get_node(1)
    assert failed is not None and failed.free == BIG and not failed.connected


@pytest.mark.parametrize("way_out", ["unregister", "maintenance", "goodbye"])
async def test_work_leaves_with_its_node(fog: FogCoordinator, way_out: str) -> None:
    await fog.register_node(a_node(1))
    await fog.route_task(a_task("job"))
    await fog.register_node(a_node(2))
    if way_out == "unregister":
        assert await fog.unregister_node(1) == ("job",)
    elif way_out == "maintenance":
        await fog.update_node_status(1, NodeStatus.MAINTENANCE)
    else:
        await fog.update_node_status(1, NodeStatus.OFFLINE)
    place = await fog.find_task("job")
    assert place is not None and place.node_id == 2


async def test_silence_past_the_timeout_moves_work_and_a_heartbeat_brings_the_node_back(
    fog: FogCoordinator, clock: Clock
) -> None:
    await fog.register_node(a_node(1))
    await fog.route_task(a_task("job"))
    clock.now += 90
    assert await fog.sweep() == ()
    clock.now += 1
    assert await fog.sweep() == (1,)
    assert await fog.sweep() == ()
    waiting = await fog.find_task("job")
    assert waiting is not None and waiting.node_id is None
    assert (await fog.health_check()).sentence == "No node can be reached."
    await fog.heartbeat(1, 0.25)
    back = await fog.find_task("job")
    assert back is not None and back.node_id == 1
    node = await fog.get_node(1)
    assert node is not None and node.measured_load == 0.25


async def test_the_timeout_can_be_set(clock: Clock) -> None:
    fog = FogCoordinator(clock=clock, heartbeat_timeout_s=10)
    await fog.register_node(a_node(1))
    clock.now += 11
    assert await fog.sweep() == (1,)


async def test_topology_is_counted_and_a_hundred_snapshots_are_kept(
    fog: FogCoordinator, clock: Clock
) -> None:
    empty = await fog.get_topology()
    assert (empty.nodes_total, empty.by_status, empty.total) == (0, {}, Resources())
    await fog.register_node(a_node(1, region="eu-west", node_type=NodeType.GATEWAY))
    await fog.register_node(a_node(2, region="eu-west"))
    await fog.route_task(a_task(1, needs=WHOLE_NODE))
    await fog.route_task(a_task(2, driver="container"))
    filled = await fog.get_topology()
    assert filled.by_status == {NodeStatus.BUSY: 1, NodeStatus.IDLE: 1}
    assert filled.by_type == {NodeType.GATEWAY: 1, NodeType.COMPUTE_NODE: 1}
    assert filled.by_region == {"eu-west": 2}
    assert filled.total == BIG + BIG
    assert filled.free == BIG + BIG - WHOLE_NODE
    assert (filled.queued, filled.running) == (1, 1)
    for _ in range(103):
        clock.now += 1
        await fog.sweep()
    history = await fog.topology_history()
    assert len(history) == 100
    assert [each.taken_at for each in history] == [NOW + second for second in range(4, 104)]


async def test_preview_shows_all_strategies_and_places_nothing(fog: FogCoordinator) -> None:
    await fog.register_node(a_node(1))
    before = await fog.get_node(1)
    seen = await fog.preview(a_task("job"))
    assert set(seen) == set(RoutingStrategy)
    assert seen[RoutingStrategy.PRIVACY_AWARE].rejected == {"onion": 1}
    assert await fog.get_node(1) == before
    assert await fog.last_decision("job") is None


async def test_health_says_what_is_wrong(fog: FogCoordinator) -> None:
    assert (await fog.health_check()).sentence == "No node is registered."
    await fog.register_node(a_node(1))
    health = await fog.health_check()
    assert health.ok and health.nodes == 1 and not health.sweeping


async def test_start_and_stop_may_be_called_twice(fog: FogCoordinator, clock: Clock) -> None:
    await fog.start()
    await fog.start()
    await settle()
    assert len(clock.sleepers) == 1
    health = await fog.health_check()
    assert health.sweeping and health.last_sweep_at == NOW
    await clock.advance(10)
    assert (await fog.health_check()).last_sweep_at == NOW + 10
    await fog.stop()
    await fog.stop()
    await clock.advance(10)
    health = await fog.health_check()
    assert not health.sweeping and health.last_sweep_at == NOW + 10
    await fog.start()
    await settle()
    assert (await fog.health_check()).last_sweep_at == NOW + 20
    await fog.stop()


async def test_the_loop_fails_silent_nodes(fog: FogCoordinator, clock: Clock) -> None:
    await fog.register_node(a_node(1))
    await fog.start()
    for _ in range(10):
        await clock.advance(10)
    assert not (await fog.get_node(1) or a_node(1)).connected
    await fog.stop()


async def test_an_absence_of_the_loop_gives_every_node_a_full_timeout(
    fog: FogCoordinator, clock: Clock
) -> None:
    await fog.register_node(a_node(1))
    await fog.start()
    await settle()
    await clock.advance(1000)
    for _ in range(9):
        assert (await fog.get_node(1) or a_node(1)).connected
        await clock.advance(10)
    assert (await fog.get_node(1) or a_node(1)).connected
    await clock.advance(10)
    assert not (await fog.get_node(1) or a_node(1)).connected
    await fog.stop()


async def test_health_tells_when_sweeps_stay_away(fog: FogCoordinator, clock: Clock) -> None:
    await fog.register_node(a_node(1))
    await fog.start()
    await settle()
    clock.now += 60
    assert "last sweep was 60 s ago" in (await fog.health_check()).sentence
    await fog.stop()


async def test_a_sweep_that_fails_is_tried_again(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger()
    fog = FogCoordinator(clock=clock, sleep=clock.sleep, commit=ledger)
    await fog.route_task(a_task("job"))
    await fog.start()
    await settle()
    ledger.broken = True
    with pytest.raises(ConnectionError):
        await fog.register_node(a_node(1))
    await clock.advance(10)
    assert "The sweep failed" in caplog.text
    ledger.broken = False
    await clock.advance(10)
    place = await fog.find_task("job")
    assert place is not None and place.node_id == 1
    await fog.stop()


class Ledger:
    """A commit that loses the tasks named, once each, and can be held up."""

    def __init__(self, losing: Collection[TaskId] = ()) -> None:
        self.losing = set(losing)
        self.rounds = 0
        self.broken = False
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, placements: Sequence[Decision]) -> Collection[TaskId]:
        self.rounds += 1
        await self.open.wait()
        if self.broken:
            raise ConnectionError("the store is away")
        won = [each.task_id for each in placements if each.task_id not in self.losing]
        self.losing -= {each.task_id for each in placements}
        return won


async def test_what_a_commit_loses_is_planned_again(clock: Clock) -> None:
    ledger = Ledger(losing=["job"])
    fog = FogCoordinator(clock=clock, commit=ledger)
    await fog.register_node(a_node(1))
    assert await fog.route_task(a_task("job", needs=WHOLE_NODE)) is not None
    assert ledger.rounds == 2
    await fog.complete_task("job")
    assert (await fog.get_node(1) or a_node(1)).free == BIG


async def test_a_commit_that_fails_leaves_the_task_waiting_and_the_room_free(clock: Clock) -> None:
    ledger = Ledger()
    ledger.broken = True
    fog = FogCoordinator(clock=clock, commit=ledger)
    await fog.register_node(a_node(1))
    with pytest.raises(ConnectionError):
        await fog.route_task(a_task("job", needs=WHOLE_NODE))
    place = await fog.find_task("job")
    assert place is not None and place.node_id is None
    assert (await fog.get_node(1) or a_node(1)).free == BIG


async def test_a_node_that_goes_while_a_commit_is_awaited_blocks_nobody(clock: Clock) -> None:
    ledger = Ledger()
    fog = FogCoordinator(clock=clock, commit=ledger)
    await fog.register_node(a_node(1))
    ledger.open.clear()
    routing = asyncio.create_task(fog.route_task(a_task("job", needs=WHOLE_NODE)))
    await settle()
    assert ledger.rounds == 1
    async with asyncio.timeout(30):
        assert await fog.unregister_node(1) == ("job",)
        clock.now += 1000
        assert await fog.sweep() == ()
        ledger.open.set()
        assert await routing is None
        await fog.register_node(a_node(1))
    place = await fog.find_task("job")
    assert place is not None and place.node_id == 1
    assert (await fog.get_node(1) or a_node(1)).free == BIG - WHOLE_NODE


async def test_a_commit_that_comes_back_late_does_not_touch_the_new_attempt(clock: Clock) -> None:
    ledger = Ledger(losing=["job"])
    fog = FogCoordinator(clock=clock, commit=ledger)
    await fog.register_node(a_node(1))
    ledger.open.clear()
    routing = asyncio.create_task(fog.route_task(a_task("job", needs=WHOLE_NODE)))
    await settle()
    moving = asyncio.create_task(fog.unregister_node(1))
    joining = asyncio.create_task(fog.register_node(a_node(2)))
    await settle()
    assert ledger.rounds == 2  # on node 1, then on node 2
    ledger.open.set()
    await asyncio.gather(routing, moving, joining)
    place = await fog.find_task("job")
    assert place is not None and place.node_id == 2
    assert (await fog.get_node(2) or a_node(2)).free == BIG - WHOLE_NODE
    assert ledger.rounds == 2


async def test_everything_at_once_ends_and_promises_nothing_twice(fog: FogCoordinator, clock: Clock) -> None:
    for number in range(4):
        await fog.register_node(a_node(number))

    async def churn(number: int) -> None:
        await fog.unregister_node(number)
        await fog.register_node(a_node(number))
        await fog.handle_node_failure(number)
        await fog.heartbeat(number)

    async def work(number: int) -> None:
        await fog.route_task(a_task(number, needs=WHOLE_NODE))
        await fog.complete_task(number)

    async with asyncio.timeout(30):
        await asyncio.gather(
            *(churn(each) for each in range(4)), *(work(each) for each in range(20)), fog.sweep()
        )
        for number in range(20):
            await fog.complete_task(number)
    assert [node.free for node in await fog.list_nodes()] == [BIG] * 4
