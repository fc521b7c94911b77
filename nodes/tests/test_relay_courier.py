"""Agents hear of a new version some at a time, and long answers go out to a few at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conftest import MakeNode
from fogagent.messages import DirectoryNews, DirectoryPart, FromPanel, encode_message
from nodes import sockets
from nodes.relay_directory import courier as module
from nodes.relay_directory import publisher as publishers
from nodes.relay_directory.courier import NEWS_A_STEP, PARTS_A_STEP, Courier
from nodes.relay_directory.publisher import Publisher
from nodes.tests.relays import FakeSocket

ANSWER = [DirectoryPart(version=7, index=index, count=3, data=b"x") for index in range(3)]


@pytest.fixture
def newest(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of the newest version, to be changed."""
    now = [7]
    monkeypatch.setattr(module, "newest_number", lambda: now[0])
    return now


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakeSocket]]:
    monkeypatch.setattr(sockets, "_sockets", {})
    made = [FakeSocket(node_id) for node_id in range(1, 46)]
    for socket in made:
        sockets.put(socket)
    yield made


@pytest.fixture
def courier(newest: list[int], monkeypatch: pytest.MonkeyPatch) -> Courier:
    """One that never pauses."""
    monkeypatch.setattr(module, "LOOK_S", 0.0)
    monkeypatch.setattr(module, "STEP_S", 0.0)
    return Courier()


def told(many: list[FakeSocket]) -> list[FromPanel]:
    return [message for socket in many for message in socket.sent]


def encoded(parts: list[DirectoryPart]) -> list[bytes]:
    return [encode_message(part) for part in parts]


def test_those_who_follow_are_told_once_and_some_at_a_time(courier: Courier, many: list[FakeSocket]) -> None:
    courier.follow(range(1, 42))
    counts = []
    for _ in range(4):
        courier.turn()
        counts.append(len(told(many)))
    assert counts == [NEWS_A_STEP, 2 * NEWS_A_STEP, 41, 41]
    assert set(map(repr, told(many))) == {repr(DirectoryNews(version=7))}
    assert [len(socket.sent) for socket in many] == [1] * 41 + [0] * 4


def test_nobody_is_forgotten_when_something_comes_in_between(
    courier: Courier, many: list[FakeSocket], newest: list[int]
) -> None:
    courier.follow(range(1, 46))
    courier.turn()
    courier.wake()
    courier.answered(45, 7)  # asked before it was told
    courier.turn()
    courier.answered(44, 7, encoded(ANSWER[:1]))
    for _ in range(3):
        courier.turn()
    assert [len(socket.sent) for socket in many] == [1] * 44 + [0]
    newest[0] = 8
    courier.wake()
    for _ in range(3):
        courier.turn()
    assert all(socket.sent[-1] == DirectoryNews(version=8) for socket in many)


def test_each_version_is_told_and_only_to_who_lacks_it(
    courier: Courier, many: list[FakeSocket], newest: list[int]
) -> None:
    courier.follow([1, 2, 3])
    courier.answered(2, 7)
    courier.turn()
    seventh, eighth = DirectoryNews(version=7), DirectoryNews(version=8)
    assert [socket.sent for socket in many[:3]] == [[seventh], [], [seventh]]
    newest[0] = 8
    courier.answered(3, 8)
    courier.turn()
    assert [socket.sent for socket in many[:3]] == [[seventh, eighth], [eighth], [seventh]]


def test_a_new_connection_is_told_and_one_that_is_gone_is_not(
    courier: Courier, many: list[FakeSocket], newest: list[int]
) -> None:
    courier.follow([1, 2])
    courier.turn()
    sockets.drop(many[0])
    again = FakeSocket(2, epoch=2)
    sockets.put(again)
    courier.follow([2])
    newest[0] = 8
    courier.turn()
    assert [len(socket.sent) for socket in (many[0], many[1], again)] == [1, 1, 1]
    assert again.sent == [DirectoryNews(version=8)]


def test_a_long_answer_comes_whole_and_news_only_after_it(
    courier: Courier, many: list[FakeSocket], newest: list[int]
) -> None:
    courier.answered(1, 7, encoded(ANSWER))
    newest[0] = 8
    for _ in range(6):
        courier.turn()
    assert many[0].sent == [*ANSWER, DirectoryNews(version=8)]


def test_a_newer_answer_takes_the_place_of_one_that_is_not_whole(
    courier: Courier, many: list[FakeSocket]
) -> None:
    courier.answered(1, 7, encoded(ANSWER))
    courier.turn()
    courier.answered(1, 7, encoded(ANSWER))
    for _ in range(5):
        courier.turn()
    assert many[0].sent == [ANSWER[0], *ANSWER]
    courier.answered(2, 7, encoded(ANSWER))
    courier.turn()
    courier.answered(2, 7)  # a short one, which went out with its batch
    for _ in range(5):
        courier.turn()
    assert many[1].sent == ANSWER[:1]


def test_long_answers_go_to_a_few_at_once_and_are_finished_before_others_begin(
    courier: Courier, many: list[FakeSocket]
) -> None:
    for node_id in range(1, PARTS_A_STEP + 2):
        courier.answered(node_id, 7, encoded(ANSWER))
    progress = []
    for _ in range(7):
        courier.turn()
        progress.append((len(many[0].sent), len(many[PARTS_A_STEP].sent)))
    assert progress == [(1, 0), (2, 0), (3, 0), (3, 0), (3, 1), (3, 2), (3, 3)]
    assert all(socket.sent == ANSWER for socket in many[: PARTS_A_STEP + 1])


def test_an_agent_that_left_gets_no_more(courier: Courier, many: list[FakeSocket]) -> None:
    courier.answered(1, 7, encoded(ANSWER))
    courier.turn()
    sockets.drop(many[0])
    assert courier.step() is False
    assert many[0].sent == ANSWER[:1]


def test_whoever_makes_versions_looks_when_it_is_woken(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []
    anew: list[object] = []
    monkeypatch.setattr(publishers, "publish", looks.append)
    monkeypatch.setattr(publishers, "publish_anew", anew.append)
    monkeypatch.setattr(publishers, "pause_s", lambda: 0.0)
    publisher = Publisher()
    for _ in range(3):
        publisher.wake()
    publisher.turn()
    assert len(looks) == 1
    assert not publisher._something.is_set()
    publisher.wake()
    publisher.turn()
    assert (len(anew), len(looks)) == (1, 2)  # once a process
