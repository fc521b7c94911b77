"""`/metrics` for Prometheus: what this process counted, and the state of the panel as few, bounded queries.

Nothing here reads a million rows: counts of tasks stop at `COUNTED_TO`, and what has ended is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import User
from django.db.models import Count, Min
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from coordinator.values import NodeStatus
from fogpanel import tokens
from fogpanel.access import Role, allows
from fogpanel.jobs import registry as jobs
from fogpanel.metrics import registry as own
from fogpanel.models import JobState
from nodes.models import Order
from nodes.status import with_status
from services import cards
from services.catalogue import SERVICES
from services.fleet_groups import fleet_nodes
from services.models import ServiceState, State
from tasks.models import Task
from tasks.states import TaskState

COUNTED_TO = 10_000
OPEN = (TaskState.QUEUED, TaskState.ASSIGNED, TaskState.RUNNING)
STATES = (*State.values, "unknown")

WHO = (
    "Send an API token with the scope read as “Authorization: Bearer fpt_…”; docs/settings.md shows a scrape "
    "configuration.\n"
)


@never_cache
@login_not_required
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """For whoever has the role viewer: by a token, as Prometheus, or signed in."""
    now = timezone.now()
    user = _asker(request, now)
    if user is None or not allows(user, Role.VIEWER):
        refusal = HttpResponse(WHO, status=401 if user is None else 403, content_type="text/plain")
        refusal["WWW-Authenticate"] = 'Bearer realm="Fogpanel"'
        return refusal
    shared = CollectorRegistry(auto_describe=False)
    shared.register(Panel(now))
    return HttpResponse(generate_latest(own) + generate_latest(shared), content_type=CONTENT_TYPE_LATEST)


def _asker(request: HttpRequest, now: datetime) -> User | None:
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    if scheme:
        token = tokens.find(text, now) if scheme.lower() == "bearer" else None
        return token.user if token else None
    return request.user if isinstance(request.user, User) else None


class Panel(Collector):
    """What is true of the whole panel, whichever process is asked."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield self._nodes()
        yield from self._tasks()
        pending = Order.objects.filter(acked_at=None, withdrawn_at=None).order_by()
        yield GaugeMetricFamily(
            "fogpanel_outbox_pending",
            f"Orders that no node has acknowledged yet, counted to {COUNTED_TO}",
            value=pending.values("id")[:COUNTED_TO].count(),
        )
        yield self._jobs()
        yield self._services()

    def _nodes(self) -> GaugeMetricFamily:
        counted = (
            with_status(fleet_nodes(), self._now).order_by().values("status").annotate(number=Count("id"))
        )
        numbers = {row["status"]: row["number"] for row in counted}
        family = GaugeMetricFamily("fogpanel_nodes", "Nodes by status", labels=["status"])
        for status in NodeStatus:
            family.add_metric([status], numbers.get(status, 0))
        return family

    def _tasks(self) -> Iterator[GaugeMetricFamily]:
        told = f"Tasks that have not ended, by state, counted to {COUNTED_TO} each"
        family = GaugeMetricFamily("fogpanel_tasks", told, labels=["state"])
        for state in OPEN:
            rows = Task.objects.filter(state=state).order_by().values("id")[:COUNTED_TO]
            family.add_metric([state], rows.count())
        yield family
        oldest = Task.objects.filter(state=TaskState.QUEUED).order_by("id")[:COUNTED_TO]
        since = oldest.aggregate(since=Min("created_at"))["since"]
        yield GaugeMetricFamily(
            "fogpanel_queue_age_seconds",
            "How long the oldest waiting task has waited; 0 where none waits",
            value=max(0.0, (self._now - since).total_seconds()) if since else 0.0,
        )

    def _jobs(self) -> GaugeMetricFamily:
        told = "How long after its time a periodic job still has not begun"
        family = GaugeMetricFamily("fogpanel_job_lag_seconds", told, labels=["job"])
        for name, due_at in JobState.objects.values_list("name", "due_at"):
            if name in jobs:
                family.add_metric([name], max(0.0, (self._now - due_at).total_seconds()))
        return family

    def _services(self) -> GaugeMetricFamily:
        told = "1 for the state that a service is in, 0 for the others"
        family = GaugeMetricFamily("fogpanel_service_state", told, labels=["service", "state"])
        rows = ServiceState.objects.in_bulk()
        for service in SERVICES:
            present, _ = cards.present_state(service, rows.get(service.slug), self._now)
            for state in STATES:
                family.add_metric([service.slug, state], float(state == present))
        return family
