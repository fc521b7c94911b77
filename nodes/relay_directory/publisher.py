"""One thread a process that looks whether a new version is due as soon as a node came, went or changed.

The job `nodes.jobs.publish_directory` does the same from time to time: a lost wake costs no more than that.
"""

from __future__ import annotations

import threading

from django.utils import timezone

from fogpanel.threads import Tireless
from fogpanel.wakes import Key, on_wake
from nodes.relay_directory.facts import RELAY_CHANGED
from nodes.relay_directory.publishing import newest_number, pause_s, publish, publish_anew

GATHER_S = 1.5
"""Before the first version: the nodes of a fog that starts come one after the other, and one that came late
would wait for the next."""
LOOK_S = 600.0  # also while the broker is away, and with it wakes and jobs
WAKES = ("node-changed", "node-lost", "node-removed", RELAY_CHANGED)


class Publisher(Tireless):
    def __init__(self) -> None:
        super().__init__("publisher")
        self._something = threading.Event()
        self._has_begun = False

    def wake(self, _: frozenset[Key] = frozenset()) -> None:
        self._something.set()

    def turn(self) -> None:
        if not self._has_begun:
            publish_anew(timezone.now())  # the database may have been put back while no process ran
            self._has_begun = True
        self._something.wait(timeout=LOOK_S)
        self._something.clear()
        if not newest_number():
            self._pause.wait(GATHER_S)
        publish(timezone.now())
        # What comes now belongs to the next version, and a look reads everything.
        self._pause.wait(pause_s())

    def start(self) -> None:
        for kind in WAKES:
            on_wake(kind, self.wake)
        super().start()


publisher = Publisher()
