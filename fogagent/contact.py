"""How an agent keeps in touch with its panel: when it dials, how long it waits, when it beats and leaves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random

from fogagent.backoff import CAP_S, Backoff
from fogagent.events import Disconnected, Imposter, Moment, Refused, StopAsked
from fogagent.instructions import Close, ConnectAfter, Exit, ExitCode, Instruction, KeepAlive, Say
from fogagent.messages import Configure, Goodbye, Problem, Watch, Welcome
from fogagent.rhythm import Rhythm

REFUSED_RETRY_S = 30.0
"""Between knocks on the door of a panel that wants us to wait."""


class Contact:
    """Whether there is a connection, and what follows when there is none."""

    def __init__(self, rng: Random) -> None:
        self.connected = False
        self.stopping = False
        """Whether the agent was asked to stop. It leaves once its reports are in hand; nothing new begins."""
        self._rng = rng
        self._backoff = Backoff(rng)
        self._rhythm = Rhythm(rng)
        self._connected_at = 0.0
        self._waits_for_approval = False

    # --- Made and lost -----------------------------------------------------------------------------

    def made(self, welcome: Welcome, tick: float) -> Iterator[Instruction]:
        self.connected, self._connected_at = True, tick
        self._waits_for_approval = False
        yield Say(f"connected as {welcome.name} (node {welcome.node})")
        yield from self._keep_beat(welcome.heartbeat_s, welcome.timeout_s)
        self._backoff.spread_s = min(welcome.spread_s, self._backoff.cap_s)

    def lost(self, event: Disconnected, running: int, tick: float) -> Iterator[Instruction]:
        lasted = tick - self._connected_at if self.connected else 0.0
        self.connected = False
        if self.stopping:
            return
        delay = self._backoff.next_delay(lasted)
        when = f"trying again in {delay:.1f} s" if delay else "trying again"
        yield Say(f"not connected: {event.sentence} ({when}; {running} running)", warning=True)
        yield ConnectAfter(delay)

    # --- Turned away, or leaving -------------------------------------------------------------------

    def on_problem(self, problem: Problem, now: Moment) -> Iterable[Instruction]:
        if problem.fatal:
            return self._refused(problem)
        return (Say(f"the panel says: {problem.sentence}", warning=True),)

    def on_refused(self, event: Refused, now: Moment) -> Iterable[Instruction]:
        return self._refused(event.problem)

    def _refused(self, problem: Problem) -> Iterator[Instruction]:
        self.connected = False
        yield Close()
        if self.stopping:
            return
        if not problem.retry:
            yield Say(f"the panel refused this agent: {problem.sentence}", warning=True)
            yield Exit(ExitCode.REFUSED)
        elif problem.code == "waiting-for-approval":
            if not self._waits_for_approval:
                self._waits_for_approval = True
                yield Say(f"{problem.sentence} Asking again every {REFUSED_RETRY_S:g} s.")
            yield ConnectAfter(REFUSED_RETRY_S * self._rng.uniform(0.9, 1.0))
        else:
            delay = max(1.0, self._backoff.next_delay(0.0))
            yield Say(f"{problem.sentence} Trying again in {delay:.1f} s.", warning=True)
            yield ConnectAfter(delay)

    def on_imposter(self, event: Imposter, now: Moment) -> Iterator[Instruction]:
        self.connected = False
        yield Close()
        yield Say(event.sentence, warning=True)
        yield Exit(ExitCode.IMPOSTER)

    def on_stop(self, event: StopAsked, now: Moment) -> Iterator[Instruction]:
        if self.stopping:
            return
        self.stopping = True
        yield Say(f"stopping: {event.sentence}")
        # Not before the reports: they would find their attempts given to other nodes.
        yield Exit(ExitCode.STOPPED, farewell=Goodbye(sentence=event.sentence))

    # --- Beats -------------------------------------------------------------------------------------

    def on_configure(self, configure: Configure, now: Moment) -> Iterator[Instruction]:
        yield from self._keep_beat(configure.heartbeat_s, configure.timeout_s)
        self._rhythm.quicken(now.tick)

    def _keep_beat(self, heartbeat_s: float, timeout_s: float) -> Iterator[Instruction]:
        self._rhythm.keep(heartbeat_s)
        # A panel that gives nodes up sooner must be called back sooner once it is there again.
        self._backoff.cap_s = min(CAP_S, max(timeout_s / 3, 1.0))
        yield KeepAlive(max(timeout_s, 0.3))

    def on_watch(self, watch: Watch, now: Moment) -> Iterable[Instruction]:
        self._rhythm.watch(watch.every_s, watch.for_s, now.tick)
        return ()

    def has_beaten(self, tick: float) -> None:
        """On a new connection, after all that the panel must hear before."""
        self._rhythm.connected(tick)

    @property
    def beat_at(self) -> float:
        """When `is_beat_due` should be asked next."""
        return self._rhythm.next_at

    def is_beat_due(self, tick: float) -> bool:
        """Whether to beat now."""
        return self._rhythm.is_due(tick)
