"""The few relays that may be our first hop, kept for weeks.

Whoever runs both the first and the last relay of a circuit can tell who talks to whom. Were the first
chosen anew each time, a fraction f of bad relays would sooner or later see some circuit of everybody; kept,
it sees those of a fraction f of the agents, for as long as they keep it. In the spirit of Tor's guard
specification (https://spec.torproject.org/guard-spec/), but simpler: there is no filling up of the sample
in advance. Another guard is drawn when none of those kept will do, and is kept from then on.

The numbers: a guard is kept for LIFETIME_S, 60 days, as long as Tor keeps one that works at least. Machines
of a fog come and go within weeks, so more would hardly be reached; less would give those who join bad relays
more draws. Up to a tenth less, by chance, so that not everybody's guards change at the same time. A guard
that the directory no longer lists may come back, and is forgotten only after 20 days (Tor's figure). At most
MAX_KEPT are kept, and while nobody can be reached no more than DRAWN_WHILE_DOWN are drawn: whoever blocks the
way to our guards, to drive us to one of theirs, gets no more draws, and neither does an outage of our own.
A guard that is reached and carries nothing on is another matter (`fogagent.overlay.onion.bias`).
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from random import Random

import msgspec

from fogagent.messages import Key
from fogagent.overlay.onion.bias import Count, set_aside

DAY_S = 86_400.0
LIFETIME_S = 60 * DAY_S
LIFETIME_SPREAD = 0.1
UNLISTED_S = 20 * DAY_S
MAX_KEPT = 20
DRAWN_WHILE_DOWN = 3
"""Guards that are in the directory and cannot be reached, beyond which it is not they who are down."""
FIRST_RETRY_S = 10.0
CAP_RETRY_S = 3600.0
ALL_DOWN_RETRY_S = 60.0
"""The longest wait while no guard at all can be reached: then it is rather our own network that is down, and
when it is back nobody should wait for an hour."""


class Guard(msgspec.Struct, frozen=True):
    """``lasts_s`` counts from when it was drawn, and anew from when it was first reached (confirmed)."""

    identity: Key
    drawn_at: float
    lasts_s: float
    confirmed_at: float | None = None
    unlisted_at: float | None = None
    count: Count = Count()

    @property
    def since(self) -> float:
        return self.drawn_at if self.confirmed_at is None else self.confirmed_at

    def by_clock(self, now: float) -> Guard:
        """With no time that is still to come: it was noted by a clock that was ahead, and what counts from
        it counts from now on, lest the guard be kept for ever."""
        later = [name for name in _TIMES if (getattr(self, name) or now) > now]
        return msgspec.structs.replace(self, **dict.fromkeys(later, now)) if later else self

    def is_over(self, now: float) -> bool:
        gone = self.unlisted_at is not None and now >= self.unlisted_at + UNLISTED_S
        return gone or now >= self.since + self.lasts_s


_TIMES = ("drawn_at", "confirmed_at", "unlisted_at")


@dataclass(frozen=True)
class Failure:
    """Attempts in a row that failed, and when the last did."""

    times: int
    at: float

    @property
    def pause_s(self) -> float:
        return min(CAP_RETRY_S, FIRST_RETRY_S * 2.0 ** min(self.times - 1, 16))


class Guards:
    """In the order in which they are used: those that were reached, since when; then those only drawn."""

    def __init__(self, kept: Iterable[Guard] = ()) -> None:
        self._kept = {guard.identity: guard for guard in kept}
        self._failures: dict[bytes, Failure] = {}

    @property
    def kept(self) -> tuple[Guard, ...]:
        return tuple(self._kept.values())

    def usable(self, listed: Container[bytes], now: float) -> list[bytes]:
        """Those of the ``listed`` that may be tried now, the one to be used first.

        Takes note of which are listed, and forgets whose time is over.
        """
        for guard in self.kept:
            self._look_at(guard, guard.identity in listed, now)
        return [each for each in self._kept if each in listed and self.wait_s(each, now) == 0]

    def admits(self, identity: bytes) -> bool:
        """Whether it is kept, or may be drawn."""
        if identity in self._kept:
            return True
        return len(self._kept) < MAX_KEPT and not self._is_cut_off()

    def keep(self, identity: bytes, rng: Random, now: float) -> None:
        """It was drawn, and has its turn after all that are kept. Changes nothing if it is one of them."""
        if identity not in self._kept:
            lasts_s = LIFETIME_S * rng.uniform(1 - LIFETIME_SPREAD, 1)
            self._kept[identity] = Guard(identity, now, lasts_s)

    def reached(self, identity: bytes, now: float) -> None:
        """A circuit got as far as its guard. If none had been reached before, it was not they who were down,
        and each is tried again in its order."""
        if self._is_cut_off():
            self._failures.clear()
        self._failures.pop(identity, None)
        guard = self._kept.get(identity)
        if guard is None or guard.confirmed_at is not None:
            return
        self._kept[identity] = msgspec.structs.replace(guard, confirmed_at=now)
        # It comes from among the unconfirmed, so it ends up behind those that were confirmed before it.
        order = sorted(self.kept, key=lambda each: each.confirmed_at is None)
        self._kept = {each.identity: each for each in order}

    def failed(self, identity: bytes, now: float) -> None:
        """It could not be reached: the next one is used, and this one tried again after a growing while."""
        # Circuits that were begun together fail together: that is one failure.
        if identity in self._kept and self.wait_s(identity, now) == 0:
            before = self._failures.get(identity)
            self._failures[identity] = Failure(before.times + 1 if before else 1, now)

    def went(self, identity: bytes, next_relay: bytes, now: float, *, carried: bool) -> None:
        """A circuit that came as far as this guard was carried on by it, or not."""
        if (guard := self._kept.get(identity)) is not None:
            count = guard.count.plus(next_relay, carried, now)
            self._kept[identity] = msgspec.structs.replace(guard, count=count)

    def aside(self, now: float) -> frozenset[bytes]:
        """Those that carry so little on that others are to be used while there are any."""
        return set_aside({each.identity: each.count for each in self._listed()}, now)

    def aside_sentence(self, identity: bytes, now: float) -> str:
        """Why it is set aside; empty if it is not."""
        if identity not in self.aside(now):
            return ""
        count = self._kept[identity].count
        return (
            f"Set aside: {count.circuits:,} circuits came as far as this guard, and it carried"
            f" {count.share:.0%} on, each relay behind it weighing the same."
            " It is used while no other can be."
        )

    def forgive(self, identity: bytes) -> None:
        """It may be there again: it is tried as soon as its turn comes."""
        self._failures.pop(identity, None)

    def wait_s(self, identity: bytes, now: float) -> float:
        """Seconds until it may be tried again; 0: now."""
        failure = self._failures.get(identity)
        if failure is None:
            return 0.0
        pause_s = min(failure.pause_s, ALL_DOWN_RETRY_S) if self._all_down() else failure.pause_s
        waited_s = now - failure.at
        # Negative: the clock was set back, and nobody knows how long it was.
        return pause_s - waited_s if 0 <= waited_s < pause_s else 0.0

    def encode(self) -> bytes:
        """JSON, to be given to `decode`. Failures are not in it: after a restart all are tried anew."""
        return msgspec.json.encode(self.kept)

    @classmethod
    def decode(cls, raw: bytes) -> Guards:
        """What `encode` gave; when it is damaged, without any guard."""
        try:
            return cls(msgspec.json.decode(raw, type=list[Guard]))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return cls()

    def _all_down(self) -> bool:
        return all(each.identity in self._failures for each in self._listed())

    def _is_cut_off(self) -> bool:
        return len(self._listed()) >= DRAWN_WHILE_DOWN and self._all_down()

    def _listed(self) -> list[Guard]:
        return [each for each in self.kept if each.unlisted_at is None]

    def _look_at(self, guard: Guard, listed: bool, now: float) -> None:
        guard = guard.by_clock(now)
        if listed:
            guard = msgspec.structs.replace(guard, unlisted_at=None)
        elif guard.unlisted_at is None:
            guard = msgspec.structs.replace(guard, unlisted_at=now)
        self._kept[guard.identity] = guard
        if guard.is_over(now):
            del self._kept[guard.identity]
            self._failures.pop(guard.identity, None)
