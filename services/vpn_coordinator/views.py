"""Tunnels: the service's page with the list, a tunnel's own page, creating and stopping."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_safe

from fogpanel.access import Refusal, Role, allows, requires
from fogpanel.keyset import Page, find_page
from fogpanel.live_rows import topic_of
from services.control import NotNow
from services.views import service_context
from services.vpn_coordinator import costs, operations
from services.vpn_coordinator.forms import GuardForm, ListForm, SharingForm, TunnelForm, focus_on_wrong
from services.vpn_coordinator.gateways import entries, exits, regions_of
from services.vpn_coordinator.guarding import set_require_password
from services.vpn_coordinator.models import Tunnel
from services.vpn_coordinator.page import history, view_of, views_of
from services.vpn_coordinator.passwords import Line, is_for, lines_of, others_of
from services.vpn_coordinator.renewing import NOT_YOURS, create_with_password, renew
from services.vpn_coordinator.service import VPN_COORDINATOR
from services.vpn_coordinator.visibility import owns, require_own, require_use
from services.vpn_coordinator.wishes import read, read_allowed
from tasks.specification import SpecError

PAGE_SIZE = 24
SUGGESTED_MOST = 200  # names in a form's lists; others can be typed


@require_safe
@requires(Role.VIEWER)
def tunnels(request: HttpRequest) -> HttpResponse:
    """The service's page. Ports are shown to those who may use the tunnel."""
    form = ListForm(request.GET)
    valid = form.is_valid()
    given: dict[str, Any] = form.cleaned_data if valid else {}
    stopped = bool(given.get("stopped"))
    found = find_page(
        [Tunnel.objects.filter(stopped_at__isnull=not stopped).with_nodes()],
        "id",
        descending=True,
        after=given.get("after"),
        before=given.get("before"),
        size=PAGE_SIZE,
    )
    lines = lines_of(request.user, found.rows)
    context = service_context(request, VPN_COORDINATOR)
    ready = {region.name for region in context["exit_regions"] if region.ready}
    context |= {
        "form": form,
        "tunnels": [
            (view, lines.get(view.tunnel.id)) for view in views_of(found.rows, timezone.now(), ready)
        ],
        "stopped": stopped,
        "topics": _topics(request, found.rows),
        "links": _links(found, stopped),
        "may_create": allows(request.user, Role.SUBMITTER),
    }
    return render(request, "services/vpn_coordinator/page.html", context, status=200 if valid else 400)


def _topics(request: HttpRequest, shown: list[Tunnel]) -> str:
    if not shown:
        return ""
    listed = topic_of("tunnels", shown)
    lines = listed.replace("tunnels:", f"tunnel-lines:{request.user.pk}.")
    return f",{listed},{lines}" if allows(request.user, Role.SUBMITTER) else f",{listed}"


def _links(found: Page[Tunnel], stopped: bool) -> dict[str, str]:
    """Query strings of the neighbouring pages; empty at an end."""
    kept = "stopped=on&" if stopped else ""
    cursors = {"newer": ("before", found.before), "older": ("after", found.after)}
    return {
        name: f"?{kept}{key}={cursor}" if cursor is not None else ""
        for name, (key, cursor) in cursors.items()
    }


@require_safe
@requires(Role.VIEWER)
def tunnel_page(request: HttpRequest, tunnel_id: int) -> HttpResponse:
    tunnel = get_object_or_404(Tunnel.objects.all().with_nodes(), id=tunnel_id)
    context = {
        "section": VPN_COORDINATOR.slug,
        "view": view_of(tunnel, timezone.now()),
        "line": lines_of(request.user, [tunnel]).get(tunnel.id),
        "may_share": owns(request.user, tunnel),
        "allowed": tunnel.allowed.order_by("username"),
        "events": history(tunnel),
    }
    return render(request, "services/vpn_coordinator/tunnel.html", context)


@requires(Role.SUBMITTER)
def new_tunnel(request: HttpRequest) -> HttpResponse:
    """The form, with what each number of hops costs beside it; a POST creates the tunnel.

    Where it requires a password, the answer to the POST shows its owner's.
    """
    assert isinstance(request.user, User)
    granted = list(entries().order_by("name").values_list("name", flat=True)[:SUGGESTED_MOST])
    initial = {"entry": granted[0]} if len(granted) == 1 else {}
    form = TunnelForm(request.POST if request.method == "POST" else None, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            tunnel, password = create_with_password(request.user, read(form.given()), timezone.now())
        except SpecError as error:
            form.add_errors(error.errors)
            focus_on_wrong(form)
        except NotNow as refusal:
            form.add_error(None, str(refusal))
        else:
            if password:
                return _shown_once(request, tunnel, password)
            return redirect("tunnel", tunnel_id=tunnel.id)
    found = [one for one in exits() if one.ready]
    context = {
        "section": VPN_COORDINATOR.slug,
        "form": form,
        "costs": costs.by_hops(costs.measured(timezone.now())),
        "entries": granted,
        "exits": found[:SUGGESTED_MOST],
        "regions": regions_of(found),
    }
    status = 422 if form.errors else 200
    return render(request, "services/vpn_coordinator/new.html", context, status=status)


@requires(Role.SUBMITTER)
def tunnel_password(request: HttpRequest, tunnel_id: int) -> HttpResponse:
    """Says what a new password means; the answer to a POST is the only place that shows it."""
    assert isinstance(request.user, User)
    tunnel = get_object_or_404(Tunnel.objects.all().with_nodes(), id=tunnel_id)
    if not is_for(request.user, tunnel):
        raise Refusal(NOT_YOURS)
    context = {"section": VPN_COORDINATOR.slug, "line": lines_of(request.user, [tunnel])[tunnel.id]}
    status = 200
    if request.method == "POST":
        try:
            return _shown_once(request, tunnel, renew(request.user, tunnel, timezone.now()))
        except NotNow as refusal:
            context["refusal"], status = str(refusal), 409
    return render(request, "services/vpn_coordinator/password.html", context, status=status)


def _shown_once(request: HttpRequest, tunnel: Tunnel, password: str) -> HttpResponse:
    assert isinstance(request.user, User)
    context = {
        "section": VPN_COORDINATOR.slug,
        "line": Line(tunnel, request.user, has_password=True),
        "password": password,
        "proxy": tunnel.proxy_as(request.user.username, password),
    }
    response = render(request, "services/vpn_coordinator/password.html", context)
    response["Cache-Control"] = "no-store"
    return response


@requires(Role.SUBMITTER)
def share_tunnel(request: HttpRequest, tunnel_id: int) -> HttpResponse:
    """With whom it is shared; a POST changes that."""
    assert isinstance(request.user, User)
    tunnel = get_object_or_404(Tunnel.objects.all().with_nodes(), id=tunnel_id)
    require_own(request.user, tunnel)
    names = tunnel.allowed.order_by("username").values_list("username", flat=True)
    form = SharingForm(request.POST or None, initial={"allowed": ", ".join(names)})
    if request.method == "POST" and form.is_valid():
        try:
            allowed = read_allowed(form.cleaned_data["allowed"])
            operations.share(request.user, tunnel, allowed, timezone.now())
        except SpecError as error:
            for each in error.errors:
                form.add_error("allowed", each.message)
            focus_on_wrong(form)
        except NotNow as refusal:
            form.add_error(None, str(refusal))
        else:
            with_whom = ", ".join(user.username for user in tunnel.allowed.order_by("username"))
            messages.success(request, f"The tunnel {tunnel} is shared with {with_whom or 'nobody'}.")
            return redirect("tunnel", tunnel_id=tunnel.id)
    context = {"section": VPN_COORDINATOR.slug, "tunnel": tunnel, "form": form}
    status = 422 if form.errors else 200
    return render(request, "services/vpn_coordinator/share.html", context, status=status)


@requires(Role.SUBMITTER)
def guard_tunnel(request: HttpRequest, tunnel_id: int) -> HttpResponse:
    """Says what it means that it asks for passwords from now on, or for none any more; a POST does it."""
    assert isinstance(request.user, User)
    tunnel = get_object_or_404(Tunnel.objects.all().with_nodes(), id=tunnel_id)
    require_own(request.user, tunnel)
    form = GuardForm(request.POST if request.method == "POST" else None)
    refusals: list[str] = []
    if request.method == "POST" and form.is_valid():
        required: bool = form.cleaned_data["require_password"]
        try:
            password = set_require_password(request.user, tunnel, required, timezone.now())
        except SpecError as error:
            refusals = [each.message for each in error.errors]
        except NotNow as refusal:
            refusals = [str(refusal)]
        else:
            return _guarded(request, tunnel, password)
    context = {
        "section": VPN_COORDINATOR.slug,
        "view": view_of(tunnel, timezone.now()),
        "mine": is_for(request.user, tunnel),
        "others": others_of(request.user, tunnel),
        "refusals": refusals,
    }
    status = 422 if refusals or form.errors else 200
    return render(request, "services/vpn_coordinator/guard.html", context, status=status)


def _guarded(request: HttpRequest, tunnel: Tunnel, password: str) -> HttpResponse:
    if password:
        return _shown_once(request, tunnel, password)
    told = "asks for passwords" if tunnel.require_password else "asks for no password"
    messages.success(request, f"The tunnel {tunnel} {told} as soon as {tunnel.entry} is told.")
    return redirect("tunnel", tunnel_id=tunnel.id)


@requires(Role.SUBMITTER)
def stop_tunnel(request: HttpRequest, tunnel_id: int) -> HttpResponse:
    """Asks whether it is meant; a POST stops the tunnel."""
    assert isinstance(request.user, User)
    tunnel = get_object_or_404(Tunnel.objects.all().with_nodes(), id=tunnel_id)
    require_use(request.user, tunnel)
    if request.method == "POST":
        operations.stop(request.user, tunnel, timezone.now())
        messages.success(request, f"The tunnel {tunnel} is stopped; {tunnel.entry} closes its port.")
        return redirect("tunnel", tunnel_id=tunnel.id)
    context = {"section": VPN_COORDINATOR.slug, "view": view_of(tunnel, timezone.now())}
    return render(request, "services/vpn_coordinator/stop.html", context)
