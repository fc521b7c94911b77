"""The admin site: every model is there, evidence cannot be changed, and actions do what pages do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Model, UniqueConstraint
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from conftest import MakeNode
from fogpanel import tokens
from fogpanel.admin_site import COUNTED_TO, AmongNewest, CappedPaginator, LargeAdmin
from fogpanel.models import ApiToken, Event
from nodes.models import Group, JoinKey, Order
from tasks.models import Attempt, Blob, Decision, LogChunk, Task
from tasks.specification import validate
from tasks.submission import submit

OURS = [
    model
    for app in ("fogpanel", "nodes", "tasks", "services", "fog_coordinator", "onion")
    for model in apps.get_app_config(app).get_models()
]


def address(model: type[Model], page: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


@pytest.fixture
def site(admin_user: User, client: Client) -> Client:
    client.force_login(admin_user)
    return client


@pytest.fixture
def filled(submitter: User, make_node: MakeNode) -> Task:
    node = make_node()
    task = submit(submitter, validate({"source": "print(1)"}))
    attempt = Attempt.objects.create(task=task, node=node, number=1)
    LogChunk.objects.create(attempt=attempt, stream="stdout", offset=0, content=b"\xffhello")
    Order.objects.create(node=node, kind="run", body=b'{"type":"run"}')
    tokens.create_token(submitter, name="t", scopes=[], lifetime_s=60, now=timezone.now())
    JoinKey.objects.create(prefix="fog_", digest="d", expires_at=timezone.now(), uses_left=1)
    Group.objects.create(name="lab")
    return task


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label)
def test_every_model_has_a_list_and_pages(model: type[Model], site: Client, filled: Task) -> None:
    assert site.get(address(model, "changelist"), {"q": "1"}).status_code == 200
    assert site.get(address(model, "changelist")).status_code == 200
    for row in model._default_manager.all()[:1]:
        assert site.get(address(model, "change", row.pk)).status_code == 200


@pytest.mark.parametrize("model", [m for m in OURS if m is not Group], ids=lambda model: model._meta.label)
def test_state_and_evidence_cannot_be_changed(model: type[Model], site: Client, filled: Task) -> None:
    assert site.get(address(model, "add")).status_code == 403
    for row in model._default_manager.all()[:1]:
        assert site.post(address(model, "change", row.pk), {}).status_code == 403
        assert site.post(address(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    assert "delete_selected" not in site.get(address(model, "changelist")).content.decode()


def test_who_is_not_an_admin_stays_out(client: Client, operator: User) -> None:
    client.force_login(operator)
    assert client.get("/admin/", follow=True).status_code == 403
    client.logout()
    assert client.get("/admin/", follow=True).request["PATH_INFO"] == "/sign-in"


def test_secrets_are_not_shown(site: Client, filled: Task) -> None:
    token = ApiToken.objects.get()
    assert token.digest not in site.get(address(ApiToken, "change", token.pk)).content.decode()


def act(site: Client, model: type[Model], action: str, pk: object) -> None:
    answer = site.post(address(model, "changelist"), {"action": action, "_selected_action": [pk]})
    assert answer.status_code == 302


def test_actions_do_what_the_panel_does(site: Client, filled: Task) -> None:
    node = Order.objects.get().node
    act(site, Task, "cancel", filled.pk)
    act(site, ApiToken, "revoke", ApiToken.objects.get().pk)
    act(site, JoinKey, "revoke", JoinKey.objects.get().pk)
    act(site, type(node), "cordon", node.pk)
    filled.refresh_from_db()
    node.refresh_from_db()
    assert (filled.state, node.availability) == ("cancelled", "cordoned")
    assert ApiToken.objects.get().revoked_at is not None
    assert JoinKey.objects.get().revoked_at is not None
    kinds = set(Event.objects.filter(actor_name="some-admin").values_list("kind", flat=True))
    assert kinds == {"task.cancelled", "token.revoked", "join_key.revoked", "node.availability"}


def test_a_million_rows_are_not_counted(db: None) -> None:
    now = timezone.now()
    Event.objects.bulk_create(Event(at=now, kind="k", sentence="s") for _ in range(COUNTED_TO + 5))
    assert CappedPaginator(Event.objects.all(), 50).count == COUNTED_TO


def found(site: Client, model: type[Model], **asked: str) -> list[object]:
    """The keys of the rows that a change list shows."""
    rows = site.get(address(model, "changelist"), asked).context["cl"].result_list
    return [row.pk for row in rows]


class TestSearch:
    """What is looked for where: numbers first, then names, then words of the newest rows."""

    @pytest.fixture
    def tasks(self, submitter: User, operator: User, make_node: MakeNode) -> list[Task]:
        node = make_node(name="atlas")
        names = ("render one", "render two", "atlas of stars", "digest")
        made = [Task.objects.create(name=name, owner=submitter, driver="wasm") for name in names]
        Task.objects.filter(pk=made[3].pk).update(node=node, owner=operator, name=f"digest {made[0].pk}")
        return made

    def test_a_number_is_that_row_and_not_a_word(self, site: Client, tasks: list[Task]) -> None:
        assert found(site, Task, q=str(tasks[0].pk)) == [tasks[0].pk]

    def test_a_name_that_a_row_belongs_to(self, site: Client, tasks: list[Task], operator: User) -> None:
        assert found(site, Task, q="atlas") == [tasks[3].pk]
        assert found(site, Task, q=operator.username) == [tasks[3].pk]

    def test_every_word_must_occur(self, site: Client, tasks: list[Task]) -> None:
        assert found(site, Task, q="render") == [tasks[1].pk, tasks[0].pk]
        assert found(site, Task, q="TWO render") == [tasks[1].pk]
        assert found(site, Task, q="nothing") == []

    def test_a_filter_holds_for_what_is_found(self, site: Client, tasks: list[Task]) -> None:
        Task.objects.filter(pk=tasks[1].pk).update(state="failed")
        assert found(site, Task, q="render", state__exact="failed") == [tasks[1].pk]

    def test_words_are_looked_for_in_the_newest_rows_and_numbers_in_all(
        self, site: Client, tasks: list[Task], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fogpanel.keyset.SEARCH_SPAN", 3)
        assert found(site, Task, q="render") == [tasks[1].pk]
        assert found(site, Task, q=str(tasks[0].pk)) == [tasks[0].pk]

    def test_what_belongs_to_a_task(self, site: Client, filled: Task) -> None:
        attempt = Attempt.objects.get()
        assert found(site, Attempt, q=str(filled.pk)) == [attempt.pk]
        assert found(site, LogChunk, q=str(filled.pk)) == [LogChunk.objects.get().pk]

    def test_a_hash_by_how_it_begins(self, site: Client, filled: Task) -> None:
        sha256 = filled.payload_id
        assert sha256 is not None
        assert found(site, Blob, q=sha256[:6].upper()) == [sha256]
        assert found(site, Blob, q="g") == []


def test_filters_without_an_index_look_at_the_newest_rows(
    site: Client, filled: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fogpanel.keyset.SEARCH_SPAN", 2)
    now = timezone.now()
    made = [
        Decision.objects.create(
            task=filled, strategy="round_robin", considered=1, eligible=0, decided_at=now, took_us=1
        ).pk
        for _ in range(3)
    ]
    assert found(site, Decision, strategy__exact="round_robin") == [made[2], made[1]]
    assert found(site, Decision, strategy__exact="least_loaded") == []
    assert len(found(site, Decision)) == 3


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label)
def test_no_click_reads_a_whole_large_table(model: type[Model]) -> None:
    shown = admin.site._registry[model]
    if not isinstance(shown, LargeAdmin):
        return
    unique = [each for each in model._meta.constraints if isinstance(each, UniqueConstraint)]
    indexed = {each.fields[0] for each in (*model._meta.indexes, *unique) if each.condition is None} | {
        field.name for field in model._meta.fields if field.unique or getattr(field, "db_index", False)
    }
    filters: list[Any] = list(shown.list_filter)
    assert {chosen for chosen in filters if isinstance(chosen, str)} <= indexed
    assert all(chosen[1] is AmongNewest for chosen in filters if not isinstance(chosen, str))
    assert {number.partition("__")[0] for number in shown.numbers} <= indexed
    assert {name.partition("__")[0] for name in shown.names} <= indexed
    assert (shown.sortable_by, shown.date_hierarchy) == ((), None)


def test_our_models_are_all_registered_with_search() -> None:
    for model in OURS:
        shown = admin.site._registry[model]
        assert shown.show_full_result_count is False
        assert len(shown.list_display) >= 2, model


@pytest.mark.slow
def test_the_deployment_check_is_clean_behind_tls(tmp_path: Path) -> None:
    environment = os.environ | {"FOGPANEL_URL": "https://fog.example.org", "FOGPANEL_DATA": str(tmp_path)}
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    done = subprocess.run(
        command, cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout
