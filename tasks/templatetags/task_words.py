"""Words about tasks that templates need."""

from __future__ import annotations

from django import template

from fogpanel.templatetags.fog import duration
from tasks.models import Task

register = template.Library()


@register.filter
def took(task: Task) -> str:
    """How long the run that ended a task took; empty where it never ran or has not ended."""
    if task.started_at is None or task.finished_at is None:
        return ""
    return duration(max(0.0, (task.finished_at - task.started_at).total_seconds()))
