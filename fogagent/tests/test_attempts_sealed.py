"""Sealed tasks: what is refused, what is told of them, when their content goes."""

from __future__ import annotations

import pytest

from fogagent.events import Began, BlobReady, Connected, Ended, JobBegan
from fogagent.instructions import DropBlob, Obtain, Send, StartJob
from fogagent.messages import (
    LOG_PIECE_BYTES,
    MAX_FRAME_BYTES,
    MAX_SEALED_BYTES,
    Blob,
    Cancel,
    Finished,
    Log,
    Outcome,
    Stream,
    encode_frame,
)
from fogagent.reports import Kept
from fogagent.tests.driven import (
    SHA,
    WELCOME,
    Driven,
    connected,
    finished,
    kinds,
    reports,
    result,
    run,
    sealed_run,
)

SEALED_RESULT = bytes(i % 251 for i in range(1_000_000))


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
