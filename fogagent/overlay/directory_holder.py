"""The agent's relay directory: when to ask the panel for what, and what to go by meanwhile.

Events in, instructions out, as in `fogagent.state`, of which this is a part: it knows no network, no disk
and no clock.

- The panel is asked on each connect, and when it says that it has something newer.
- Each question that leads to nothing doubles the time to the next. But where changes do not fit what is
  held, everything is asked for at once: the first such time only, as it can be large.
- What was accepted is used until something newer was, also after it expired; `GRACE_S` later it is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from fogagent.events import (
    Began,
    Connected,
    DirectoryAccepted,
    DirectoryRefused,
    Disconnected,
    Event,
    Imposter,
    Moment,
    Received,
    Refused,
    Ticked,
)
from fogagent.instructions import Instruction, JudgeDirectory, KeepDirectory, Say, Send, UseDirectory
from fogagent.messages import DirectoryNews, DirectoryPart, DirectoryWanted, Problem
from fogagent.overlay.directory import GRACE_S, BadDirectory, Changes, Directory, Refusal
from fogagent.overlay.directory_parts import Assembly

PATIENCE_S = 60.0
"""Between a question and its repetition, at first. An answer that comes in parts may pause for as long."""
MOST_PATIENCE_S = 3600.0
KEEP_EVERY_S = 300.0
"""Directories that come sooner one after the other are not all written: they can be large, and a restarted
agent asks only for what changed since the last that was."""
LOOK_EVERY_S = 3600.0
"""Between two looks at the age of what is held."""

WHOLE_HELPS = (Refusal.WRONG_BASE, Refusal.WRONG_DIGEST, Refusal.MALFORMED)


class DirectoryHolder:
    """``held`` comes from an earlier run and was verified when it was read; its age is judged here."""

    def __init__(self, held: Directory | None, rng: Random) -> None:
        self.held = held
        self._rng = rng
        self._assembly = Assembly()
        self._connected = False
        self._judging = False
        self._newest = 0  # of the versions that the panel told of on this connection
        self._everything = False  # changes did not fit; ask for the whole
        self._questions = 0  # since something was accepted, or nothing was newer
        self._refused = False  # what came last
        self._ask_at: float | None = None  # None: there is nothing to ask for
        self._unkept: Changes | None = None
        self._keep_at = 0.0
        self._look_at = 0.0
        self._told_of_age = False

    def handle(self, event: Event, now: Moment) -> list[Instruction]:
        """What to do about ``event``, in this order. Most events mean nothing here."""
        if (deal := _EVENTS.get(type(event))) is None:
            return []
        return list(deal(self, event, now))

    def wake_at(self) -> float | None:
        """The ``tick`` at which a `Ticked` is due; None while there is nothing to wait for."""
        look = self._look_at if self.held is not None else None
        keep = self._keep_at if self._unkept is not None else None
        return min((at for at in (self._ask_at, keep, look) if at is not None), default=None)

    @property
    def _version(self) -> int:
        return 0 if self.held is None else self.held.version

    # --- Asking ------------------------------------------------------------------------------------

    def _began(self, event: Began, now: Moment) -> Iterator[Instruction]:
        if self.held is not None and not self.held.is_gone(now.at):
            yield Say(_in_words(self.held, now))
            yield UseDirectory(self.held)
        yield from self._look(now)

    def _on_connected(self, event: Connected, now: Moment) -> Iterator[Instruction]:
        self._connected, self._newest = True, 0
        yield from self._ask(now)

    def _on_disconnected(
        self, event: Disconnected | Refused | Imposter, now: Moment
    ) -> Iterator[Instruction]:
        self._leave()
        yield from ()

    def _leave(self) -> None:
        self._connected, self._ask_at = False, None
        self._assembly.drop()

    def _ask(self, now: Moment) -> Iterator[Instruction]:
        self._assembly.drop()
        if self._connected:
            self._ask_later(now)
            self._questions += 1
            yield Send(DirectoryWanted(since=0 if self._everything else self._version))

    def _ask_later(self, now: Moment) -> None:
        if not self._connected:  # the next connect asks
            return
        patience_s = min(MOST_PATIENCE_S, PATIENCE_S * 2.0 ** min(self._questions, 16))
        # The fleet must not ask in step.
        self._ask_at = now.tick + patience_s * self._rng.uniform(0.5, 1.0)

    def _ask_no_more(self) -> None:
        self._ask_at = None
        self._questions = 0
        self._refused = False

    # --- What the panel says -----------------------------------------------------------------------

    def _on_frame(self, event: Received, now: Moment) -> Iterator[Instruction]:
        for message in event.messages:
            if isinstance(message, DirectoryNews):
                yield from self._on_news(message, now)
            elif isinstance(message, DirectoryPart):
                yield from self._on_part(message, now)
            elif isinstance(message, Problem) and message.fatal:
                self._leave()

    def _on_news(self, news: DirectoryNews, now: Moment) -> Iterator[Instruction]:
        if news.version < self._version and news.version != self._newest:
            yield Say(
                f"the panel's relay directory is at version {news.version}, but this node has had "
                f"{self._version} from it and goes on with that",
                warning=True,
            )
        self._newest = news.version
        if news.version <= self._version:
            self._ask_no_more()
        elif self._ask_at is not None and not self._refused:
            # Whoever has news will answer: a question that went unanswered so far need not wait long.
            self._ask_at = min(self._ask_at, now.tick + PATIENCE_S)
        elif self._ask_at is None and not self._judging:
            yield from self._ask(now)

    def _on_part(self, part: DirectoryPart, now: Moment) -> Iterator[Instruction]:
        if self._judging:  # what was missed is asked for once that is over
            self._newest = max(self._newest, part.version)
            return
        try:
            if not self._assembly.add(part):
                return
        except BadDirectory as error:
            yield from self._on_refused(DirectoryRefused(error), now)
            return
        self._ask_at = now.tick + PATIENCE_S
        if (encoded := self._assembly.take()) is not None:
            self._judging, self._ask_at = True, None
            yield JudgeDirectory(self.held, encoded)

    def _on_accepted(self, event: DirectoryAccepted, now: Moment) -> Iterator[Instruction]:
        self._judging, self._everything = False, False
        self._ask_no_more()
        if self.held is None:
            yield Say(_in_words(event.directory, now))
        self.held, self._unkept = event.directory, event.whole
        self._told_of_age = False
        yield UseDirectory(self.held)
        yield from self._keep(now)
        yield from self._look(now)
        if self._newest > self._version:
            yield from self._ask(now)

    def _on_refused(self, event: DirectoryRefused, now: Moment) -> Iterator[Instruction]:
        self._judging = False
        if event.error.reason == Refusal.NOT_NEWER and self._newest <= self._version:
            self._ask_no_more()  # an answer came twice
            return
        self._refused = True
        first_time = not self._everything
        self._everything = self._everything or event.error.reason in WHOLE_HELPS
        if self._everything and first_time:
            yield Say(f"{event.error.sentence} Asking for all of it.", warning=True)
            yield from self._ask(now)
        else:
            self._ask_later(now)
            yield Say(event.error.sentence, warning=True)

    # --- Time passes -------------------------------------------------------------------------------

    def _on_tick(self, event: Ticked, now: Moment) -> Iterator[Instruction]:
        yield from self._keep(now)
        if now.tick >= self._look_at:
            yield from self._look(now)
        if self._ask_at is not None and now.tick >= self._ask_at:
            self._ask_at = None
            yield from self._ask(now)

    def _keep(self, now: Moment) -> Iterator[Instruction]:
        if self._unkept is not None and now.tick >= self._keep_at:
            yield KeepDirectory(self._unkept)
            self._unkept = None
            self._keep_at = now.tick + KEEP_EVERY_S

    def _look(self, now: Moment) -> Iterator[Instruction]:
        """Say once that what is held expired, and give it up when it is gone."""
        self._look_at = now.tick + LOOK_EVERY_S
        if self.held is None or not self.held.is_expired(now.at):
            return
        if self.held.is_gone(now.at):
            yield Say(f"{_in_words(self.held, now)}: too old to be used any longer", warning=True)
            self.held = self._unkept = None
            yield UseDirectory(None)
            if self._ask_at is None:
                yield from self._ask(now)
        elif not self._told_of_age:
            self._told_of_age = True
            left = _duration(self.held.expires_at + GRACE_S - now.at)
            yield Say(
                f"{_in_words(self.held, now)}, and has expired: without a newer one from the panel it is "
                f"used for another {left}",
                warning=True,
            )


def _in_words(held: Directory, now: Moment) -> str:
    age = _duration(max(0.0, now.at - held.made_at))
    return f"the relay directory (version {held.version}, {len(held.relays)} relays) is {age} old"


def _duration(seconds: float) -> str:
    for unit, length_s in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} s"


_EVENTS: dict[type, Callable[[DirectoryHolder, Any, Moment], Iterator[Instruction]]] = {
    Began: DirectoryHolder._began,
    Connected: DirectoryHolder._on_connected,
    Disconnected: DirectoryHolder._on_disconnected,
    Refused: DirectoryHolder._on_disconnected,
    Imposter: DirectoryHolder._on_disconnected,
    Received: DirectoryHolder._on_frame,
    DirectoryAccepted: DirectoryHolder._on_accepted,
    DirectoryRefused: DirectoryHolder._on_refused,
    Ticked: DirectoryHolder._on_tick,
}
