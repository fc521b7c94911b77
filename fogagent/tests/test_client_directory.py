"""That the client goes by no older directory than it has seen, whoever gives it."""

from __future__ import annotations

import json
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fogagent.__main__ import main
from fogagent.client import settings
from fogagent.client.directory_mark import DirectoryMark, Seen
from fogagent.client.settings import SignedIn
from fogagent.overlay.directory import encode_changes
from fogagent.tests.directories import PANEL_KEY, signed
from fogagent.tests.sealed_panel import SealedPanel
from fogagent.tests.web import Answer, Asked, serving, shown

OTHER_KEY = "ab" * 32


@pytest.fixture
def panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SealedPanel]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with serving() as site:
        settings.save(SignedIn(site.url, "fpt_token", {site.url: PANEL_KEY.hex()}))
        yield SealedPanel(site)


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "salaries.py"
    path.write_text("print(1)")
    return str(path)


def run(script: str, *more: str) -> int:
    return main(["run", "--privacy", "private", script, *more])


def mark() -> DirectoryMark:
    return DirectoryMark(PANEL_KEY)


def kept() -> int:
    newest = mark().newest()
    assert newest is not None
    return newest.version


def handed_in(panel: SealedPanel) -> int:
    return sum(asked.path.endswith("/task") for asked in panel.site.asked)


def test_an_older_directory_is_refused_with_what_was_seen_and_when(
    panel: SealedPanel, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for panel.version in (3, 5, 5):
        assert run(script) == 0
    [before] = [newest for newest in [mark().newest()] if newest]
    assert abs(before.seen_at - time.time()) < 3600 and before.made_at < before.seen_at
    capsys.readouterr()
    panel.version = 4
    assert run(script) == 1
    said = capsys.readouterr().err
    day = time.strftime("%Y-%m-%d", time.gmtime(before.seen_at))
    assert "It is version 4 of 20" in said and f"on {day} " in said
    assert "version 5 of" in said and "was seen from here" in said
    assert "./fog accept-directory 4" in said
    assert handed_in(panel) == 3 and kept() == 5


def test_resealing_goes_by_no_older_one_either(
    panel: SealedPanel, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    panel.ends = False
    assert run(script, "--detach") == 0
    panel.version = 2
    assert main(["reseal", "5"]) == 1
    assert "./fog accept-directory 2" in capsys.readouterr().err
    assert not panel.posts("/api/v1/tasks/5/reseal")


def test_of_a_restored_panel_that_one_version_can_be_accepted(
    panel: SealedPanel, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    panel.version = 9
    assert run(script) == 0
    panel.version = 4
    assert main(["accept-directory", "5"]) == 1
    assert "The panel gives version 4 of its directory now" in capsys.readouterr().err
    assert kept() == 9
    assert main(["accept-directory", "4"]) == 0
    assert "version 4 of the panel's directory is gone by" in capsys.readouterr().err
    assert run(script) == 0
    panel.version = 3
    assert run(script) == 1


def test_what_is_not_the_panels_or_expired_cannot_be_accepted(
    panel: SealedPanel, capsys: pytest.CaptureFixture[str]
) -> None:
    panel.site.routes["GET /api/v1/relay-directory"] = (200, encode_changes(signed({}, 3)))  # of 1970
    assert main(["accept-directory", "3"]) == 1
    said = capsys.readouterr().err
    assert "The directory 3 expired on 1970-01-13 13:46:40 UTC, and here it is 20" in said
    assert "this machine's clock is ahead" in said
    panel.site.routes["GET /api/v1/agents/panel"] = shown(OTHER_KEY)
    assert main(["accept-directory", "3"]) == 1
    assert "shows another key than before" in capsys.readouterr().err
    assert mark().newest() is None


def test_a_panel_that_was_set_up_anew_begins_anew(panel: SealedPanel, script: str) -> None:
    """Its key is another one; what was seen of the one before stays known."""
    panel.version = 9
    assert run(script) == 0
    other = DirectoryMark(bytes.fromhex(OTHER_KEY))
    assert other.newest() is None
    other.note(Seen(2, 1.0, 2.0))
    assert kept() == 9
    assert other.newest() == Seen(2, 1.0, 2.0)


def test_only_we_can_read_or_change_what_is_kept(panel: SealedPanel, script: str) -> None:
    assert run(script) == 0
    path = mark().path
    assert json.loads(path.read_text()).keys() == {"version", "made_at", "seen_at"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_two_programs_at_once_neither_refuse_what_is_right_nor_go_back(
    panel: SealedPanel, script: str
) -> None:
    """While one waits for its answer, which is then an older one, another sees a newer."""

    def overtaken(asked: Asked) -> Answer:
        answer = panel.directory()
        mark().note(Seen(panel.version + 1, 1.0, 2.0))
        return 200, answer

    panel.site.routes["GET /api/v1/relay-directory"] = overtaken
    assert run(script) == 0
    assert kept() == panel.version + 1
    threads = [threading.Thread(target=mark().note, args=(Seen(n, 1.0, 2.0),)) for n in range(10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept() == 19


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 0}', b"\xff"])
def test_what_is_damaged_is_said_and_begun_anew(
    panel: SealedPanel, script: str, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(script) == 0
    mark().path.write_bytes(content)
    assert run(script) == 0
    assert f"cannot be read from {mark().path}" in capsys.readouterr().err
    assert kept() == 3
    assert run(script) == 0
    assert "cannot be read" not in capsys.readouterr().err


def test_where_it_cannot_be_kept_it_goes_on_and_says_so(
    panel: SealedPanel, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mark().path.parent.write_text("in the way of the folder")
    assert run(script) == 0
    said = capsys.readouterr().err
    assert "cannot be read from" in said
    assert f"Which directory the panel gave cannot be kept in {mark().path}" in said
    assert main(["accept-directory", "3"]) == 1
    assert "Nothing was changed" in capsys.readouterr().err


def test_where_keys_cannot_be_kept_nothing_is_handed_in(
    panel: SealedPanel, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (settings.settings_path().parent / "sealed").write_text("in the way of the folder")
    assert run(script) == 1
    assert "The keys of the task cannot be kept in" in capsys.readouterr().err
    assert handed_in(panel) == 0
