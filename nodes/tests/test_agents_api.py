"""Joining over HTTP, as an agent does it and as a confused or hostile one would."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from fogagent.identity import ENROL, Identity, enrolment_text
from fogagent.messages import Facts
from nodes.identity import panel_identity
from nodes.joining import create_join_key, revoke_join_key
from nodes.models import Group, JoinKey, Node

FACTS = Facts(
    hostname="lab-7", platform="Linux", version="0.1.0", cpu_millis=2000, memory_mb=2048, disk_mb=9000
)


@pytest.fixture
def key(operator: User) -> str:
    return create_join_key(actor=operator, note="lab", group=None, labels={}, uses=1, lifetime_s=600)[1]


def body_of(identity: Identity, join_key: str) -> dict[str, Any]:
    text = enrolment_text(
        panel_key=panel_identity().public_key,
        agent_key=identity.public_key,
        sealing_key=identity.sealing_key,
        join_key=join_key,
    )
    body = {
        "join_key": join_key,
        "public_key": identity.public_key,
        "sealing_key": identity.sealing_key,
        "signature": identity.sign(ENROL, text),
        "name": "lab-7",
        "facts": FACTS,
    }
    told: dict[str, Any] = json.loads(msgspec.json.encode(body))
    return told


def enrol(body: object) -> Any:
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    return Client().post("/api/v1/agents/enrol", content, content_type="application/json")


def refused(answer: Any, status: int, code: str) -> str:
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == code
    detail: str = answer.json()["detail"]
    return detail


def test_the_panel_says_who_it_is(db: None) -> None:
    told = Client().get("/api/v1/agents/panel").json()
    assert base64.b64decode(told["panel_key"]) == panel_identity().public_key


def test_a_good_key_lets_a_machine_in(key: str) -> None:
    identity = Identity.generate()
    answer = enrol(body_of(identity, key))
    assert answer.status_code == 201
    node = Node.objects.get()
    assert answer.json() == {
        "node": node.id,
        "name": "lab-7",
        "panel_key": base64.b64encode(panel_identity().public_key).decode(),
        "approved": True,
    }
    assert (node.public_key, node.cpu_millis) == (identity.public_key.hex(), 2000)


def test_asking_again_with_the_same_identity_changes_nothing(key: str) -> None:
    body = body_of(Identity.generate(), key)
    assert enrol(body).json() == enrol(body).json()
    assert Node.objects.count() == 1


def test_a_group_may_want_approval(operator: User) -> None:
    group = Group.objects.create(name="careful", needs_approval=True)
    _, text = create_join_key(actor=operator, note="", group=group, labels={}, uses=1, lifetime_s=600)
    assert enrol(body_of(Identity.generate(), text)).json()["approved"] is False


def test_a_key_that_does_not_work_says_why(key: str, operator: User) -> None:
    def try_it(text: str = key) -> Any:
        return enrol(body_of(Identity.generate(), text))

    assert "no such key" in refused(try_it("fog_wrong"), 403, "unknown-key")
    assert try_it().status_code == 201
    assert "used up" in refused(try_it(), 403, "used-up-key")
    JoinKey.objects.update(uses_left=1, expires_at=timezone.now() - timedelta(seconds=1))
    assert "expired" in refused(try_it(), 403, "expired-key")
    revoke_join_key(JoinKey.objects.get(), operator)
    assert "revoked" in refused(try_it(), 403, "revoked-key")
    assert Node.objects.count() == 1


def test_a_signature_of_somebody_else_is_refused(key: str) -> None:
    body = body_of(Identity.generate(), key) | {"signature": body_of(Identity.generate(), key)["signature"]}
    refused(enrol(body), 403, "bad-signature")
    assert JoinKey.objects.get().uses_left == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"public_key": "AAAA"}, "public_key"),
        ({"signature": "not base64!"}, "signature"),
        ({"name": 5}, "name"),
        ({"facts": {"type": "facts"}}, "facts"),
        ({"join_key": None}, "join_key"),
    ],
)
def test_a_wrong_field_is_named(key: str, change: dict[str, Any], field: str) -> None:
    detail = refused(enrol(body_of(Identity.generate(), key) | change), 422, "invalid")
    assert detail.startswith(f"{field}: ")


@pytest.mark.django_db
@pytest.mark.parametrize("body", ["{", "", "[]", b'{"name":"\xff"}', '{"more":' + "[" * 5000])
def test_what_is_not_an_enrolment_is_refused(body: str | bytes) -> None:
    assert enrol(body).status_code in (400, 422)


@pytest.mark.django_db
def test_strangers_cannot_send_much() -> None:
    assert "256 KiB" in refused(enrol({"name": "x" * 300 * 1024}), 413, "too-large")
