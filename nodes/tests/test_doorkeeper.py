"""Who comes and who goes is stored in batches: everybody is told, and nobody is lost with the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import OperationalError, connection

from conftest import MakeNode, take_lease
from nodes import connected
from nodes.doorkeeper import AT_ONCE, Doorkeeper
from nodes.leases import Claim, Lease, NotWelcome
from nodes.models import Node

pytestmark = pytest.mark.django_db


def knock(doorkeeper: Doorkeeper, node: Node) -> Future[Lease]:
    return doorkeeper.let_in(Claim(node.public_key, "127.0.0.1"))


def epoch_of(answer: Future[Lease]) -> int:
    return answer.result(timeout=0).epoch


def test_who_comes_together_is_let_in_by_one_commit(
    make_node: MakeNode, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    doorkeeper, nodes = Doorkeeper(), [make_node(connected=False) for _ in range(20)]
    answers = [knock(doorkeeper, node) for node in nodes]
    with django_assert_max_num_queries(14):
        doorkeeper.turn()
    assert [answer.result(timeout=0).node_id for answer in answers] == [node.id for node in nodes]


def test_a_commit_stays_small(make_node: MakeNode) -> None:
    doorkeeper = Doorkeeper()
    strangers = [doorkeeper.let_in(Claim(f"{number:064x}", None)) for number in range(AT_ONCE + 1)]
    doorkeeper.turn()
    assert [stranger.done() for stranger in strangers] == [True] * AT_ONCE + [False]
    doorkeeper.turn()
    assert isinstance(strangers[-1].exception(timeout=0), NotWelcome)


def test_connections_of_one_node_get_their_leases_one_after_the_other(make_node: MakeNode) -> None:
    doorkeeper, node = Doorkeeper(), make_node()
    first, second = knock(doorkeeper, node), knock(doorkeeper, node)
    doorkeeper.turn()
    doorkeeper.turn()
    assert (epoch_of(first), epoch_of(second)) == (1, 2)


def test_who_goes_while_the_database_is_away_is_noted_when_it_is_back(make_node: MakeNode) -> None:
    doorkeeper, node = Doorkeeper(), make_node(epoch=1)
    waiting = knock(doorkeeper, make_node())
    doorkeeper.let_out(node.id, 1)

    def away(*_: Any) -> None:
        raise OperationalError("no route to it")

    with connection.execute_wrapper(away), pytest.raises(OperationalError):
        doorkeeper.turn()
    doorkeeper.turn()
    node.refresh_from_db()
    assert (node.connected, epoch_of(waiting)) == (False, 1)


def test_who_left_while_it_was_let_in_is_let_out_again(make_node: MakeNode) -> None:
    doorkeeper, node = Doorkeeper(), make_node(connected=False)
    answer = knock(doorkeeper, node)

    def leave(execute: Callable[..., Any], *rest: Any) -> Any:
        answer.cancel()
        return execute(*rest)

    with connection.execute_wrapper(leave):
        doorkeeper.turn()
    node.refresh_from_db()
    assert node.connected is True
    doorkeeper.turn()
    node.refresh_from_db()
    assert node.connected is False


def test_who_left_before_is_not_let_in(make_node: MakeNode) -> None:
    doorkeeper, node, other = Doorkeeper(), make_node(connected=False), make_node(connected=False)
    knock(doorkeeper, node).cancel()
    knock(doorkeeper, other)
    doorkeeper.turn()
    assert set(Node.objects.filter(connected=True)) == {other}


def note_connected(node_ids: Sequence[int], now: datetime) -> None:
    assert connection.in_atomic_block
    Node.objects.filter(id__in=node_ids).update(hostname=f"connected at {now:%Y}")


@pytest.fixture
def noting(settings: LazySettings) -> Iterator[None]:
    settings.NODE_CONNECTED_HANDLERS = [f"{__name__}.note_connected"]
    connected.handlers.cache_clear()
    yield
    connected.handlers.cache_clear()


@pytest.mark.usefixtures("noting")
def test_whoever_has_to_tell_a_node_something_anew_is_called_when_it_connects(make_node: MakeNode) -> None:
    came, refused, absent = make_node(), make_node(approved_at=None), make_node()
    take_lease(came)
    with pytest.raises(NotWelcome):
        take_lease(refused)
    told = dict(Node.objects.values_list("id", "hostname"))
    assert told[came.id].startswith("connected at")
    assert (told[refused.id], told[absent.id]) == ("", "")
