"""Tunnels for programs: the rules of the pages, problems that name field and rule, one POST done once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from fogpanel import tokens
from fogpanel.access import allows
from fogpanel.tokens import Scope
from nodes.models import Node
from services.models import ServiceState
from services.vpn_coordinator.models import Tunnel
from services.vpn_coordinator.tests.conftest import MakeTunnel

pytestmark = pytest.mark.django_db
PATH = "/api/v1/tunnels"
GOOD = {"name": "browsing", "entry": "atlas"}


def ask(
    user: User, method: str, path: str, body: object = None, scopes: tuple[Scope, ...] = (), **more: str
) -> Any:
    _, text = tokens.create_token(
        user,
        name="t",
        scopes=scopes or [scope for scope in Scope if allows(user, scope.role)],
        lifetime_s=60,
        now=timezone.now(),
    )
    headers = {
        "Authorization": f"Bearer {text}",
        **{key.replace("_", "-"): value for key, value in more.items()},
    }
    content = json.dumps(body) if body is not None else ""
    return Client().generic(method, path, content, content_type="application/json", headers=headers)


def test_create_look_and_stop(submitter: User, entry: Node, other_submitter: User) -> None:
    made = ask(submitter, "POST", PATH, {**GOOD, "hops": 2, "allowed": ["ann"]})
    assert made.status_code == 201
    one = made.json()
    assert (one["state"], one["pool"], one["entry"], one["allowed"]) == (
        "ordered",
        "private",
        "atlas",
        ["ann"],
    )
    Tunnel.objects.update(is_open=True, port=1080)
    assert ask(submitter, "GET", f"{PATH}/{one['id']}").json()["port"] == 1080
    stopped = ask(submitter, "DELETE", f"{PATH}/{one['id']}")
    assert (stopped.status_code, stopped.json()["state"]) == (200, "stopped")
    assert ask(submitter, "DELETE", f"{PATH}/{one['id']}").json() == stopped.json()
    assert ask(submitter, "GET", PATH).json()["items"] == []
    assert [item["id"] for item in ask(submitter, "GET", f"{PATH}?stopped=true").json()["items"]] == [
        one["id"]
    ]


@pytest.mark.usefixtures("entry")
def test_a_post_with_a_key_is_done_once(submitter: User) -> None:
    answers = [ask(submitter, "POST", PATH, GOOD, Idempotency_Key="k1") for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert Tunnel.objects.count() == 1


@pytest.mark.usefixtures("entry")
@pytest.mark.parametrize(
    ("different", "field", "sentence"),
    [
        ({"entry": "nowhere"}, "entry", "entry: there is no node “nowhere”."),
        ({"hops": 9}, "hops", "hops: must be between 1 and 8, was 9."),
        ({"hops": None, "rotate_s": "x"}, "rotate_s", "rotate_s: must be a number of seconds, was “x”."),
        ({"port": 80}, "port", "port: must be between 1024 and 65535, was 80."),
        ({"exit_node": 5.5}, "exit_node", "exit_node: must be the name or the number of a node, was 5.5."),
    ],
)
def test_a_problem_names_field_and_rule(
    submitter: User, different: dict[str, Any], field: str, sentence: str
) -> None:
    answer = ask(submitter, "POST", PATH, GOOD | different)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["errors"] == [{"field": field, "message": sentence}]


def test_roles_and_scopes(
    submitter: User, other_submitter: User, operator: User, viewer: User, make_tunnel: MakeTunnel
) -> None:
    made = make_tunnel()
    Tunnel.objects.update(is_open=True, port=1080)
    one = f"{PATH}/{made.id}"
    ports = {
        u.username: ask(u, "GET", one).json()["port"] for u in (submitter, other_submitter, operator, viewer)
    }
    assert ports == {"some-submitter": 1080, "ann": None, "some-operator": 1080, "some-viewer": None}
    listed = ask(viewer, "GET", PATH).json()["items"]
    assert [(item["id"], item["port"]) for item in listed] == [(made.id, None)]
    assert ask(other_submitter, "GET", f"{PATH}?mine=true").json()["items"] == []
    assert len(ask(submitter, "GET", f"{PATH}?mine=true").json()["items"]) == 1
    assert ask(viewer, "POST", PATH, GOOD).status_code == 403
    assert ask(viewer, "DELETE", one).status_code == 403
    assert ask(other_submitter, "DELETE", one).status_code == 403
    # A token that may only read shows what a viewer sees.
    assert ask(operator, "GET", one, scopes=(Scope.READ,)).json()["port"] is None
    refused = ask(operator, "DELETE", one, scopes=(Scope.READ,))
    assert (refused.status_code, refused.json()["code"]) == (403, "role-missing")
    assert ask(operator, "DELETE", one).status_code == 200


def test_what_is_not_there(submitter: User) -> None:
    for number in (987654, 2**70):
        answer = ask(submitter, "GET", f"{PATH}/{number}")
        assert (answer.status_code, answer.json()["detail"]) == (404, f"There is no tunnel {number}.")
    assert Client().get(PATH).status_code == 401


@pytest.mark.usefixtures("entry")
def test_a_disabled_service_says_so(submitter: User) -> None:
    ServiceState.objects.create(slug="vpn_coordinator", enabled=False)
    answer = ask(submitter, "POST", PATH, GOOD)
    assert (answer.status_code, answer.json()["code"]) == (409, "not-now")


def test_pages_of_the_list(submitter: User, make_tunnel: MakeTunnel) -> None:
    ids = [make_tunnel().id for _ in range(3)]
    first = ask(submitter, "GET", f"{PATH}?limit=2").json()
    assert [item["id"] for item in first["items"]] == [ids[2], ids[1]]
    rest = ask(submitter, "GET", f"{PATH}?limit=2&after={first['next']}").json()
    assert [item["id"] for item in rest["items"]] == [ids[0]]
    assert rest["next"] is None
