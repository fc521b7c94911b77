"""Frames that no agent of ours would send: refused with a reason, and nobody else is disturbed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from e2e.system.cluster import UNHURRIED
from e2e.system.panel import Panel
from e2e.system.samples import square
from fogagent.messages import Challenge, Problem, decode_from_panel


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    """Here nobody is to be taken for dead who is only slow."""
    with Panel(tmp_path_factory.mktemp("frames"), agents=3, **UNHURRIED) as started:
        yield started


@pytest.fixture
def stranger(panel: Panel) -> Iterator[ClientConnection]:
    """A connection to the agents' socket that the panel has just challenged."""
    url = panel.url.replace("http://", "ws://") + "/ws/agent/"
    with connect(url, max_size=None, proxy=None) as connection:
        assert isinstance(decode_from_panel(str(connection.recv(timeout=20)))[0], Challenge)
        yield connection


def said_until_closed(connection: ClientConnection) -> list[Problem]:
    problems = []
    try:
        while True:
            messages = decode_from_panel(str(connection.recv(timeout=20)))
            problems += [message for message in messages if isinstance(message, Problem)]
    except ConnectionClosed:
        return problems


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        ("hello?", "not JSON"),
        ('[{"type": "dance"}]', "dance"),
        ('{"type": "goodbye"}', "array"),
        ('[{"type": "heartbeat", "at": "noon"}]', "breaks its rules"),
        ("[" + "1," * 400_000 + "1]", "at most"),
    ],
    ids=["not JSON", "unknown type", "not a list", "wrong field", "too long"],
)
def test_a_bad_frame_is_named_and_closes_its_socket(
    panel: Panel, stranger: ClientConnection, frame: str, sentence: str
) -> None:
    stranger.send(frame)
    problems = said_until_closed(stranger)
    assert problems and problems[-1].fatal
    assert sentence in problems[-1].sentence
    assert_nobody_was_disturbed(panel)


def test_ten_megabytes_close_the_socket_without_being_read(panel: Panel, stranger: ClientConnection) -> None:
    # The server closes on the frame's header, so the reason (1009) may be lost with what is still on its way.
    with contextlib.suppress(ConnectionClosed):
        stranger.send("x" * 10_000_000)
    said_until_closed(stranger)
    assert stranger.close_code in {1006, 1009}
    assert_nobody_was_disturbed(panel)


def test_a_report_before_the_handshake_is_refused(panel: Panel, stranger: ClientConnection) -> None:
    stranger.send('[{"type": "goodbye", "sentence": "I am everybody"}]')
    assert said_until_closed(stranger)[-1].fatal
    assert_nobody_was_disturbed(panel)


def assert_nobody_was_disturbed(panel: Panel) -> None:
    assert set(panel.agents) <= panel.working_nodes()
    task = panel.submit(**square(7))
    assert panel.wait_for_state(task, "succeeded")["attempts_made"] == 1
