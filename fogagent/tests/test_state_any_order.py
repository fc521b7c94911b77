"""The state machine under any order of events, kills included."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fogagent.events import (
    Began,
    BlobFailed,
    BlobReady,
    BlobWanted,
    Connected,
    Disconnected,
    Ended,
    Event,
    JobBegan,
    Received,
    Ticked,
)
from fogagent.instructions import Forget, Keep, Obtain, Report, Send, StartJob
from fogagent.messages import (
    LOG_PIECE_BYTES,
    MAX_FRAME_BYTES,
    Ack,
    Acknowledge,
    Cancel,
    Finished,
    Log,
    encode_frame,
)
from fogagent.reports import Kept
from fogagent.tests.driven import BLOB, SHA, WELCOME, Driven, printed, result, run, sealed_run

ATTEMPTS = st.integers(1, 6)
SEALED_ATTEMPTS = (3, 6)


class AnyOrder(RuleBasedStateMachine):
    """A node's life in any order, kills included: every attempt ends once, none is run twice.

    The spool of the model keeps what a killed process would find: everything that was stored.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spool: dict[int, Report] = {}
        self.ended: Counter[int] = Counter()  # by Finished reports with different numbers
        self.ordered: set[int] = set()
        self.begun: Counter[int] = Counter()
        self.settled: set[int] = set()  # of which an earlier life's panel wants nothing more
        self.seqs: set[int] = set()
        self.first_seq = 1
        self.live()

    def live(self) -> None:
        kept = [Kept(r.seq, r.attempt, isinstance(r, Finished)) for r in self.spool.values()]
        self.agent = Driven(kept, self.first_seq)
        self.first_seq += 2**32
        self.running: set[int] = set()
        self.printed: Counter[int] = Counter()
        self.reported: Counter[int] = Counter()  # bytes of output in reports
        self.obtaining = False
        self.do(Began())

    def do(self, event: Event) -> None:
        began: list[int] = []
        for one in self.agent(event):
            match one:
                case Keep(report):
                    assert report.seq not in self.seqs, "a number was used twice"
                    self.seqs.add(report.seq)
                    self.spool[report.seq] = report
                    if isinstance(report, Log | Finished):
                        self.reported[report.attempt] += sum(len(piece.data) for piece in report.pieces)
                        assert len(encode_frame([report])) < MAX_FRAME_BYTES
                    if isinstance(report, Finished):
                        assert self.reported[report.attempt] == self.printed[report.attempt]
                        self.ended[report.attempt] += 1
                        self.running.discard(report.attempt)
                case StartJob(order):
                    self.begun[order.attempt] += 1
                    self.running.add(order.attempt)
                    began.append(order.attempt)
                case Forget(seqs):
                    for seq in seqs:
                        del self.spool[seq]
                case Send(Acknowledge() as acknowledged):
                    assert acknowledged.orders
                case Obtain():
                    self.obtaining = True
                case _:
                    pass
        for attempt in began:
            self.do(JobBegan(attempt))

    @rule(attempt=ATTEMPTS, large=st.booleans())
    def order(self, attempt: int, large: bool) -> None:
        if self.agent.state.connected and attempt not in self.settled:
            self.ordered.add(attempt)
            payload = BLOB if large else None
            order = (
                sealed_run(attempt, payload=BLOB)
                if attempt in SEALED_ATTEMPTS
                else run(attempt, payload=payload)
            )
            self.do(Received([order]))

    @rule(attempt=ATTEMPTS)
    def cancel(self, attempt: int) -> None:
        if self.agent.state.connected and attempt not in self.settled:
            self.ordered.add(attempt)
            self.do(Received([Cancel(order=900 + attempt, attempt=attempt)]))

    @precondition(lambda self: self.running)
    @rule(choice=st.randoms(use_true_random=False), size=st.integers(1, 300_000))
    def prints(self, choice: Random, size: int) -> None:
        attempt = choice.choice(sorted(self.running))
        if attempt in SEALED_ATTEMPTS:
            return  # whose output comes with the end
        for start in range(0, size, LOG_PIECE_BYTES):
            data = bytes(min(LOG_PIECE_BYTES, size - start))
            self.do(printed(attempt, self.printed[attempt], data))
            self.printed[attempt] += len(data)

    @precondition(lambda self: self.running)
    @rule(choice=st.randoms(use_true_random=False), size=st.integers(1, 600_000))
    def end(self, choice: Random, size: int) -> None:
        attempt = choice.choice(sorted(self.running))
        self.running.discard(attempt)
        sealed = bytes(size) if attempt in SEALED_ATTEMPTS else b""
        self.printed[attempt] += len(sealed)
        self.do(Ended(attempt, result(), sealed))

    @precondition(lambda self: self.obtaining)
    @rule(how=st.sampled_from([BlobReady(SHA), BlobWanted(SHA, 0), BlobFailed(SHA, "damaged")]))
    def blob(self, how: Event) -> None:
        self.do(how)

    @rule()
    def connect(self) -> None:
        if not self.agent.state.connected:
            self.do(Connected(WELCOME))

    @rule()
    def disconnect(self) -> None:
        self.do(Disconnected("gone"))

    @precondition(lambda self: self.spool)
    @rule(choice=st.randoms(use_true_random=False))
    def acknowledge(self, choice: Random) -> None:
        self.do(Received([Ack(seqs=[choice.choice(sorted(self.spool))])]))

    @rule(seconds=st.sampled_from([0.05, 0.2, 11.0]))
    def wait(self, seconds: float) -> None:
        self.agent.tick += seconds
        self.do(Ticked())

    @rule()
    def kill(self) -> None:
        # What was neither finished nor reported the panel finds missing in Holding, and gives to others;
        # what it has stored the end of it orders no more.
        unreported = {r.attempt for r in self.spool.values() if isinstance(r, Finished)}
        self.settled |= self.ordered - unreported
        self.live()

    @invariant()
    def none_runs_twice(self) -> None:
        assert all(count == 1 for count in self.begun.values())

    @invariant()
    def each_ends_at_most_once(self) -> None:
        assert all(count == 1 for count in self.ended.values())

    @invariant()
    def nothing_is_lost(self) -> None:
        held = set(self.agent.state._attempts.held())
        assert {report.attempt for report in self.spool.values()} <= held
        assert self.running <= held
        assert self.ordered <= held | set(self.ended) | self.settled


TestAnyOrder = AnyOrder.TestCase


TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
