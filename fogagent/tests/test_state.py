"""The state machine as a whole: what is told on connecting, facts, the end."""

from __future__ import annotations

import msgspec

from fogagent.events import (
    Began,
    CacheChanged,
    Connected,
    Disconnected,
    Ended,
    FactsChanged,
    StopAsked,
)
from fogagent.instructions import (
    Beat,
    ConnectAfter,
    Exit,
    Keep,
    KeepAlive,
    Replay,
    Send,
)
from fogagent.messages import (
    Ack,
    Acknowledge,
    Cancel,
    DirectoryWanted,
    Facts,
    Holding,
    Outcome,
)
from fogagent.tests.driven import (
    FACTS,
    SHA,
    WELCOME,
    Driven,
    kinds,
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
