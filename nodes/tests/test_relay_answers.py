"""What agents that ask for the relay directory get, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from conftest import MakeFleet, MakeNode
from fogagent.messages import DirectoryNews, DirectoryPart, DirectoryWanted
from fogagent.overlay.directory import Directory, apply, decode_changes
from fogagent.overlay.directory_parts import Assembly
from fogpanel.rows import select
from nodes import sockets
from nodes.identity import panel_identity
from nodes.inbox import Arrival, store
from nodes.models import DirectoryVersion, Node
from nodes.relay_directory import answers, changes
from nodes.relay_directory.answers import Answers
from nodes.relay_directory.courier import courier
from nodes.relay_directory.publishing import PAUSE_S, publish
from nodes.tests.relays import HOUR, NOW, SECOND, FakeSocket, directory, listen, nodes_in, say

LATER = NOW + timedelta(seconds=PAUSE_S)


@pytest.fixture(autouse=True)
def nothing_answered_yet(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "answers", Answers())
    listen(NOW)


@pytest.fixture
def socket(make_node: MakeNode) -> Iterator[FakeSocket]:
    made = FakeSocket(make_node().id)
    sockets.put(made)
    yield made
    sockets.drop(made)


def ask(socket: FakeSocket, since: int) -> Any:
    store([Arrival(socket, [DirectoryWanted(since=since)])])
    return socket.sent.pop(0)


def held_after(answer: DirectoryPart, held: Directory | None = None) -> Directory:
    assembly = Assembly()
    assembly.add(answer)
    encoded = assembly.take()
    assert encoded is not None
    return apply(held, decode_changes(encoded), panel_identity().public_key, NOW.timestamp())


def test_who_asks_gets_what_changed_since_or_hears_that_nothing_did(
    make_node: MakeNode, socket: FakeSocket
) -> None:
    assert ask(socket, 0) == DirectoryNews(version=0)
    nodes = [make_node() for _ in range(3)]
    for node in nodes:
        say(node)
    publish(NOW)
    held = held_after(ask(socket, 0))
    assert len(held.relays) == 3
    assert ask(socket, held.version) == DirectoryNews(version=held.version)
    assert ask(socket, held.version + 1) == DirectoryNews(version=held.version)
    Node.objects.filter(id=nodes[0].id).update(region="moon")
    Node.objects.filter(id=nodes[1].id).update(archived_at=NOW)
    publish(LATER)
    answer = ask(socket, held.version)
    told = decode_changes(answer.data)
    assert [relay.node for relay in told.upserts] == [nodes[0].id]
    assert told.removed == [bytes.fromhex(nodes[1].public_key)]
    assert nodes_in(held_after(answer, held)) == {nodes[0].id, nodes[2].id}


@pytest.mark.parametrize("away", [-1, 1], ids=["forgotten", "of another history"])
def test_who_has_a_version_that_is_not_known_gets_the_whole(
    make_node: MakeNode, socket: FakeSocket, away: int
) -> None:
    node = make_node()
    say(node)
    first = publish(NOW)
    assert first is not None
    Node.objects.update(region="moon")
    publish(LATER)
    told = decode_changes(ask(socket, first + away).data)
    assert (told.base, len(told.upserts)) == (0, 1)


def test_many_who_ask_the_same_cost_one_reading_and_one_encoding(
    make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    make_fleet(100)
    for node in Node.objects.all()[:5]:
        say(node)
    publish(NOW)
    wanted = [(node_id, DirectoryWanted()) for node_id in Node.objects.values_list("id", flat=True)]
    with django_assert_num_queries(1 + 4):  # the newest, then all that an answer needs
        replies = list(answers.send_directory(wanted, NOW))
    assert len(replies) == 100
    assert len({id(message) for _, message in replies}) == 1
    with django_assert_num_queries(1):
        again = list(answers.send_directory(wanted, NOW))
    assert again[0][1] is replies[0][1]


def test_answers_are_kept_until_there_is_a_newer_version_and_within_bounds(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make_node()
    say(node)
    for number in range(4):
        Node.objects.update(region=str(number))
        publish(NOW + number * 10 * SECOND)
    versions = sorted(DirectoryVersion.objects.values_list("version", flat=True))
    kept = Answers()
    for since in (0, *versions[:-1]):
        assert kept.since(since, versions[-1]).version == versions[-1]
    assert len(kept._kept) == 4
    whole = kept.since(0, versions[-1])
    assert kept.since(5, versions[-1]) is kept.since(6, versions[-1]) is whole
    assert len(kept._kept) == 4
    monkeypatch.setattr(answers, "CACHE_BYTES", 1)
    kept = Answers()
    for since in (0, versions[1], versions[2]):
        kept.since(since, versions[-1])
    assert list(kept._kept) == [versions[2]]
    Node.objects.update(region="moon")
    newest = publish(NOW + HOUR)
    assert newest is not None
    assert kept.since(versions[-1], newest).version == newest
    assert list(kept._kept) == [versions[-1]]


def test_a_version_that_comes_while_changes_are_read_is_answered_instead(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make_node()
    say(node)
    publish(NOW)
    held = directory()
    Node.objects.update(region="first")
    publish(LATER)
    later = LATER + 10 * SECOND

    def select_late(sql: str, **given: Any) -> Any:
        Node.objects.update(region="second")
        publish(later)
        return select(sql, **given)

    monkeypatch.setattr(changes, "select", select_late)
    found = changes.changes_since(held.version)
    assert found.version == int(later.timestamp())
    assert apply(held, found, panel_identity().public_key, NOW.timestamp()).relays


def test_a_long_answer_goes_out_bit_by_bit(
    make_node: MakeNode, socket: FakeSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fogagent.overlay.directory_parts.DIRECTORY_PART_BYTES", 100)
    say(make_node())
    version = publish(NOW)
    store([Arrival(socket, [DirectoryWanted()])])
    assert socket.sent == []
    assembly, encoded = Assembly(), None
    for _ in range(50):
        courier.step()
    for part in socket.sent:
        assert isinstance(part, DirectoryPart) and part.version == version
        assembly.add(part)
    encoded = assembly.take()
    assert encoded is not None
    assert len(decode_changes(encoded).upserts) == 1
