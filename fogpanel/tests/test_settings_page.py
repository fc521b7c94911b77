"""The page Settings and /api/v1/parameters: who may look, who may change, and what they are told."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from fogpanel import tokens
from fogpanel.models import Event, ParameterValue
from fogpanel.parameters import store
from fogpanel.parameters.catalogue import BY_NAME, GROUPS
from fogpanel.tokens import Scope

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


@pytest.fixture
def admin(client: Client, admin_user: User) -> Client:
    client.force_login(admin_user)
    return client


def stored() -> dict[str, float]:
    return store.stored_values()


def heartbeats(**typed: object) -> dict[str, object]:
    """The form as the browser sends it, with what was typed."""
    shown: dict[str, object] = {"heartbeat_s": "30", "timeout_s": "90", "heartbeats_per_s_max": "300"}
    return {**shown, **{f"was-{name}": value for name, value in shown.items()}, **typed}


def post(client: Client, data: dict[str, Any], slug: str = "heartbeats", **headers: str) -> Any:
    return client.post(f"/settings/{slug}", data, headers=headers)


def test_every_parameter_is_shown_and_editable(admin: Client) -> None:
    body = admin.get("/settings").content.decode()
    for name in BY_NAME:
        assert f'data-testid="parameter-{name}"' in body
        assert f'name="{name}"' in body
    assert [f'data-testid="parameter-group-{group.slug}"' in body for group in GROUPS] == [True] * len(GROUPS)
    assert "FOGPANEL_TIMEOUT_S" in body and "never changed" in body


def test_a_viewer_looks_and_changes_nothing(client: Client, viewer: User) -> None:
    client.force_login(viewer)
    body = client.get("/settings").content.decode()
    assert "90 s" in body
    assert "<input" not in body.partition("<main")[2]
    assert post(client, heartbeats(heartbeat_s="20")).status_code == 403
    assert stored() == {}


def test_only_what_was_edited_is_stored_and_then_told(admin: Client) -> None:
    answer = post(admin, heartbeats(heartbeat_s="20"))
    assert answer.headers["Location"] == "/settings"
    assert stored() == {"heartbeat_s": 20.0}
    body = admin.get("/settings").content.decode()
    assert "Heartbeat interval to 20 s (was 30 s)." in body
    assert re.search(r"changed by some-admin <time", body)


def test_a_fragment_for_htmx(admin: Client) -> None:
    body = post(admin, heartbeats(heartbeat_s="20"), **HTMX).content.decode()
    assert body.lstrip().startswith("<section")
    assert "Heartbeat interval to 20 s (was 30 s)." in body


@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "fragment"])
def test_what_can_harm_is_asked_about_first(admin: Client, headers: dict[str, str]) -> None:
    body = post(admin, heartbeats(timeout_s="75"), **headers).content.decode()
    assert "takes slow nodes for lost" in body and 'value="75"' in body
    assert stored() == {}
    post(admin, heartbeats(timeout_s="75", confirmed="1"), **headers)
    assert stored() == {"timeout_s": 75.0}


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"heartbeat_s": "soon"}, "heartbeat_s: must be a number, was “soon”."),
        ({"heartbeat_s": ""}, "heartbeat_s: must be a number, was “”."),
        ({"heartbeat_s": "nan"}, "heartbeat_s: must be a number, was nan."),
        ({"heartbeat_s": "4000"}, "heartbeat_s: must be between 0.2 s and 3,600 s, was 4,000 s."),
        ({"heartbeat_s": "50"}, "timeout_s: must be at least twice heartbeat_s (50 s), was 90 s."),
    ],
)
def test_a_refusal_keeps_what_was_typed_and_names_field_and_rule(
    admin: Client, typed: dict[str, str], sentence: str
) -> None:
    answer = post(admin, heartbeats(**typed))
    assert answer.status_code == 422
    body = answer.content.decode()
    assert sentence in body
    assert f'value="{typed["heartbeat_s"]}"' in body
    assert 'aria-invalid="true"' in body
    assert stored() == {}


def test_back_to_the_default(admin: Client) -> None:
    post(admin, heartbeats(heartbeat_s="20"))
    post(admin, heartbeats(heartbeat_s="20") | {"was-heartbeat_s": "20", "reset": "heartbeat_s"})
    assert stored() == {}
    row = ParameterValue.objects.get(name="heartbeat_s")
    assert row.changed_by_name == "some-admin"
    assert "set back by some-admin" in admin.get("/settings").content.decode()
    assert Event.objects.filter(kind="parameter.changed").count() == 2


def test_the_default_of_something_dangerous_is_asked_about_too(admin: Client) -> None:
    post(admin, heartbeats(timeout_s="75", confirmed="1"))
    body = post(admin, heartbeats(reset="timeout_s")).content.decode()
    assert '<input type="hidden" name="reset" value="timeout_s">' in body
    assert stored() == {"timeout_s": 75.0}
    post(admin, heartbeats(reset="timeout_s", confirmed="1"))
    assert stored() == {}


def test_unknown_groups_are_not_found(admin: Client) -> None:
    assert post(admin, {}, slug="weather").status_code == 404


def test_weights_show_their_share(admin: Client) -> None:
    ParameterValue.objects.create(name="affinity_match", value=70)
    body = admin.get("/settings").content.decode()
    _, _, fit = body.partition('data-testid="parameter-affinity_fit"')
    assert "50 %" in fit.partition("parameter-affinity_match")[0]


class TestApi:
    def put(self, client: Client, values: dict[str, object]) -> Any:
        return client.put("/api/v1/parameters", {"values": values}, content_type="application/json")

    @pytest.fixture
    def api(self, admin_user: User) -> Client:
        _, text = tokens.create_token(
            admin_user, name="t", scopes=[Scope.ADMIN], lifetime_s=3600, now=timezone.now()
        )
        return Client(headers={"Authorization": f"Bearer {text}"})

    def test_what_is_there(self, api: Client) -> None:
        items = api.get("/api/v1/parameters").json()["items"]
        assert [item["name"] for item in items] == list(BY_NAME)
        assert items[1] | {"about": "", "readers": ""} == {
            "name": "timeout_s",
            "title": "Heartbeat timeout",
            "about": "",
            "group": "heartbeats",
            "unit": "s",
            "whole": False,
            "least": 0.5,
            "most": 86_400.0,
            "default": 90.0,
            "value": 90.0,
            "is_default": True,
            "readers": "",
            "changed_at": None,
            "changed_by": "",
        }

    def test_several_at_once_and_back(self, api: Client) -> None:
        answer = self.put(api, {"heartbeat_s": 60, "timeout_s": 180})
        assert {item["name"]: item["value"] for item in answer.json()["items"]}["timeout_s"] == 180.0
        assert stored() == {"heartbeat_s": 60.0, "timeout_s": 180.0}
        assert self.put(api, {"heartbeat_s": None, "timeout_s": None}).status_code == 200
        assert stored() == {}

    def test_all_or_nothing_with_a_sentence_for_each_field(self, api: Client) -> None:
        answer = self.put(api, {"sweep_s": 10, "heartbeat_s": 50, "probe_s": 0})
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == ["probe_s"]
        assert stored() == {}

    def test_viewers_read_and_operators_do_not_write(self, client: Client, operator: User) -> None:
        client.force_login(operator)
        assert client.get("/api/v1/parameters").status_code == 200
        assert self.put(client, {"sweep_s": 10}).status_code == 403
        assert self.put(Client(), {"sweep_s": 10}).status_code == 401
        assert stored() == {}
