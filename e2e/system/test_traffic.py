"""What is read back of a file to which a process is just writing."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.system.traffic import FOLDER, Traffic, TrafficLog

LARGE = b"x" * 10_000  # of several pages


@pytest.mark.parametrize("there", [0, 1, 3, 4, 5, 4096, 10_000], ids=lambda size: f"{size}-bytes-of-it")
def test_a_record_that_is_being_written_comes_after_the_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: int
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    log, traffic = TrafficLog("gateway-1"), Traffic(tmp_path)
    log.note("link", "out", "before", LARGE)
    [path] = tmp_path.iterdir()
    size = path.stat().st_size
    log.note("link", "out", "meanwhile", LARGE)
    written = path.read_bytes()
    path.write_bytes(written[: size + there])
    before = traffic.mark()
    path.write_bytes(written)
    log.note("link", "out", "after", LARGE)
    assert [record.peer for record in traffic.of("gateway-1")] == ["before", "meanwhile", "after"]
    assert [record.peer for record in traffic.of("gateway-1", before)] == ["meanwhile", "after"]
