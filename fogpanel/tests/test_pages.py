"""Signing in, the events page, and what the error pages say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from fogpanel import audit
from fogpanel.models import Event

pytestmark = pytest.mark.django_db
PASSWORD = "a pass phrase of some length"


@pytest.fixture
def ada(viewer: User) -> User:
    viewer.set_password(PASSWORD)
    viewer.save()
    return viewer


def sign_in(client: Client, name: str, password: str) -> str:
    answer = client.post("/sign-in", {"username": name, "password": password}, follow=True)
    return answer.content.decode()


def test_signing_in_leads_to_the_control_panel(client: Client, ada: User) -> None:
    answer = client.post("/sign-in", {"username": ada.username, "password": PASSWORD})
    assert answer.headers["Location"] == "/control-panel"


def test_a_page_asks_for_signing_in_and_comes_back(client: Client, ada: User) -> None:
    answer = client.get("/events?kind=node")
    assert answer.headers["Location"].startswith("/sign-in?next=/events")
    answer = client.post(
        answer.headers["Location"], {"username": ada.username, "password": PASSWORD, "next": "/events"}
    )
    assert answer.headers["Location"] == "/events"


def test_a_wrong_password_says_what_to_check(client: Client, ada: User) -> None:
    assert "do not belong together" in sign_in(client, ada.username, "wrong")


def test_too_many_wrong_passwords_close_the_door_and_say_for_how_long(client: Client, ada: User) -> None:
    for _ in range(settings.AXES_FAILURE_LIMIT):
        said = sign_in(client, ada.username, "wrong")
    assert "closed for 15 minutes" in said
    assert "closed for 15 minutes" in sign_in(client, ada.username, PASSWORD)


def test_signing_out_needs_a_post(client: Client, ada: User) -> None:
    client.force_login(ada)
    assert client.get("/sign-out").status_code == 405
    assert client.post("/sign-out").headers["Location"] == "/sign-in"
    assert client.get("/events").status_code == 302


def test_what_is_not_there_says_so(client: Client, ada: User) -> None:
    client.force_login(ada)
    answer = client.get("/no-such-page")
    assert answer.status_code == 404
    assert "There is nothing at /no-such-page." in answer.content.decode()


def test_a_missing_role_is_named(client: Client, db: None) -> None:
    client.force_login(User.objects.create_user("nobody"))
    answer = client.get("/events")
    assert answer.status_code == 403
    assert "needs the role viewer" in answer.content.decode()


def test_htmx_gets_the_error_as_a_fragment(client: Client, ada: User) -> None:
    client.force_login(ada)
    body = client.get("/no-such-page", headers={"HX-Request": "true"}).content.decode()
    assert "Not found" in body
    assert "<html" not in body


def test_a_page_says_that_the_database_is_away(
    client: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    client.force_login(ada)
    client.raise_request_exception = False
    monkeypatch.setattr("fogpanel.views.find_page", away)
    answer = client.get("/events")
    assert answer.status_code == 503
    assert "Try again in a few seconds" in answer.content.decode()


def test_a_form_that_cannot_be_trusted_says_what_to_do(ada: User) -> None:
    client = Client(enforce_csrf_checks=True)
    answer = client.post("/sign-in", {"username": ada.username, "password": PASSWORD})
    assert answer.status_code == 403
    assert "reload the page" in answer.content.decode()


class TestEvents:
    @pytest.fixture(autouse=True)
    def signed_in(self, client: Client, ada: User) -> None:
        client.force_login(ada)

    def read(self, client: Client, query: str = "") -> str:
        return client.get("/events" + query).content.decode()

    def test_nothing_has_happened(self, client: Client) -> None:
        body = self.read(client)
        assert 'data-testid="empty-state"' in body
        assert "Nothing has happened yet" in body

    def test_who_did_what_and_what_it_was_before(self, client: Client, ada: User) -> None:
        audit.record(
            "node.availability",
            "Node a1 was set to maintenance",
            actor=ada,
            subject=ada,
            before={"availability": "schedulable", "same": 1},
            after={"availability": "maintenance", "same": 1},
        )
        body = self.read(client)
        assert "Node a1 was set to maintenance" in body
        assert f"by {ada.username}" in body
        assert "<del>schedulable</del> → maintenance" in body
        assert "Same" not in body

    @pytest.mark.parametrize(
        ("query", "shown"),
        [
            ("?kind=node", {"joined", "gone"}),
            ("?kind=task.cancelled", {"cancelled"}),
            ("?actor=some-viewer", {"cancelled"}),
            ("?actor=panel", {"joined", "gone"}),
            ("?subject=node:7", {"gone"}),
            ("?subject=node", {"joined", "gone"}),
            ("?kind=node&subject=node:7", {"gone"}),
        ],
    )
    def test_filters(self, client: Client, ada: User, query: str, shown: set[str]) -> None:
        for kind, sentence, subject_id in (("node.joined", "joined", 3), ("node.gone", "gone", 7)):
            Event.objects.create(
                at=timezone.now(), kind=kind, sentence=sentence, subject_kind="node", subject_id=subject_id
            )
        audit.record("task.cancelled", "cancelled", actor=ada)
        body = self.read(client, query)
        assert {word for word in ("joined", "gone", "cancelled") if f"<div>{word}</div>" in body} == shown

    def test_a_filter_that_fits_nothing_offers_the_way_back(self, client: Client) -> None:
        audit.record("node.joined", "joined")
        assert "No such events" in self.read(client, "?kind=weather")

    def test_a_filter_that_makes_no_sense_is_named(self, client: Client) -> None:
        assert "Subject: a kind, or a kind and a number" in self.read(client, "?subject=1:2:3")
        assert self.read(client, "?before=999999999999999999999999")

    def test_pages_lead_to_each_other_and_keep_the_filter(self, client: Client) -> None:
        for number in range(120):
            audit.record("node.joined", f"number {number}.")
        seen: list[str] = []
        query = "?kind=node"
        for _ in range(3):
            body = self.read(client, query)
            seen += re.findall(r"number (\d+)\.", body)
            older = re.search(r'href="(\?kind=node&amp;after=\d+)" rel="next"', body)
            query = older[1].replace("&amp;", "&") if older else ""
        assert seen == [str(number) for number in reversed(range(120))]
        assert query == ""
        assert 'rel="prev"' in body

    def test_htmx_gets_the_list_alone(self, client: Client) -> None:
        body = client.get("/events", headers={"HX-Request": "true"}).content.decode()
        assert body.strip().startswith('<div id="events">')


def test_templates_keep_to_the_content_security_policy() -> None:
    """No inline script, style or handler: the policy would silently switch them off."""
    forbidden = re.compile(
        r"""\sstyle=|<style|\son\w+=["']|\shx-on|<script(?![^>]*\ssrc=)(?![^>]*application/json)"""
    )
    found = [
        f"{path.name}: {match[0].strip()}"
        for path in (Path(settings.BASE_DIR) / "templates").rglob("*.html")
        for match in forbidden.finditer(path.read_text())
    ]
    assert found == []


def test_components_name_their_inputs() -> None:
    fragments = (Path(settings.BASE_DIR) / "templates" / "fogpanel").glob("_*.html")
    assert [path.name for path in fragments if "Inputs:" not in path.read_text().split("\n")[0]] == []


def test_pages_send_the_policy_and_load_nothing_from_elsewhere(client: Client) -> None:
    answer = client.get(reverse("sign-in"))
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert not re.search(r'(?:src|href)="(?:https?:)?//', answer.content.decode())
