"""An attempt from its order to the acknowledgement of its end."""

from __future__ import annotations

import hashlib

import pytest

from fogagent import attempts
from fogagent.events import Began, Connected, Disconnected, Ended, JobBegan
from fogagent.instructions import CancelJob, ConnectAfter, Forget, Report, Send, StartJob
from fogagent.messages import (
    LOG_PIECE_BYTES,
    MAX_FRAME_BYTES,
    MAX_MODULE_BYTES,
    Ack,
    Acknowledge,
    Blob,
    Cancel,
    Finished,
    Holding,
    Log,
    Outcome,
    Started,
    Stream,
    encode_frame,
)
from fogagent.reports import Kept
from fogagent.tests.driven import (
    EPOCH,
    SHA,
    WELCOME,
    Driven,
    connected,
    finished,
    kinds,
    printed,
    reports,
    result,
    run,
    running,
    sent,
)

# --- Orders ---------------------------------------------------------------------------------------


def test_a_run_is_started_and_acknowledged(agent: Driven) -> None:
    order = run(5)
    assert agent.hears(order) == [StartJob(order), Send(Acknowledge(orders=[105]))]


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


# --- Reports --------------------------------------------------------------------------------------


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


# --- A new life -----------------------------------------------------------------------------------


def test_work_of_an_earlier_life_is_ended_and_held() -> None:
    agent = Driven([Kept(3, 5, False), Kept(4, 5, False), Kept(5, 6, True)], first_seq=100)
    report = finished(agent(Began()))
    assert (report.seq, report.attempt, report.outcome) == (100, 5, Outcome.UNKNOWN)
    assert sent(agent(Connected(WELCOME)))[1] == Holding(attempts=[5, 6])


def test_an_attempt_with_a_result_in_the_spool_is_not_run_again() -> None:
    agent = connected([Kept(3, 5, True)])
    assert agent.hears(run(5)) == [Send(Acknowledge(orders=[105]))]
