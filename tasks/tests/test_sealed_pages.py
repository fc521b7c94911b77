"""The pages of sealed tasks: what the form offers, what a sealed task shows, and what is pushed."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from conftest import MakeNode
from coordinator.values import RoutingStrategy
from fogagent.messages import Outcome, Piece, Stream
from nodes.models import Node
from tasks import resealing
from tasks.live_topics import render_list, render_task
from tasks.models import Attempt, Task
from tasks.privacy import IN_SHORT, Privacy
from tasks.tests.conftest import Report
from tasks.tests.sealing import MARKER, SealingFleet, Submitter
from tasks.tests.test_pages import ids_in, page, places

Place = Callable[[], int]
REFUSED = "There is no way for it now."


def refuse_confidential(level: str, now: object) -> str:
    """A TASK_ADMISSION."""
    return REFUSED if level == "confidential" else ""


@pytest.fixture(autouse=True)
def everything_is_served(settings: LazySettings) -> None:
    settings.TASK_ADMISSION = "tasks.tests.sealing.not_refused"
    settings.PLACING_HELD_BACK = "tasks.tests.sealing.none_held_back"


@pytest.fixture
def fleet(make_node: MakeNode) -> SealingFleet:
    return SealingFleet(make_node, 4)


@pytest.fixture
def sealed(fleet: SealingFleet, submitter: User) -> Task:
    """One that waits."""
    sender = Submitter(submitter)
    return sender.hand_in(sender.reserve(name="payroll"))


# --- The form ----------------------------------------------------------------------------------------


def radio(html: str, level: str) -> str:
    found = re.search(f'<input [^>]*id="level-{level}"[^>]*>', html)
    assert found
    return found[0]


def test_each_level_says_what_it_hides_and_costs(client: Client, submitter: User, db: None) -> None:
    html = page(client, submitter, "/tasks/new")
    for level in Privacy:
        assert IN_SHORT[level] in html
        assert f'id="hides-{level}"' in html
    assert "not measured yet" in html
    assert "4.0\xa0KB padded, over a network 4 times" in html


def test_only_a_script_that_seals_lets_sealed_levels_be_chosen(
    client: Client, submitter: User, db: None
) -> None:
    html = page(client, submitter, "/tasks/new")
    assert "checked" in radio(html, "public") and "disabled" not in radio(html, "public")
    for level in ("private", "confidential", "secret"):
        assert "disabled" in radio(html, level)


def test_a_level_that_cannot_be_had_says_why(
    client: Client, submitter: User, settings: LazySettings, db: None
) -> None:
    settings.TASK_ADMISSION = "tasks.tests.test_sealed_pages.refuse_confidential"
    settings.TASK_QUOTES = "tasks.tests.test_sealed_pages.refused_quotes"
    html = page(client, submitter, "/tasks/new")
    assert f'id="refusal-confidential">{REFUSED}' in html
    assert 'id="refusal-private" hidden' in html


def refused_quotes(now: object) -> list[object]:
    """A TASK_QUOTES."""
    from tasks.quotes import Quote

    return [
        Quote(
            level, refuse_confidential(level, now), "", start_s=0.3, samples=2, transfers=1, bytes_per_s=None
        )
        for level in Privacy
    ]


def test_what_is_sealed_is_never_handed_in_open(client: Client, submitter: User) -> None:
    client.force_login(submitter)
    answer = client.post("/tasks/new", {"driver": "python", "source": MARKER, "privacy": "private"})
    assert answer.status_code == 422
    assert "must be public here" in answer.content.decode()
    assert not Task.objects.exists()


def test_a_preview_asks_only_nodes_that_it_can_be_sealed_for(
    client: Client, submitter: User, fleet: SealingFleet, make_node: MakeNode
) -> None:
    make_node(name="unlisted")
    client.force_login(submitter)
    asked = {"driver": "python", "privacy": "private", "cores": "0.1"}
    html = client.post("/tasks/preview", asked, headers={"HX-Request": "true"}).content.decode()
    assert html.count("4 of 5 eligible") == len(RoutingStrategy)
    Node.objects.filter(id__in=fleet.identities).update(connected=False, changed_at=timezone.now())
    html = client.post("/tasks/preview", asked, headers={"HX-Request": "true"}).content.decode()
    assert "cannot be sealed for: 1 node" in html


def test_the_form_sends_nothing_of_what_is_inside_for_a_preview(
    client: Client, submitter: User, db: None
) -> None:
    html = page(client, submitter, "/tasks/new")
    found = re.search('hx-params="not ([^"]+)"', html)
    assert found and set(found[1].split(",")) == {
        "source", "upload", "command", "image", "args", "stdin", "env",
    }  # fmt: skip


def test_a_task_like_a_sealed_one_is_not_public_by_mistake(
    client: Client, submitter: User, sealed: Task
) -> None:
    """It cannot be handed in at all before there is a script that seals it."""
    html = page(client, submitter, "/tasks/new", **{"from": sealed.id})
    assert "checked" in radio(html, "private")
    assert "payroll" in html and MARKER not in html
    assert html.count("data-waits disabled") == 2
    assert "data-waits" not in page(client, submitter, "/tasks/new")


# --- The task's page -----------------------------------------------------------------------------------


def finish(task: Task, place: Place, report: Report, *, sealed: bytes = b"sealed bytes") -> None:
    place()
    pieces = [Piece(stream=Stream.SEALED, offset=0, data=sealed)] if sealed else []
    outcome = Outcome.SUCCEEDED if sealed else Outcome.INVALID
    report(Attempt.objects.get(task=task), outcome, pieces=pieces)


def state_on(html: str) -> str:
    found = re.search('id="sealed-state" data-state="([a-z]+)"', html)
    assert found
    return found[1]


def test_a_sealed_task_has_a_sealed_result_in_place_of_a_log(
    client: Client, submitter: User, sealed: Task, place: Place, report: Report
) -> None:
    html = page(client, submitter, f"/tasks/{sealed.id}")
    assert 'data-testid="privacy-pill"' in html and 'data-testid="sealed-result"' in html
    assert 'data-testid="task-logs"' not in html and f"log:{sealed.id}" not in html
    assert "/retry" not in html
    assert f'data-content="{sealed.payload_id}"' in html
    assert state_on(html) == "awaited"
    finish(sealed, place, report)
    assert state_on(page(client, submitter, f"/tasks/{sealed.id}")) == "there"


def test_one_that_ended_without_a_result_says_why(
    client: Client, submitter: User, sealed: Task, place: Place, report: Report
) -> None:
    finish(sealed, place, report, sealed=b"")
    Task.objects.filter(id=sealed.id).update(reason="it cannot be opened")
    html = page(client, submitter, f"/tasks/{sealed.id}")
    assert state_on(html) == "none"
    assert "It cannot be opened." in html


def test_who_may_not_see_content_gets_nothing_to_open(client: Client, viewer: User, sealed: Task) -> None:
    html = page(client, viewer, f"/tasks/{sealed.id}")
    assert state_on(html) == "awaited"
    for part in ("data-content", 'data-testid="open-result"', 'data-testid="reseal"'):
        assert part not in html


def go(sealed: Task) -> None:
    """None of its nodes is there any more."""
    long_ago = timezone.now() - resealing.AWAY - timedelta(seconds=1)
    Node.objects.update(connected=False, last_contact_at=long_ago, changed_at=timezone.now())
    resealing.look_after(timezone.now())
    sealed.refresh_from_db()
    assert sealed.needs_resealing


def test_its_owner_can_seal_it_for_other_nodes_and_others_read_who_can(
    client: Client, submitter: User, operator: User, sealed: Task
) -> None:
    go(sealed)
    html = page(client, submitter, f"/tasks/{sealed.id}")
    assert "It needs resealing." in html and 'data-testid="reseal"' in html and "data-left" in html
    html = page(client, operator, f"/tasks/{sealed.id}")
    assert "It needs resealing." in html and 'data-testid="reseal"' not in html
    assert f"Only {submitter.get_username()}" in html


def test_every_push_about_a_sealed_task_finds_its_place(
    client: Client, viewer: User, sealed: Task, place: Place, report: Report
) -> None:
    pushed = render_task(str(sealed.id))
    assert {"sealed-state", "task-resealing"} <= places(pushed)
    assert places(pushed) <= ids_in(page(client, viewer, f"/tasks/{sealed.id}"))
    finish(sealed, place, report)
    pushed = render_task(str(sealed.id))
    assert state_on(pushed) == "there"
    assert "opened" not in places(pushed), "what was opened stays"


# --- The list ----------------------------------------------------------------------------------------


def test_a_sealed_task_has_a_lock_in_the_list(client: Client, viewer: User, sealed: Task) -> None:
    row, _ = render_list(str(sealed.id), 0)
    for html in (row, page(client, viewer, "/tasks")):
        assert re.search(r"</svg> private</span>", html)


def test_the_list_says_why_a_sealed_task_waits(client: Client, viewer: User, sealed: Task) -> None:
    Task.objects.filter(id=sealed.id).update(wait_reasons={"sealed": 9, "cpu": 2})
    assert "2 nodes: cpu" in page(client, viewer, "/tasks")
    html = page(client, viewer, f"/tasks/{sealed.id}")
    assert "not sealed for it, or out of its reach" in html
    go(sealed)
    assert "needs resealing: its nodes cannot take it" in page(client, viewer, "/tasks")
