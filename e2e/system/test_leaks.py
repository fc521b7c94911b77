"""The search for markers finds them in whatever form, and the log of traffic what was put into it."""

from __future__ import annotations

import base64
import json
import sqlite3
from pathlib import Path

import pytest

from e2e.system.leaks import Marker, everything, rows
from e2e.system.traffic import FOLDER, Traffic, TrafficLog


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
def test_a_marker_is_found_in_plain_and_in_base64(before: str) -> None:
    marker = Marker()
    text = f"{before}{marker.text('argv')} and {marker.text('stdin')[::-1]}".encode()
    for form in (
        text,
        base64.b64encode(text),
        json.dumps({"data": base64.b64encode(text).decode()}).encode(),
    ):
        assert marker.find(b"x" * 500 + form + b"y" * 500) == {"argv", "nidts"}
        assert not Marker().find(form)


@pytest.mark.parametrize("cut", range(0, 70, 3))
def test_a_marker_that_is_cut_once_is_found(cut: int) -> None:
    marker = Marker()
    text = marker.text("env").encode()
    assert marker.find(text[:cut]) | marker.find(text[cut:])


def test_all_places_are_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = Marker()
    (tmp_path / "traffic").mkdir()
    (tmp_path / "node").mkdir()
    monkeypatch.setenv(FOLDER, str(tmp_path / "traffic"))
    log, text = TrafficLog("web"), marker.text("source").encode()
    traffic = Traffic(tmp_path / "traffic")
    before = traffic.mark()
    for piece in (text[:40], text[40:]):
        log.note("http", "in", "/there", piece)
    (tmp_path / "node" / "spool").write_bytes(base64.b64encode(text))
    connection = sqlite3.connect(tmp_path / "rows")
    with connection:
        connection.execute("CREATE TABLE kept (content BLOB)")
        connection.execute("INSERT INTO kept VALUES (?)", [text * 1000])
    connection.close()
    places = [(place, marker.find(data)) for place, data in everything(tmp_path, traffic)]
    assert ("traffic of web", {"source"}) in places and ("node", {"source"}) in places
    assert [marker.find(data) for _, data in rows(tmp_path / "rows")] == [{"source"}]
    assert [record.data for record in traffic.of("web", before)] == [text[:40], text[40:]]
    assert traffic.of("web", traffic.mark()) == []
