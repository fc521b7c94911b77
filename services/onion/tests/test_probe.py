"""The probe over rows: whom it asks for what, and what it makes of answers and of silence."""

from __future__ import annotations

from datetime import datetime
from random import Random

import pytest

from conftest import MakeNode
from nodes.models import Node, Order
from services.models import State
from services.onion.models import Trial
from services.onion.probe import OLD_NEWS, probe
from services.onion.rules import FAILURES_DOWN, LOOK
from services.onion.tests.cast import (
    DEADLINE,
    NEXT_VERSION,
    NOW,
    SECOND,
    START,
    answer,
    key,
    make_builder,
    make_relays,
    orders,
)
from services.onion.trials import NEWS, last_to_exit
from services.record import Probed

pytestmark = pytest.mark.django_db


def looked(now: datetime, last: datetime | None = None) -> Probed | None:
    return probe(now, last, Random(1))


def found(now: datetime, last: datetime | None = None) -> tuple[State, str]:
    result = looked(now, last)
    assert result is not None
    return result.state, result.sentence


def test_without_relays_nobody_is_asked(make_node: MakeNode) -> None:
    make_builder(make_node, NOW)
    state, _ = found(NOW)
    assert state == State.DEGRADED
    assert not Trial.objects.exists()


class TestAsking:
    def test_one_node_that_may_for_three_hops(self, make_node: MakeNode) -> None:
        make_relays(make_node, 4)
        builder = make_builder(make_node, START)
        assert looked(START) is None
        [(node_id, order)] = orders()
        trial = Trial.objects.get()
        assert (node_id, order.trial, order.hops, order.through, order.size) == (
            builder.id,
            trial.id,
            3,
            [],
            1000,
        )
        assert (trial.asked_at, trial.deadline_at) == (START, START + DEADLINE)

    @pytest.mark.parametrize("exits", [0, 2])
    def test_up_to_an_exit_where_there_is_one(self, make_node: MakeNode, exits: int) -> None:
        relays = make_relays(make_node, 4, exits=exits)
        make_builder(make_node, START)
        looked(START)
        [(_, order)] = orders()
        assert order.to_exit is bool(exits)
        answer(Trial.objects.get(), START + SECOND, relays[:3])
        last = last_to_exit(START + SECOND)
        assert (last is not None and last.ok) is bool(exits)
        assert last_to_exit(START + SECOND + NEWS) is None

    def test_a_node_is_no_exit_for_itself(self, make_node: MakeNode) -> None:
        make_relays(make_node, 3)
        make_builder(make_node, START, flags=["entry", "exit", "relay"])
        looked(START)
        [(_, order)] = orders()
        assert order.to_exit is False

    def test_it_waits_without_asking_more(self, make_node: MakeNode) -> None:
        make_relays(make_node, 3)
        make_builder(make_node, START)
        looked(START)
        assert looked(START + DEADLINE) is None
        assert len(orders()) == 1

    def test_as_many_hops_as_there_are_relays_besides_the_node(self, make_node: MakeNode) -> None:
        relays = make_relays(make_node, 3)
        Node.objects.update(flags=["relay", "compute"])
        looked(START)
        [(node_id, order)] = orders()
        assert order.hops == 2
        assert node_id in {node.id for node in relays}

    def test_a_node_that_finds_more_relays_is_preferred(self, make_node: MakeNode) -> None:
        make_relays(make_node, 3)
        Node.objects.update(flags=["relay", "compute"])
        builder = make_builder(make_node, START)
        for seed in range(10):
            Trial.objects.all().delete()
            Order.objects.all().delete()
            probe(START, None, Random(seed))
            assert orders()[0][0] == builder.id

    def test_all_have_their_turn(self, make_node: MakeNode) -> None:
        make_relays(make_node, 3)
        builders = {make_builder(make_node, START + n * NEXT_VERSION, name=f"t{n}").id for n in range(3)}
        asked = set()
        for seed in range(30):
            Trial.objects.all().delete()
            Order.objects.all().delete()
            probe(START, None, Random(seed))
            asked.add(orders()[0][0])
        assert asked == builders

    @pytest.mark.parametrize(
        "columns", [{"connected": False}, {"flags": ["mix"]}, {"flags": []}, {"gone_at": NOW}]
    )
    def test_who_may_not_or_is_not_there_is_not_asked(
        self, make_node: MakeNode, columns: dict[str, object]
    ) -> None:
        make_relays(make_node, 3)
        builder = make_builder(make_node, START)
        Node.objects.filter(id=builder.id).update(**columns)
        state, sentence = found(START)
        assert (state, orders()) == (State.DEGRADED, [])
        assert "no other node is connected" in sentence


def stop(*stopped: Node) -> None:
    """Their agents have ended; the directory still has them."""
    Node.objects.filter(id__in=[node.id for node in stopped]).update(connected=False, disconnected_at=START)


class TestRelaysThatGo:
    @pytest.fixture
    def relays(self, make_node: MakeNode) -> list[Node]:
        relays = make_relays(make_node, 4, exits=1)
        make_builder(make_node, START)
        return relays

    def test_who_is_not_connected_is_not_counted_on(self, relays: list[Node]) -> None:
        stop(*relays[2:])
        assert looked(START) is None
        [(_, order)] = orders()
        assert order.hops == 2
        answer(Trial.objects.get(), START, relays[:2])
        state, sentence = found(START + SECOND)
        assert state == State.DEGRADED
        assert "2 of 4 are connected. Start the agents of relay-2 and relay-3 again." in sentence

    def test_all_of_them(self, relays: list[Node]) -> None:
        stop(*relays)
        assert found(START) == (
            State.DEGRADED,
            "All 4 relays are away, so no circuit can be built. "
            "Start the agents of relay-0, relay-1, relay-2 and 1 more again.",
        )

    def test_who_has_left_the_fog_is_not_waited_for(self, relays: list[Node]) -> None:
        stop(*relays)
        Node.objects.filter(name__startswith="relay").update(archived_at=START)
        assert "There is no relay" in found(START)[1]

    def test_no_exit_is_asked_for_that_is_not_there(self, relays: list[Node]) -> None:
        stop(relays[0])
        looked(START)
        [(_, order)] = orders()
        assert (order.hops, order.to_exit) == (3, False)

    @pytest.mark.parametrize("went", [slice(0, 1), slice(2, 4)], ids=["the exit", "two of three hops"])
    def test_a_trial_that_was_overtaken_is_repeated(self, relays: list[Node], went: slice) -> None:
        looked(START)
        answer(Trial.objects.get(), START, relays[:3], ok=False, sentence="One went.")
        stop(*relays[went])
        assert looked(START + SECOND) is None
        assert Trial.objects.count() == 2

    def test_one_over_fewer_relays_than_there_are_again_is_repeated(self, relays: list[Node]) -> None:
        stop(*relays[2:])
        looked(START)
        answer(Trial.objects.get(), START, relays[:2])
        Node.objects.update(connected=True)
        assert looked(START + SECOND) is None
        answer(Trial.objects.latest("id"), START + SECOND, relays[:3])
        assert found(START + SECOND)[0] == State.OPERATIONAL

    def test_another_node_is_asked_when_the_one_that_was_has_gone(
        self, relays: list[Node], make_node: MakeNode
    ) -> None:
        other = make_builder(make_node, START + NEXT_VERSION, name="other")
        looked(START)
        asked = Trial.objects.get()
        stop(asked.node)
        assert looked(START + SECOND) is None
        [(node_id, _)] = orders()
        assert node_id == Trial.objects.get().node_id != asked.node_id
        assert other.id in {asked.node_id, node_id}
        answer(asked, START + SECOND, relays[:3], ok=False)  # it had told, and comes too late
        assert Trial.objects.get().ended_at is None

    def test_a_circuit_that_fails_for_one_that_went_just_now_says_so(self, relays: list[Node]) -> None:
        stop(relays[3])
        looked(START)
        answer(Trial.objects.get(), START, [], ok=False, sentence="relay-3: Nobody is there.")
        state, sentence = found(START + SECOND)
        assert state == State.DEGRADED
        assert sentence == (
            "The last circuit failed. From builder: relay-3: Nobody is there. "
            "relay-3 is away: start it again, or wait a minute until none chooses it."
        )

    def test_what_was_tried_to_an_exit_that_went_is_old_news(self, relays: list[Node]) -> None:
        looked(START)
        answer(Trial.objects.get(), START, [], ok=False, sentence="relay-0: Nobody is there.")
        assert last_to_exit(START) is not None
        stop(relays[0])
        looked(START + SECOND)
        answer(Trial.objects.latest("id"), START + SECOND, relays[1:])
        assert last_to_exit(START + SECOND) is None


class TestAnswers:
    @pytest.fixture
    def relays(self, make_node: MakeNode) -> list[Node]:
        relays = make_relays(make_node, 3)
        make_builder(make_node, START)
        return relays

    def trial(self, now: datetime = START, last: datetime | None = None) -> Trial:
        assert looked(now, last) is None
        return Trial.objects.order_by("-id")[0]

    def test_well(self, relays: list[Node]) -> None:
        answer(self.trial(), START + SECOND, relays)
        assert found(START + 2 * SECOND) == (
            State.OPERATIONAL,
            "A circuit over 3 relays was built in 23 ms and echoed 1,000 bytes in 5 ms",
        )

    def test_failed_says_through_whom_and_why(self, relays: list[Node]) -> None:
        sentence = "relay-1 did not extend the circuit."
        answer(self.trial(), START + SECOND, relays, ok=False, sentence=sentence)
        assert found(START + SECOND) == (
            State.DEGRADED,
            f"The last circuit failed. From builder through relay-0 → relay-1 → relay-2: {sentence} {LOOK}",
        )

    def test_silence_counts_at_the_deadline_and_the_order_is_taken_back(self, relays: list[Node]) -> None:
        trial = self.trial()
        late = START + DEADLINE + SECOND
        state, sentence = found(late)
        assert state == State.DEGRADED
        assert "builder did not tell how it went within 20 s" in sentence
        assert orders() == []
        answer(trial, late + SECOND, relays)  # too late to count
        trial.refresh_from_db()
        assert (trial.ok, trial.ended_at) == (False, late)

    def test_several_failures_in_a_row_are_down(self, relays: list[Node]) -> None:
        now, last, states = START, None, []
        for _ in range(FAILURES_DOWN):
            answer(self.trial(now, last), now, [], ok=False, sentence="No guard can be reached.")
            last = now + SECOND
            states.append(found(last, now - SECOND)[0])
            now = last + SECOND
        assert states == [State.DEGRADED, State.DEGRADED, State.DOWN]
        answer(self.trial(now, last), now, relays)
        assert found(now + SECOND, last)[0] == State.OPERATIONAL

    def test_after_a_result_the_next_call_asks_anew(self, relays: list[Node]) -> None:
        answer(self.trial(), START, relays)
        result_at = START + SECOND
        assert looked(result_at) is not None
        assert looked(result_at + 30 * SECOND, result_at) is None
        assert Trial.objects.count() == 2

    def test_what_was_true_before_a_pause_is_not_told(self, relays: list[Node]) -> None:
        answer(self.trial(), START, relays)
        assert looked(START + DEADLINE + OLD_NEWS + SECOND) is None
        assert Trial.objects.count() == 2

    def test_a_shorter_path_than_asked_for_is_a_failure(self, relays: list[Node]) -> None:
        answer(self.trial(), START, relays[:1])
        state, sentence = found(START + SECOND)
        assert state == State.DEGRADED
        assert "1 relays in place of 3" in sentence

    def test_a_node_answers_only_for_its_own(self, relays: list[Node]) -> None:
        trial = self.trial()
        trial.node_id = relays[0].id
        answer(trial, START, relays)
        assert Trial.objects.get().ended_at is None

    def test_the_path_is_kept(self, relays: list[Node]) -> None:
        answer(self.trial(), START, relays)
        assert Trial.objects.get().path == [key(node).hex() for node in relays]
