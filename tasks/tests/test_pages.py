"""The task pages: who sees what, what the form says, and that pushes fit the page."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from conftest import MakeNode
from coordinator.values import RoutingStrategy
from tasks.blobs import read_blob, store_blob
from tasks.live_topics import may_read, render_list, render_log, render_task
from tasks.models import Attempt, Decision, LogChunk, Task

SECRET = "the secret source"


@pytest.fixture
def task(submitter: User, make_node: MakeNode) -> Task:
    """A task that succeeded and printed something."""
    node = make_node(name="atlas-04")
    now = timezone.now()
    task = Task.objects.create(
        name="render",
        owner=submitter,
        driver="python",
        state="succeeded",
        payload=store_blob(f"print('{SECRET}')".encode()),
        args=["--secret"],
        node=node,
        created_at=now,
        started_at=now,
        finished_at=now,
        exit_code=0,
    )
    attempt = Attempt.objects.create(
        task=task,
        node=node,
        number=1,
        started_at=now,
        ended_at=now,
        outcome="succeeded",
        exit_code=0,
        usage={"wall_s": 1.5, "cpu_s": 0.5, "memory_peak_mb": 20, "stdout_bytes": 8},
    )
    Task.objects.filter(id=task.id).update(accepted_attempt=attempt)
    LogChunk.objects.create(attempt=attempt, stream="stdout", offset=0, content=b"frame 1\n")
    Decision.objects.create(
        task=task,
        attempt=attempt,
        strategy="least_loaded",
        chosen=node,
        considered=1,
        eligible=1,
        decided_at=now,
        took_us=40,
    )
    return Task.objects.get(id=task.id)


def page(client: Client, user: User, address: str, **query: str | int) -> str:
    client.force_login(user)
    response = client.get(address, query)
    assert response.status_code == 200, response.content.decode()
    return response.content.decode()


# --- Who sees what ---------------------------------------------------------------------------------


def test_its_owner_sees_everything(client: Client, submitter: User, task: Task) -> None:
    html = page(client, submitter, f"/tasks/{task.id}")
    for shown in (SECRET, "--secret", "frame 1", "Run again", "atlas-04"):
        assert shown in html


def test_a_viewer_sees_metadata_and_which_role_is_missing(client: Client, viewer: User, task: Task) -> None:
    html = page(client, viewer, f"/tasks/{task.id}")
    for hidden in (SECRET, "--secret", "frame 1", "Run again"):
        assert hidden not in html
    assert "atlas-04" in html
    assert "operator" in html


@pytest.mark.parametrize("what", ["log", "output"])
def test_downloads_are_content(client: Client, viewer: User, submitter: User, task: Task, what: str) -> None:
    client.force_login(viewer)
    assert client.get(f"/tasks/{task.id}/{what}").status_code == 403
    client.force_login(submitter)
    response = client.get(f"/tasks/{task.id}/{what}")
    assert response.getvalue() == b"frame 1\n"
    assert response["Content-Disposition"].startswith("attachment")


def test_the_log_topic_is_content(viewer: User, submitter: User, operator: User, task: Task) -> None:
    assert [may_read(user, str(task.id)) for user in (viewer, submitter, operator)] == [False, True, True]
    assert not may_read(operator, "no-number")


def test_a_viewer_cannot_hand_in_nor_cancel(client: Client, viewer: User, task: Task) -> None:
    client.force_login(viewer)
    assert client.get("/tasks/new").status_code == 403
    for action in ("cancel", "retry"):
        response = client.post(f"/tasks/{task.id}/{action}")
        assert response.status_code == 403
        assert "submitter" in response.content.decode()


def test_somebody_elses_task_cannot_be_copied(client: Client, task: Task, db: None) -> None:
    other = User.objects.create_user("other-submitter")
    other.groups.set(task.owner.groups.all())
    client.force_login(other)
    assert client.get("/tasks/new", {"from": task.id}).status_code == 403


# --- The list ----------------------------------------------------------------------------------------


def test_the_list_has_tabs_rows_and_counts(client: Client, viewer: User, task: Task) -> None:
    html = page(client, viewer, "/tasks")
    assert f'data-testid="task-row-{task.id}"' in html
    for tab in ("all", "queued", "running", "succeeded", "failed"):
        assert f'data-testid="tab-{tab}"' in html


def test_an_empty_list_says_what_to_do(client: Client, submitter: User) -> None:
    html = page(client, submitter, "/tasks")
    assert 'data-testid="empty-state"' in html
    assert "/tasks/new" in html


@pytest.mark.parametrize("query", [{"tab": "sideways"}, {"after": "x"}, {"before": "-3"}])
def test_a_filter_that_does_not_exist_is_named(client: Client, viewer: User, query: dict[str, str]) -> None:
    client.force_login(viewer)
    response = client.get("/tasks", query)
    assert response.status_code == 400
    assert f"{next(iter(query))}:" in response.content.decode()


def test_only_the_list_is_sent_for_a_swap(client: Client, viewer: User, task: Task) -> None:
    client.force_login(viewer)
    headers = {"HX-Request": "true", "HX-Target": "task-directory"}
    html = client.get("/tasks", headers=headers).content.decode()
    assert "<html" not in html
    assert f"topics=nav,tasks:{task.id}" in html


@pytest.mark.parametrize("query", [{}, {"tab": "failed"}, {"q": "render", "mine": "on"}])
def test_a_list_asks_the_database_little_however_long_it_is(
    client: Client,
    submitter: User,
    make_node: MakeNode,
    query: dict[str, str],
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(20):
        node = make_node()
        Task.objects.create(
            name=f"render {number}", owner=submitter, driver="wasm", state="failed", node=node
        )
    client.force_login(submitter)
    with django_assert_max_num_queries(15):
        client.get("/tasks", query)


# --- The form ----------------------------------------------------------------------------------------

FILLED = {
    "driver": "python",
    "source": "print(1)\r\nprint(2)",
    "args": "--title 'two words'",
    "stdin": "in",
    "env": "MODE=fast\nEMPTY=",
    "cores": "0.5",
    "memory_mb": "64",
    "timeout_s": "30",
    "strategy": "round_robin",
    "region": "eu-west",
    "labels": "rack=3, zone=b",
    "priority": "7",
    "max_attempts": "2",
}


def test_handing_in_leads_to_the_task(client: Client, submitter: User) -> None:
    client.force_login(submitter)
    response = client.post("/tasks/new", FILLED)
    made = Task.objects.get()
    assert response["Location"] == f"/tasks/{made.id}"
    assert made.payload_id and read_blob(made.payload_id) == b"print(1)\nprint(2)"
    assert (made.args, made.env) == (["--title", "two words"], {"MODE": "fast", "EMPTY": ""})
    assert (made.cpu_millis, made.memory_mb, made.timeout_s) == (500, 64, 30)
    assert (made.labels, made.priority, made.max_attempts) == ({"rack": "3", "zone": "b"}, 7, 2)


def test_an_uploaded_script_is_named_after_its_file(client: Client, submitter: User) -> None:
    client.force_login(submitter)
    upload = SimpleUploadedFile("frames.py", b"print(3)")
    client.post("/tasks/new", {"driver": "python", "upload": upload})
    assert Task.objects.get().name == "frames"


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("timeout_s", "0", "timeout_s: must be between 1 and 86400 seconds, was 0."),
        ("cores", "many", "cores: must be a number of cores"),
        ("strategy", "fastest", "strategy: must be one of round_robin"),
        ("driver", "fortran", "driver: must be one of python"),
        ("args", "'open", "args: a quote is not closed"),
        ("env", "MODE", "env: write one NAME=value a line"),
        ("labels", "=3", "labels: write name=value"),
        ("source", "x" * (1024 * 1024 + 1), "source: at most 1 MiB"),
    ],
)
def test_a_wrong_value_is_named_and_the_rest_is_kept(
    client: Client, submitter: User, field: str, value: str, sentence: str
) -> None:
    client.force_login(submitter)
    response = client.post("/tasks/new", {**FILLED, "name": "kept as it was", field: value})
    html = response.content.decode()
    assert response.status_code == 422
    assert sentence in html
    assert "kept as it was" in html
    assert not Task.objects.exists()


def test_a_truncated_module_is_refused_and_has_to_be_chosen_again(client: Client, submitter: User) -> None:
    client.force_login(submitter)
    upload = SimpleUploadedFile("prime.wasm", b"\0asm\1\0\0\0\1")
    html = client.post("/tasks/new", {"driver": "wasm", "upload": upload}).content.decode()
    assert "module: is truncated or not valid WebAssembly" in html
    assert "prime.wasm" in html


def test_a_preview_has_a_row_for_each_strategy(client: Client, submitter: User, make_node: MakeNode) -> None:
    make_node(name="atlas-04")
    client.force_login(submitter)
    for headers in ({}, {"HX-Request": "true"}):
        html = client.post("/tasks/preview", {"driver": "python"}, headers=headers).content.decode()
        for strategy in RoutingStrategy:
            assert f'data-testid="preview-row-{strategy}"' in html
        assert "atlas-04" in html
    assert not Task.objects.exists()


def test_a_preview_names_what_is_wrong(client: Client, submitter: User) -> None:
    client.force_login(submitter)
    html = client.post("/tasks/preview", {"memory_mb": "1"}, headers={"HX-Request": "true"}).content.decode()
    assert "memory_mb: must be between 16" in html


def test_running_again_with_edits_starts_from_the_task(client: Client, submitter: User, task: Task) -> None:
    html = page(client, submitter, "/tasks/new", **{"from": task.id})
    assert SECRET in html
    assert "--secret" in html


def test_running_again_makes_a_new_task(client: Client, submitter: User, task: Task) -> None:
    client.force_login(submitter)
    response = client.post(f"/tasks/{task.id}/retry")
    again = Task.objects.get(state="queued")
    assert response["Location"] == f"/tasks/{again.id}"


def test_cancelling_a_queued_task_ends_it(client: Client, submitter: User) -> None:
    queued = Task.objects.create(name="t", owner=submitter, driver="wasm")
    client.force_login(submitter)
    client.post(f"/tasks/{queued.id}/cancel")
    queued.refresh_from_db()
    assert queued.state == "cancelled"


# --- Why it waits, and what is pushed -------------------------------------------------------------------


def test_a_waiting_task_says_for_how_many_nodes_each_reason_holds(
    client: Client, viewer: User, submitter: User
) -> None:
    waiting = Task.objects.create(
        name="t", owner=submitter, driver="wasm", wait_reasons={"memory": 4, "not_connected": 1}
    )
    html = page(client, viewer, f"/tasks/{waiting.id}")
    assert "not connected" in html
    assert "4 nodes" in html


def places(html: str) -> set[str]:
    """The ids of the elements that a push replaces or grows."""
    tags = re.findall(r"<[a-z]+ [^>]*hx-swap-oob=[^>]*>", html)
    found = [re.search(r"beforeend:#([\w-]+)", tag) or re.search(r'id="([\w-]+)"', tag) for tag in tags]
    assert found and all(found)
    return {match[1] for match in found if match}


def ids_in(html: str) -> set[str]:
    return set(re.findall(r'id="([\w-]+)"', html))


def test_every_push_finds_its_place_on_the_page(client: Client, submitter: User, task: Task) -> None:
    html = page(client, submitter, f"/tasks/{task.id}")
    log, position = render_log(str(task.id), 0)
    grown, _ = render_log(str(task.id), position)
    assert places(render_task(str(task.id)) + log + grown) <= ids_in(html)


def test_every_push_finds_its_place_in_the_list(client: Client, viewer: User, task: Task) -> None:
    html = page(client, viewer, "/tasks")
    pushed, position = render_list(str(task.id), 0)
    assert f"task-{task.id}" in places(pushed)
    assert places(pushed) <= ids_in(html)
    later, _ = render_list(str(task.id), position)
    assert f"task-{task.id}" not in places(later)


def test_a_log_grows_by_what_is_new(task: Task) -> None:
    html, position = render_log(str(task.id), 0)
    assert "frame 1" in html
    LogChunk.objects.create(
        attempt=task.attempts.get(), stream="stderr", offset=0, content=b"<b>careful</b>\n"
    )
    grown, _ = render_log(str(task.id), position)
    assert "frame 1" not in grown
    assert "&lt;b&gt;careful&lt;/b&gt;" in grown
