"""A node's side of placement: what work it gets, and why not more."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from fogpanel.access import Role, requires
from nodes.models import Node
from nodes.views import PageRequest, asks_for
from tasks.node_work import WAITING_SEEN, work_of


@require_safe
@requires(Role.VIEWER)
def node_why(request: PageRequest, node_id: int) -> HttpResponse:
    node = get_object_or_404(Node, id=node_id)
    context: dict[str, Any] = {
        "section": "nodes",
        "node": node,
        "waiting_seen": WAITING_SEEN,
        "brief": asks_for(request, "node-why"),  # on the node's own page
    }
    status = 200
    try:
        context["work"] = work_of(node)
    except TimeoutError:
        status = 503
    template = "tasks/_node_why.html" if context["brief"] else "tasks/node_why.html"
    return render(request, template, context, status=status)
