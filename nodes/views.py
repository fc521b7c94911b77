"""The node directory, a node's page, and letting machines in and out."""

from __future__ import annotations

import mimetypes
from typing import TypedDict, cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.db import transaction
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_GET, require_POST, require_safe
from django_htmx.middleware import HtmxDetails

from coordinator.values import Availability
from fogpanel.access import Role, allows, requires
from fogpanel.live_rows import topic_of
from fogpanel.parameters.catalogue import DRAIN_S
from fogpanel.parameters.store import current
from nodes import directory, joining, operations, presenting
from nodes.forms import AvailabilityForm, DrainForm, FilterForm, JoinKeyForm
from nodes.models import JoinKey, Node

JOINED_SHOWN = 5


class PageRequest(HttpRequest):
    """What the middleware adds."""

    htmx: HtmxDetails


@require_safe
@requires(Role.VIEWER)
def node_list(request: PageRequest) -> HttpResponse:
    now = timezone.now()
    form = FilterForm(request.GET, regions=directory.regions())
    valid = form.is_valid()
    query = cast(directory.Query, form.cleaned_data if valid else {})
    page = directory.page(query, now)
    context = {
        "section": "nodes",
        "form": form,
        "nodes": presenting.views_of(page.rows, now),
        "topic": topic_of("nodes", page.rows) or "nodes",
        "newest": directory.newest_id(),
        "links": _neighbour_links(request, page.before, page.after),
        "count": directory.count(query, page, now),
        "filtered": any(query.get(name) for name in ("q", "status", "type", "region")),
        "waiting": directory.waiting_for_approval() if allows(request.user, Role.OPERATOR) else [],
        "may_operate": allows(request.user, Role.OPERATOR),
    }
    template = "nodes/_directory.html" if asks_for(request, "node-directory") else "nodes/list.html"
    return render(request, template, context, status=200 if valid else 400)


def asks_for(request: PageRequest, target: str) -> bool:
    """Whether htmx wants only the fragment with this id."""
    return bool(request.htmx) and request.htmx.target == target


def _neighbour_links(request: HttpRequest, before: object | None, after: object | None) -> dict[str, str]:
    """Query strings of the neighbouring pages, with the filters kept; empty at an end."""
    links = {}
    for name, cursor in (("before", before), ("after", after)):
        query = request.GET.copy()
        query.pop("before", None)
        query.pop("after", None)
        query[name] = str(cursor)
        links[name] = f"?{query.urlencode()}" if cursor is not None else ""
    return links


@require_safe
@requires(Role.VIEWER)
def node_page(request: HttpRequest, node_id: int) -> HttpResponse:
    node = get_object_or_404(Node.objects.select_related("group", "join_key"), id=node_id)
    context = {
        **presenting.page_of(node, timezone.now()),
        "section": "nodes",
        "may_operate": allows(request.user, Role.OPERATOR),
    }
    return render(request, "nodes/detail.html", context)


@requires(Role.OPERATOR)
def add_node(request: PageRequest) -> HttpResponse:
    """Make a join key; the answer to the POST is the only place that ever shows it."""
    form = JoinKeyForm(request.POST or None)
    context: dict[str, object] = {"section": "nodes", "form": form}
    if request.method == "POST" and form.is_valid():
        try:
            context |= _new_key(request, form)
        except FileNotFoundError as error:
            form.add_error(None, str(error))
    now = timezone.now()
    context |= {"keys": presenting.join_keys(now), "working_keys": presenting.working_keys(now).count()}
    template = "nodes/_add.html" if asks_for(request, "add-node") else "nodes/add.html"
    response = render(request, template, context)
    response["Cache-Control"] = "no-store"
    return response


class NewKey(TypedDict):
    key: JoinKey
    lines: joining.JoinLines


def _new_key(request: HttpRequest, form: JoinKeyForm) -> NewKey:
    with transaction.atomic():  # with no wheel to install there is no line, and then no key is made
        key, text = joining.create_join_key(
            actor=request.user,
            note=form.cleaned_data["note"],
            group=form.chosen_group(),
            labels={},
            uses=form.cleaned_data["uses"],
            lifetime_s=form.cleaned_data["lifetime_s"],
        )
        return {"key": key, "lines": joining.join_lines(settings.PUBLIC_URL, text)}


@require_safe
@requires(Role.OPERATOR)
def joined_with(request: HttpRequest, key_id: int) -> HttpResponse:
    """Which machines came with a key, for whoever has just pasted its line."""
    key = get_object_or_404(JoinKey, id=key_id)
    joined = Node.objects.filter(join_key=key, archived_at=None).order_by("-id")[:JOINED_SHOWN]
    ended = presenting.key_state(key, timezone.now())
    return render(request, "nodes/_joined.html", {"key": key, "joined": joined, "ended": ended})


@require_POST
@requires(Role.OPERATOR)
def revoke_key(request: HttpRequest, key_id: int) -> HttpResponse:
    key = get_object_or_404(JoinKey, id=key_id)
    joining.revoke_join_key(key, request.user)
    messages.success(request, f"{key} is revoked. Machines that joined with it stay.")
    return redirect("add-node")


@require_POST
@requires(Role.OPERATOR)
def approve_node(request: HttpRequest, node_id: int) -> HttpResponse:
    node = get_object_or_404(Node, id=node_id, archived_at=None)
    joining.approve(node, request.user)
    messages.success(request, f"{node} is approved and joins as soon as its agent asks again.")
    return redirect("node", node_id=node.id)


@require_POST
@requires(Role.OPERATOR)
def change_availability(request: HttpRequest, node_id: int) -> HttpResponse:
    node = get_object_or_404(Node, id=node_id, archived_at=None)
    form = AvailabilityForm(request.POST)
    if not form.is_valid():
        for problem in form.problems():
            messages.error(request, problem)
        return redirect("node", node_id=node.id)
    wanted = Availability(form.cleaned_data["availability"])
    operations.set_availability(node, wanted, request.user, form.cleaned_data["drain_s"])
    messages.success(request, AVAILABILITY_SENTENCES[wanted].format(node))
    return redirect("node", node_id=node.id)


AVAILABILITY_SENTENCES = {
    Availability.SCHEDULABLE: "{} takes work again.",
    Availability.CORDONED: "{} keeps its work and gets no more.",
    Availability.DRAINING: "{} is being drained: it gets no more work.",
    Availability.MAINTENANCE: "{} is in maintenance: it gets no more work.",
}


@require_safe
@requires(Role.OPERATOR)
def drain_node(request: PageRequest, node_id: int) -> HttpResponse:
    """Ask how long what runs on a node may go on, before it is drained."""
    node = get_object_or_404(Node, id=node_id, archived_at=None)
    asked = request.GET.get("for", Availability.DRAINING)
    form = DrainForm(initial={"availability": asked}, usual_s=round(current(DRAIN_S)))
    context = {"section": "nodes", "node": node, "form": form}
    template = "nodes/_drain_form.html" if asks_for(request, "drain-node") else "nodes/drain.html"
    return render(request, template, context)


@require_POST
@requires(Role.OPERATOR)
def remove_node(request: HttpRequest, node_id: int) -> HttpResponse:
    node = get_object_or_404(Node, id=node_id, removed_at=None)
    operations.remove(node, request.user)
    messages.success(request, f"{node} is removed. Its history stays; its work runs elsewhere.")
    return redirect("nodes")


@require_GET
@login_not_required
@cache_control(public=True, max_age=31_536_000, immutable=True)
def agent_wheel(request: HttpRequest, filename: str) -> FileResponse:
    """The agent as a wheel. Public: the pasted line pins its hash, and it holds no secret."""
    try:
        wheel = joining.agent_wheel()
    except FileNotFoundError as error:
        raise Http404(str(error)) from error
    if filename != wheel.filename:
        raise Http404(f"This panel serves {wheel.filename}.")
    content_type = mimetypes.guess_type(filename)[0] or "application/octet-stream"
    return FileResponse(wheel.path.open("rb"), content_type=content_type, filename=filename)
