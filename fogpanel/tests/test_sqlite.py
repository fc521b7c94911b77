"""Writers of one process take turns, and none keeps its turn beyond its transaction."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import OperationalError, transaction
from django.db.utils import ConnectionHandler

from fogpanel.sqlite.base import DatabaseWrapper

pytestmark = pytest.mark.django_db  # which allows connections at all; these go elsewhere

WRITE = "INSERT INTO rows VALUES (1)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "db.sqlite3"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE rows (id INTEGER)")
    database.close()
    return path


def wrapper(path: Path, timeout: float = 5.0) -> DatabaseWrapper:
    options = {"transaction_mode": "IMMEDIATE", "timeout": timeout}
    settings = {"ENGINE": "fogpanel.sqlite", "NAME": str(path), "OPTIONS": options}
    return ConnectionHandler({"default": settings})["default"]  # type: ignore[return-value]


@pytest.fixture
def one(path: Path) -> Iterator[DatabaseWrapper]:
    found = wrapper(path)
    yield found
    found.close()


def begin(connection: DatabaseWrapper) -> None:
    connection.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)


def write_elsewhere(path: Path, timeout: float) -> list[str]:
    """What became of a write by another thread."""
    said: list[str] = []

    def write() -> None:
        connection = wrapper(path, timeout)
        try:
            begin(connection)
            connection.cursor().execute(WRITE)
            connection.commit()
            said.append("written")
        except OperationalError as error:
            said.append(str(error))
        finally:
            connection.close()

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    return said


@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
def test_a_turn_ends_with_its_transaction(one: DatabaseWrapper, path: Path, end: str) -> None:
    begin(one)
    assert write_elsewhere(path, 0.01) == ["database is locked: another thread has been writing for 0.01 s"]
    getattr(one, end)()
    assert write_elsewhere(path, 5.0) == ["written"]


def test_who_cannot_begin_has_no_turn(one: DatabaseWrapper, path: Path) -> None:
    other_process = sqlite3.connect(path, isolation_level=None)
    other_process.execute("BEGIN IMMEDIATE")
    hasty = wrapper(path, timeout=0.01)
    with pytest.raises(OperationalError):
        begin(hasty)
    hasty.close()
    other_process.execute("ROLLBACK")
    other_process.close()
    assert write_elsewhere(path, 5.0) == ["written"]


def test_the_panel_uses_it(settings: object) -> None:
    from django.conf import settings as panel

    if panel.ON_SQLITE:
        assert isinstance(transaction.get_connection(), DatabaseWrapper)
