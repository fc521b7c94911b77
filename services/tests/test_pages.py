"""The control panel, a service's page and /health, as a visitor and a monitor get them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from fogpanel import live
from nodes.models import Node
from services import cards
from services.catalogue import BY_SLUG, SERVICES
from services.fog_coordinator import canary
from services.models import ServiceSample, ServiceState, State

pytestmark = pytest.mark.django_db


@pytest.fixture
def visitor(client: Client, viewer: User) -> Client:
    client.force_login(viewer)
    return client


def probed(state: State, age_s: float = 1) -> ServiceState:
    at = timezone.now() - timedelta(seconds=age_s)
    ServiceSample.objects.create(slug="fog_coordinator", at=at, state=state, value=2.5)
    figures = [{"label": "decisions", "value": 2.5, "unit": "/s"}]
    for other in SERVICES[1:]:
        ServiceState.objects.create(slug=other.slug, state=State.OPERATIONAL, probed_at=at)
    return ServiceState.objects.create(
        slug="fog_coordinator", state=state, sentence="So it is", figures=figures, probed_at=at
    )


def read(visitor: Client, path: str) -> str:
    answer = visitor.get(path)
    assert answer.status_code == 200, path
    return answer.content.decode()


def test_the_root_leads_to_the_control_panel(visitor: Client) -> None:
    assert visitor.get("/").headers["Location"] == "/control-panel"


def test_an_empty_panel_says_what_to_do(visitor: Client) -> None:
    body = read(visitor, "/control-panel")
    for testid in (
        "control-panel",
        "service-grid",
        "fleet-summary",
        "topology-map",
        "ws-status",
        "last-update",
    ):
        assert f'data-testid="{testid}"' in body
    assert "Not measured yet" in body
    assert "No node has joined yet" in body


def test_a_card_for_each_service_that_exists(visitor: Client) -> None:
    probed(State.DEGRADED)
    body = read(visitor, "/control-panel")
    shown = re.findall(r'data-testid="service-card-(\w+)"', body)
    assert shown == [service.slug for service in SERVICES]
    assert re.search(r'class="svc warn"', body)
    assert "So it is" in body
    assert 'data-testid="service-status-fog_coordinator" data-state="degraded"' in body


@pytest.mark.parametrize(
    ("path", "queries"), [("/control-panel", 16), ("/services/fog_coordinator/", 13), ("/events", 6)]
)
def test_few_queries(
    visitor: Client,
    path: str,
    queries: int,
    make_node: Callable[..., Node],
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for _ in range(5):
        make_node()
    probed(State.OPERATIONAL)
    canary.send(timezone.now())
    with django_assert_max_num_queries(queries):
        read(visitor, path)


def test_looking_writes_nothing(visitor: Client) -> None:
    with CaptureQueriesContext(connection) as queries:
        for path in ("/control-panel", "/services/fog_coordinator/", "/events", "/health"):
            read(visitor, path)
    writing = [q["sql"] for q in queries.captured_queries if re.match("INSERT|UPDATE|DELETE", q["sql"])]
    assert writing == []


def test_only_who_may_submit_is_offered_a_new_task(visitor: Client, submitter: User) -> None:
    assert "/tasks/new" not in read(visitor, "/control-panel")
    visitor.force_login(submitter)
    assert "/tasks/new" in read(visitor, "/control-panel")


def test_a_service_page_shows_every_strategy_and_what_became_of_its_canary(
    visitor: Client, make_node: Callable[..., Node]
) -> None:
    make_node()
    probed(State.OPERATIONAL)
    canary.send(timezone.now())
    body = read(visitor, "/services/fog_coordinator/")
    for words in ("Round robin", "Least loaded", "Affinity based", "Proximity based", "Privacy aware"):
        assert words in body
    assert body.count("On its way") == 5


def test_an_unknown_service_is_not_found(visitor: Client) -> None:
    answer = visitor.get("/services/weather/")
    assert answer.status_code == 404
    assert "There is no service weather" in answer.content.decode()


@pytest.mark.parametrize(
    "topic", ["nav", "fleet", "services", "service:fog_coordinator", "topology", "events", "stream"]
)
def test_live_fragments_replace_what_the_pages_show(visitor: Client, topic: str) -> None:
    """Each element that is pushed has an id that a page which subscribes has too."""
    probed(State.OPERATIONAL)
    found, key = live.find(topic)
    html, _ = found.render(key, 0)
    pushed = re.findall(r'<\w+[^>]*\bid="([^"]+)"[^>]*hx-swap-oob', html)
    assert pushed
    page = read(visitor, "/services/fog_coordinator/" if topic.startswith("service:") else "/control-panel")
    assert [name for name in pushed if f'id="{name}"' not in page] == []
    assert topic.partition(":")[0] in re.search(r'ws-connect="([^"]+)"', page)[1]  # type: ignore[index]


class TestHealth:
    def ask(self, client: Client) -> dict[str, object]:
        answer: dict[str, object] = client.get("/health").json()
        return answer

    def test_before_the_first_probe(self, client: Client) -> None:
        assert self.ask(client) == {
            "status": "unknown",
            "services": {service.slug: "unknown" for service in SERVICES},
            "version": "0.1.0",
        }

    @pytest.mark.parametrize("state", [State.OPERATIONAL, State.DEGRADED, State.DOWN])
    def test_the_worst_state_is_the_status(self, client: Client, state: State) -> None:
        probed(state)
        assert self.ask(client)["status"] == state

    def test_an_old_result_is_not_passed_on(self, client: Client) -> None:
        row = probed(State.OPERATIONAL, age_s=3600)
        assert self.ask(client)["status"] == "degraded"
        _, sentence = cards.present_state(BY_SLUG["fog_coordinator"], row, timezone.now())
        assert "is the worker running?" in sentence


def test_every_topic_a_page_asks_for_is_there_from_the_start() -> None:
    """In a process that has rendered no page yet, as after a restart."""
    program = "import django; django.setup()\nfrom fogpanel import live\nprint(*live.registry)"
    started = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    known = set(started.stdout.split())
    asked = {
        name.partition(":")[0]
        for path in (settings.BASE_DIR / "templates").rglob("*.html")
        for block in re.findall(r"{% block topics %}(.*?){% endblock %}", path.read_text())
        for name in re.sub(r"{[{%].*?[}%]}", "", block).split(",")
        if name
    }
    assert {"nav", "fleet", "events"} <= known
    assert asked - known == set()
