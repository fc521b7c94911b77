"""Keeping in touch with the panel: dialling, waiting, beating, leaving."""

from __future__ import annotations

import msgspec
import pytest

from fogagent.events import Began, Connected, Disconnected, Imposter, Refused, StopAsked
from fogagent.instructions import Beat, Close, ConnectAfter, Exit, ExitCode, Say
from fogagent.messages import Configure, Goodbye, Problem, Watch
from fogagent.tests.driven import WELCOME, Driven, connected, kinds


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


def test_does_not_beat_while_disconnected(agent: Driven) -> None:
    agent(Disconnected("gone"))
    assert agent.state.wake_at() is None
    assert beats(agent, 100) == 0


def test_the_farewell_gives_the_reason(agent: Driven) -> None:
    assert Exit(ExitCode.STOPPED, Goodbye(sentence="SIGTERM")) in agent(StopAsked("SIGTERM"))
