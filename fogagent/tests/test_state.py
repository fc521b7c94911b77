"""The state machine as a whole: what is told on connecting, blobs, facts, the overlay, the end."""

from __future__ import annotations

import msgspec

from fogagent import downloads
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
    FactsChanged,
    OverlayChanged,
    OverlayStarted,
    StopAsked,
)
from fogagent.instructions import (
    Beat,
    ConnectAfter,
    Exit,
    Keep,
    KeepAlive,
    KeepChunk,
    Obtain,
    OpenTunnels,
    Replay,
    RunTrial,
    Send,
    StartJob,
    TellOverlay,
)
from fogagent.messages import (
    Ack,
    Acknowledge,
    Blob,
    Cancel,
    Chunk,
    CircuitTried,
    DirectoryWanted,
    Facts,
    Fetch,
    Finished,
    GuardedTunnel,
    Holding,
    Outcome,
    OverlayFacts,
    SetTunnels,
    TryCircuit,
    TunnelSpec,
)
from fogagent.tests.driven import (
    BLOB,
    FACTS,
    SHA,
    WELCOME,
    Driven,
    connected,
    finished,
    kinds,
    reports,
    result,
    run,
    sent,
)


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


def test_messages_out_of_turn_change_nothing(agent: Driven) -> None:
    assert kinds(agent.hears(WELCOME)) == []


def test_the_orders_of_a_frame_are_acknowledged_together(agent: Driven) -> None:
    assert sent(agent.hears(run(1), run(2), Cancel(order=9, attempt=1))) == [
        Acknowledge(orders=[101, 102, 9])
    ]


CHUNK = Chunk(sha256=SHA, index=0, count=3, data=b"x")


# --- Blobs ----------------------------------------------------------------------------------------


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


# --- The overlay ----------------------------------------------------------------------------------


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
    guarded = GuardedTunnel(tunnel=2, passwords=[])
    assert agent.hears(SetTunnels(order=7, tunnels=[spec], guarded=[guarded])) == [
        OpenTunnels([spec, guarded]),
        Send(Acknowledge(orders=[7])),
    ]
    trial = TryCircuit(order=8, trial=3)
    assert agent.hears(trial) == [RunTrial(trial), Send(Acknowledge(orders=[8]))]
    tried = CircuitTried(trial=3, ok=True)
    assert agent(CircuitTrialEnded(tried)) == [Send(tried)]
    agent(Disconnected("gone"))
    assert agent(CircuitTrialEnded(tried)) == []
