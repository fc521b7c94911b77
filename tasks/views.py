"""Tasks: the list, handing one in with a preview, and a task's page."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from fogpanel.access import Role, allows, requires
from fogpanel.live_rows import topic_of
from nodes.directory import regions
from nodes.views import PageRequest, asks_for
from tasks import directory, explaining_now, log_lines, operations, placement, presenting
from tasks.directory import Tab
from tasks.explaining import previews
from tasks.forms import FilterForm, NodeSearchForm, TaskForm, initial_from
from tasks.levels import levels
from tasks.logs import stdout_of
from tasks.models import Decision, Task
from tasks.specification import SpecError, validate
from tasks.states import TaskState
from tasks.submission import submit
from tasks.visibility import (
    CONTENT_REFUSAL,
    may_cancel,
    may_see_content,
    require_content,
    require_control,
)


@require_safe
@requires(Role.VIEWER)
def task_list(request: PageRequest) -> HttpResponse:
    form = FilterForm(request.GET)
    valid = form.is_valid()
    query = _query(request, form.cleaned_data if valid else {})
    found = directory.find(query)
    context = {
        "section": "tasks",
        "form": form,
        "query": query,
        "tasks": found.page.rows,
        "topic": topic_of("tasks", found.page.rows) or "tasks",
        "links": _links(request, found),
        "counts": directory.counts(),
        "newest": directory.newest_id(),
        "on_first_page": query.after is None and query.before is None,
        "may_submit": allows(request.user, Role.SUBMITTER),
    }
    template = "tasks/_directory.html" if asks_for(request, "task-directory") else "tasks/list.html"
    return render(request, template, context, status=200 if valid else 400)


def _query(request: HttpRequest, given: dict[str, Any]) -> directory.Query:
    return directory.Query(
        user=request.user,
        tab=Tab(given.get("tab") or Tab.ALL),
        words=given.get("q", ""),
        mine=given.get("mine", False),
        after=given.get("after"),
        before=given.get("before"),
    )


def _links(request: HttpRequest, found: directory.Found) -> dict[str, str]:
    """Query strings of the neighbouring pages and the tabs, with the filters kept; empty at an end."""
    kept = request.GET.copy()
    for name in ("before", "after"):
        kept.pop(name, None)

    def link(**changes: object) -> str:
        query = kept.copy()
        for name, value in changes.items():
            query[name] = str(value)
        return f"?{query.urlencode()}"

    cursors = {"before": found.page.before, "after": found.page.after, "further": found.older_than}
    links = {
        name: link(**{"after" if name == "further" else name: cursor}) if cursor is not None else ""
        for name, cursor in cursors.items()
    }
    return links | {f"tab_{tab}": link(tab=tab) for tab in Tab}


@requires(Role.SUBMITTER)
def new_task(request: HttpRequest) -> HttpResponse:
    """The form; a POST hands the task in and leads to its page."""
    if request.method != "POST":
        return _form_page(request, TaskForm(initial=_initial(request)))
    form = TaskForm(request.POST, request.FILES)
    if form.is_valid():
        try:
            task = submit(request.user, validate(form.specification()))
        except SpecError as error:
            form.add_errors(error.errors)
        else:
            return redirect("task", task_id=task.id)
    return _form_page(request, form, status=422)


def _form_page(request: HttpRequest, form: TaskForm, status: int = 200, **more: Any) -> HttpResponse:
    offered = levels(form["privacy"].value(), timezone.now())
    context = {
        "section": "tasks",
        "form": form,
        "regions": regions(),
        "levels": offered,
        # What is to be sealed must not be sent open, nor as public, before there is a script that seals it.
        "waits_for_script": any(level.is_chosen and level.is_sealed for level in offered),
    }
    return render(request, "tasks/new.html", {**context, **more}, status=status)


def _initial(request: HttpRequest) -> dict[str, Any]:
    """What ``?from=12`` fills the form with: the specification of that task."""
    number = request.GET.get("from", "")
    if not number:
        return {}
    if not number.isdecimal() or len(number) > 18:
        raise BadRequest("from: must be the number of a task.")
    task = get_object_or_404(Task, id=int(number), canary=False)
    require_content(request.user, task)
    return initial_from(task)


@require_POST
@requires(Role.SUBMITTER)
def preview_task(request: PageRequest) -> HttpResponse:
    """Where each strategy would send the task of the form now. Nothing is stored or reserved."""
    form = TaskForm(request.POST, request.FILES)
    context: dict[str, Any] = {"form": form, "asked": True}
    if form.is_valid():
        try:
            spec = validate(form.specification(), content=False)
            context["previews"] = previews(placement.preview(spec))
        except SpecError as error:
            form.add_errors(error.errors)
        except TimeoutError:
            form.add_error(None, "The panel is busy placing tasks and gave no preview; try again.")
    context["problems"] = [message for errors in form.errors.values() for message in errors]
    if request.htmx:
        return render(request, "tasks/_preview.html", context)
    return _form_page(request, **context)


@require_safe
@requires(Role.VIEWER)
def sealed_keys(request: HttpRequest) -> HttpResponse:
    """Whose keys are listed there only the browser knows; the panel has none of them."""
    return render(request, "tasks/keys.html", {"section": "tasks", "task_states": list(TaskState)})


@require_safe
@requires(Role.VIEWER)
def task_page(request: HttpRequest, task_id: int) -> HttpResponse:
    task = _find(task_id)
    sees_content = may_see_content(request.user, task)
    context = {
        **presenting.page_of(task, _asked_decision(request, task)),
        **(presenting.content_of(task) if sees_content else {}),
        "section": "tasks",
        "sees_content": sees_content,
        "content_refusal": CONTENT_REFUSAL,
        "may_control": may_cancel(request.user, task),
        "is_owner": task.owner_id == request.user.pk,
    }
    return render(request, "tasks/detail.html", context)


def _find(task_id: int) -> Task:
    tasks = Task.objects.select_related("node", "owner", "accepted_attempt", "payload", "stdin")
    return get_object_or_404(tasks, id=task_id)


def _asked_decision(request: HttpRequest, task: Task) -> Decision | None:
    """The decision that ``?decision=12`` names, where an earlier one is looked at."""
    number = request.GET.get("decision", "")
    if not number.isdecimal() or len(number) > 18:
        return None
    return task.decisions.select_related("chosen", "explanation", "attempt").filter(id=int(number)).first()


@require_safe
@requires(Role.VIEWER)
def explain_task(request: PageRequest, task_id: int) -> HttpResponse:
    """Its decision made once more against the fleet as it is, with every node."""
    task = _find(task_id)
    form = NodeSearchForm(request.GET)
    context: dict[str, Any] = {"section": "tasks", "task": task, "form": form}
    status = 400
    if form.is_valid():
        name, start = form.cleaned_data["q"], form.cleaned_data["start"] or 0
        try:
            context |= explaining_now.page_of(task, name, start)
            status = 200
        except TimeoutError:
            context["busy"] = True
            status = 503
    template = "tasks/_explained_now.html" if asks_for(request, "explained-now") else "tasks/explain.html"
    return render(request, template, context, status=status)


@require_POST
@requires(Role.SUBMITTER)
def cancel_task(request: HttpRequest, task_id: int) -> HttpResponse:
    task = _find(task_id)
    require_control(request.user, task)
    operations.cancel(task, request.user)
    return redirect("task", task_id=task.id)


@require_POST
@requires(Role.SUBMITTER)
def run_again(request: HttpRequest, task_id: int) -> HttpResponse:
    task = _find(task_id)
    require_control(request.user, task)
    again = operations.retry(task, request.user)
    messages.success(request, f"This is {task.name} once more, as a new task.")
    return redirect("task", task_id=again.id)


@require_safe
@requires(Role.VIEWER)
def download_log(request: HttpRequest, task_id: int) -> StreamingHttpResponse:
    """Both streams in the order in which they arrived."""
    task = _find(task_id)
    require_content(request.user, task)
    response = StreamingHttpResponse(log_lines.as_text(task), content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="task-{task.id}.log"'
    return response


@require_safe
@requires(Role.VIEWER)
def download_output(request: HttpRequest, task_id: int) -> HttpResponse:
    """The standard output of the attempt that counts, as the bytes that it wrote."""
    task = _find(task_id)
    require_content(request.user, task)
    result = presenting.result_of(task)["result"]
    if result is None:
        raise Http404("This task has no result yet.")
    response = HttpResponse(stdout_of(result), content_type="application/octet-stream")
    response["Content-Disposition"] = f'attachment; filename="task-{task.id}.out"'
    return response
