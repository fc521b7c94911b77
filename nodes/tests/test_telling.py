"""Events that an agent causes again and again are bounded, and what was left out is counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from conftest import MakeNode
from fogagent.messages import Goodbye
from fogpanel.models import Event
from nodes.handlers import say_goodbye
from nodes.locks import with_nodes
from nodes.models import EventCount, Node
from nodes.telling import MOST, WINDOW, Count, Told, record_each, tell_left_out

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def leave(node: Node, times: int, now: datetime = NOW) -> None:
    for _ in range(times):
        with_nodes([node.id], lambda: say_goodbye([(node.id, Goodbye())], now))


def goodbyes(node: Node) -> list[str]:
    found = Event.objects.filter(kind="node.goodbye", subject_id=node.id).order_by("id")
    return list(found.values_list("sentence", flat=True))


def test_a_window_holds_so_many_and_then_begins_anew() -> None:
    count = Count(NOW)
    for _ in range(MOST + 3):
        count = count.next(NOW)
    assert count == Count(NOW, MOST, 3)
    assert count.next(NOW + WINDOW) == Count(NOW + WINDOW, 1)


def test_who_says_goodbye_on_and_on_leaves_few_entries(make_node: MakeNode) -> None:
    noisy, other = make_node(name="noisy"), make_node(name="other")
    leave(noisy, MOST + 9)
    leave(other, 1)
    assert (len(goodbyes(noisy)), len(goodbyes(other))) == (MOST, 1)
    leave(noisy, 1, NOW + WINDOW)
    assert goodbyes(noisy)[-1] == "noisy said goodbye (9 more like this were left out before)"


def test_several_of_one_batch_are_counted_too(make_node: MakeNode) -> None:
    node = make_node(name="noisy")
    record_each("relay.keys", [Told(node.id, f"key {n}", node) for n in range(MOST + 2)], NOW)
    assert Event.objects.filter(kind="relay.keys").count() == MOST
    assert EventCount.objects.get().left_out == 2


def test_what_was_left_out_is_told_once_though_nothing_follows(make_node: MakeNode) -> None:
    noisy = make_node(name="noisy")
    leave(noisy, MOST + 7)
    tell_left_out(NOW + WINDOW - SECOND)
    assert not Event.objects.filter(kind="node.left-out").exists()
    for _ in range(2):
        tell_left_out(NOW + WINDOW)
    event = Event.objects.get(kind="node.left-out")
    assert event.sentence.startswith("noisy caused 7 more entries “node.goodbye” within")
    assert not EventCount.objects.exists()
