"""`/api/v1/relays` and `/api/v1/circuits`: what they say, and page by page."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from conftest import MakeNode
from nodes.models import Node
from services.onion.models import Measurement
from services.onion.states import store_overlay_status
from services.onion.tests.cast import make_relays, status

pytestmark = pytest.mark.django_db


@pytest.fixture
def relays(make_node: MakeNode) -> list[Node]:
    return make_relays(make_node, 4, timezone.now())


@pytest.fixture
def get(client: Client, viewer: User) -> Any:
    client.force_login(viewer)

    def ask(path: str, **query: int | str) -> Any:
        answer = client.get(f"/api/v1{path}", query)
        assert answer.status_code == 200, answer.content
        return answer.json()

    return ask


def test_relays_say_who_they_are_and_how_they_do(get: Any, relays: list[Node]) -> None:
    now = timezone.now()
    store_overlay_status([(relays[0].id, status(relays))], now)
    Measurement.objects.create(relay=relays[0], due_at=now, trial=1, at=now, by=relays[1], ok=True)
    first, second, *_ = get("/relays")["items"]
    assert (first["node"], first["identity"], first["region"]) == (
        relays[0].id,
        relays[0].public_key,
        "region-0",
    )
    assert first["flags"] == ["relay", "guard"]
    assert (first["reached"], first["reached_by"], first["relayed_circuits"]) == (True, "relay-1", 4)
    assert (second["reached"], second["relayed_circuits"], second["told_at"]) == (None, None, None)


def test_relays_page_by_page_and_by_flag(get: Any, relays: list[Node]) -> None:
    Node.objects.filter(id=relays[0].id).update(flags=["relay", "exit"])
    first = get("/relays", limit=3)
    rest = get("/relays", limit=3, after=first["next"])
    assert [one["node"] for page in (first, rest) for one in page["items"]] == [node.id for node in relays]
    assert rest["next"] is None
    assert [one["node"] for one in get("/relays", flag="exit")["items"]] == [relays[0].id]
    assert get("/relays", flag='x"%')["items"] == []


def test_relays_in_few_queries(
    get: Any, relays: list[Node], django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    now = timezone.now()
    for relay in relays:
        store_overlay_status([(relay.id, status(relays))], now)
        Measurement.objects.create(relay=relay, due_at=now, trial=1, at=now, by=relays[1], ok=False)
    with django_assert_max_num_queries(6):
        assert len(get("/relays")["items"]) == 4


def test_circuits_of_all_and_of_one(get: Any, relays: list[Node]) -> None:
    now = timezone.now()
    for node in relays[:3]:
        store_overlay_status([(node.id, status(relays[1:]))], now)
    first = get("/circuits", limit=2)
    rest = get("/circuits", limit=2, after=first["next"])
    told = [one["node"] for page in (first, rest) for one in page["items"]]
    assert (told, rest["next"]) == ([node.id for node in relays[:3]], None)

    [one] = get("/circuits", node=relays[1].id)["items"]
    assert datetime.fromisoformat(one["told_at"]).timestamp() == pytest.approx(now.timestamp(), abs=0.01)
    [circuit] = one["circuits"]
    assert [(hop["node"], hop["part"]) for hop in circuit["path"]] == [
        (relays[1].id, "this node"),
        (relays[1].id, "entry"),
        (relays[2].id, "middle"),
        (relays[3].id, "exit"),
    ]
    assert {rule["state"] for rule in circuit["rules"]} == {"passed", "waived", "failed"}
    assert (circuit["tunnels"], circuit["sent_bytes"]) == ([7], 2048)
    assert one["builds"] == [{"up_to_ms": 25, "circuits": 6}, {"up_to_ms": 50, "circuits": 3}]
    assert (one["guards"][0]["node"], one["guards"][0]["sentence"]) == (relays[1].id, "")
    assert get("/circuits", node=10**9)["items"] == []
