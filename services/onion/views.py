"""The circuits of one node, and all relays page by page."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_safe

from fogpanel.access import Role, requires
from services.onion import circuits, relays
from services.onion.forms import NodeForm, PlaceForm


@require_safe
@requires(Role.VIEWER)
def node_circuits(request: HttpRequest) -> HttpResponse:
    """All circuits of the node that is named; without a name, the service's page shows some of many."""
    form = NodeForm(request.GET)
    valid = form.is_valid()
    node = form.cleaned_data["node"] if valid else None
    if valid and node is None:
        return redirect("service", slug="onion")
    context = {
        "section": "onion",
        "form": form,
        "node": node,
        "one": circuits.of_node(node.id, timezone.now()) if node else None,
    }
    return render(request, "services/onion/circuits.html", context, status=200 if valid else 404)


@require_safe
@requires(Role.VIEWER)
def relay_list(request: HttpRequest) -> HttpResponse:
    form = PlaceForm(request.GET)
    valid = form.is_valid()
    place = form.cleaned_data if valid else {}
    context = {
        "section": "onion",
        "form": form,
        "place": place,
        "relays": relays.table(place.get("after"), place.get("before")),
    }
    return render(request, "services/onion/relays.html", context, status=200 if valid else 400)
