"""What `bench pages` has to do inside of a full panel: sign in, find addresses, count queries, time peers.

A program of its own, since a bench imports no Django: ``python -m bench.inside_pages`` with FOGPANEL_DATA
prints ``{"cookie": "name=value", "pages": {page: {"addresses": [...], "queries": the most of them,
"peer": who else, "peer_ms": its p95}}}``; pages that have no peer in here have neither.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fogpanel.settings")
django.setup()

from django.conf import settings  # noqa: E402
from django.contrib import admin  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.paginator import Paginator  # noqa: E402
from django.db import connection, models  # noqa: E402
from django.db.models import F  # noqa: E402
from django.test import Client, RequestFactory  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402
from django.utils import timezone  # noqa: E402

from bench.overlay_rows import fill  # noqa: E402
from bench.report import p95  # noqa: E402
from fogpanel.admin_site import LargeAdmin  # noqa: E402
from fogpanel.models import Event  # noqa: E402
from nodes.models import Node, Relay, Sample  # noqa: E402
from services.onion.models import OverlayState  # noqa: E402
from services.vpn_coordinator.models import Tunnel  # noqa: E402
from tasks.models import Attempt, Decision, Task  # noqa: E402
from tasks.states import FINAL  # noqa: E402

PAGE_SIZE = 50
PEER_LOOKS = 5
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"
LATELY = timedelta(hours=2)  # more than any page looks back
OLD = timedelta(minutes=1)

LISTED: Mapping[str, type[models.Model]] = {
    "nodes": Node, "tasks": Task, "events": Event, "api nodes": Node, "api tasks": Task, "api events": Event,
}  # fmt: skip
ADMIN: Mapping[str, type[models.Model]] = {
    "admin nodes": Node, "admin tasks": Task, "admin attempts": Attempt, "admin decisions": Decision,
    "admin events": Event,
}  # fmt: skip


# --- The history, as if it had just happened ---------------------------------------------------------


def move_to_now(now: datetime) -> None:
    """Let the last hours of the history end now: of older ones pages of the last minute show nothing."""
    last: datetime = Task.objects.filter(finished_at__isnull=False).latest("finished_at").finished_at  # type: ignore[assignment]
    by = now - last
    if by < OLD:
        return
    _shift(Task.objects.filter(finished_at__gt=last - LATELY), by, "finished_at")
    _shift(Task.objects.exclude(state__in=FINAL), by)
    contacted = Node.objects.filter(connected=True)
    contacted.update(last_contact_at=F("last_contact_at") + by, changed_at=F("changed_at") + by)
    Sample.objects.update(at=F("at") + by)


def _shift(tasks: models.QuerySet[Task], by: timedelta, *more: str) -> None:
    columns = ("created_at", "assigned_at", "started_at", "changed_at", *more)
    tasks.update(**{column: F(column) + by for column in columns})


# --- Addresses ---------------------------------------------------------------------------------------


def addresses() -> dict[str, list[str]]:
    """Every page of lists: plain, with at least four filters and searches, and far from its start."""
    names = list(Node.objects.order_by("name").values_list("name", flat=True))
    tasks, events = _positions(Task), _positions(Event)
    node = Node.objects.filter(open_attempts__gt=0).order_by("id").values_list("id", flat=True)[0]
    task = Task.objects.filter(attempts_made=2).order_by("-id").values_list("id", flat=True)[0]
    mid, deep = names[len(names) // 2], names[-100]
    telling = OverlayState.objects.order_by("node_id").values_list("node__name", flat=True)[0]
    tunnel = Tunnel.objects.order_by("id").values_list("id", flat=True)[0]
    middle = Relay.objects.order_by("node_id").values_list("node_id", flat=True)[len(names) // 2]
    return {
        "control panel": ["/control-panel"],
        "nodes": _each(
            "/nodes", "q=atlas", "q=team-7+zone", "status=offline", "type=gateway&region=eu-west",
            "status=busy&q=nothing-is-called-this", f"after={mid}", f"after={deep}", f"before={deep}",
        ),
        "tasks": _each(
            "/tasks", "tab=queued", "tab=running", "tab=failed", "q=render+frame", "mine=on&tab=failed",
            "q=nothing-is-called-this", f"after={tasks[0]}", f"before={tasks[1]}",
            f"tab=failed&after={tasks[1]}", f"q=thumbnail&after={tasks[1]}",
        ),
        "events": _each(
            "/events", "kind=node", "kind=task.moved", "actor=ada", "actor=nobody&kind=task",
            f"subject=node:{node}", f"after={events[0]}", f"before={events[1]}",
            f"kind=task.moved&after={events[1]}",
        ),
        "settings": ["/settings"],
        "node page": [f"/nodes/{node}"],
        "task page": [f"/tasks/{task}"],
        "service page": ["/services/fog_coordinator/"],
        "onion page": ["/services/onion/"],
        "onion relays": _each("/services/onion/relays", f"after={node}", f"before={middle}"),
        "onion circuits": [f"/services/onion/circuits?node={telling}"],
        "tunnels": _each("/services/vpn_coordinator/", "stopped=on"),
        "tunnel page": [f"/services/vpn_coordinator/tunnels/{tunnel}"],
        "new tunnel": ["/services/vpn_coordinator/tunnels/new"],
        "admin nodes": _each(
            "/admin/nodes/node/", "node_type__exact=gateway", "connected__exact=0", "q=atlas", f"q={node}",
            "p=20",
        ),
        "admin tasks": _each(
            "/admin/tasks/task/", "state__exact=failed", "strategy__exact=least_loaded", "q=frame",
            f"q={task}", "q=ada", f"q={mid}", "q=nothing-is-called-this", "p=20",
        ),
        "admin attempts": _each(
            "/admin/tasks/attempt/", f"q={task}", f"q={mid}", "q=exit", "q=nothing-is-called-this", "p=20"
        ),
        "admin decisions": _each(
            "/admin/tasks/decision/", "strategy__exact=round_robin", f"q={task}", f"q={mid}",
            "q=nothing-is-called-this", "p=20",
        ),
        "admin events": _each(
            "/admin/fogpanel/event/", "level__exact=warning", "q=node.joined", "q=ada", "q=nothing-like-it",
            "p=20",
        ),
        "other admin lists": list(_other_lists()),
        "api nodes": _each(
            "/api/v1/nodes", "status=offline", "type=gateway", "region=eu-west", "search=atlas",
            f"after={deep}",
        ),
        "api tasks": _each(
            "/api/v1/tasks", "state=failed", "state=queued", "mine=true", "limit=200", f"after={tasks[1]}"
        ),
        "api events": _each("/api/v1/events", "limit=200", f"after={events[0]}", f"after={events[1]}"),
        "api relays": _each("/api/v1/relays", "limit=200", "flag=exit", f"after={middle}"),
        "api circuits": _each("/api/v1/circuits", f"node={node}"),
        "api tunnels": ["/api/v1/tunnels"],
        "api topology": ["/api/v1/topology"],
        "api services": ["/api/v1/services"],
    }  # fmt: skip


def _each(path: str, *queries: str) -> list[str]:
    return [path, *(f"{path}?{query}" for query in queries)]


def _positions(model: type[models.Model]) -> tuple[int, int]:
    """Ids in the middle and near the end of a list that shows the newest first."""
    last: int = model._default_manager.order_by("-pk").values_list("pk", flat=True)[0]
    return last // 2, last // 50


def _other_lists() -> Iterable[str]:
    """The change lists of all other models, each also with a search."""
    for model, shown in admin.site._registry.items():
        if model not in ADMIN.values():
            path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
            searched = bool(shown.get_search_fields(RequestFactory().get(path)))
            yield from _each(path, *(["q=nothing-is-called-this", "q=7"] if searched else []))


# --- Queries and peers -------------------------------------------------------------------------------


def most_queries(client: Client, asked: Sequence[str]) -> int:
    numbers = []
    for address in asked:
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(address)
            assert answer.status_code == 200, f"{address}: {answer.status_code}"
        numbers.append(len(queries))
    return max(numbers)


def paginator_ms(model: type[models.Model]) -> float:
    """Django's own Paginator on the same rows, not drawn: it counts all and skips to the last page."""

    def last_page() -> None:
        paginator: Paginator[models.Model] = Paginator(model._default_manager.order_by("-pk"), PAGE_SIZE)
        list(paginator.page(paginator.num_pages))

    return p95([_timed_ms(last_page) for _ in range(PEER_LOOKS)])


def plain_admin_ms(model: type[models.Model], asked: Sequence[str], user: User) -> float:
    """The slowest of the same addresses with Django's ModelAdmin as it comes: same columns, same search."""
    shown = admin.site._registry[model]
    filters: list[Any] = list(shown.list_filter)
    columns = {
        "list_display": shown.list_display, "list_select_related": shown.list_select_related,
        "ordering": shown.ordering, "search_fields": _fields(shown), "list_per_page": shown.list_per_page,
        "list_filter": [field if isinstance(field, str) else field[0] for field in filters],
    }  # fmt: skip
    plain = type("Plain", (admin.ModelAdmin,), columns)(model, admin.AdminSite(name="admin"))

    def look(address: str) -> None:
        request = RequestFactory().get(address)
        request.user = user
        plain.changelist_view(request).render()

    return max(_timed_ms(partial(look, address)) for address in asked)


def _fields(shown: admin.ModelAdmin[Any]) -> Sequence[str]:
    """What is searched, in Django's own words."""
    if not isinstance(shown, LargeAdmin):
        return shown.search_fields
    numbers = (f"={number}__id" if number != "id" else "=id" for number in shown.numbers)
    return (*numbers, *(f"{name}__exact" for name in shown.names), *shown.texts)


def _timed_ms(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def _peer(page: str, asked: Sequence[str], user: User) -> dict[str, object]:
    if page in LISTED:
        return {"peer": "Django's Paginator, its last page", "peer_ms": paginator_ms(LISTED[page])}
    if page in ADMIN:
        return {"peer": "Django's ModelAdmin, worst", "peer_ms": plain_admin_ms(ADMIN[page], asked, user)}
    return {}


def main() -> None:
    fill(timezone.now())
    move_to_now(timezone.now())
    user = User.objects.get(username="admin")
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(user, MODEL_BACKEND)
    pages: dict[str, Any] = {
        page: {"addresses": asked, "queries": most_queries(client, asked), **_peer(page, asked, user)}
        for page, asked in addresses().items()
    }
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    json.dump({"cookie": f"{cookie.key}={cookie.value}", "pages": pages}, sys.stdout)


if __name__ == "__main__":
    main()
