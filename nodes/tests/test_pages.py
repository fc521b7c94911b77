"""The node pages: the directory, a node's page, and letting machines in."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from conftest import MakeNode
from fogpanel.keyset import PAGE_SIZE
from nodes.live_topics import render_node, render_rows
from nodes.models import Group, JoinKey, Node, Sample
from nodes.presenting import course_of

WHEEL = "fogagent-9.9.9-py3-none-any.whl"


@pytest.fixture
def wheel(tmp_path: Path, settings: Settings) -> bytes:
    """The data folder holds a wheel, as set-up leaves it."""
    settings.DATA_DIR = tmp_path
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / WHEEL).write_bytes(b"a wheel")
    return b"a wheel"


def page(client: Client, user: User, address: str, **query: str | int) -> str:
    client.force_login(user)
    response = client.get(address, query)
    assert response.status_code == 200, response.content.decode()
    return response.content.decode()


def rows(html: str) -> list[int]:
    return [int(number) for number in re.findall(r'data-testid="node-row-(\d+)"', html)]


# --- The directory -----------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["ATLAS", "rack-7.lab", "eu-north", "ssd", "atlas ssd"])
def test_a_search_finds_name_host_region_and_label(
    client: Client, viewer: User, make_node: MakeNode, words: str
) -> None:
    wanted = make_node(name="atlas-04", hostname="rack-7.lab", region="eu-north", labels={"disk": "ssd"})
    make_node(name="brook-11", region="us-east", hostname="elsewhere")
    assert rows(page(client, viewer, "/nodes", q=words)) == [wanted.id]


@pytest.mark.parametrize(
    "query",
    [{"status": "maintenance"}, {"type": "gateway"}, {"region": "sa-east"}],
    ids=lambda q: next(iter(q)),
)
def test_filters_leave_what_they_name(
    client: Client, viewer: User, make_node: MakeNode, query: dict[str, str]
) -> None:
    wanted = make_node(availability="maintenance", node_type="gateway", region="sa-east")
    make_node()
    assert rows(page(client, viewer, "/nodes", **query)) == [wanted.id]


def test_an_unknown_status_is_named(client: Client, viewer: User) -> None:
    client.force_login(viewer)
    response = client.get("/nodes", {"status": "sleepy"})
    assert response.status_code == 400
    assert "status:" in response.content.decode()


def test_pages_follow_each_other_by_name(client: Client, viewer: User, make_node: MakeNode) -> None:
    names = [f"n-{number:03}" for number in range(PAGE_SIZE + 2)]
    made = [make_node(name=name).id for name in names]
    first = page(client, viewer, "/nodes")
    assert rows(first) == made[:PAGE_SIZE]
    after = re.search(r'href="\?after=([\w-]+)"', first)
    assert after
    assert rows(page(client, viewer, "/nodes", after=after[1])) == made[PAGE_SIZE:]


def test_removed_nodes_are_not_listed_and_waiting_ones_apart(
    client: Client, viewer: User, operator: User, make_node: MakeNode
) -> None:
    make_node(name="gone-1", archived_at=timezone.now())
    make_node(name="newcomer", approved_at=None)
    assert rows(page(client, viewer, "/nodes")) == []
    assert "newcomer" not in page(client, viewer, "/nodes")
    assert "newcomer" in page(client, operator, "/nodes")


def test_an_empty_fleet_says_what_to_do(client: Client, viewer: User, operator: User) -> None:
    assert "role operator" in page(client, viewer, "/nodes")
    html = page(client, operator, "/nodes")
    assert 'data-testid="empty-state"' in html
    assert 'data-testid="add-node-button"' in html


def test_a_list_asks_the_database_little_however_long_it_is(
    client: Client,
    viewer: User,
    make_node: MakeNode,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for _ in range(PAGE_SIZE + 1):
        make_node()
    client.force_login(viewer)
    with django_assert_max_num_queries(15):
        client.get("/nodes", {"status": "idle", "q": "node"})


# --- Letting machines in ---------------------------------------------------------------------------------


def test_the_line_to_paste_is_shown_once(client: Client, operator: User, wheel: bytes) -> None:
    client.force_login(operator)
    response = client.post("/nodes/add", {"note": "lab", "uses": "2", "lifetime_s": "3600"})
    html = response.content.decode()
    key = JoinKey.objects.get()
    assert (key.note, key.uses_left, key.created_by) == ("lab", 2, operator)
    assert 'data-testid="join-command"' in html
    text = re.search(r"--key (fog_[\w-]+)", html)
    assert text
    assert response["Cache-Control"] == "no-store"
    again = page(client, operator, "/nodes/add")
    assert text[1] not in again
    assert "lab" in again


def test_who_pasted_the_line_sees_who_came_with_it(
    client: Client, operator: User, make_node: MakeNode, wheel: bytes
) -> None:
    client.force_login(operator)
    html = client.post("/nodes/add", {"note": "", "uses": "1", "lifetime_s": "3600"}).content.decode()
    key = JoinKey.objects.get()
    assert "Waiting for the machine" in html
    assert f'hx-get="/join-keys/{key.id}/joined"' in html
    node = make_node(join_key=key)
    JoinKey.objects.update(uses_left=0)
    html = page(client, operator, f"/join-keys/{key.id}/joined")
    assert f'href="/nodes/{node.id}"' in html
    assert "hx-get" not in html, "it goes on asking though nobody more can come"


def test_a_new_group_can_ask_for_approval(client: Client, operator: User, wheel: bytes) -> None:
    client.force_login(operator)
    client.post(
        "/nodes/add",
        {"uses": "1", "lifetime_s": "3600", "new_group": "guests", "needs_approval": "on"},
    )
    assert JoinKey.objects.get().group == Group.objects.get(name="guests", needs_approval=True)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("uses", "0", "uses: must be between 1 and 1000 machines, was 0."),
        ("uses", "many", "uses: must be a whole number of machines."),
        ("lifetime_s", "5", "lifetime_s: choose one of the times listed."),
        ("needs_approval", "on", "needs_approval: applies to a new group"),
    ],
)
def test_a_wrong_wish_makes_no_key(
    client: Client, operator: User, wheel: bytes, field: str, value: str, sentence: str
) -> None:
    client.force_login(operator)
    response = client.post("/nodes/add", {"uses": "1", "lifetime_s": "3600", field: value})
    assert sentence in response.content.decode()
    assert not JoinKey.objects.exists()


def test_without_a_wheel_there_is_no_key(
    client: Client, operator: User, tmp_path: Path, settings: Settings
) -> None:
    settings.DATA_DIR = tmp_path
    client.force_login(operator)
    response = client.post("/nodes/add", {"uses": "1", "lifetime_s": "3600"})
    assert "./fog up" in response.content.decode()
    assert not JoinKey.objects.exists()


def test_the_wheel_is_public_and_nothing_beside_it(client: Client, wheel: bytes) -> None:
    response = client.get(f"/agent/{WHEEL}")
    assert response.getvalue() == wheel
    assert "immutable" in response["Cache-Control"]
    assert client.get("/agent/secret_key").status_code == 404


def test_a_revoked_key_is_marked(client: Client, operator: User, wheel: bytes) -> None:
    client.force_login(operator)
    client.post("/nodes/add", {"uses": "1", "lifetime_s": "3600"})
    client.post(f"/join-keys/{JoinKey.objects.get().id}/revoke")
    assert "revoked" in page(client, operator, "/nodes/add")


# --- A node's page -----------------------------------------------------------------------------------------


def test_a_page_shows_what_a_node_is_and_why_it_lacks_a_driver(
    client: Client, viewer: User, make_node: MakeNode
) -> None:
    drivers = [{"name": "command", "available": False, "reason": "The owner has not allowed it."}]
    node = make_node(name="atlas-04", drivers=drivers, flags=["relay"], labels={"rack": "3"})
    html = page(client, viewer, f"/nodes/{node.id}")
    for shown in ("atlas-04", "The owner has not allowed it.", "relay", "rack=3"):
        assert shown in html
    assert "Cordon" not in html


@pytest.mark.parametrize("action", ["availability", "approve", "remove"])
def test_only_operators_change_nodes(
    client: Client, submitter: User, make_node: MakeNode, action: str
) -> None:
    node = make_node()
    client.force_login(submitter)
    response = client.post(f"/nodes/{node.id}/{action}", {"availability": "cordoned"})
    assert response.status_code == 403
    assert "operator" in response.content.decode()


def test_an_operator_cordons_and_removes(client: Client, operator: User, make_node: MakeNode) -> None:
    node = make_node()
    client.force_login(operator)
    client.post(f"/nodes/{node.id}/availability", {"availability": "cordoned"})
    node.refresh_from_db()
    assert node.availability == "cordoned"
    client.post(f"/nodes/{node.id}/remove")
    node.refresh_from_db()
    assert node.archived_at


def test_an_unknown_availability_is_named(client: Client, operator: User, make_node: MakeNode) -> None:
    node = make_node()
    client.force_login(operator)
    response = client.post(f"/nodes/{node.id}/availability", {"availability": "asleep"}, follow=True)
    assert "availability: must be one of schedulable" in response.content.decode()


def test_work_in_doubt_is_told_on_the_page_of_its_node(
    client: Client, viewer: User, make_node: MakeNode
) -> None:
    node = make_node(connected=False, gone_at=timezone.now(), open_attempts=2)
    assert "2 tasks in doubt since" in page(client, viewer, f"/nodes/{node.id}")


def test_silence_breaks_the_line_of_the_chart(make_node: MakeNode) -> None:
    node, now = make_node(heartbeat_s=1), timezone.now()
    for seconds in (60, 59, 30, 29):
        at = now - timedelta(seconds=seconds)
        Sample.objects.create(
            node=node, at=at, cpu_percent=50, memory_used_mb=1, memory_total_mb=4, running=0
        )
    course = course_of(node, now)
    assert course["cpu"] == [50, 50, None, 50, 50]
    assert course["memory"][0] == 25
    assert course["at"] == sorted(moment for moment in course["at"] if moment)


# --- What is pushed -------------------------------------------------------------------------------------


def test_every_push_finds_its_place(client: Client, viewer: User, make_node: MakeNode) -> None:
    node = make_node()
    html = page(client, viewer, f"/nodes/{node.id}")
    pushed = re.findall(r'<[a-z]+ [^>]*id="([\w-]+)"[^>]*hx-swap-oob', render_node(str(node.id)))
    assert len(pushed) == 6
    for place in pushed:
        assert f'id="{place}"' in html


def test_a_list_is_pushed_the_rows_it_shows_once_each_change(make_node: MakeNode) -> None:
    shown, other = make_node(), make_node()
    html, position = render_rows(str(shown.id), 0)
    assert rows(html) == [shown.id]
    assert f'data-newest="{other.id}"' in html
    assert rows(render_rows(str(shown.id), position)[0]) == []
    Node.objects.filter(id=shown.id).update(changed_at=timezone.now(), availability="cordoned")
    assert rows(render_rows(f"{shown.id}.{other.id}", position)[0])[0] == shown.id
