"""Joining: what is sent, what is learnt, and what is said when it fails."""

from __future__ import annotations

import base64
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fogagent.__main__ import main
from fogagent.address import PanelAddress
from fogagent.enrol import Enrolment, EnrolmentError
from fogagent.home import Home, Membership
from fogagent.identity import ENROL, Identity, enrolment_text, verify
from fogagent.instructions import ExitCode
from fogagent.messages import Facts
from fogagent.tests.web import HANG_UP, Answer, Asked, Site, problem, serving

FACTS = Facts(hostname="h", platform="p", version="1", cpu_millis=1000, memory_mb=512, disk_mb=1000)
PANEL = Identity.generate()
OTHER = Identity.generate()
ENROL_PATH = "POST /api/v1/agents/enrol"
PANEL_PATH = "GET /api/v1/agents/panel"


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        site.routes[PANEL_PATH] = (200, {"panel_key": b64(PANEL.public_key), "version": "1", "wheel": None})
        site.routes[ENROL_PATH] = accepted()
        yield site


def accepted(panel_key: bytes = PANEL.public_key, *, approved: bool = True) -> Answer:
    return 201, {"node": 7, "name": "edge-1", "panel_key": b64(panel_key), "approved": approved}


def join(site: Site, identity: Identity | None = None) -> tuple[Membership, bool]:
    with Enrolment(PanelAddress.parse(site.url, insecure=False)) as enrolment:
        return enrolment.join(
            identity=identity or Identity.generate(),
            join_key="fog_key",
            panel_key=PANEL.public_key,
            name="edge-1",
            facts=FACTS,
        )


def test_what_is_sent_proves_who_asks(site: Site) -> None:
    identity = Identity.generate()
    member, waits = join(site, identity)
    assert (member, waits) == (Membership(site.url, PANEL.public_key, 7, "edge-1"), False)
    (asked,) = site.asked
    body = asked.body
    assert body.keys() == {"join_key", "public_key", "sealing_key", "signature", "name", "facts"}
    assert (body["public_key"], body["sealing_key"]) == (b64(identity.public_key), b64(identity.sealing_key))
    assert body["facts"]["cpu_millis"] == 1000
    text = enrolment_text(
        panel_key=PANEL.public_key,
        agent_key=identity.public_key,
        sealing_key=identity.sealing_key,
        join_key="fog_key",
    )
    verify(identity.public_key, ENROL, text, base64.b64decode(body["signature"]))


def test_knows_when_it_has_to_wait_for_approval(site: Site) -> None:
    site.routes[ENROL_PATH] = accepted(approved=False)
    assert join(site)[1] is True


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (problem(403, "join_key: this key is used up; make a new one.", code="used-up-key"), "is used up"),
        (problem(422, "name: letters, digits and . _ -", code="bad-name"), "name: letters"),
        ((500, b"<html>"), "500"),
        ((200, b"<html>"), "does not answer as a panel does"),
        ((201, {"node": "seven"}), "does not answer as a panel does"),
        (accepted(OTHER.public_key), "is not the panel that this machine was told to join"),
        (HANG_UP, "cannot be reached"),
    ],
)
def test_failures_say_what_is_wrong(site: Site, answer: Answer, words: str) -> None:
    site.routes[ENROL_PATH] = answer
    with pytest.raises(EnrolmentError, match=re.escape(words)):
        join(site)


def test_nobody_at_the_address_is_said(site: Site) -> None:
    with serving() as gone:
        pass
    with pytest.raises(EnrolmentError, match="cannot be reached"):
        join(gone)


# --- The command -----------------------------------------------------------------------------------


def fails(caplog: pytest.LogCaptureFixture, *argv: str) -> str:
    """Run the command, which must give up with the code for a plain failure; returns what it said."""
    with caplog.at_level(logging.INFO):
        assert main(["agent", *argv]) == ExitCode.FAILED
    return caplog.records[-1].getMessage()


def test_without_a_key_it_says_where_to_get_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    said = fails(caplog, "--join", "http://127.0.0.1:1", "--state", str(tmp_path / "a"))
    assert "give a join key with --key or FOG_JOIN_KEY" in said


def test_plain_http_to_elsewhere_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert "--insecure" in fails(caplog, "--join", "http://panel.example", "--key", "k")


def test_another_panel_key_than_the_pinned_one_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Home(tmp_path).remember(Membership("http://127.0.0.1:1", PANEL.public_key, 7, "edge-1"))
    argv = ["--join", "http://127.0.0.1:1", "--state", str(tmp_path), "--panel-key", OTHER.public_key.hex()]
    assert "this agent joined a panel with the key" in fails(caplog, *argv)


def test_a_panel_elsewhere_must_be_named_by_its_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    said = fails(caplog, "--join", "https://panel.example", "--key", "k", "--state", str(tmp_path / "a"))
    assert "--panel-key: must be given" in said


def test_a_folder_in_use_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    descriptor = Home(tmp_path).lock()
    assert main(["agent", "--join", "http://127.0.0.1:1", "--state", str(tmp_path)]) == ExitCode.LOCKED
    os.close(descriptor)
    assert "Another agent runs with" in caplog.text


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--panel-key", "abc", "must be 64 hexadecimal digits"),
        ("--flags", "compute,fly", "fly is not among them"),
        ("--label", "gpu", "must look like gpu=a100"),
        ("--cores", "0", "must be a number between 0.001 and"),
        ("--memory-mb", "1.5", "must be a whole number"),
        ("--lat", "91", "between -90 and 90"),
        ("--type", "toaster", "invalid choice"),
    ],
)
def test_wrong_options_are_named(
    option: str, value: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["agent", "--join", "http://127.0.0.1:1", f"{option}={value}"])
    assert exit_.value.code == 2
    assert f"argument {option}: " in (said := capsys.readouterr().err)
    assert words in said


@pytest.mark.slow
def test_joins_once_waits_for_its_panel_and_stops_when_told(site: Site, tmp_path: Path) -> None:
    """The whole program, with the real workers, against a panel that has no agents' socket yet."""

    def until_it_waits() -> None:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "fogagent", "agent", "--join", site.url),
                *("--state", str(tmp_path), "--name", "edge-1", "--cores", "0.5", "--label", "rack=b"),
            ],
            env={**os.environ, "FOG_JOIN_KEY": "fog_key"},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        for line in process.stderr:
            if "not connected" in line:
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == ExitCode.STOPPED
        process.stderr.close()

    def enrolments() -> list[Asked]:
        return [asked for asked in site.asked if asked.method == "POST"]

    until_it_waits()
    (asked,) = enrolments()
    assert (asked.body["name"], asked.body["facts"]["cpu_millis"]) == ("edge-1", 500)
    assert asked.body["facts"]["labels"] == {"rack": "b"}
    assert {driver["name"] for driver in asked.body["facts"]["drivers"]} >= {"wasm", "python"}
    until_it_waits()
    assert len(enrolments()) == 1
