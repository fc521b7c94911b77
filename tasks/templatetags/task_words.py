"""Words about tasks that templates need."""

from __future__ import annotations

from django import template
from django.template.defaultfilters import pluralize

from fogpanel.templatetags.fog import duration
from tasks.explaining import in_words
from tasks.models import Task

register = template.Library()


@register.filter
def waits_for(task: Task) -> str:
    """Why it waits, in a few words: the first reason and for how many nodes, or that it needs resealing."""
    if task.needs_resealing:
        return "needs resealing: its nodes cannot take it"
    # That others are not among the nodes it is sealed for is no reason to wait.
    reasons = [(why, count) for why, count in task.wait_reasons.items() if why != "sealed"]
    if not reasons:
        return ""
    why, count = reasons[0]
    return f"{count} node{pluralize(count)}: {in_words(why)}{' …' if len(reasons) > 1 else ''}"


@register.filter
def took(task: Task) -> str:
    """How long the run that ended a task took; empty where it never ran, has not ended, or was so short that
    the panel heard of start and end at once."""
    if task.started_at is None or task.finished_at is None or task.finished_at <= task.started_at:
        return ""
    return duration((task.finished_at - task.started_at).total_seconds())
