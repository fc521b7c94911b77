"""/metrics as Prometheus gets it: who may ask, and that its figures are those of the panel."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import DjangoAssertNumQueries

from fogagent.messages import Heartbeat
from fogpanel import tokens
from fogpanel.models import JobState
from fogpanel.tokens import Scope
from nodes.handlers import store_heartbeats
from nodes.models import Node, Order
from services.models import ServiceState
from tasks.placement import Placer
from tasks.specification import validate
from tasks.submission import submit

pytestmark = pytest.mark.django_db
Figures = dict[tuple[str, tuple[str, ...]], float]


@pytest.fixture
def token(viewer: User) -> str:
    _, text = tokens.create_token(
        viewer, name="prometheus", scopes=[Scope.READ], lifetime_s=60, now=timezone.now()
    )
    return text


def ask(client: Client, token: str = "") -> Any:
    return client.get("/metrics", headers={"Authorization": f"Bearer {token}"} if token else {})


def scrape(client: Client, token: str) -> Figures:
    answer = ask(client, token)
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain; version=")
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }


def test_nobody_reads_it_without_a_token_or_a_role(client: Client) -> None:
    for token in ("", "fpt_wrong"):
        answer = ask(client, token)
        assert answer.status_code == 401
        assert "fogpanel_" not in answer.content.decode()
    client.force_login(User.objects.create_user("newcomer"))
    assert ask(client).status_code == 403


def test_a_viewer_who_is_signed_in_reads_it(client: Client, viewer: User) -> None:
    client.force_login(viewer)
    assert ask(client).status_code == 200
    assert ask(client, "fpt_wrong").status_code == 401


def test_what_is_true_of_the_panel(
    client: Client, token: str, make_node: Callable[..., Node], submitter: User
) -> None:
    now = timezone.now()
    node = make_node()
    make_node(connected=False, deadline_at=now - timedelta(seconds=1))
    task = submit(submitter, validate({"source": "print(1)"}))
    type(task).objects.filter(id=task.id).update(created_at=now - timedelta(seconds=90))
    Order.objects.create(node=node, kind="run", body=b"{}")
    Order.objects.create(node=node, kind="run", body=b"{}", acked_at=now)
    JobState.objects.create(name="nodes.jobs.sweep_heartbeats", due_at=now - timedelta(seconds=7))
    ServiceState.objects.create(slug="fog_coordinator", state="down", probed_at=now)
    figures = scrape(client, token)
    assert figures["fogpanel_nodes", ("idle",)] == 1
    assert figures["fogpanel_nodes", ("offline",)] == 1
    assert figures["fogpanel_tasks", ("queued",)] == 1
    assert figures["fogpanel_tasks", ("running",)] == 0
    assert 90 <= figures["fogpanel_queue_age_seconds", ()] < 120
    assert figures["fogpanel_outbox_pending", ()] == 1
    assert 7 <= figures["fogpanel_job_lag_seconds", ("nodes.jobs.sweep_heartbeats",)] < 60
    assert figures["fogpanel_service_state", ("fog_coordinator", "down")] == 1
    assert figures["fogpanel_service_state", ("fog_coordinator", "operational")] == 0
    assert figures["process_resident_memory_bytes", ()] > 1_000_000


def test_what_this_process_did(
    client: Client, token: str, make_node: Callable[..., Node], submitter: User
) -> None:
    node, before = make_node(), scrape(client, token)
    beat = Heartbeat(
        at=timezone.now().timestamp(), cpu_percent=1.0, memory_used_mb=1, memory_total_mb=2, running=0
    )
    store_heartbeats([(node.id, beat)], timezone.now())
    submit(submitter, validate({"source": "print(1)", "cores": 0.1}))
    submit(submitter, validate({"source": "print(1)", "cores": 200}))
    Placer().place_waiting(timezone.now())
    after = scrape(client, token)

    def grown(name: str, *labels: str) -> float:
        return after[name, labels] - before.get((name, labels), 0.0)

    assert grown("fogpanel_heartbeats_total") == 1
    assert grown("fogpanel_decisions_total", "placed") == 1
    assert grown("fogpanel_decisions_total", "waits") >= 1
    assert grown("fogpanel_placements_total", "committed") == 1


def test_few_queries_that_write_nothing(
    client: Client,
    token: str,
    make_node: Callable[..., Node],
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for _ in range(3):
        make_node()
    with django_assert_max_num_queries(12), CaptureQueriesContext(connection) as queries:
        ask(client, token)
    assert [q["sql"] for q in queries.captured_queries if not q["sql"].lstrip().startswith("SELECT")] == []
