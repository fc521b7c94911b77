"""The panel's answers and the agent's own directory holder: what one makes the other understands."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

import pytest

from conftest import MakeNode
from fogagent.events import Connected, DirectoryAccepted, Disconnected, Event, Moment, Received
from fogagent.instructions import JudgeDirectory, Send
from fogagent.messages import DirectoryWanted, Welcome
from fogagent.overlay.directory import Directory, judge
from fogagent.overlay.directory_holder import DirectoryHolder
from nodes import sockets
from nodes.identity import panel_identity
from nodes.inbox import Arrival, store
from nodes.models import DirectoryVersion, Node
from nodes.relay_directory import answers
from nodes.relay_directory.answers import Answers
from nodes.relay_directory.courier import courier
from nodes.relay_directory.publishing import PAUSE_S, publish
from nodes.tests.relays import NOW, FakeSocket, directory, listen, say

WELCOME = Welcome(signature=bytes(64), node=1, name="edge-1", epoch=1, heartbeat_s=30, timeout_s=90)


class Agent:
    """The agent's end of a connection, at whose other end are the panel's inbox and courier."""

    def __init__(self, node_id: int) -> None:
        self.asked: list[int] = []
        self._socket = FakeSocket(node_id)
        self._holder = DirectoryHolder(None, Random(1))

    @property
    def held(self) -> Directory | None:
        return self._holder.held

    def connect(self) -> None:
        self._socket = FakeSocket(self._socket.node_id)
        sockets.put(self._socket)
        self._do(Connected(WELCOME))

    def disconnect(self) -> None:
        sockets.drop(self._socket)
        self._do(Disconnected("gone"))

    def listen(self) -> None:
        """Hear all that the panel has to say, and answer, until it has nothing more to say."""
        courier.look()
        while courier.step() or self._socket.sent:
            heard, self._socket.sent = self._socket.sent, []
            self._do(Received(heard))

    def _do(self, event: Event) -> None:
        for one in self._holder.handle(event, Moment(NOW.timestamp(), 0.0)):
            match one:
                case Send(DirectoryWanted(since) as wanted):
                    self.asked.append(since)
                    store([Arrival(self._socket, [wanted])])
                case JudgeDirectory(held, encoded):  # nothing is to be refused, or it raises here
                    key = panel_identity().public_key
                    self._do(DirectoryAccepted(*judge(held, encoded, key, NOW.timestamp())))


@pytest.fixture
def nodes(make_node: MakeNode, monkeypatch: pytest.MonkeyPatch) -> list[Node]:
    monkeypatch.setattr(answers, "answers", Answers())
    monkeypatch.setattr(sockets, "_sockets", {})
    listen(NOW)
    return [make_node() for _ in range(6)]


def change_something(nodes: list[Node], rng: Random, now: datetime) -> None:
    node = rng.choice(nodes)
    say(node, now)
    away = rng.choice([None, NOW])
    Node.objects.filter(id=node.id).update(region=rng.choice(["eu", "us", "moon"]), archived_at=away)


@pytest.mark.parametrize("seed", range(3))
def test_an_agent_follows_whatever_changes_also_what_it_missed(
    nodes: list[Node], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    # So short that some answers fit into one frame, and others are carried by the courier.
    monkeypatch.setattr("fogagent.overlay.directory_parts.DIRECTORY_PART_BYTES", 1000)
    rng = Random(seed)
    say(nodes[0])
    agent = Agent(nodes[0].id)
    for number in range(30):
        now = NOW + number * timedelta(seconds=2 * PAUSE_S)
        change_something(nodes[1:], rng, now)
        publish(now)
        if number % 5 == 0:
            agent.connect()
        if number % 5 < 3:
            agent.listen()
            assert agent.held == directory()
        if number % 5 == 2:
            agent.disconnect()
    assert agent.asked[0] == 0
    assert all(agent.asked[1:]), "everything was asked for again"


def test_an_agent_gets_everything_where_its_version_is_forgotten(nodes: list[Node]) -> None:
    say(nodes[0])
    publish(NOW)
    agent = Agent(nodes[0].id)
    agent.connect()
    agent.listen()
    agent.disconnect()
    say(nodes[1])
    publish(NOW + timedelta(seconds=2 * PAUSE_S))
    DirectoryVersion.objects.order_by("version")[0].delete()
    agent.connect()
    agent.listen()
    assert agent.held == directory()
    assert len(agent.asked) == 2
