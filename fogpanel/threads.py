"""Threads that must not end: the inbox, the placer, the outbox. One dead thread is a dead panel."""

from __future__ import annotations

import threading

import structlog
from django.db import InterfaceError, OperationalError, close_old_connections

log = structlog.get_logger(__name__)

RETRY_S = 0.5


class Tireless(threading.Thread):
    """Calls `turn` for ever. What it raises is logged, `recover` is called, and after a pause it goes on."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._pause = threading.Event()

    def turn(self) -> None:
        """One round of the thread's work; waits for some to come."""
        raise NotImplementedError

    def recover(self) -> None:
        """Forget what a failed turn may have left half done."""

    def run(self) -> None:
        while True:
            self.turn_safely()

    def turn_safely(self) -> None:
        try:
            self.turn()
        except (OperationalError, InterfaceError) as error:
            log.warning("The database does not answer; trying again", thread=self.name, error=str(error))
            self._start_over()
        except Exception:
            log.exception("A turn failed; going on with the next", thread=self.name)
            self._start_over()

    def _start_over(self) -> None:
        close_old_connections()
        self.recover()
        self._pause.wait(RETRY_S)
