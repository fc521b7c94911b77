"""The state machine: one event, the instructions that must follow."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from random import Random

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fogagent import attempts, downloads
from fogagent.attempts import Kept
from fogagent.drivers.base import Result
from fogagent.events import (
    Began,
    BlobFailed,
    BlobReady,
    BlobWanted,
    CacheChanged,
    CircuitTrialEnded,
    Connected,
    Disconnected,
    Ended,
    Event,
    FactsChanged,
    Imposter,
    JobBegan,
    Moment,
    Output,
    OverlayChanged,
    OverlayStarted,
    Received,
    Refused,
    StopAsked,
    Ticked,
)
from fogagent.instructions import (
    Beat,
    CancelJob,
    Close,
    ConnectAfter,
    DropBlob,
    Exit,
    ExitCode,
    Forget,
    Instruction,
    Keep,
    KeepAlive,
    KeepChunk,
    Obtain,
    OpenTunnels,
    Replay,
    Report,
    RunTrial,
    Say,
    Send,
    StartJob,
    TellOverlay,
)
from fogagent.messages import (
    LOG_PIECE_BYTES,
    MAX_FRAME_BYTES,
    MAX_MODULE_BYTES,
    MAX_SEALED_BYTES,
    Ack,
    Acknowledge,
    Blob,
    Cancel,
    Chunk,
    CircuitTried,
    Configure,
    DirectoryWanted,
    Facts,
    Fetch,
    Finished,
    FromPanel,
    Goodbye,
    Holding,
    Log,
    Outcome,
    OverlayFacts,
    Piece,
    Problem,
    Run,
    Sealed,
    SetTunnels,
    Started,
    Stream,
    TryCircuit,
    TunnelSpec,
    Watch,
    Welcome,
    encode_frame,
)
from fogagent.overlay.directory_holder import DirectoryHolder
from fogagent.state import AgentState

FACTS = Facts(hostname="h", platform="p", version="1", cpu_millis=1000, memory_mb=512, disk_mb=1000)
WELCOME = Welcome(signature=bytes(64), node=7, name="edge-1", epoch=1, heartbeat_s=30, timeout_s=90)
EPOCH = 1_000_000.0
SHA = "a" * 64


class Driven:
    """A state machine with a clock of its own, driven by hand."""

    def __init__(self, kept: Iterable[Kept] = (), first_seq: int = 1, seed: int = 1) -> None:
        rng = Random(seed)
        self.state = AgentState(
            facts=FACTS, first_seq=first_seq, kept=kept, directory=DirectoryHolder(None, rng), rng=rng
        )
        self.tick = 100.0

    def __call__(self, event: Event) -> list[Instruction]:
        return self.state.handle(event, Moment(EPOCH + self.tick, self.tick))

    def after(self, seconds: float) -> list[Instruction]:
        self.tick += seconds
        return self(Ticked())

    def hears(self, *messages: FromPanel) -> list[Instruction]:
        return self(Received(list(messages)))


@pytest.fixture
def agent() -> Driven:
    return connected()


def connected(kept: Iterable[Kept] = (), first_seq: int = 1) -> Driven:
    agent = Driven(kept, first_seq)
    agent(Began())
    agent(Connected(WELCOME))
    return agent


def running(*attempts: int) -> Driven:
    agent = connected()
    for attempt in attempts:
        agent.hears(run(attempt))
        agent(JobBegan(attempt))
    return agent


def run(attempt: int, **changes: object) -> Run:
    order = {"order": attempt + 100, "attempt": attempt, "task": 1, "driver": "wasm", "timeout_s": 60.0}
    return Run(**(order | changes))  # type: ignore[arg-type]


def result(outcome: Outcome = Outcome.SUCCEEDED, **changes: object) -> Result:
    given = {"outcome": outcome, "started_at": 1.0, "finished_at": 2.0, "exit_code": 0}
    return Result(**(given | changes))  # type: ignore[arg-type]


def printed(attempt: int, offset: int, data: bytes, stream: Stream = Stream.STDOUT) -> Output:
    return Output(attempt, Piece(stream=stream, offset=offset, data=data))


def reports(instructions: Iterable[Instruction]) -> list[Report]:
    return [one.report for one in instructions if isinstance(one, Keep)]


def sent(instructions: Iterable[Instruction]) -> list[object]:
    return [one.message for one in instructions if isinstance(one, Send)]


def finished(instructions: Iterable[Instruction]) -> Finished:
    (report,) = reports(instructions)
    assert isinstance(report, Finished)
    return report


def kinds(instructions: Iterable[Instruction]) -> list[type]:
    return [type(one) for one in instructions if not isinstance(one, Say)]


# --- Connecting ------------------------------------------------------------------------------------


def test_begins_by_connecting_at_once() -> None:
    assert Driven()(Began()) == [ConnectAfter(0.0)]


def test_tells_facts_then_holdings_then_replays_then_beats() -> None:
    agent = Driven()
    agent(Began())
    instructions = agent(Connected(WELCOME))
    assert kinds(instructions) == [KeepAlive, Send, Send, Replay, Beat, Send]
    assert sent(instructions) == [FACTS, Holding(attempts=[]), DirectoryWanted(since=0)]


def test_holds_what_runs_and_what_is_not_acknowledged(agent: Driven) -> None:
    agent.hears(run(1), run(2), run(3))
    agent(Ended(2, result()))
    agent(Ended(3, result()))
    (seq,) = (one.report.seq for one in agent(Ended(1, result())) if isinstance(one, Keep))
    agent.hears(Ack(seqs=[seq]))
    agent.hears(run(4))
    agent(Disconnected("gone"))
    assert sent(agent(Connected(WELCOME)))[1] == Holding(attempts=[4, 2, 3])


def test_the_first_retry_is_immediate_the_next_ever_later() -> None:
    agent = Driven()
    delays = [
        one.delay_s for _ in range(12) for one in agent(Disconnected("no")) if isinstance(one, ConnectAfter)
    ]
    assert delays[0] == 0.0
    assert all(0.25 * 2**n <= delays[n + 1] <= 0.5 * 2**n for n in range(6))
    assert all(15 <= delay <= 30 for delay in delays[8:])
    assert len(set(delays[8:])) > 1, "without jitter"


def test_a_connection_that_breaks_at_once_is_not_retried_at_full_speed(agent: Driven) -> None:
    agent(Disconnected("gone"))
    agent(Connected(WELCOME))
    (delay,) = (one.delay_s for one in agent(Disconnected("gone")) if isinstance(one, ConnectAfter))
    assert delay > 0


def test_after_a_good_connection_the_first_retry_is_immediate_again(agent: Driven) -> None:
    agent(Disconnected("gone"))
    agent(Disconnected("no"))
    agent(Connected(WELCOME))
    agent.tick += 60
    assert ConnectAfter(0.0) in agent(Disconnected("gone"))


def test_a_fleet_that_loses_its_panel_does_not_return_in_one_moment() -> None:
    delays = []
    for number in range(100):
        agent = Driven(seed=number)
        agent(Began())
        agent(Connected(msgspec.structs.replace(WELCOME, spread_s=20)))
        agent.tick += 60
        delays += [one.delay_s for one in agent(Disconnected("gone")) if isinstance(one, ConnectAfter)]
        delays += [one.delay_s - 10 for one in agent(Disconnected("no")) if isinstance(one, ConnectAfter)]
    for tries, most in ((delays[::2], 20), (delays[1::2], 10)):
        assert 0 <= min(tries) < most / 5 and most * 4 / 5 < max(tries) <= most


def test_waits_less_long_where_the_panel_is_less_patient() -> None:
    agent = connected()
    agent.hears(Configure(order=1, heartbeat_s=1, timeout_s=3))
    delays = [
        one.delay_s for _ in range(9) for one in agent(Disconnected("no")) if isinstance(one, ConnectAfter)
    ]
    assert max(delays) <= 1.0


def test_says_once_that_it_waits_for_approval() -> None:
    agent = Driven()
    waiting = Refused(Problem(code="waiting-for-approval", sentence="edge-1 waits.", fatal=True))
    first, second = agent(waiting), agent(waiting)
    assert sum(isinstance(one, Say) for one in first) == 1
    assert sum(isinstance(one, Say) for one in second) == 0
    for instructions in (first, second):
        (delay,) = (one.delay_s for one in instructions if isinstance(one, ConnectAfter))
        assert 20 <= delay <= 30


@pytest.mark.parametrize("code", ["not-enrolled", "replaced", "bad-signature"])
def test_a_final_refusal_ends_the_agent(code: str) -> None:
    refusal = Problem(code=code, sentence="No.", fatal=True, retry=False)
    assert Exit(ExitCode.REFUSED) in Driven()(Refused(refusal))
    instructions = connected().hears(refusal)
    assert kinds(instructions) == [Close, Exit]


def test_a_fatal_problem_that_may_pass_is_retried(agent: Driven) -> None:
    problem = Problem(code="bad-frame", sentence="The frame is not JSON.", fatal=True, retry=True)
    assert kinds(agent.hears(problem)) == [Close, ConnectAfter]


def test_a_problem_that_is_not_fatal_is_only_said(agent: Driven) -> None:
    assert kinds(agent.hears(Problem(code="bad-facts", sentence="region: too long."))) == []


def test_an_imposter_ends_the_agent() -> None:
    assert kinds(Driven()(Imposter("Not ours."))) == [Close, Exit]


def test_messages_out_of_turn_change_nothing(agent: Driven) -> None:
    assert kinds(agent.hears(WELCOME)) == []


# --- Orders ----------------------------------------------------------------------------------------


def test_a_run_is_started_and_acknowledged(agent: Driven) -> None:
    order = run(5)
    assert agent.hears(order) == [StartJob(order), Send(Acknowledge(orders=[105]))]


def test_the_orders_of_a_frame_are_acknowledged_together(agent: Driven) -> None:
    assert sent(agent.hears(run(1), run(2), Cancel(order=9, attempt=1))) == [
        Acknowledge(orders=[101, 102, 9])
    ]


def test_an_order_seen_is_acknowledged_again_and_not_run_again(agent: Driven) -> None:
    agent.hears(run(5))
    assert agent.hears(run(5)) == [Send(Acknowledge(orders=[105]))]
    report = finished(agent(Ended(5, result())))
    assert agent.hears(run(5)) == [Send(Acknowledge(orders=[105]))]
    agent.hears(Ack(seqs=[report.seq]))
    assert agent.hears(run(5)) == [Send(Acknowledge(orders=[105]))]


def test_a_cancel_reaches_the_running_job(agent: Driven) -> None:
    agent.hears(run(5))
    assert CancelJob(5, "asked by ada") in agent.hears(Cancel(order=9, attempt=5, sentence="asked by ada"))


def test_a_cancel_of_an_attempt_never_seen_ends_it(agent: Driven) -> None:
    assert finished(agent.hears(Cancel(order=9, attempt=5))).outcome is Outcome.CANCELLED


def test_a_run_that_comes_after_its_cancel_is_not_run(agent: Driven) -> None:
    agent.hears(Cancel(order=9, attempt=5))
    assert agent.hears(run(5)) == [Send(Acknowledge(orders=[105]))]


def test_a_cancel_that_comes_too_late_is_only_acknowledged(agent: Driven) -> None:
    agent.hears(run(5))
    agent(Ended(5, result()))
    assert agent.hears(Cancel(order=9, attempt=5)) == [Send(Acknowledge(orders=[9]))]


def test_ended_attempts_are_forgotten_after_very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "REMEMBERED_ATTEMPTS", 2)
    agent = connected()
    for attempt in (1, 2, 3):
        agent.hears(run(attempt))
        agent(Ended(attempt, result()))
    assert StartJob not in kinds(agent.hears(run(3)))
    assert StartJob in kinds(agent.hears(run(1)))


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        (Blob(sha256=SHA, size=3, inline=b"abc"), "does not fit its hash"),
        (Blob(sha256=hashlib.sha256(b"abc").hexdigest(), size=4, inline=b"abc"), "does not fit its hash"),
        (Blob(sha256=SHA, size=MAX_MODULE_BYTES + 1), "must have at most"),
    ],
)
def test_a_payload_that_cannot_be_right_is_refused(agent: Driven, blob: Blob, words: str) -> None:
    instructions = agent.hears(run(5, payload=blob))
    assert finished(instructions).outcome is Outcome.INVALID
    assert words in finished(instructions).sentence
    assert StartJob not in kinds(instructions)


# --- Reports ---------------------------------------------------------------------------------------


def test_a_short_job_is_one_report() -> None:
    agent = running(5)
    agent(printed(5, 0, b"hel"))
    agent(printed(5, 3, b"lo"))
    agent(printed(5, 0, b"oh", Stream.STDERR))
    report = finished(agent(Ended(5, result(Outcome.EXIT_CODE, exit_code=3, sentence="It failed."))))
    assert [(piece.stream, piece.offset, piece.data) for piece in report.pieces] == [
        (Stream.STDOUT, 0, b"hello"),
        (Stream.STDERR, 0, b"oh"),
    ]
    assert (report.outcome, report.exit_code, report.sentence) == (Outcome.EXIT_CODE, 3, "It failed.")
    assert (report.started_at, report.at) == (1.0, 2.0)


def test_a_job_that_waits_for_a_worker_is_not_announced(agent: Driven) -> None:
    agent.hears(run(5))
    assert reports(agent.after(60)) == []
    agent(JobBegan(5))
    assert reports(agent.after(0.05)) == []
    (started,) = reports(agent.after(0.2))
    assert started == Started(seq=1, attempt=5, at=EPOCH + 160.0)


def test_a_long_job_is_announced_once_with_the_time_it_began() -> None:
    agent = running(5)
    (started,) = reports(agent.after(1.0))
    assert started == Started(seq=1, attempt=5, at=EPOCH + 100.0)
    agent(printed(5, 0, b"x"))
    assert [type(report) for report in reports(agent.after(1.0))] == [Log]


def test_output_is_gathered_for_a_moment() -> None:
    agent = running(5)
    agent.after(1.0)
    agent(printed(5, 0, b"one "))
    wake_at = agent.state.wake_at()
    assert wake_at is not None
    assert 0.1 <= wake_at - agent.tick <= 0.25
    assert reports(agent(printed(5, 4, b"two"))) == []
    (log,) = reports(agent.after(0.25))
    assert isinstance(log, Log)
    assert [piece.data for piece in log.pieces] == [b"one two"]


def test_much_output_does_not_wait_and_fits_its_frames() -> None:
    agent = running(5)
    data = bytes(LOG_PIECE_BYTES)
    kept: list[Report] = []
    for index in range(32):
        stream = (Stream.STDOUT, Stream.STDERR)[index % 2]
        kept += reports(agent(printed(5, index // 2 * LOG_PIECE_BYTES, data, stream)))
    assert len(kept) > 4
    kept += reports(agent(Ended(5, result())))
    assert all(len(encode_frame([report])) < MAX_FRAME_BYTES for report in kept)
    pieces = [piece for report in kept if isinstance(report, Log | Finished) for piece in report.pieces]
    for stream in (Stream.STDOUT, Stream.STDERR):
        mine = [piece for piece in pieces if piece.stream is stream]
        assert [piece.offset for piece in mine] == [n * LOG_PIECE_BYTES for n in range(16)]


def test_lines_of_both_streams_in_turn_stay_within_a_report() -> None:
    agent = running(5)
    for index in range(300):
        agent(printed(5, index // 2, b"x", (Stream.STDOUT, Stream.STDERR)[index % 2]))
    kept = reports(agent(Ended(5, result())))
    pieces = [len(report.pieces) for report in kept if isinstance(report, Log | Finished)]
    assert sum(pieces) == 300
    assert max(pieces) <= 64


def test_a_very_long_sentence_is_cut_to_what_the_panel_takes() -> None:
    agent = running(5)
    assert len(finished(agent(Ended(5, result(Outcome.CRASHED, sentence="x" * 5000)))).sentence) == 2000


def test_output_and_end_of_unknown_attempts_are_ignored(agent: Driven) -> None:
    assert agent(printed(99, 0, b"x")) == []
    assert agent(Ended(99, result())) == []


def test_only_known_acknowledgements_are_forgotten() -> None:
    agent = running(5)
    seq = finished(agent(Ended(5, result()))).seq
    assert agent.hears(Ack(seqs=[seq, 4711])) == [Forget([seq])]
    assert agent.hears(Ack(seqs=[seq])) == []


def test_the_end_of_an_attempt_is_forgotten_last() -> None:
    kept = [Kept(1, 5, False), Kept(2, 5, True), Kept(3, 6, True)]
    agent = Driven(kept, first_seq=100)
    agent(Began())
    assert agent.hears(Ack(seqs=[2, 3])) == [Forget([3])]
    assert agent.hears(Ack(seqs=[2])) == []
    assert agent.hears(Ack(seqs=[1, 1, 2])) == [Forget([1, 2])]


def test_numbers_go_on_where_the_spool_says() -> None:
    agent = connected(first_seq=500)
    agent.hears(run(5))
    assert finished(agent(Ended(5, result()))).seq == 500


def test_work_goes_on_and_is_kept_while_disconnected() -> None:
    agent = running(5)
    assert kinds(agent(Disconnected("gone"))) == [ConnectAfter]
    assert finished(agent(Ended(5, result()))).attempt == 5


# --- Sealed tasks ----------------------------------------------------------------------------------

SEALED = Sealed(reservation=7, wrapped=bytes(80))
SEALED_RESULT = bytes(i % 251 for i in range(1_000_000))


def sealed_run(attempt: int, **changes: object) -> Run:
    given = {"sealed": SEALED, "payload": Blob(sha256=SHA, size=MAX_SEALED_BYTES)}
    return run(attempt, **(given | changes))


def opened(attempt: int) -> Driven:
    """A sealed task that runs."""
    agent = connected()
    agent.hears(sealed_run(attempt))
    agent(BlobReady(SHA))
    agent(JobBegan(attempt))
    return agent


def test_sealed_content_may_be_larger_than_a_module(agent: Driven) -> None:
    order = sealed_run(5)
    assert kinds(agent.hears(order)) == [Obtain, Send]
    assert agent(BlobReady(SHA)) == [StartJob(order)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"payload": Blob(sha256=SHA, size=MAX_SEALED_BYTES + 1)}, "payload: must have at most"),
        ({"payload": Blob(sha256=SHA, size=3, inline=b"abc")}, "payload: its content does not fit"),
        ({"payload": None}, "payload: must be the sealed task"),
        ({"image": "alpine"}, "image: must be inside"),
        ({"args": ["-v"]}, "args: must be inside"),
        ({"env": {"A": "1"}}, "env: must be inside"),
        ({"stdin": Blob(sha256=SHA, size=3)}, "stdin: must be inside"),
    ],
)
def test_nothing_is_given_in_clear_beside_what_is_sealed(
    agent: Driven, change: dict[str, object], words: str
) -> None:
    instructions = agent.hears(sealed_run(5, **change))
    assert finished(instructions).outcome is Outcome.INVALID
    assert words in finished(instructions).sentence
    assert StartJob not in kinds(instructions)


def test_a_sealed_result_goes_in_pieces_and_the_last_with_the_end() -> None:
    agent = opened(5)
    *logs, end = reports(agent(Ended(5, result(exit_code=None), SEALED_RESULT)))
    assert [type(log) for log in logs] == [Log] * 3
    assert isinstance(end, Finished)
    assert all(len(encode_frame([report])) < MAX_FRAME_BYTES for report in [*logs, end])
    pieces = [
        piece for report in [*logs, end] if isinstance(report, Log | Finished) for piece in report.pieces
    ]
    assert {piece.stream for piece in pieces} == {Stream.SEALED}
    assert b"".join(piece.data for piece in pieces) == SEALED_RESULT
    assert [piece.offset for piece in pieces] == list(range(0, len(SEALED_RESULT), LOG_PIECE_BYTES))
    assert (end.exit_code, end.sentence, end.truncated) == (None, "", False)


def test_a_small_sealed_result_is_one_report() -> None:
    report = finished(opened(5)(Ended(5, result(exit_code=None), SEALED_RESULT[:4096])))
    assert [piece.data for piece in report.pieces] == [SEALED_RESULT[:4096]]


def test_a_sealed_result_is_told_of_what_never_had_a_worker(agent: Driven) -> None:
    agent.hears(sealed_run(5))
    agent(BlobReady(SHA))
    report = finished(agent(Ended(5, result(Outcome.CANCELLED, exit_code=None), b"sealed")))
    assert [piece.data for piece in report.pieces] == [b"sealed"]


def test_sealed_content_is_dropped_when_it_was_run_or_will_not_be() -> None:
    assert opened(5)(Ended(5, result()))[-1] == DropBlob(SHA)
    agent = opened(5)
    agent.hears(sealed_run(6))
    agent(BlobReady(SHA))
    assert DropBlob not in kinds(agent(Ended(5, result()))), "another needs it"
    assert agent(Ended(6, result()))[-1] == DropBlob(SHA)
    agent.hears(sealed_run(7))
    assert DropBlob(SHA) in agent.hears(Cancel(order=9, attempt=7))


def test_what_anybody_may_read_is_kept_for_others(agent: Driven) -> None:
    agent.hears(run(5, payload=Blob(sha256=SHA, size=5_000_000)))
    agent(BlobReady(SHA))
    assert DropBlob not in kinds(agent(Ended(5, result())))


def test_a_result_that_was_half_stored_when_the_agent_died_ends_its_attempt_once() -> None:
    whole = reports(opened(5)(Ended(5, result(exit_code=None), SEALED_RESULT)))
    for stored in range(1, len(whole)):
        kept = [Kept(report.seq, 5, isinstance(report, Finished)) for report in whole[:stored]]
        agent = Driven(kept, first_seq=1000)
        report = finished(agent(Began()))
        assert (report.attempt, report.outcome, report.pieces) == (5, Outcome.UNKNOWN, [])
        agent(Connected(WELCOME))
        assert StartJob not in kinds(agent.hears(sealed_run(5)))
    kept = [Kept(report.seq, 5, isinstance(report, Finished)) for report in whole]
    assert reports(Driven(kept, first_seq=1000)(Began())) == []


# --- A new life ------------------------------------------------------------------------------------


def test_work_of_an_earlier_life_is_ended_and_held() -> None:
    agent = Driven([Kept(3, 5, False), Kept(4, 5, False), Kept(5, 6, True)], first_seq=100)
    report = finished(agent(Began()))
    assert (report.seq, report.attempt, report.outcome) == (100, 5, Outcome.UNKNOWN)
    assert sent(agent(Connected(WELCOME)))[1] == Holding(attempts=[5, 6])


def test_an_attempt_with_a_result_in_the_spool_is_not_run_again() -> None:
    agent = connected([Kept(3, 5, True)])
    assert agent.hears(run(5)) == [Send(Acknowledge(orders=[105]))]


# --- Blobs -----------------------------------------------------------------------------------------

BLOB = Blob(sha256=SHA, size=400_000)
CHUNK = Chunk(sha256=SHA, index=0, count=3, data=b"x")


def fetching() -> Driven:
    agent = connected()
    assert kinds(agent.hears(run(5, payload=BLOB), run(6, stdin=BLOB))) == [Obtain, Send]
    assert sent(agent(BlobWanted(SHA, 0))) == [Fetch(attempt=5, sha256=SHA, index=0)]
    return agent


def test_a_blob_in_the_cache_starts_all_who_wait_for_it(agent: Driven) -> None:
    agent.hears(run(5, payload=BLOB), run(6, payload=BLOB, stdin=BLOB))
    assert [one.run.attempt for one in agent(BlobReady(SHA)) if isinstance(one, StartJob)] == [5, 6]


def test_a_job_waits_for_both_its_blobs(agent: Driven) -> None:
    other = Blob(sha256="b" * 64, size=100)
    agent.hears(run(5, payload=BLOB, stdin=other))
    assert agent(BlobReady(SHA)) == []
    assert kinds(agent(BlobReady("b" * 64))) == [StartJob]


def test_chunks_are_kept_in_order_and_repetitions_left_out() -> None:
    agent = fetching()
    assert agent.hears(CHUNK) == [KeepChunk(CHUNK, BLOB.size)]
    assert agent.hears(CHUNK) == []
    assert agent.hears(Chunk(sha256=SHA, index=2, count=3, data=b"z")) == []
    assert agent.hears(Chunk(sha256="c" * 64, index=0, count=1, data=b"z")) == []


def test_a_new_connection_continues_the_download() -> None:
    agent = fetching()
    agent.hears(CHUNK)
    agent(Disconnected("gone"))
    assert Fetch(attempt=5, sha256=SHA, index=1) in sent(agent(Connected(WELCOME)))


def test_a_download_that_stalls_is_asked_for_again_then_given_up() -> None:
    agent = fetching()
    for _ in range(downloads.MAX_STALLS - 1):
        assert Fetch(attempt=5, sha256=SHA, index=0) in sent(agent.after(downloads.STALL_S))
    ends = reports(agent.after(downloads.STALL_S))
    assert [(end.attempt, end.outcome) for end in ends if isinstance(end, Finished)] == [
        (5, Outcome.CRASHED),
        (6, Outcome.CRASHED),
    ]


def test_a_bad_blob_ends_all_who_wait_for_it() -> None:
    ends = reports(fetching()(BlobFailed(SHA, "It came damaged.")))
    assert [end.attempt for end in ends] == [5, 6]


def test_a_cancelled_attempt_waits_no_more() -> None:
    agent = fetching()
    assert finished(agent.hears(Cancel(order=9, attempt=5))).outcome is Outcome.CANCELLED
    assert Fetch(attempt=6, sha256=SHA, index=0) in sent(agent.after(downloads.STALL_S))
    agent.hears(Cancel(order=10, attempt=6))
    assert sent(agent.after(downloads.STALL_S)) == []
    assert agent(BlobReady(SHA)) == []


# --- Beats, facts, the end -------------------------------------------------------------------------


def beats(agent: Driven, seconds: int) -> int:
    return sum(isinstance(one, Beat) for _ in range(seconds) for one in agent.after(1.0))


def test_beats_on_the_interval_and_faster_while_watched(agent: Driven) -> None:
    assert beats(agent, 300) in (10, 11)
    agent.hears(Watch(every_s=2, for_s=30))
    assert beats(agent, 30) == 15
    assert beats(agent, 300) in (10, 11)


def test_watching_never_slows_the_beat(agent: Driven) -> None:
    agent.hears(Configure(order=3, heartbeat_s=1, timeout_s=3))
    agent.hears(Watch(every_s=10, for_s=1000))
    assert beats(agent, 60) >= 59


def test_the_cache_is_told_of_some_seconds_after_it_changed(agent: Driven) -> None:
    assert sent(agent(CacheChanged([SHA]))) == []
    agent(CacheChanged([SHA, "b" * 64]))
    told = [one for _ in range(5) for one in sent(agent.after(1.0)) if isinstance(one, Facts)]
    assert [facts.cached for facts in told] == [[SHA, "b" * 64]]


def test_the_cache_is_told_of_with_other_facts_too(agent: Driven) -> None:
    agent(CacheChanged([SHA]))
    [facts] = sent(agent(FactsChanged(msgspec.structs.replace(FACTS, region="eu-west"))))
    assert facts == msgspec.structs.replace(FACTS, region="eu-west", cached=[SHA])
    agent(Disconnected("gone"))
    assert sent(agent(Connected(WELCOME)))[0] == facts


def test_does_not_beat_while_disconnected(agent: Driven) -> None:
    agent(Disconnected("gone"))
    assert agent.state.wake_at() is None
    assert beats(agent, 100) == 0


def test_new_facts_are_told_now_and_on_every_connect(agent: Driven) -> None:
    news = Facts(hostname="h2", platform="p", version="1", cpu_millis=1, memory_mb=1, disk_mb=1)
    assert sent(agent(FactsChanged(news))) == [news]
    agent(Disconnected("gone"))
    assert agent(FactsChanged(news)) == []
    assert sent(agent(Connected(WELCOME)))[0] == news


def test_stopping_takes_nothing_on_and_reports_nothing_of_what_it_kills(agent: Driven) -> None:
    agent.hears(run(5))
    assert kinds(agent(StopAsked("SIGTERM"))) == [Exit]
    assert agent(StopAsked("SIGTERM")) == []
    assert agent.hears(run(6)) == []
    assert agent(Ended(5, result(Outcome.CANCELLED))) == []
    assert kinds(agent(Disconnected("gone"))) == []


def test_the_farewell_gives_the_reason(agent: Driven) -> None:
    assert Exit(ExitCode.STOPPED, Goodbye(sentence="SIGTERM")) in agent(StopAsked("SIGTERM"))


# --- Any order of events ---------------------------------------------------------------------------

ATTEMPTS = st.integers(1, 6)
SEALED_ATTEMPTS = (3, 6)


# --- The overlay -----------------------------------------------------------------------------------

OVERLAY = OverlayFacts(onion_key=bytes(32), certificate=b"certificate", address="192.0.2.7:9171")


def test_the_panel_hears_of_the_overlay_when_there_is_one_and_on_each_connect(agent: Driven) -> None:
    assert agent(OverlayChanged()) == [TellOverlay()]
    assert agent(OverlayStarted(OVERLAY)) == [Send(OVERLAY), TellOverlay()]
    agent(Disconnected("gone"))
    assert agent(OverlayStarted(OVERLAY)) == agent(OverlayChanged()) == []
    again = agent(Connected(WELCOME))
    assert again.index(Send(OVERLAY)) + 1 == again.index(TellOverlay())


def test_tunnels_and_trials_are_ordered(agent: Driven) -> None:
    spec = TunnelSpec(tunnel=1)
    assert agent.hears(SetTunnels(order=7, tunnels=[spec])) == [
        OpenTunnels([spec]),
        Send(Acknowledge(orders=[7])),
    ]
    trial = TryCircuit(order=8, trial=3)
    assert agent.hears(trial) == [RunTrial(trial), Send(Acknowledge(orders=[8]))]
    tried = CircuitTried(trial=3, ok=True)
    assert agent(CircuitTrialEnded(tried)) == [Send(tried)]
    agent(Disconnected("gone"))
    assert agent(CircuitTrialEnded(tried)) == []


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
        held = set(self.agent.state._held())
        assert {report.attempt for report in self.spool.values()} <= held
        assert self.running <= held
        assert self.ordered <= held | set(self.ended) | self.settled


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
