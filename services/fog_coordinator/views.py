"""The fleet at a moment of the past or now, and what other strategies would have done."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_safe

from fogpanel.access import Role, allows, require, requires
from nodes.views import PageRequest, asks_for
from services.fog_coordinator import snapshots, what_if
from services.fog_coordinator.forms import MomentForm, WhatIfForm
from services.fog_coordinator.models import Snapshot
from services.fog_coordinator.picture import shown


@require_safe
@requires(Role.VIEWER)
def topology(request: PageRequest) -> HttpResponse:
    """A page of its own without scripts; the slider asks for what belongs in ``past``."""
    form = MomentForm(request.GET)
    valid = form.is_valid()
    given = form.cleaned_data if valid else {}
    slider = snapshots.slider(given.get("position"), given.get("until"))
    context: dict[str, Any] = {"section": "fog_coordinator", "form": form, "slider": slider}
    if asks_for(request, "past"):
        context |= _past(slider)
        # While the slider itself is dragged it must not be replaced.
        context["dragged"] = request.htmx.trigger == "moment"
        return render(request, "services/fog_coordinator/_moved.html", context, status=200 if valid else 400)
    context |= {**shown(snapshots.present(timezone.now())), **_past(slider)}
    return render(request, "services/fog_coordinator/topology.html", context, status=200 if valid else 400)


def _past(slider: snapshots.Slider) -> dict[str, Any]:
    """The snapshot that the slider stands at; nothing at now, or where it was thinned away just then."""
    if slider.snapshot_id is None:
        return {}
    snapshot = Snapshot.objects.filter(id=slider.snapshot_id).first()
    return {"past": shown(snapshots.past(snapshot))} if snapshot else {}


@requires(Role.VIEWER)
def what_if_page(request: PageRequest) -> HttpResponse:
    """The newest answers; a POST asks anew, which an operator may."""
    form = WhatIfForm(request.POST or None)
    status = 200
    if request.method == "POST":
        require(request.user, Role.OPERATOR)
        if form.is_valid() and what_if.ask(request.user, form.cleaned_data["tasks"], timezone.now()):
            return redirect("what-if")
        if form.is_valid():
            form.add_error(
                None, f"{what_if.WAITING_MOST} wait for their answer already; try again when one has it."
            )
        status = 422
    context = {
        "section": "fog_coordinator",
        "form": form,
        "runs": what_if.newest(),
        "may_ask": allows(request.user, Role.OPERATOR),
    }
    return render(request, "services/fog_coordinator/what_if.html", context, status=status)
