"""Orders of confidential tasks: gateways are asked to bring them, and what becomes of it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import DjangoAssertNumQueries

from conftest import MakeNode
from fogagent.messages import NotCarried, Outcome, Started
from fogagent.overlay import letters
from nodes import inbox
from nodes.identity import panel_identity
from nodes.models import Node, Order
from nodes.relay_directory.publishing import PAUSE_S, publish
from services.vpn_coordinator import choosing, sweeping
from services.vpn_coordinator.carried import note_carried
from services.vpn_coordinator.carrying import NO_GATEWAY, NOT_LISTED, carry_orders
from services.vpn_coordinator.models import Carriage
from services.vpn_coordinator.sweeping import sweep
from services.vpn_coordinator.tests.carriages import (
    CONTENT,
    NOW,
    SECOND,
    Fog,
    answer,
    order,
    pending,
    say_carried,
)
from services.vpn_coordinator.tries import (
    BEGINS_WITHIN_S,
    SLACK_S,
    TIMEOUT_S,
    TRIED_FOR,
    TRIES_MOST,
    WAITED_FOR,
    timeout_s,
)
from services.vpn_coordinator.troubles import Trouble
from tasks.closing import open_attempts, stop
from tasks.doubt import doubt, trust
from tasks.handlers import mark_started
from tasks.models import Attempt, Task
from tasks.orders import subject
from tasks.outcomes import MOVED, UNDELIVERED
from tasks.states import TaskState

pytestmark = pytest.mark.django_db
SILENT = timedelta(seconds=timeout_s(len(CONTENT)) + SLACK_S)


@pytest.fixture
def fog(make_node: MakeNode, submitter: User) -> Fog:
    return Fog(make_node, submitter)


@pytest.fixture
def small_fog(make_node: MakeNode, submitter: User) -> Fog:
    """With a single gateway."""
    return Fog(make_node, submitter, gateways=1)


def start(attempt: Attempt) -> None:
    mark_started([(attempt.node_id, Started(seq=1, attempt=attempt.id, at=0.0))], NOW)


def end(carriage: Carriage) -> None:
    stop(open_attempts(id=carriage.attempt_id), Outcome.CANCELLED, "cancelled on request", NOW)


def ended(carriage: Carriage) -> bool:
    return Carriage.objects.filter(id=carriage.id, ended_at__isnull=False).exists()


class TestAsking:
    def test_a_gateway_gets_what_only_the_node_can_read(self, fog: Fog) -> None:
        carriage = fog.one()
        [(_, node_id, carry)] = pending()
        assert carriage.gateway_id == node_id in {one.id for one in fog.gateways}
        assert (carry.to, carry.attempt, carry.hops) == (
            fog.identity.public_key,
            carriage.attempt_id,
            carriage.hops,
        )
        assert carry.content.inline == CONTENT
        run = letters.read(carry.letter, fog.identity, panel_identity().public_key, NOW.timestamp())
        attempt = Attempt.objects.get()
        bare = order(attempt, content=None)
        assert run == bare
        assert Order.objects.get().subject == subject(attempt.id)

    def test_letters_expire_soon(self, fog: Fog) -> None:
        fog.one()
        [(_, _, carry)] = pending()
        later = NOW.timestamp() + 10 * 60
        with pytest.raises(letters.BadLetter, match="expired"):
            letters.read(carry.letter, fog.identity, panel_identity().public_key, later)

    def test_carriages_are_spread_over_gateways(self, make_node: MakeNode, submitter: User) -> None:
        fog = Fog(make_node, submitter, gateways=3)
        fog.carry(*(fog.attempt() for _ in range(4)))
        fog.carry(*(fog.attempt() for _ in range(5)))
        assert Counter(node_id for _, node_id, _ in pending()) == {one.id: 3 for one in fog.gateways}

    def test_nodes_that_mainly_are_gateways_come_first_until_they_are_crowded(
        self, make_node: MakeNode, submitter: User
    ) -> None:
        fog = Fog(make_node, submitter, gateways=1)
        other = fog.add("edge", node_type="edge_device")
        fog.carry(*(fog.attempt() for _ in range(8)))
        assert {node_id for _, node_id, _ in pending()} == {fog.gateways[0].id}
        publish(NOW + timedelta(seconds=PAUSE_S))
        assert fog.one().gateway_id == other.id

    def test_of_many_some_of_both_kinds_are_looked_at_and_all_have_their_turn(
        self, make_node: MakeNode, submitter: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(choosing, "LOOKED_AT", 2)
        fog = Fog(make_node, submitter, gateways=4)
        others = [fog.add(f"edge-{number}", node_type="edge_device") for number in range(4)]
        publish(NOW + timedelta(seconds=PAUSE_S))
        seen: set[int] = set()
        for seed in range(40):
            found = choosing.look_for(Random(seed))
            assert sorted(found.values()) == [False, False, True, True]
            seen |= found.keys()
        assert seen == {one.id for one in [*fog.gateways, *others]}

    def test_many_cost_few_queries(
        self, fog: Fog, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        attempts = [fog.attempt() for _ in range(20)]
        with django_assert_max_num_queries(12):
            assert len(carry_orders([(one.node_id, order(one)) for one in attempts], NOW)) == 20

    @pytest.mark.parametrize(
        "columns",
        [
            {"connected": False},
            {"flags": ["relay"]},
            {"archived_at": NOW},
            {"approved_at": None},
            {"availability": "maintenance"},
        ],
    )
    def test_not_everybody_is_a_gateway(
        self, make_node: MakeNode, submitter: User, columns: dict[str, object]
    ) -> None:
        fog = Fog(make_node, submitter, gateways=0)
        fog.add("gate", **columns)
        publish(NOW + timedelta(seconds=PAUSE_S))
        carriage = fog.one()
        assert (carriage.gateway_id, carriage.sentence, pending()) == (None, NO_GATEWAY, [])
        assert carriage.trouble == Trouble.NO_GATEWAY

    def test_where_nobody_carries_nothing_is_placed_that_would_have_to_be(self, small_fog: Fog) -> None:
        assert choosing.levels_held_back() == frozenset()
        Node.objects.filter(id=small_fog.gateways[0].id).update(connected=False)
        assert choosing.levels_held_back() == {"confidential"}

    def test_nobody_carries_to_itself(self, make_node: MakeNode, submitter: User) -> None:
        fog = Fog(make_node, submitter, gateways=1)
        [carriage] = fog.carry(fog.attempt(fog.gateways[0]))
        assert carriage.sentence == NO_GATEWAY

    def test_who_is_not_in_the_directory_waits(self, fog: Fog, make_node: MakeNode) -> None:
        [carriage] = fog.carry(fog.attempt(make_node()))
        assert (carriage.gateway_id, carriage.sentence) == (None, NOT_LISTED)
        assert carriage.trouble == Trouble.NOT_SEALABLE

    def test_what_waits_is_asked_for_when_there_is_a_gateway(
        self, make_node: MakeNode, submitter: User
    ) -> None:
        fog = Fog(make_node, submitter, gateways=0)
        carriage = fog.one()
        sweep(NOW + 2 * SECOND)
        assert not pending()
        gateway = fog.add("gate")
        publish(NOW + timedelta(seconds=PAUSE_S))
        sweep(NOW + 6 * SECOND)
        carriage.refresh_from_db()
        assert (carriage.gateway, carriage.sentence, carriage.tries) == (gateway, "", 0)
        [(_, _, carry)] = pending()
        assert carry.content.inline is None  # it is fetched

    def test_what_waits_for_a_gateway_too_long_is_moved_and_loses_no_try(
        self, make_node: MakeNode, submitter: User
    ) -> None:
        fog = Fog(make_node, submitter, gateways=0)
        carriage = fog.one()
        for seconds in range(0, int(WAITED_FOR.total_seconds()) + 3, 2):
            sweep(NOW + seconds * SECOND)
        attempt = Attempt.objects.get()
        assert attempt.outcome == MOVED
        assert attempt.sentence == f"its order could not be sent on its way: {NO_GATEWAY}"
        assert Task.objects.get().state == TaskState.QUEUED
        carriage.refresh_from_db()
        assert carriage.ok is False

    def test_what_is_for_the_only_gateway_is_to_go_elsewhere(
        self, make_node: MakeNode, submitter: User
    ) -> None:
        """It would be placed there again and again."""
        fog = Fog(make_node, submitter, gateways=0)
        fog.node.flags = [*fog.node.flags, "entry"]
        fog.node.save(update_fields=["flags"])
        fog.one()
        for seconds in range(0, int(WAITED_FOR.total_seconds()) + 3, 2):
            sweep(NOW + seconds * SECOND)
        attempt = Attempt.objects.get()
        assert attempt.outcome == UNDELIVERED
        assert attempt.sentence == f"its order could not be sent on its way: {NO_GATEWAY}"


class TestAnswers:
    def test_the_inbox_hands_them_over_after_what_nodes_hold_and_before_what_ended(self) -> None:
        kinds = list(inbox.handlers())
        assert note_carried in inbox.handlers()["carried"]
        assert kinds.index("holding") < kinds.index("carried") < kinds.index("started")

    def test_what_was_brought_is_acknowledged_and_measured(self, fog: Fog) -> None:
        carriage = fog.one()
        answer(carriage, NOW + SECOND)
        carriage.refresh_from_db()
        assert (carriage.ok, carriage.build_ms, carriage.took_ms) == (True, 40.0, 8.0)
        assert carriage.size == len(CONTENT)
        assert Order.objects.get().acked_at == NOW + SECOND
        assert not ended(carriage)
        start(Attempt.objects.get())
        sweep(NOW + 2 * SECOND)
        assert ended(carriage)

    def test_others_tell_nothing(self, fog: Fog) -> None:
        carriage, another = fog.one(), fog.one()
        [(mine, node_id, _), (of_another, _, _)] = pending()
        stranger = next(one.id for one in fog.gateways if one.id != node_id)
        told = {"order": mine, "attempt": carriage.attempt_id}
        for ok in (True, False):
            say_carried(stranger, NOW, ok=ok, **told)
            say_carried(node_id, NOW, ok=ok, **(told | {"order": of_another}))
            say_carried(node_id, NOW, ok=ok, **(told | {"attempt": another.attempt_id}))
            say_carried(node_id, NOW, ok=ok, **(told | {"order": 99, "attempt": 99}))
        carriage.refresh_from_db()
        assert (carriage.ok, carriage.tries, len(pending())) == (None, 0, 2)

    def test_a_failure_has_another_gateway_asked_at_once(self, fog: Fog) -> None:
        carriage = fog.one()
        first = carriage.gateway_id
        answer(carriage, NOW + SECOND, ok=False, sentence="No path to it.")
        carriage.refresh_from_db()
        [(_, second, _)] = pending()
        assert {first, second} == {one.id for one in fog.gateways}
        assert (carriage.gateway_id, carriage.tries, carriage.tried) == (second, 1, [first])
        assert Order.objects.filter(withdrawn_at=NOW + SECOND).get().node_id == first

    @pytest.mark.parametrize(
        ("told", "kept"),
        [
            ({}, ("unsaid", "")),
            ({"kind": NotCarried.NO_CIRCUIT}, ("no-circuit", "")),
            ({"kind": NotCarried.REFUSED, "reason": "not-\0taken"}, ("refused", "not-taken")),
        ],
    )
    def test_why_it_failed_is_kept_by_name(
        self, small_fog: Fog, told: dict[str, Any], kept: tuple[str, str]
    ) -> None:
        carriage = small_fog.one()
        answer(carriage, NOW, ok=False, **told)
        carriage.refresh_from_db()
        assert (carriage.trouble, carriage.reason) == kept
        sweep(NOW + 2 * SECOND)
        carriage.refresh_from_db()
        assert (carriage.trouble, carriage.reason, carriage.tries) == ("", "", 1), "it is on its way again"

    def test_a_failure_that_is_told_twice_counts_once(self, fog: Fog) -> None:
        carriage = fog.one()
        [(number, node_id, _)] = pending()
        for _ in range(2):
            say_carried(node_id, NOW, order=number, attempt=carriage.attempt_id, ok=False)
        carriage.refresh_from_db()
        assert carriage.tries == 1

    def test_the_only_gateway_is_asked_again_after_a_pause(self, small_fog: Fog) -> None:
        carriage = small_fog.one()
        answer(carriage, NOW, ok=False, sentence="No path to it.")
        carriage.refresh_from_db()
        assert (pending(), carriage.gateway_id, carriage.sentence) == ([], None, "No path to it.")
        sweep(NOW + SECOND)
        assert not pending()
        sweep(NOW + 2 * SECOND)
        assert [node_id for _, node_id, _ in pending()] == [small_fog.gateways[0].id]

    def test_after_some_tries_the_task_goes_elsewhere(self, small_fog: Fog) -> None:
        carriage = small_fog.one()
        now = NOW
        while carriage.ended_at is None:
            answer(carriage, now, ok=False, sentence="No path to it.")
            carriage.refresh_from_db()
            for _ in range(4):
                now += 2 * SECOND
                sweep(now)
            carriage.refresh_from_db()
        assert (carriage.ok, carriage.tries >= TRIES_MOST) == (False, True)
        attempt = Attempt.objects.get()
        assert attempt.outcome == UNDELIVERED
        assert attempt.ended_at is not None and attempt.ended_at - NOW >= TRIED_FOR
        assert attempt.sentence == (
            f"its order was not brought there in {carriage.tries} tries, the last: No path to it."
        )
        assert Task.objects.get().state == TaskState.QUEUED
        assert Order.objects.filter(kind="cancel", node=small_fog.node).count() == 1
        small_fog.node.refresh_from_db()
        assert small_fog.node.cooling_until is None  # a gateway's word is not held against it
        assert not pending()

    def test_what_has_begun_goes_on_though_the_last_gateway_did_not_hear_of_it(self, fog: Fog) -> None:
        carriage = fog.one()
        Carriage.objects.update(tries=TRIES_MOST - 1, created_at=NOW - TRIED_FOR)
        start(Attempt.objects.get())
        answer(carriage, NOW + SECOND, ok=False, sentence="It gave no answer in time.")
        attempt = Attempt.objects.get()
        assert (attempt.ended_at, attempt.outcome) == (None, "")
        carriage.refresh_from_db()
        assert (carriage.ended_at, carriage.ok) == (NOW + SECOND, None)
        assert not pending()

    def test_a_short_task_is_over_before_its_gateway_tells(self, fog: Fog) -> None:
        carriage = fog.one()
        [(number, node_id, _)] = pending()
        end(carriage)
        sweep(NOW + SECOND)
        carriage.refresh_from_db()
        assert (carriage.ended_at, carriage.ok) == (NOW + SECOND, None)
        say_carried(node_id, NOW + SECOND, order=number, attempt=carriage.attempt_id, ok=True)
        carriage.refresh_from_db()
        assert (carriage.ok, carriage.took_ms) == (True, 8.0)

    def test_what_failed_after_its_attempt_had_ended_is_not_tried_again(self, fog: Fog) -> None:
        carriage = fog.one()
        [(number, node_id, _)] = pending()
        end(carriage)
        say_carried(node_id, NOW, order=number, attempt=carriage.attempt_id, ok=False)
        carriage.refresh_from_db()
        assert (carriage.tries, pending()) == (0, [])


class TestSweeping:
    def test_nothing_costs_one_query(
        self, fog: Fog, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        fog.one()
        with django_assert_num_queries(1):
            sweep(NOW + SECOND)

    def test_a_gateway_that_goes_is_replaced(self, fog: Fog) -> None:
        carriage = fog.one()
        gone = carriage.gateway
        assert gone is not None
        Node.objects.filter(id=gone.id).update(connected=False)
        sweep(NOW + SECOND)
        carriage.refresh_from_db()
        assert carriage.gateway not in (gone, None)
        assert [node_id for _, node_id, _ in pending()] == [carriage.gateway_id]
        assert carriage.tried == [gone.id]

    def test_a_gateway_that_is_silent_is_replaced(self, fog: Fog) -> None:
        carriage = fog.one()
        silent = carriage.gateway_id
        sweep(NOW + SILENT - SECOND)
        carriage.refresh_from_db()
        assert carriage.gateway_id == silent
        sweep(NOW + SILENT)
        carriage.refresh_from_db()
        assert carriage.gateway_id != silent
        assert len(pending()) == 1

    def test_what_is_given_up_is_asked_for_no_more(self, fog: Fog) -> None:
        """The order would go out again and again, as nobody takes an answer to it."""
        carriage = fog.one()
        Carriage.objects.update(tries=TRIES_MOST - 1, created_at=NOW - TRIED_FOR)
        sweep(NOW + SILENT)
        assert Attempt.objects.get().outcome == UNDELIVERED
        assert not pending()
        carriage.refresh_from_db()
        assert (carriage.gateway_id, carriage.ended_at) == (None, NOW + SILENT)

    def test_why_the_last_try_failed_is_told(self, small_fog: Fog) -> None:
        carriage = small_fog.one()
        sweep(NOW + SILENT)
        carriage.refresh_from_db()
        assert carriage.sentence == "gate-0 did not tell within 20 s how it went."
        assert carriage.trouble == Trouble.SILENT
        assert TIMEOUT_S + SLACK_S == 20
        Node.objects.filter(name="gate-0").update(connected=False)
        small_fog.one(NOW)
        sweep(NOW + SECOND)
        # Nobody is left, which is what it waits for now.
        assert Carriage.objects.latest("id").sentence == NO_GATEWAY

    def test_what_the_node_is_told_itself_stays(self, small_fog: Fog) -> None:
        carriage = small_fog.one()
        Order.objects.create(
            node=small_fog.node, kind="cancel", subject=subject(carriage.attempt_id), body=b"{}"
        )
        sweep(NOW + SILENT)
        assert Order.objects.get(kind="cancel").withdrawn_at is None
        assert Order.objects.get(kind="carry").withdrawn_at is not None

    def test_what_has_begun_is_not_brought_again(self, fog: Fog) -> None:
        carriage = fog.one()
        start(Attempt.objects.get())
        Node.objects.exclude(id=fog.node.id).update(connected=False)
        sweep(NOW + SECOND)
        carriage.refresh_from_db()
        assert (carriage.ended_at, carriage.ok, carriage.tries) == (NOW + SECOND, None, 0)
        # It has its order: should it lose it in a restart, the attempt is lost.
        assert Order.objects.get().acked_at == NOW + SECOND

    def test_a_gateway_that_only_says_so_is_found_out(self, fog: Fog) -> None:
        carriage = fog.one()
        liar = carriage.gateway_id
        answer(carriage, NOW)
        sweep(NOW + timedelta(seconds=BEGINS_WITHIN_S - 1))
        carriage.refresh_from_db()
        assert carriage.gateway_id == liar
        sweep(NOW + timedelta(seconds=BEGINS_WITHIN_S))
        carriage.refresh_from_db()
        assert carriage.gateway_id not in (liar, None)
        assert (carriage.ok, carriage.brought_at, carriage.tries) == (None, None, 1)
        assert [node_id for _, node_id, _ in pending()] == [carriage.gateway_id]

    def test_what_was_brought_to_a_node_that_fell_silent_is_in_doubt_as_others_are(self, fog: Fog) -> None:
        """It may well run there."""
        carriage = fog.one()
        answer(carriage, NOW)
        attempt = Attempt.objects.get()
        doubt({attempt.node_id: "it fell silent"}, NOW)
        for minutes in range(1, 11):
            sweep(NOW + timedelta(minutes=minutes))
        carriage.refresh_from_db()
        assert (carriage.tries, carriage.ok, carriage.ended_at) == (0, True, None)
        trust(open_attempts(id=attempt.id), NOW)
        sweep(NOW + timedelta(minutes=11))
        carriage.refresh_from_db()
        assert carriage.tries == 1

    def test_old_ones_are_forgotten(self, fog: Fog) -> None:
        old, under_way = fog.one(), fog.one()
        end(old)
        sweep(NOW + SECOND)
        assert sweeping.forget(NOW + SECOND) == 0
        assert sweeping.forget(NOW + sweeping.KEPT + 2 * SECOND) == 1
        assert Carriage.objects.get() == under_way
