"""Which tasks a list shows: tabs, search and keyset pages that stay cheap at a million rows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from django.db.models import Max, QuerySet

from fogpanel.access import AnyUser
from fogpanel.keyset import SEARCH_SPAN, Page, count_capped, find_page
from tasks.models import Task
from tasks.states import TaskState
from tasks.visibility import visible_tasks


class Tab(StrEnum):
    ALL = "all"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


STATES_OF: dict[Tab, tuple[TaskState, ...]] = {
    Tab.ALL: (),
    Tab.QUEUED: (TaskState.QUEUED,),
    Tab.RUNNING: (TaskState.ASSIGNED, TaskState.RUNNING),
    Tab.SUCCEEDED: (TaskState.SUCCEEDED,),
    Tab.FAILED: (TaskState.FAILED, TaskState.EXPIRED),
}


@dataclass(frozen=True, slots=True)
class Query:
    """``after`` and ``before`` are task ids; ``mine`` limits the list to ``user``'s own."""

    user: AnyUser
    tab: Tab = Tab.ALL
    words: str = ""
    mine: bool = False
    after: int | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """``older_than`` is set where a search stopped at its span without filling the page."""

    page: Page[Task]
    older_than: int | None = None


def find(query: Query) -> Found:
    tasks = visible_tasks(query.user).select_related("node", "owner").defer("args", "env", "labels")
    if query.mine:
        tasks = tasks.filter(owner_id=query.user.pk)
    if query.words or (query.mine and query.tab is not Tab.ALL):
        return _search(tasks, query)
    return Found(_page(tasks, query))


def _page(tasks: QuerySet[Task], query: Query) -> Page[Task]:
    states = STATES_OF[query.tab]
    sources = [tasks.filter(state=state) for state in states] or [tasks]
    return find_page(sources, "id", descending=True, after=query.after, before=query.before)


def _search(tasks: QuerySet[Task], query: Query) -> Found:
    """Words in names, and somebody's tasks in one state, are looked for in `SEARCH_SPAN` ids a page: so a
    search for what nobody has ends in time, too."""
    for word in query.words.split():
        tasks = tasks.filter(name__icontains=word)
    if query.before is not None:
        return Found(_page(tasks.filter(id__lt=query.before + SEARCH_SPAN), query))
    newest = query.after or (Task.objects.aggregate(newest=Max("id"))["newest"] or 0) + 1
    bottom = newest - SEARCH_SPAN
    page = _page(tasks.filter(id__gte=bottom), query)
    return Found(page, older_than=bottom if page.after is None and bottom > 1 else None)


def counts() -> dict[Tab, str]:
    """How many tasks each tab holds, of all people; canaries are left out."""
    tasks = Task.objects.filter(canary=False)
    return {
        tab: count_capped(tasks.filter(state__in=states) if states else tasks)
        for tab, states in STATES_OF.items()
    }


def newest_id() -> int:
    """The newest task that lists show; 0 where there is none."""
    return Task.objects.filter(canary=False).order_by("-id").values_list("id", flat=True).first() or 0
