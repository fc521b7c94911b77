"""A gateway's orders to carry, and a node's orders that were carried: what follows from each event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from random import Random

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fogagent import carrying_state
from fogagent.carrying_state import AT_ONCE, MOST, WITHDRAWN, Carriages
from fogagent.downloads import MAX_STALLS, STALL_S, Downloads
from fogagent.events import (
    BlobFailed,
    BlobReady,
    BlobWanted,
    Brought,
    CarryEnded,
    Connected,
    Disconnected,
    Ended,
    StopAsked,
)
from fogagent.instructions import (
    AnswerGateway,
    Bring,
    DropBlob,
    Instruction,
    KeepChunk,
    Obtain,
    Send,
    StartJob,
)
from fogagent.messages import (
    BLOB_CHUNK_BYTES,
    MAX_SEALED_BYTES,
    Acknowledge,
    Blob,
    Cancel,
    Carried,
    Carry,
    Chunk,
    Fetch,
    Finished,
    Holding,
    NotCarried,
    Outcome,
)
from fogagent.tests.driven import SHA, WELCOME, Driven, kinds, reports, result, run, sent
from fogagent.tests.letters import CONTENT, blob, sealed_run

LARGE = Blob(sha256=SHA, size=5_000_000)
BROUGHT = blob(CONTENT).sha256


def carry(order: int = 9, content: Blob | None = None, **changes: object) -> Carry:
    usual: dict[str, object] = {
        "order": order,
        "attempt": order + 1000,
        "to": bytes(32),
        "content": content or blob(CONTENT, inline=True),
        "letter": b"letter",
    }
    return Carry(**{**usual, **changes})  # type: ignore[arg-type]


def ok(order: Carry) -> Carried:
    return Carried(order=order.order, attempt=order.attempt, ok=True, build_ms=9, took_ms=20, size=14)


def answers(instructions: Iterable[Instruction]) -> list[Carried]:
    return [message for message in sent(instructions) if isinstance(message, Carried)]


def failure(instructions: Iterable[Instruction], kind: NotCarried = NotCarried.NO_CONTENT) -> str:
    (answer,) = answers(instructions)
    assert (answer.ok, answer.kind) == (False, kind)
    return answer.sentence


def brings(instructions: Iterable[Instruction]) -> list[int]:
    return [one.order.order for one in instructions if isinstance(one, Bring)]


# --- The gateway -----------------------------------------------------------------------------------


def test_an_order_with_its_content_is_brought_and_not_acknowledged(agent: Driven) -> None:
    order = carry()
    assert agent.hears(order) == [Bring(order, 60.0)]
    assert agent(CarryEnded(ok(order))) == [Send(ok(order))]


def test_a_repetition_is_ignored_until_it_is_over_and_then_answered_again(agent: Driven) -> None:
    order = carry()
    agent.hears(order)
    assert agent.hears(order, order) == []
    agent(CarryEnded(ok(order)))
    assert agent.hears(order) == [Send(ok(order))]
    agent(Disconnected("gone"))
    agent(Connected(WELCOME))
    assert agent.hears(order) == [Send(ok(order))]
    assert agent(CarryEnded(ok(order))) == [], "it ends once"


def test_another_order_about_the_same_attempt_is_carried_out(agent: Driven) -> None:
    first, second = carry(1, attempt=5), carry(2, attempt=5)
    assert brings(agent.hears(first)) == [1]
    assert brings(agent.hears(second)) == [2]
    agent(CarryEnded(ok(first)))
    assert answers(agent(CarryEnded(ok(second)))) == [ok(second)]


def test_what_ends_while_the_panel_is_away_is_answered_when_it_asks_again(agent: Driven) -> None:
    order = carry()
    agent.hears(order)
    agent(Disconnected("gone"))
    agent(CarryEnded(ok(order)))
    agent(Connected(WELCOME))
    assert answers(agent.hears(order)) == [ok(order)]


def test_so_many_answers_are_remembered(agent: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrying_state, "REMEMBERED", 2)
    orders = [carry(number) for number in (1, 2, 3)]
    for order in orders:
        agent.hears(order)
        agent(CarryEnded(ok(order)))
    assert agent.hears(orders[1]) == [Send(ok(orders[1]))]
    assert brings(agent.hears(orders[0])) == [1]


def test_few_are_under_way_at_once_and_others_follow_in_their_order(agent: Driven) -> None:
    orders = [carry(number) for number in range(1, AT_ONCE + 4)]
    assert brings(agent.hears(*orders)) == list(range(1, AT_ONCE + 1))
    agent.tick += 7
    assert agent(CarryEnded(ok(orders[3])))[1:] == [Bring(orders[AT_ONCE], 53.0)]
    assert brings(agent(CarryEnded(ok(orders[0])))) == [AT_ONCE + 2]


def test_what_does_not_have_its_turn_in_time_is_told(agent: Driven) -> None:
    agent.hears(*(carry(number) for number in range(1, AT_ONCE + 1)))
    agent.hears(carry(99, timeout_s=5.0))
    assert agent.state.wake_at() == agent.tick + 5
    assert answers(agent.after(4.9)) == []
    assert failure(agent.after(0.1), NotCarried.BUSY) == (
        "This gateway was busy with other orders and did not come to this one within 5 s."
    )
    assert brings(agent(CarryEnded(ok(carry(1))))) == []


def test_there_are_never_too_many(agent: Driven) -> None:
    agent.hears(*(carry(number) for number in range(1, MOST + 1)))
    order = carry(MOST + 1)
    assert "256 orders to bring already" in failure(agent.hears(order), NotCarried.BUSY)
    agent(CarryEnded(ok(carry(1))))
    assert not answers(agent.hears(order))[0].ok, "the same answer, whatever changed since"
    assert answers(agent.hears(carry(MOST + 2))) == []


def test_content_that_is_too_large_is_not_even_fetched(agent: Driven) -> None:
    order = carry(content=Blob(sha256=SHA, size=MAX_SEALED_BYTES + 1))
    assert "Sealed content has at most" in failure(agent.hears(order), NotCarried.UNFIT)


def test_large_content_is_fetched_first(agent: Driven) -> None:
    order = carry(content=LARGE)
    assert agent.hears(order) == [Obtain(LARGE)]
    assert sent(agent(BlobWanted(SHA, 2))) == [Fetch(attempt=1009, sha256=SHA, index=2)]
    chunk = Chunk(sha256=SHA, index=2, count=26, data=bytes(BLOB_CHUNK_BYTES))
    assert agent.hears(chunk) == [KeepChunk(chunk, LARGE.size)]
    agent.tick += 3
    assert agent(BlobReady(SHA)) == [Bring(order, 57.0)]


def test_content_that_several_wait_for_is_fetched_once(agent: Driven) -> None:
    mine = run(5, payload=LARGE)
    orders = [carry(number, LARGE) for number in (1, 2)]
    assert [one for one in agent.hears(mine, *orders) if isinstance(one, Obtain)] == [Obtain(LARGE)]
    assert kinds(agent(BlobReady(SHA))) == [StartJob, Bring, Bring]


def test_content_to_carry_starts_no_job_of_ours_again(agent: Driven) -> None:
    agent.hears(run(5))
    order = carry(content=LARGE, attempt=5)
    agent.hears(order)
    assert agent(BlobReady(SHA)) == [Bring(order, 60.0)]


def test_content_that_cannot_be_had_is_told(agent: Driven) -> None:
    agent.hears(run(5, payload=LARGE), carry(content=LARGE))
    told = agent(BlobFailed(SHA, "It came damaged."))
    assert failure(told) == "It came damaged."
    assert [(each.attempt, each.seq) for each in reports(told)] == [(5, 1)]


def test_content_that_does_not_come_in_time_is_told_and_not_waited_for(agent: Driven) -> None:
    agent.hears(carry(content=LARGE, timeout_s=25.0))
    agent(BlobWanted(SHA, 0))
    assert sent(agent.after(STALL_S)) == [Fetch(attempt=1009, sha256=SHA, index=0)]
    agent.after(STALL_S)
    assert agent.state.wake_at() == agent.tick + 5
    assert failure(agent.after(5)) == "This gateway did not get the content from the panel within 25 s."
    assert agent.after(STALL_S) == []
    assert agent(BlobReady(SHA)) == []


def test_content_that_is_asked_for_in_vain_is_told(agent: Driven) -> None:
    agent.hears(carry(content=LARGE, timeout_s=3600.0))
    agent(BlobWanted(SHA, 0))
    told = [one for _ in range(MAX_STALLS) for one in agent.after(STALL_S)]
    assert "could not be fetched from the panel" in failure(told)


def test_what_is_carried_is_not_held_and_has_no_reports(agent: Driven) -> None:
    order = carry(content=LARGE)
    told = agent.hears(order)
    agent(Disconnected("gone"))
    told += agent(Connected(WELCOME))
    assert sent(told)[1] == Holding(attempts=[])
    told += [*agent(BlobReady(SHA)), *agent(CarryEnded(ok(order)))]
    assert reports(told) == []


def test_a_cancel_of_what_is_carried_is_not_taken_for_one_of_ours(agent: Driven) -> None:
    waiting, under_way, over = carry(1, LARGE), carry(2), carry(3)
    agent.hears(waiting, under_way, over)
    agent(CarryEnded(ok(over)))
    told = agent.hears(Cancel(order=20, attempt=1001, sentence="asked by ada"))
    assert reports(told) == []
    assert failure(told, NotCarried.WITHDRAWN) == "asked by ada"
    assert Acknowledge(orders=[20]) in sent(told)
    for number, attempt in ((21, 1002), (22, 1003), (23, 1001)):
        assert agent.hears(Cancel(order=number, attempt=attempt)) == [Send(Acknowledge(orders=[number]))]
    assert answers(agent(CarryEnded(ok(under_way)))) == [ok(under_way)], "its node heard of the cancel too"
    assert agent(BlobReady(SHA)) == []


def test_a_cancel_without_a_reason_has_one(agent: Driven) -> None:
    agent.hears(carry(content=LARGE))
    assert failure(agent.hears(Cancel(order=20, attempt=1009)), NotCarried.WITHDRAWN) == WITHDRAWN


def test_content_is_dropped_when_the_last_who_needed_it_is_done(agent: Driven) -> None:
    mine = msgspec.structs.replace(sealed_run(5), payload=LARGE)
    first, second = carry(1, LARGE), carry(2, LARGE)
    agent.hears(first, second, mine)
    agent(BlobReady(SHA))
    assert DropBlob not in kinds(agent(CarryEnded(ok(first))))
    assert DropBlob not in kinds(agent(Ended(5, result())))
    assert agent(CarryEnded(ok(second)))[-1] == DropBlob(SHA)
    assert agent(CarryEnded(ok(second))) == []


def test_content_to_carry_that_somebody_here_runs_stays_until_that_is_over(agent: Driven) -> None:
    order = carry(content=LARGE)
    agent.hears(msgspec.structs.replace(sealed_run(5), payload=LARGE), order)
    agent(BlobReady(SHA))
    assert DropBlob not in kinds(agent(CarryEnded(ok(order))))
    assert agent(Ended(5, result()))[-1] == DropBlob(SHA)


def test_a_gateway_that_stops_takes_nothing_more(agent: Driven) -> None:
    agent(StopAsked("bye"))
    assert agent.hears(carry()) == []


# --- The node --------------------------------------------------------------------------------------


def test_what_was_brought_is_run_as_if_the_panel_had_given_it(agent: Driven) -> None:
    order = sealed_run(5)
    assert order.payload is not None
    assert agent(Brought(order)) == [Obtain(order.payload), AnswerGateway()]
    assert agent(BlobReady(order.payload.sha256)) == [StartJob(order)]
    (end,) = reports(agent(Ended(5, result())))
    assert isinstance(end, Finished) and end.outcome is Outcome.SUCCEEDED


def test_what_was_brought_again_changes_nothing_whoever_brings_it(agent: Driven) -> None:
    order = sealed_run(5)
    agent(Brought(order))
    assert agent(Brought(order)) == [AnswerGateway()]
    assert agent.hears(run(5)) == [Send(Acknowledge(orders=[105]))]
    agent(Ended(5, result()))
    assert agent(Brought(order)) == [AnswerGateway(), DropBlob(BROUGHT)]


def test_what_was_cancelled_before_it_was_brought_is_not_run(agent: Driven) -> None:
    agent.hears(Cancel(order=9, attempt=5))
    assert agent(Brought(sealed_run(5))) == [AnswerGateway(), DropBlob(BROUGHT)]


def test_what_was_brought_is_taken_on_and_held_while_the_panel_is_away(agent: Driven) -> None:
    agent(Disconnected("gone"))
    assert AnswerGateway() in agent(Brought(sealed_run(5)))
    assert sent(agent(Connected(WELCOME)))[1] == Holding(attempts=[5])


def test_a_node_that_stops_takes_on_nothing(agent: Driven) -> None:
    agent(StopAsked("bye"))
    assert agent(Brought(sealed_run(5))) == [AnswerGateway("This node is stopping.")]


# --- Whatever happens ------------------------------------------------------------------------------

BLOBS = [LARGE, Blob(sha256="b" * 64, size=700_000), blob(CONTENT, inline=True)]


class Gateway(RuleBasedStateMachine):
    """Few at once and few in all, so that both limits are met."""

    def __init__(self) -> None:
        super().__init__()
        self.carriages = Carriages(Downloads(), at_once=2, most=5)
        self.tick = 100.0
        self.orders: dict[int, tuple[Carry, float]] = {}  # and when its time is over
        self.under_way: dict[int, Carry] = {}
        self.brought: Counter[int] = Counter()
        self.answers: dict[int, Carried] = {}

    def follow(self, instructions: Iterable[Instruction]) -> None:
        for one in instructions:
            if isinstance(one, Bring):
                number = one.order.order
                assert one.within_s == max(0.0, self.orders[number][1] - self.tick)
                assert number not in self.answers, "it was answered"
                self.brought[number] += 1
                self.under_way[number] = one.order
            elif isinstance(one, Send):
                answer = one.message
                assert isinstance(answer, Carried)
                assert self.answers.setdefault(answer.order, answer) == answer, "two answers"

    @rule(number=st.integers(1, 12), content=st.sampled_from(BLOBS), timeout_s=st.sampled_from([5.0, 60.0]))
    def order(self, number: int, content: Blob, timeout_s: float) -> None:
        known = self.orders.get(number)
        order = known[0] if known else carry(number, content, attempt=1 + number % 5, timeout_s=timeout_s)
        self.orders.setdefault(number, (order, self.tick + timeout_s))
        self.follow(self.carriages.take(order, self.tick))

    @rule(content=st.sampled_from(BLOBS))
    def fetched(self, content: Blob) -> None:
        self.carriages._downloads.close(content.sha256)
        self.follow(self.carriages.fetched(content.sha256, self.tick))

    @rule(content=st.sampled_from(BLOBS))
    def lost(self, content: Blob) -> None:
        self.carriages._downloads.close(content.sha256)
        self.follow(self.carriages.lost(content.sha256, "It came damaged."))

    @precondition(lambda self: self.under_way)
    @rule(choice=st.randoms(use_true_random=False))
    def end(self, choice: Random) -> None:
        order = self.under_way.pop(choice.choice(sorted(self.under_way)))
        self.follow(self.carriages.ended(ok(order), self.tick))

    @rule(attempt=st.integers(1, 5))
    def cancel(self, attempt: int) -> None:
        self.follow(self.carriages.withdraw(attempt, "asked by ada"))

    @rule(seconds=st.sampled_from([1.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.tick += seconds
        if (at := self.carriages.wake_at()) is not None and self.tick >= at:
            self.follow(self.carriages.on_tick(self.tick))

    @invariant()
    def none_is_brought_twice(self) -> None:
        assert all(count == 1 for count in self.brought.values())

    @invariant()
    def few_are_under_way(self) -> None:
        assert len(self.under_way) <= 2

    @invariant()
    def each_is_answered_in_time(self) -> None:
        for number, (_, until) in self.orders.items():
            assert number in self.answers or number in self.under_way or self.tick < until

    @invariant()
    def nobody_waits_for_what_is_answered(self) -> None:
        waiting = {attempt for one in self.carriages._downloads._open.values() for attempt in one.waiting}
        unanswered = {
            order.attempt for number, (order, _) in self.orders.items() if number not in self.answers
        }
        assert waiting <= unanswered


TestGateway = Gateway.TestCase
TestGateway.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
