"""Who comes and who goes, stored in batches by a thread of its own.

A panel that starts again has its whole fleet at the door within seconds. While one batch of handshakes is
being stored the next one gathers, so a thousand cost a few commits, and no page waits for them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import structlog
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from fogpanel.threads import Tireless
from nodes import leases
from nodes.leases import Claim, Lease

log = structlog.get_logger(__name__)

AT_ONCE = 300  # rows in one commit


@dataclass(frozen=True, eq=False)
class Knock:
    """A claim, and where its answer goes."""

    claim: Claim
    answer: Future[Lease] = field(default_factory=Future)


class Doorkeeper(Tireless):
    def __init__(self) -> None:
        super().__init__("doorkeeper")
        self._condition = threading.Condition()
        self._coming: list[Knock] = []
        self._going: list[tuple[int, int]] = []

    def let_in(self, claim: Claim) -> Future[Lease]:
        """The lease, once it is stored; the future raises `NotWelcome` where there is none."""
        knock = Knock(claim)
        with self._condition:
            self._coming.append(knock)
            self._condition.notify()
        return knock.answer

    def let_out(self, node_id: int, epoch: int) -> None:
        """This connection of this node is gone."""
        with self._condition:
            self._going.append((node_id, epoch))
            self._condition.notify()

    def turn(self) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._coming or self._going)
            self._coming = [knock for knock in self._coming if not knock.answer.done()]
            going, coming = self._going[:AT_ONCE], first_of_each(self._coming)[:AT_ONCE]
        # They stay in the queues until they are stored: the database may be away.
        if going:
            leases.release(going, timezone.now())
            with self._condition:
                del self._going[: len(going)]
        if coming:
            self._answer(coming)

    def _answer(self, knocks: Sequence[Knock]) -> None:
        """Store leases for all of them and tell each; one that cannot be stored disturbs no other."""
        try:
            found = leases.take([knock.claim for knock in knocks], timezone.now())
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            if len(knocks) == 1:
                log.exception("A node's connection cannot be stored", key=knocks[0].claim.public_key)
                self._tell(knocks[0], error)
            else:
                for knock in knocks:
                    self._answer([knock])
            return
        for knock in knocks:
            self._tell(knock, found[knock.claim.public_key])

    def _tell(self, knock: Knock, outcome: Lease | Exception) -> None:
        if not knock.answer.set_running_or_notify_cancel():
            if isinstance(outcome, Lease):
                self.let_out(outcome.node_id, outcome.epoch)
        elif isinstance(outcome, Lease):
            knock.answer.set_result(outcome)
        else:
            knock.answer.set_exception(outcome)


def first_of_each(knocks: Sequence[Knock]) -> list[Knock]:
    """One knock for each key, the oldest: a node's connections get their leases one after the other."""
    by_key: dict[str, Knock] = {}
    for knock in knocks:
        by_key.setdefault(knock.claim.public_key, knock)
    return list(by_key.values())


doorkeeper = Doorkeeper()
