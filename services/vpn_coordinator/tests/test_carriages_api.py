"""How orders of confidential tasks get to their nodes, by the API."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from conftest import MakeNode
from fogagent.messages import NotCarried
from services.vpn_coordinator.tests.carriages import NOW, SECOND, Fog, answer

pytestmark = pytest.mark.django_db


def test_the_newest_come_first_with_why_they_failed(
    make_node: MakeNode, submitter: User, client: Client, viewer: User
) -> None:
    fog = Fog(make_node, submitter, gateways=1)
    brought, failing = fog.one(), fog.one()
    answer(brought, NOW + SECOND)
    refused = {"kind": NotCarried.REFUSED, "reason": "not-taken", "sentence": "It is stopping."}
    answer(failing, NOW + SECOND, ok=False, **refused)
    client.force_login(viewer)
    first = client.get("/api/v1/carriages?limit=1").json()
    [waits] = first["items"]
    assert (waits["attempt"], waits["gateway"], waits["node"]) == (failing.attempt_id, None, "worker")
    assert (waits["ok"], waits["tries"], waits["trouble"]) == (None, 1, "refused")
    assert (waits["reason"], waits["sentence"]) == ("not-taken", "It is stopping.")
    second = client.get(f"/api/v1/carriages?limit=1&after={first['next']}").json()
    [went] = second["items"]
    assert (went["attempt"], went["gateway"]) == (brought.attempt_id, "gate-0")
    assert (went["ok"], went["trouble"], went["took_ms"], second["next"]) == (True, "", 8.0, None)


def test_the_schema_lists_the_names(client: Client, viewer: User) -> None:
    client.force_login(viewer)
    schema = client.get("/api/v1/openapi.json").json()["components"]["schemas"]
    assert {"no-circuit", "refused", "silent"} <= set(schema["Trouble"]["enum"])
