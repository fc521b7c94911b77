"""How well circuits can be had, judged from what was tried. Pure: no clock, no database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.absent import NOBODY, Absent
from services.models import State
from services.record import Figure, Probed

HOPS = 3
FAILURES_DOWN = 3
SENTENCE_MOST = 300
FLAGS = ("guard", "exit", "mix", "entry", "compute")

BECOME_ONE = "Start an agent with relay among its --flags, at an address that other nodes reach."
BUILD = "Start an agent with entry or compute among its --flags."
LOOK = "Look in the table of relays whether others reach them at their addresses."


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What became of one trial. ``route`` names its relays in words; empty where no path was found."""

    ok: bool
    node: str
    route: str
    hops: int
    size: int
    sentence: str = ""
    build_ms: float | None = None
    echo_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """``relays`` counts what may be in a path and is connected, ``by_flag`` those of them with a flag,
    ``hops`` the most of them that a node which could build a circuit finds besides itself (0: there is no
    such node), ``circuits`` what nodes tell of as open, and ``tried`` are the last trials, the newest first.

    ``absent`` are relays that are not connected; ``listed`` those of them that nodes still choose, since
    the directory leaves out who went only after a while."""

    relays: int
    by_flag: Mapping[str, int]
    circuits: int
    tried: Sequence[Tried]
    hops: int = HOPS
    absent: Absent = NOBODY
    listed: Absent = NOBODY


def judge(measured: Measured) -> Probed:
    """State and sentence; the first thing that is wrong is the one that is told."""
    state, sentence = _verdict(measured)
    return Probed(state, _short(sentence, SENTENCE_MOST), _figures(measured))


def _verdict(measured: Measured) -> tuple[State, str]:
    if not measured.relays:
        return State.DEGRADED, f"{_no_relay(measured.absent)}, so no circuit can be built. {_more(measured)}"
    if not measured.hops:
        return State.DEGRADED, (
            f"There {_relays(measured.relays)}, but no other node is connected that could build a circuit. "
            f"{measured.absent.advice if measured.absent else BUILD}"
        )
    if measured.hops < HOPS:
        return State.DEGRADED, _too_few(measured)
    if not measured.tried:
        return State.DEGRADED, "No circuit was tried yet; one is on its way."
    failures = _failures_in_a_row(measured.tried)
    if failures:
        return State.DOWN if failures >= FAILURES_DOWN else State.DEGRADED, _failed(failures, measured)
    return State.OPERATIONAL, _success(measured.tried[0])


def _no_relay(absent: Absent) -> str:
    if not absent:
        return "There is no relay"
    return (
        "The only relay is not connected" if absent.number == 1 else f"All {absent.number:,} relays are away"
    )


def _more(measured: Measured) -> str:
    """How to have more relays."""
    return measured.absent.advice if measured.absent else BECOME_ONE


def _too_few(measured: Measured) -> str:
    present, absent = measured.relays, measured.absent.number
    there = f"{present:,} of {present + absent:,} are connected" if absent else f"there {_relays(present)}"
    told = f" {_over_fewer(measured.tried[0])}" if measured.tried else ""
    itself = ", itself among them" if measured.hops < present else ""
    needed = f"A circuit needs {HOPS} relays besides the node that builds it, and {there}{itself}."
    return f"{needed} {_more(measured)}{told}"


def _over_fewer(last: Tried) -> str:
    """Of the last trial. What it met is of no interest here: that there are too few relays explains it."""
    return f"{_success(last)}." if last.ok else "The last that was tried over fewer came to nothing."


def _failed(failures: int, measured: Measured) -> str:
    """What to do stands last and is never cut."""
    if measured.listed:
        gone = measured.listed
        verb, them = ("is", "it") if gone.number == 1 else ("are", "them")
        advice = (
            f"{gone.in_words} {verb} away: start {them} again, or wait a minute until none chooses {them}."
        )
    else:
        advice = LOOK
    which = "The last circuit" if failures == 1 else f"The last {failures} circuits"
    told = f"{which} failed. {_failure(measured.tried[0])}"
    return f"{_short(told, SENTENCE_MOST - len(advice) - 1)} {advice}"


def _failures_in_a_row(tried: Sequence[Tried]) -> int:
    return next((number for number, one in enumerate(tried) if one.ok), len(tried))


def _failure(one: Tried) -> str:
    way = f" through {one.route}" if one.route else ""
    return f"From {one.node}{way}: {one.sentence}"


def _success(one: Tried) -> str:
    relays = f"{one.hops} relay{'' if one.hops == 1 else 's'}"
    built, echoed = milliseconds(one.build_ms or 0.0), milliseconds(one.echo_ms or 0.0)
    return f"A circuit over {relays} was built in {built} and echoed {one.size:,} bytes in {echoed}"


def _short(sentence: str, most: int) -> str:
    return sentence if len(sentence) <= most else sentence[: most - 1] + "…"


def milliseconds(amount_ms: float) -> str:
    return f"{amount_ms:.1f} ms" if 0 < amount_ms < 2 else f"{amount_ms:,.0f} ms"


def _relays(number: int) -> str:
    return "is 1 relay" if number == 1 else f"are {number:,} relays"


def _figures(measured: Measured) -> tuple[Figure, ...]:
    last = measured.tried[0] if measured.tried else None
    build_ms = last.build_ms if last else None
    echo_ms = last.echo_ms if last else None
    return (
        Figure("circuit build", _rounded(build_ms), "ms"),
        Figure("echo", _rounded(echo_ms), "ms"),
        Figure("known", measured.circuits, "circuits"),
        Figure("for paths", measured.relays, "relays"),
        *(
            Figure(f"with the flag {flag}", measured.by_flag[flag], "relays")
            for flag in FLAGS
            if measured.by_flag.get(flag)
        ),
    )


def _rounded(amount: float | None) -> float | None:
    return None if amount is None else round(amount, 1)


# --- Bandwidth -----------------------------------------------------------------------------------------

WEIGHT_OF_NEW = 0.3
WORTH_TELLING = 0.1
"""Every agent hears of a change, so those that would change nothing in its choices are left out."""


def smoothed_kbps(before: int, measured: int) -> int:
    """The bandwidth to publish: a moving average, unchanged while that is less than a tenth away.

    The first measurement counts wholly, and an answer always means more than none.
    """
    if not before:
        return max(1, measured)
    average = (1 - WEIGHT_OF_NEW) * before + WEIGHT_OF_NEW * measured
    return before if abs(average - before) < WORTH_TELLING * before else max(1, round(average))
