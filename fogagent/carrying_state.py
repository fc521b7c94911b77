"""What a gateway is to bring to other nodes, as far as it needs no network: what is fetched first, what waits
for its turn, what was answered.

Each order is answered with one `Carried`, at the latest when its time is over. A repetition is ignored until
then, and gets the same answer after it. After a restart it is carried out once more, which does no harm: the
node that it leads to knows the attempts that it has seen. A panel that is away while one is answered repeats
the order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from fogagent.downloads import Downloads
from fogagent.instructions import Bring, Instruction, Obtain, Send
from fogagent.messages import MAX_SEALED_BYTES, Blob, Carried, Carry, NotCarried
from fogagent.overlay.carrying import not_carried

AT_ONCE = 16
"""Circuits for this that are built or used at the same time."""
MOST = 256
REMEMBERED = 1000
"""Answers, the last ones."""

WITHDRAWN = "It was withdrawn."


class Stage(Enum):
    FETCHING = auto()
    WAITING = auto()
    UNDER_WAY = auto()


@dataclass(slots=True)
class Carriage:
    order: Carry
    until: float  # the tick at which its time is over
    stage: Stage


class Carriages:
    """Orders to carry by their number in the outbox: one attempt may be the subject of several in turn."""

    def __init__(self, downloads: Downloads, *, at_once: int = AT_ONCE, most: int = MOST) -> None:
        self._downloads, self._at_once, self._most = downloads, at_once, most
        self._open: dict[int, Carriage] = {}  # in the order in which they came
        self._answers: dict[int, Carried] = {}

    def __contains__(self, attempt: int) -> bool:
        """Whether it is another node's, for all that is known here."""
        carried = (one.order.attempt for one in self._open.values())
        answered = (one.attempt for one in self._answers.values())
        return attempt in carried or attempt in answered

    def contents(self) -> Iterator[Blob]:
        """What is still to be carried."""
        return (one.order.content for one in self._open.values())

    def content_of(self, order: int) -> Blob | None:
        """What this order, which is still open, is to carry."""
        one = self._open.get(order)
        return one.order.content if one is not None else None

    def take(self, order: Carry, tick: float) -> Iterator[Instruction]:
        """An order has come, perhaps not for the first time."""
        if (answer := self._answers.get(order.order)) is not None:
            yield Send(answer)
        elif order.order not in self._open:
            yield from self._begin(order, tick)

    def _begin(self, order: Carry, tick: float) -> Iterator[Instruction]:
        if complaint := self._complaint(order):
            yield from self._fail(order, *complaint)
            return
        inline = order.content.inline is not None
        stage = Stage.WAITING if inline else Stage.FETCHING
        self._open[order.order] = Carriage(order, tick + order.timeout_s, stage)
        if not inline and self._downloads.want(order.content, order.attempt):
            yield Obtain(order.content)
        yield from self._next(tick)

    def _complaint(self, order: Carry) -> tuple[NotCarried, str] | None:
        if order.content.size > MAX_SEALED_BYTES:
            sentence = f"Sealed content has at most {MAX_SEALED_BYTES} bytes, this has {order.content.size}."
            return NotCarried.UNFIT, sentence
        if len(self._open) >= self._most:
            return NotCarried.BUSY, f"This gateway has {self._most} orders to bring already."
        return None

    def fetched(self, sha256: str, tick: float) -> Iterator[Instruction]:
        """That content is in the cache."""
        for one in self._fetching(sha256):
            one.stage = Stage.WAITING
        yield from self._next(tick)

    def lost(self, sha256: str, sentence: str) -> Iterator[Instruction]:
        """That content will not come."""
        for one in self._fetching(sha256):
            yield from self._fail(one.order, NotCarried.NO_CONTENT, sentence)

    def _fetching(self, sha256: str) -> list[Carriage]:
        fetching = (one for one in self._open.values() if one.stage is Stage.FETCHING)
        return [one for one in fetching if one.order.content.sha256 == sha256]

    def _next(self, tick: float) -> Iterator[Instruction]:
        """Set out with those whose turn it is."""
        under_way = sum(one.stage is Stage.UNDER_WAY for one in self._open.values())
        waiting = [one for one in self._open.values() if one.stage is Stage.WAITING]
        for one in waiting[: self._at_once - under_way]:
            one.stage = Stage.UNDER_WAY
            yield Bring(one.order, max(0.0, one.until - tick))

    def ended(self, carried: Carried, tick: float) -> Iterator[Instruction]:
        """What came of one that was under way."""
        if carried.order in self._open:
            yield from self._answer(carried)
            yield from self._next(tick)

    def withdraw(self, attempt: int, sentence: str) -> Iterator[Instruction]:
        """The attempt is cancelled. What is under way goes on: the node hears of the cancel as well."""
        for one in list(self._open.values()):
            if one.order.attempt == attempt and one.stage is not Stage.UNDER_WAY:
                yield from self._give_up(one, NotCarried.WITHDRAWN, sentence or WITHDRAWN)

    def on_tick(self, tick: float) -> Iterator[Instruction]:
        for one in list(self._open.values()):
            if one.stage is not Stage.UNDER_WAY and tick >= one.until:
                yield from self._give_up(one, *_overdue(one))

    def wake_at(self) -> float | None:
        """When `on_tick` should be called next. Whatever is under way ends by itself."""
        untils = (one.until for one in self._open.values() if one.stage is not Stage.UNDER_WAY)
        return min(untils, default=None)

    def _give_up(self, one: Carriage, kind: NotCarried, sentence: str) -> Iterator[Instruction]:
        if one.stage is Stage.FETCHING:
            self._downloads.abandon(one.order.attempt)
        yield from self._fail(one.order, kind, sentence)

    def _fail(self, order: Carry, kind: NotCarried, sentence: str) -> Iterator[Instruction]:
        yield from self._answer(not_carried(order, kind, sentence))

    def _answer(self, carried: Carried) -> Iterator[Instruction]:
        self._open.pop(carried.order, None)
        self._answers[carried.order] = carried
        if len(self._answers) > REMEMBERED:
            del self._answers[next(iter(self._answers))]
        yield Send(carried)


def _overdue(one: Carriage) -> tuple[NotCarried, str]:
    within = f"within {one.order.timeout_s:g} s"
    if one.stage is Stage.FETCHING:
        return NotCarried.NO_CONTENT, f"This gateway did not get the content from the panel {within}."
    return NotCarried.BUSY, f"This gateway was busy with other orders and did not come to this one {within}."
