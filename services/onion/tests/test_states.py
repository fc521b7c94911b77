"""What nodes tell of their part in the overlay: one row each, the last one counts, and rates of two."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from conftest import MakeFleet, MakeNode
from fogagent.messages import CircuitState, GuardState, OverlayStatus, PathVerdict
from nodes import inbox
from nodes.models import Node
from services.onion.models import OverlayState
from services.onion.states import circuits_of, guards_of, store_overlay_status

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
STATUS = OverlayStatus(
    directory=7,
    links=2,
    relayed_circuits=3,
    relayed_bytes=1000,
    circuits=[
        CircuitState(
            path=[bytes([number]) * 32 for number in (255, 1, 2)],
            age_s=61.5,
            build_ms=23.0,
            streams=2,
            rotates_in_s=500.0,
            verdicts=[PathVerdict(rule="no network twice", state="waived", sentence="One machine.")],
        )
    ],
    guards=[GuardState(identity=b"g" * 32, since=1.0, until=2.0, reached=True)],
    builds=[(25, 3), (50, 1)],
    trouble="no guard",
)


def told(**different: Any) -> OverlayStatus:
    return msgspec.structs.replace(STATUS, **different)


def test_all_that_was_told_can_be_read_again(make_node: MakeNode) -> None:
    node = make_node()
    store_overlay_status([(node.id, STATUS)], NOW)
    state = OverlayState.objects.get()
    assert (state.node_id, state.at, state.directory, state.links) == (node.id, NOW, 7, 2)
    assert (state.circuits_open, state.trouble, state.builds) == (1, "no guard", [[25, 3], [50, 1]])
    assert circuits_of(state) == STATUS.circuits
    assert guards_of(state) == STATUS.guards


def test_no_nul_is_stored_which_postgresql_would_not(make_node: MakeNode) -> None:
    [good] = STATUS.circuits
    bad = msgspec.structs.replace(good, verdicts=[PathVerdict(rule="r", state="passed", sentence="a\0b")])
    guards = [*STATUS.guards, msgspec.structs.replace(STATUS.guards[0], sentence="\0")]
    node = make_node()
    store_overlay_status([(node.id, told(circuits=[bad, good], guards=guards, trouble="no\0ne"))], NOW)
    state = OverlayState.objects.get()
    assert (circuits_of(state), guards_of(state), state.trouble) == ([good], STATUS.guards, "none")


def test_what_another_version_stored_is_left_out(make_node: MakeNode) -> None:
    node = make_node()
    store_overlay_status([(node.id, STATUS)], NOW)
    OverlayState.objects.update(circuits=[{"path": [], "length": 3}], guards=[])
    assert circuits_of(OverlayState.objects.get()) == []


def test_the_last_one_replaces_those_before(make_node: MakeNode) -> None:
    node = make_node()
    store_overlay_status([(node.id, told(links=1)), (node.id, told(links=2))], NOW)
    assert OverlayState.objects.get().links == 2
    store_overlay_status([(node.id, told(circuits=[], links=3))], NOW + SECOND)
    state = OverlayState.objects.get()
    assert (state.links, state.circuits, state.circuits_open, state.at) == (3, [], 0, NOW + SECOND)


def test_many_are_stored_by_a_few_statements(
    make_fleet: MakeFleet, django_assert_max_num_queries: Any
) -> None:
    make_fleet(40)
    ids = list(Node.objects.values_list("id", flat=True))
    store_overlay_status([(node_id, STATUS) for node_id in ids[:20]], NOW)
    with django_assert_max_num_queries(3):
        store_overlay_status([(node_id, told(links=node_id)) for node_id in ids], NOW + SECOND)
    assert dict(OverlayState.objects.values_list("node_id", "links")) == {one: one for one in ids}


def rate_after(node: Node, *statuses: tuple[float, int]) -> float | None:
    """The rate once a node told, so many seconds after NOW, so many bytes."""
    for after_s, relayed in statuses:
        store_overlay_status([(node.id, told(relayed_bytes=relayed))], NOW + after_s * SECOND)
    return OverlayState.objects.get().relayed_bytes_per_s


@pytest.mark.parametrize(
    ("statuses", "rate"),
    [
        ([(0, 1000)], None),
        ([(0, 1000), (10, 6000)], 500.0),
        ([(0, 1000), (10, 6000), (20, 6000)], 0.0),
        ([(0, 0), (10, 5000), (10.2, 9000)], 500.0),  # too close to say anything
        ([(0, 0), (10, 5000), (10.2, 9000), (12, 10_000)], 2500.0),
        ([(0, 1000), (10, 6000), (20, 10)], None),  # the agent was started anew
        ([(0, 1000), (10, 10), (20, 1010)], 100.0),
    ],
)
def test_a_rate_is_the_difference_of_two(
    make_node: MakeNode, statuses: list[tuple[float, int]], rate: float | None
) -> None:
    assert rate_after(make_node(), *statuses) == rate


def test_it_is_a_handler_and_only_for_the_present_connection() -> None:
    assert store_overlay_status in inbox.handlers()["overlaystatus"]
    assert OverlayStatus in inbox.OF_THIS_CONNECTION
