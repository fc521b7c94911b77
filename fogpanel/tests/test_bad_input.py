"""What a hostile client sends: refused with the field and the rule, and with no traceback in the log."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

import pytest
from channels.routing import URLRouter
from django.contrib.auth.models import User
from django.test import Client
from django.urls import re_path

from fogpanel.logs import WithoutBlame
from fogpanel.models import ApiToken
from fogpanel.nowhere import nowhere
from fogpanel.sessions import SessionStore
from nodes.models import JoinKey

pytestmark = pytest.mark.django_db

JSON = "application/json"
PASSWORD = "a password for tests"


@pytest.fixture
def signed_in(admin_user: User, client: Client) -> Client:
    client.force_login(admin_user)
    client.raise_request_exception = False
    return client


def errors(response: Any) -> dict[str, str]:
    """By field. Fails where the answer is not a refusal of fields."""
    assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY, response.content
    return {one["field"]: one["message"] for one in response.json()["errors"]}


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/nodes?search=a%00b", "search"),
        ("/nodes?region=%00", "region"),
        ("/nodes?after=%00", "after"),
        ("/events?actor=%00", "actor"),
        ("/events?kind=%00", "kind"),
        ("/relays?flag=%00", "flag"),
        ("/tasks?%00=1", "·"),
    ],
)
def test_a_query_holds_nothing_that_a_database_cannot_look_for(
    signed_in: Client, path: str, field: str
) -> None:
    said = errors(signed_in.get(f"/api/v1{path}"))
    assert said == {field: f"{field}: must be text without NUL characters and lone surrogates."}


@pytest.mark.parametrize(
    "query", ["nodes?search", "nodes?region", "nodes?after", "events?kind", "events?actor", "relays?flag"]
)
def test_texts_to_look_for_are_short(signed_in: Client, query: str) -> None:
    said = errors(signed_in.get(f"/api/v1/{query}={'a+' * 1000}"))
    assert "at most" in said[query.partition("?")[2]]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (r'{"note": "a\u0000b"}', "note"),
        (r'{"group": "\ud800"}', "group"),
        (r'{"labels": {"a": "\u0000"}}', "labels"),
        (r'{"labels": {"\udfff": "a"}}', "labels"),
    ],
)
def test_a_join_key_holds_only_text_that_can_be_stored(signed_in: Client, body: str, field: str) -> None:
    said = errors(signed_in.post("/api/v1/join-keys", body, content_type=JSON))
    assert "NUL characters and lone surrogates" in said[field]
    assert not JoinKey.objects.exists()


@pytest.mark.parametrize("field", ["username", "password", "name"])
@pytest.mark.parametrize("text", [r"\u0000", r"a\ud800"])
def test_so_do_tokens(field: str, text: str) -> None:
    User.objects.create_user("ada", password=PASSWORD)
    given = {"username": "ada", "password": PASSWORD, "name": "mine", field: "@"}
    body = "{" + ", ".join(f'"{name}": "{value}"' for name, value in given.items()) + "}"
    said = errors(Client().post("/api/v1/tokens", body.replace("@", text), content_type=JSON))
    assert field in said
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--",
            400,
        ),
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=\xff", b"x", 400),
        ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % n for n in range(3000)), 400),
        ("application/x-www-form-urlencoded; charset=idna", b"a=%ff", 400),
        ("application/x-www-form-urlencoded", b"{}", 403),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "one"}])
def test_a_form_sent_to_the_api_by_a_browser_is_refused(
    admin_user: User, content_type: str, body: bytes, status: int, headers: dict[str, str]
) -> None:
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    client.force_login(admin_user)
    for path in ("/api/v1/tasks", "/api/v1/join-keys"):
        answer = client.generic("POST", path, body, content_type=content_type, headers=headers)
        assert answer.status_code in (status, 403), answer.content
        assert answer.json()["detail"]


def test_a_form_with_the_right_header_is_still_no_json(signed_in: Client) -> None:
    form = b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--"
    answer = signed_in.generic("POST", "/api/v1/tasks", form, content_type="multipart/form-data; boundary=x")
    assert (answer.status_code, answer.json()["code"]) == (400, "not-json")


def test_a_session_is_looked_for_by_a_key_that_it_can_have() -> None:
    assert SessionStore("a\0b-is-no-key-of-ours").session_key is None
    assert SessionStore("a" * 32).session_key == "a" * 32


@pytest.mark.parametrize("page", ["nodes/node", "auth/user", "fogpanel/event", "axes/accessattempt"])
def test_a_search_on_the_admin_site_is_short(signed_in: Client, page: str) -> None:
    answer = signed_in.get(f"/admin/{page}/", {"q": "a " * 1000})
    assert answer.status_code == 400
    assert "q: must be at most 200 characters, was 2000." in answer.content.decode()


@pytest.mark.parametrize("key", ["x", "\0", "1.5"])
@pytest.mark.parametrize("page", ["nodes/node", "auth/group", "axes/accessattempt"])
def test_what_is_chosen_on_the_admin_site_are_keys(signed_in: Client, page: str, key: str) -> None:
    given = {"action": "delete_selected", "index": "0", "_selected_action": key}
    answer = signed_in.post(f"/admin/{page}/", given)
    assert answer.status_code == 400
    assert "_selected_action: " in answer.content.decode()


@pytest.mark.parametrize("field", ["args", "command"])
def test_a_line_of_arguments_is_measured_before_it_is_taken_apart(signed_in: Client, field: str) -> None:
    driver = "command" if field == "command" else "python"
    answer = signed_in.post("/tasks/new", {"driver": driver, "source": "1", field: "x" * 5_000_000})
    assert answer.status_code == 422
    assert f"{field}: must be at most 32,768 characters, was 5,000,000." in answer.content.decode()


def test_what_a_client_did_wrong_leaves_a_line_and_no_traceback() -> None:
    def record(status: int) -> logging.LogRecord:
        try:
            raise ValueError("wrong")
        except ValueError as error:
            blame = (type(error), error, error.__traceback__)
        made = logging.LogRecord("django.request", logging.ERROR, __file__, 1, "m", (), blame)
        made.status_code = status
        return made

    theirs, ours = record(400), record(500)
    quiet = WithoutBlame()
    assert quiet.filter(theirs) and quiet.filter(ours)
    assert theirs.exc_info is None
    assert ours.exc_info is not None


@pytest.mark.asyncio
async def test_a_socket_at_an_address_that_has_none_is_refused() -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    router = URLRouter([re_path(r"", nowhere)])  # type: ignore[list-item, arg-type]
    await router({"type": "websocket", "path": "/no\0where"}, receive, send)  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 4404}]
