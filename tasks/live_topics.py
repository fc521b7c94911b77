"""What browsers see change on the task pages. Nothing here depends on who looks.

Content (log and result) has a topic of its own, since not everybody may see it.
"""

from __future__ import annotations

from django.template.loader import render_to_string
from django.utils import timezone

from fogpanel import live, live_rows
from fogpanel.access import AnyUser
from tasks import directory, log_lines, presenting
from tasks.models import Task
from tasks.states import FINAL
from tasks.visibility import may_see_content


@live.stream("tasks", allow=live.viewer)
def render_list(key: str, after: int) -> tuple[str, int]:
    """The counts of the tabs, the newest id, and the rows that changed; ``key`` names the rows shown."""
    since = live_rows.since(after, timezone.now())
    shown = Task.objects.filter(id__in=live_rows.ids_in(key), changed_at__gt=since)
    tasks = list(shown.select_related("node", "owner"))
    rows = [render_to_string("tasks/_row.html", {"task": task, "oob": True}) for task in tasks]
    counts = render_to_string(
        "tasks/_counts.html", {"counts": directory.counts(), "newest": directory.newest_id(), "oob": True}
    )
    return "\n".join([counts, *rows]), live_rows.position_of(
        max([t.changed_at for t in tasks], default=since)
    )


@live.topic("task", allow=live.viewer)
def render_task(key: str) -> str:
    task = find(key)
    return render_to_string("tasks/_live.html", presenting.page_of(task)) if task else ""


def may_read(viewer: AnyUser, key: str) -> bool:
    task = find(key)
    return task is not None and may_see_content(viewer, task)


@live.stream("log", allow=may_read)
def render_log(key: str, after: int) -> tuple[str, int]:
    """Lines after a chunk id, and the result once there is one."""
    task = find(key)
    if task is None:
        return "", after
    part = log_lines.read(task.id, after)
    context = {"task": task, "log": part, "oob": True, "appends": after > 0}
    html = render_to_string("tasks/_log_live.html", context)
    if task.state in FINAL:
        html += render_to_string("tasks/_result.html", {**context, **presenting.result_of(task)})
    return html, part.position


def find(key: str) -> Task | None:
    if not key.isdecimal() or len(key) > 18:
        return None
    return Task.objects.select_related("node", "owner", "accepted_attempt").filter(id=int(key)).first()
