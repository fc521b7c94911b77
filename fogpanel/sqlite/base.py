"""Django's backend for SQLite, with one addition: writing threads of a process take turns.

SQLite lets one connection write at a time and has the others look again after ever longer pauses, up to
a tenth of a second. A panel's inbox, placer, outbox and pages write all the time, so they would mostly
pause. Here a transaction that is to write first takes the lock of its process, which wakes the next in
line the moment it is free. Between processes, who write rarely, SQLite's own way remains.
"""

from __future__ import annotations

import threading
from typing import Any

from django.db import OperationalError
from django.db.backends.sqlite3 import base

_turn = threading.Lock()


class DatabaseWrapper(base.DatabaseWrapper):
    # The stubs of Django know none of the methods that are extended here.

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._has_turn = False

    def _start_transaction_under_autocommit(self) -> None:
        if not self.is_in_memory_db():
            self._take_turn()
        try:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
        except BaseException:
            self._end_turn()
            raise

    def _commit(self) -> None:
        super()._commit()  # type: ignore[misc]
        self._end_turn()

    def _rollback(self) -> None:
        try:
            super()._rollback()  # type: ignore[misc]
        finally:
            self._end_turn()

    def _close(self) -> None:
        try:
            super()._close()  # type: ignore[misc]
        finally:
            self._end_turn()

    def _take_turn(self) -> None:
        timeout_s = float(self.settings_dict["OPTIONS"].get("timeout", 5.0))
        if not _turn.acquire(timeout=timeout_s):
            raise OperationalError(f"database is locked: another thread has been writing for {timeout_s:g} s")
        self._has_turn = True

    def _end_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            _turn.release()
