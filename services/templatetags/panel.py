"""The navigation: what is there, how much of it, and how the services do."""

from __future__ import annotations

from typing import Any

from django import template

from services.models import ServiceState
from services.navigation import counts, dots

register = template.Library()


@register.inclusion_tag("fogpanel/_navigation.html", takes_context=True)
def navigation(context: template.Context) -> dict[str, Any]:
    # A page of services has read them already.
    states = context["states"] if "states" in context else ServiceState.objects.in_bulk()
    return {
        "section": context.get("section", ""),
        "counts": counts(),
        "dots": dots(states),
        "may_administer": context["request"].user.is_staff,
    }


@register.inclusion_tag("fogpanel/_bottom_navigation.html", takes_context=True)
def bottom_navigation(context: template.Context) -> dict[str, Any]:
    return {"section": context.get("section", "")}
