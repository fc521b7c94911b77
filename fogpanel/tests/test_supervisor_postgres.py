"""The throw-away PostgreSQL that tests run on."""

from __future__ import annotations

import pytest

from fogpanel.supervisor import postgres


@pytest.mark.skipif(postgres.find_programs() is None, reason="PostgreSQL is not installed")
def test_it_keeps_its_address_and_its_rows_over_a_restart_and_leaves_nothing() -> None:
    with postgres.throw_away() as server:
        assert server is not None
        address = server.url
        with server.connect() as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        server.stop()
        server.start()
        assert server.url == address
        with server.connect() as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
    assert not server.log.exists()


def test_without_its_programs_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "find_programs", lambda: None)
    with postgres.throw_away() as server:
        assert server is None
