"""The command-line client and the API together: a private task from the terminal and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.utils import timezone

from conftest import MakeNode
from fogagent.__main__ import main
from fogagent.client import settings as client_settings
from fogagent.messages import Outcome, Piece, Stream
from fogagent.sealing.result import Result, seal_result
from fogpanel.tokens import Scope, create_token
from nodes.identity import panel_identity
from nodes.models import Node
from tasks import resealing
from tasks.models import Attempt, Reservation, Task
from tasks.privacy import Privacy
from tasks.quotes import Quote
from tasks.tests.conftest import Report
from tasks.tests.sealing import SealingFleet
from tasks.tests.test_sealed import Place, order

URL = "http://127.0.0.1:8000"
NO_MIXNET = "There is no mixnet yet."
GONE = resealing.AWAY + timedelta(seconds=1)


def quotes(now: datetime) -> list[Quote]:
    """TASK_QUOTES that serve private tasks."""
    return [
        Quote(Privacy.PRIVATE, "", "The panel does not see what runs.", 0.5, 3, 1, None),
        Quote(Privacy.SECRET, NO_MIXNET, "", None, 0, 1, None),
    ]


@pytest.fixture
def fleet(make_node: MakeNode) -> SealingFleet:
    return SealingFleet(make_node, 4)


@pytest.fixture
def one_connection() -> Iterator[None]:
    """Requests leave the database connection open, which the test's transaction is in."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.fixture
def script(
    submitter: User,
    one_connection: None,
    settings: LazySettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """A script, at a terminal that is signed in."""
    settings.TASK_ADMISSION = "tasks.tests.sealing.not_refused"
    settings.PLACING_HELD_BACK = "tasks.tests.sealing.none_held_back"
    settings.TASK_QUOTES = "tasks.tests.test_sealed_client.quotes"
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    in_process = partial(httpx.Client, transport=httpx.WSGITransport(app=WSGIHandler()))
    monkeypatch.setattr("fogagent.client.api.httpx.Client", in_process)
    scopes = [Scope.READ, Scope.SUBMIT]
    _, token = create_token(submitter, name="t", scopes=scopes, lifetime_s=60, now=timezone.now())
    assert main(["login", URL, "--token", token]) == 0
    path = tmp_path / "payroll.py"
    path.write_text("print('inside')")
    return str(path)


def run_on_its_node(fleet: SealingFleet, report: Report) -> None:
    """The node of the only open attempt opens its order and says what came of it."""
    attempt = Attempt.objects.get(ended_at=None)
    spec = fleet.open(attempt.node_id, order(attempt))
    assert (spec.payload, spec.args) == (b"print('inside')", ["deep"])
    assert attempt.reservation is not None
    result = Result(outcome=Outcome.EXIT_CODE, exit_code=3, sentence="It ended with 3.", stdout=b"out\n")
    sealed = seal_result(result, spec.result_key, attempt.reservation, fleet.identities[attempt.node_id])
    piece = Piece(stream=Stream.SEALED, offset=0, data=sealed)
    report(attempt, Outcome.EXIT_CODE, pieces=[piece])


def test_there_and_back(
    fleet: SealingFleet, script: str, place: Place, report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    assert client_settings.load().keys == {URL: panel_identity().public_key.hex()}
    capsys.readouterr()
    assert main(["run", "--privacy", "private", script, "--detach", "--json", "--", "deep"]) == 0
    task = json.loads(capsys.readouterr().out)
    assert (task["privacy"], task["state"]) == ("private", "queued")
    assert "payroll" not in task["name"]
    assert place() == 1
    run_on_its_node(fleet, report)
    assert main(["logs", "-f", str(task["id"])]) == 3
    said = capsys.readouterr()
    assert said.out == "out\n"
    assert "It ended with 3." in said.err


def test_sealed_again_for_nodes_that_are_there(
    fleet: SealingFleet, script: str, place: Place, report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--privacy", "private", script, "--detach", "--", "deep"]) == 0
    task, reservation = Task.objects.get(), Reservation.objects.get()
    Node.objects.filter(id__in=reservation.nodes).update(
        connected=False, last_contact_at=timezone.now() - GONE, changed_at=timezone.now()
    )
    resealing.look_after(timezone.now())
    capsys.readouterr()
    assert main(["tasks"]) == 0
    assert f"./fog reseal {task.id}" in capsys.readouterr().out
    assert main(["reseal", str(task.id)]) == 0
    assert place() == 1
    run_on_its_node(fleet, report)
    assert main(["logs", str(task.id)]) == 0
    assert capsys.readouterr().out == "out\n"


def test_a_level_that_is_not_served_is_refused_in_the_panels_words(
    fleet: SealingFleet, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["run", "--privacy", "secret", script]) == 1
    assert capsys.readouterr().err == f"{NO_MIXNET}\n"
    assert not Task.objects.exists()
