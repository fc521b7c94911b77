"""How well circuits can be had: the sentence for each state, and how bandwidth is smoothed."""

from __future__ import annotations

from typing import Any

import pytest

from services.absent import Absent
from services.models import State
from services.onion.rules import FAILURES_DOWN, Measured, Tried, judge, milliseconds, smoothed_kbps


def tried(**different: Any) -> Tried:
    usual: dict[str, Any] = {
        "ok": True,
        "node": "kiosk",
        "route": "a → b → c",
        "hops": 3,
        "size": 1000,
        "build_ms": 23.4,
        "echo_ms": 5.0,
    }
    return Tried(**(usual | different))


FAILED = tried(ok=False, sentence="b did not answer.", build_ms=None, echo_ms=None)


def judged(*trials: Tried, relays: int = 5, **there: Any) -> tuple[State, str]:
    found = judge(Measured(relays=relays, by_flag={"exit": 2}, circuits=7, tried=trials, **there))
    return found.state, found.sentence


def test_well() -> None:
    sentence = "A circuit over 3 relays was built in 23 ms and echoed 1,000 bytes in 5 ms"
    assert judged(tried(), FAILED) == (State.OPERATIONAL, sentence)


def test_no_relay_is_degraded_and_says_what_to_do() -> None:
    state, sentence = judged(relays=0, hops=0)
    assert state == State.DEGRADED
    assert sentence == (
        "There is no relay, so no circuit can be built. "
        "Start an agent with relay among its --flags, at an address that other nodes reach."
    )


@pytest.mark.parametrize(
    ("absent", "sentence"),
    [
        (
            Absent(1, ("a",)),
            "The only relay is not connected, so no circuit can be built. Start the agent of a again.",
        ),
        (
            Absent(1200, ("a", "b", "c")),
            "All 1,200 relays are away, so no circuit can be built. "
            "Start the agents of a, b, c and 1,197 more again.",
        ),
    ],
)
def test_relays_that_have_gone_are_named(absent: Absent, sentence: str) -> None:
    assert judged(relays=0, hops=0, absent=absent) == (State.DEGRADED, sentence)


def test_nobody_to_try_is_not_the_relays_fault() -> None:
    state, sentence = judged(relays=1, hops=0)
    assert state == State.DEGRADED
    assert sentence.startswith("There is 1 relay, but no other node is connected")
    assert "--flags" in sentence
    assert "Start the agent of a again." in judged(relays=1, hops=0, absent=Absent(1, ("a",)))[1]


def test_fewer_relays_than_a_circuit_needs() -> None:
    state, sentence = judged(tried(hops=2), relays=2, hops=2)
    assert state == State.DEGRADED
    assert "needs 3 relays besides the node that builds it, and there are 2 relays." in sentence
    assert "--flags" in sentence
    assert "over 2 relays was built in 23 ms" in sentence


@pytest.mark.parametrize("failures", range(FAILURES_DOWN + 1))
def test_too_few_relays_explain_that_circuits_fail(failures: int) -> None:
    state, sentence = judged(*[FAILED] * failures, relays=3, hops=2, absent=Absent(2, ("x", "y")))
    assert state == State.DEGRADED
    needed = "A circuit needs 3 relays besides the node that builds it, and 3 of 5 are connected"
    assert sentence.startswith(f"{needed}, itself among them. Start the agents of x and y again.")
    assert sentence.endswith("came to nothing.") is bool(failures)


@pytest.mark.parametrize("failures", range(1, FAILURES_DOWN + 1))
def test_failures_name_the_path_and_the_reason(failures: int) -> None:
    state, sentence = judged(*[FAILED] * failures, tried())
    assert state == (State.DOWN if failures == FAILURES_DOWN else State.DEGRADED)
    assert "From kiosk through a → b → c: b did not answer." in sentence


@pytest.mark.parametrize("listed", [Absent(), Absent(1, ("x",))])
def test_a_long_reason_is_cut_and_what_to_do_is_not(listed: Absent) -> None:
    _, sentence = judged(tried(ok=False, sentence="long " * 200), listed=listed)
    assert len(sentence) == 300
    assert sentence.endswith("until none chooses it." if listed else "at their addresses.")


def test_figures_have_units_and_none_where_nothing_was_measured() -> None:
    found = judge(Measured(relays=5, by_flag={"exit": 2}, circuits=7, tried=[tried()]))
    assert [(one.label, one.value, one.unit) for one in found.figures] == [
        ("circuit build", 23.4, "ms"),
        ("echo", 5.0, "ms"),
        ("known", 7, "circuits"),
        ("for paths", 5, "relays"),
        ("with the flag exit", 2, "relays"),
    ]
    nothing = judge(Measured(relays=0, hops=0, by_flag={}, circuits=0, tried=[]))
    assert [one.value for one in nothing.figures[:2]] == [None, None]


@pytest.mark.parametrize(
    ("amount", "text"), [(0.0, "0 ms"), (0.42, "0.4 ms"), (5, "5 ms"), (1234, "1,234 ms")]
)
def test_milliseconds(amount: float, text: str) -> None:
    assert milliseconds(amount) == text


@pytest.mark.parametrize(
    ("before", "measured", "after"),
    [
        (0, 5000, 5000),
        (0, 0, 1),  # it answered
        (1000, 2000, 1300),
        (1000, 1200, 1000),  # not worth a new version of the directory
        (1000, 0, 700),
        (1, 0, 1),
    ],
)
def test_bandwidth_moves_slowly(before: int, measured: int, after: int) -> None:
    assert smoothed_kbps(before, measured) == after


def test_it_gets_there() -> None:
    kbps = 1000
    for _ in range(20):
        kbps = smoothed_kbps(kbps, 9000)
    assert 0.6 * 9000 < kbps <= 9000
