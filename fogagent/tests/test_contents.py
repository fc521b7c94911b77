"""What orders name is fetched, and whoever waits for it hears how that ended."""

from __future__ import annotations

from fogagent import downloads
from fogagent.events import (
    BlobFailed,
    BlobReady,
    BlobWanted,
    Connected,
    Disconnected,
)
from fogagent.instructions import (
    KeepChunk,
    Obtain,
    Send,
    StartJob,
)
from fogagent.messages import (
    Blob,
    Cancel,
    Chunk,
    Fetch,
    Finished,
    Outcome,
)
from fogagent.tests.driven import (
    BLOB,
    SHA,
    WELCOME,
    Driven,
    connected,
    finished,
    kinds,
    reports,
    run,
    sent,
)

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
