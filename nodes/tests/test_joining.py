"""Join keys and enrolment: who gets in, who does not, and the sentence that says why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import chain, repeat
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError
from django.utils import timezone

from conftest import MakeNode
from fogagent.identity import ENROL, Identity, enrolment_text
from fogagent.messages import Facts
from nodes import joining
from nodes.identity import panel_identity
from nodes.joining import EnrolRequest, JoinError
from nodes.models import Group, JoinKey, Node

FACTS = Facts(
    hostname="my kiosk", platform="Linux", version="0.1.0", cpu_millis=1000, memory_mb=512, disk_mb=0
)

MakeKey = Callable[..., tuple[JoinKey, str]]


@pytest.fixture
def make_key(operator: User) -> MakeKey:
    def make(**fields: Any) -> tuple[JoinKey, str]:
        usual: dict[str, Any] = {"note": "lab", "group": None, "labels": {}, "uses": 1, "lifetime_s": 3600}
        return joining.create_join_key(actor=operator, **(usual | fields))

    return make


def request(join_key: str, identity: Identity | None = None, **fields: Any) -> EnrolRequest:
    identity = identity or Identity.generate()
    text = enrolment_text(
        panel_key=panel_identity().public_key,
        agent_key=identity.public_key,
        sealing_key=identity.sealing_key,
        join_key=join_key,
    )
    usual: dict[str, Any] = {
        "join_key": join_key,
        "public_key": identity.public_key,
        "sealing_key": identity.sealing_key,
        "signature": identity.sign(ENROL, text),
        "name": "",
        "facts": FACTS,
    }
    return EnrolRequest(**(usual | fields))


def test_a_machine_with_a_good_key_becomes_a_node(make_key: MakeKey) -> None:
    key, text = make_key(labels={"room": "2"})
    enrolled = joining.enrol(request(text), "10.0.0.7")
    assert enrolled.approved
    assert (enrolled.node.name, enrolled.node.labels, enrolled.node.address) == (
        "my-kiosk",
        {"room": "2"},
        "10.0.0.7",
    )
    key.refresh_from_db()
    assert key.uses_left == 0


def test_the_text_of_a_key_is_not_stored(make_key: MakeKey) -> None:
    key, text = make_key()
    assert text not in str(JoinKey.objects.values().get(id=key.id))


def test_enrolling_again_is_the_same_node_and_uses_nothing(make_key: MakeKey) -> None:
    identity = Identity.generate()
    _, text = make_key()
    first = joining.enrol(request(text, identity), None)
    again = joining.enrol(request(text, identity), None)
    assert first.node == again.node


def test_names_stay_unique(make_key: MakeKey) -> None:
    _, text = make_key(uses=3)
    names = [joining.enrol(request(text, name="kiosk"), None).node.name for _ in range(3)]
    assert names == ["kiosk", "kiosk-2", "kiosk-3"]


def test_two_machines_of_one_name_at_once_both_join(
    make_key: MakeKey, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_node(name="kiosk")
    looks = chain(["kiosk"], repeat(None))  # the first look was before the other machine was stored
    free_name = joining._free_name
    monkeypatch.setattr(joining, "_free_name", lambda *given: next(looks) or free_name(*given))
    key, text = make_key(uses=5)
    assert joining.enrol(request(text, name="kiosk"), None).node.name == "kiosk-2"
    key.refresh_from_db()
    assert key.uses_left == 4


def test_a_name_that_is_never_free_is_not_tried_for_ever(
    make_key: MakeKey, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_node(name="kiosk")
    monkeypatch.setattr(joining, "_free_name", lambda *given: "kiosk")
    with pytest.raises(IntegrityError):
        joining.enrol(request(make_key()[1]), None)


def test_a_group_may_want_approval(make_key: MakeKey, operator: User) -> None:
    _, text = make_key(group=Group.objects.create(name="guests", needs_approval=True))
    enrolled = joining.enrol(request(text), None)
    assert not enrolled.approved
    joining.approve(enrolled.node, operator)
    assert Node.objects.get().approved_at is not None


def test_a_removed_machine_that_joins_again_keeps_its_history(make_key: MakeKey, operator: User) -> None:
    from nodes import operations

    identity = Identity.generate()
    _, text = make_key(uses=2)
    node = joining.enrol(request(text, identity), None).node
    operations.remove(node, operator)
    assert joining.enrol(request(text, identity), None).node.id == node.id
    node.refresh_from_db()
    assert (node.name, node.archived_at) == ("my-kiosk", None)


def test_a_removed_machine_that_joins_again_begins_anew(make_key: MakeKey, operator: User) -> None:
    from nodes import operations

    identity = Identity.generate()
    _, text = make_key(uses=2)
    node = joining.enrol(request(text, identity), None).node
    operations.remove(node, operator)
    old_life = {"availability": "drained", "said_goodbye": True, "open_attempts": 3, "connected": True}
    Node.objects.filter(id=node.id).update(**old_life)
    joining.enrol(request(text, identity), None)
    assert Node.objects.values(*old_life).get(id=node.id) == {
        "availability": "schedulable",
        "said_goodbye": False,
        "open_attempts": 0,
        "connected": False,
    }


def spoil_expiry(key: JoinKey, operator: User) -> None:
    JoinKey.objects.filter(id=key.id).update(expires_at=timezone.now() - timedelta(seconds=1))


def spoil_uses(key: JoinKey, operator: User) -> None:
    JoinKey.objects.filter(id=key.id).update(uses_left=0)


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (spoil_expiry, "expired-key", "expired"),
        (spoil_uses, "used-up-key", "used up"),
        (joining.revoke_join_key, "revoked-key", "revoked"),
    ],
)
def test_a_key_that_is_over(
    make_key: MakeKey, operator: User, spoil: Callable[[JoinKey, User], None], code: str, words: str
) -> None:
    key, text = make_key()
    spoil(key, operator)
    with pytest.raises(JoinError, match=words) as refused:
        joining.enrol(request(text), None)
    assert (refused.value.code, refused.value.status) == (code, 403)
    assert not Node.objects.exists()


@pytest.mark.django_db
def test_a_wrong_key() -> None:
    with pytest.raises(JoinError, match="no such key"):
        joining.enrol(request("fog_nonsense"), None)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"signature": bytes(64)}, "bad-signature"),
        ({"sealing_key": bytes(32)}, "bad-signature"),
        ({"name": "../etc"}, "bad-name"),
    ],
)
def test_a_request_that_breaks_a_rule_uses_nothing(
    make_key: MakeKey, fields: dict[str, Any], code: str
) -> None:
    key, text = make_key()
    with pytest.raises(JoinError) as refused:
        joining.enrol(request(text, **fields), None)
    assert refused.value.code == code
    key.refresh_from_db()
    assert key.uses_left == 1


@pytest.mark.parametrize("wrong", [{"uses": 0}, {"uses": 10_001}, {"lifetime_s": 1}])
def test_impossible_keys_are_refused(make_key: MakeKey, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make_key(**wrong)
