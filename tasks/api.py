"""The API of tasks: hand in, look, follow, cancel, run again."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from asgiref.sync import sync_to_async
from django.http import HttpResponse
from ninja import Body, Router
from pydantic import Field

from coordinator.values import RoutingStrategy
from fogpanel.access import Role, require
from fogpanel.api_auth import SignedInRequest
from fogpanel.idempotency import answer_once
from fogpanel.keyset import Limit, find_page
from fogpanel.problems import Problem, not_found
from nodes.models import Node
from tasks import decision_schemas, operations, placement, task_schemas
from tasks.explaining_now import explain_now
from tasks.logs import LogPage, read_log, stdout_of, watching
from tasks.models import Task
from tasks.node_work import work_of
from tasks.privacy import SEALED
from tasks.specification import validate
from tasks.states import FINAL, TaskState
from tasks.submission import submit
from tasks.visibility import may_see_content, require_content, require_control, visible_tasks

router = Router(tags=["tasks"])
nodes_router = Router(tags=["nodes"])

Given = Annotated[dict[str, Any], Body()]
WAIT_MAX_S = 20.0
LOOK_EVERY_S = 2.0
"""A wake may be lost: whoever waits for a log looks this often all the same."""

SPECIFICATION = {
    "requestBody": {"content": {"application/json": {"schema": task_schemas.TaskIn.model_json_schema()}}}
}


@router.post("", response={201: task_schemas.TaskOut}, openapi_extra=SPECIFICATION)
def submit_task(request: SignedInRequest, given: Given) -> HttpResponse:
    """Hand a task in. Every rule that the specification breaks is named in the answer."""
    require(request.user, Role.SUBMITTER)
    # Reading it may take long (a module is checked whole), so that comes before the transaction.
    spec = validate(given)
    return answer_once(request, lambda: task_schemas.task_out(submit(request.user, spec)))


@router.post("/preview", response=decision_schemas.Previews, openapi_extra=SPECIFICATION)
def preview_task(request: SignedInRequest, given: Given) -> decision_schemas.Previews:
    """Where each of the strategies would send this task now. Nothing is stored or reserved."""
    require(request.user, Role.SUBMITTER)
    decisions = placement.preview(validate(given, content=False))
    return decision_schemas.Previews(
        items=[decision_schemas.preview_out(decisions[s]) for s in RoutingStrategy if s in decisions]
    )


@router.get("", response=task_schemas.Tasks)
def list_tasks(
    request: SignedInRequest,
    state: TaskState | None = None,
    mine: bool = False,
    after: int | None = None,
    limit: Limit = 50,
) -> task_schemas.Tasks:
    """The newest first. ``after`` is the ``next`` of the page before."""
    require(request.user, Role.VIEWER)
    tasks = visible_tasks(request.user).select_related("node", "owner")
    if state is not None:
        tasks = tasks.filter(state=state)
    if mine:
        tasks = tasks.filter(owner=request.user)
    page = find_page([tasks], "id", descending=True, after=after, size=limit)
    return task_schemas.Tasks(
        items=[task_schemas.task_out(task) for task in page.rows],
        next=page.rows[-1].id if page.after else None,
    )


@router.get("/{int:task_id}", response=task_schemas.TaskDetail)
def get_task(request: SignedInRequest, task_id: int) -> task_schemas.TaskDetail:
    """Its state and attempts; what it runs is for its owner and operators only."""
    require(request.user, Role.VIEWER)
    task = find_task(task_id)
    return task_schemas.task_detail(task, with_content=may_see_content(request.user, task))


@router.get("/{int:task_id}/decisions", response=decision_schemas.Decisions)
def list_decisions(request: SignedInRequest, task_id: int) -> decision_schemas.Decisions:
    """Why it went where it went, or why it waits; oldest first."""
    require(request.user, Role.VIEWER)
    decisions = find_task(task_id).decisions.select_related("chosen", "explanation", "attempt")
    return decision_schemas.Decisions(
        items=[decision_schemas.decision_out(decision) for decision in decisions]
    )


@router.get("/{int:task_id}/explain", response=decision_schemas.ExplainedNow)
def explain_task(
    request: SignedInRequest,
    task_id: int,
    node: Annotated[str, Field(max_length=100)] = "",
    start: Annotated[int, Field(ge=0)] = 0,
    limit: Limit = 50,
) -> decision_schemas.ExplainedNow:
    """How every node stands to this task at this moment, or those with ``node`` in their name.

    The decisions say how it was when they were made; this asks the fleet as it is, and reserves nothing.
    """
    require(request.user, Role.VIEWER)
    try:
        answer = explain_now(find_task(task_id), name=node, start=start, size=limit)
    except TimeoutError as error:
        raise Problem(503, "busy", "The panel is busy placing tasks; try again.") from error
    return decision_schemas.explained_now(answer)


@router.get("/{int:task_id}/logs", response=task_schemas.Logs)
async def follow_log(
    request: SignedInRequest,
    task_id: int,
    after: Annotated[int, Field(ge=0)] = 0,
    wait: Annotated[float, Field(ge=0, le=WAIT_MAX_S)] = 0.0,
    limit: Annotated[int, Field(ge=1, le=1000)] = 200,
) -> task_schemas.Logs:
    """What it printed after chunk ``after``. With ``wait`` the answer comes as soon as there is more,
    at the latest after so many seconds. ``done``: the task is over and this is the end of its log."""

    def find() -> Task:
        require(request.user, Role.VIEWER)
        task = find_task(task_id)
        require_content(request.user, task)
        return task

    task = await sync_to_async(find)()
    page = await _more_log(task, after, limit, wait)
    return task_schemas.Logs.model_validate(page, from_attributes=True)


async def _more_log(task: Task, after: int, limit: int, wait_s: float) -> LogPage:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    with watching(f"task:{task.id}", f"log:{task.id}") as changed:
        while True:
            changed.clear()
            page = await sync_to_async(read_log)(task, after, limit)
            left_s = deadline - loop.time()
            if page.chunks or page.done or left_s <= 0:
                return page
            try:
                async with asyncio.timeout(min(left_s, LOOK_EVERY_S)):
                    await changed.wait()
            except TimeoutError:
                continue


@router.get("/{int:task_id}/result", response={200: bytes})
def get_result(request: SignedInRequest, task_id: int) -> HttpResponse:
    """The standard output of the attempt that counts, as the bytes that it wrote."""
    require(request.user, Role.VIEWER)
    task = find_task(task_id)
    require_content(request.user, task)
    if task.privacy in SEALED:
        detail = (
            f"This task is {task.privacy}: its output is in its sealed result, for its submitter to open."
        )
        raise Problem(409, "sealed", detail)
    if task.accepted_attempt is None:
        over = TaskState(task.state) in FINAL
        detail = (
            f"This task is {task.state}; {'no attempt of it gave' if over else 'it has not given'} a result."
        )
        raise Problem(409, "no-result", detail)
    return HttpResponse(stdout_of(task.accepted_attempt), content_type="application/octet-stream")


@router.post("/{int:task_id}/cancel", response=task_schemas.TaskOut)
def cancel_task(request: SignedInRequest, task_id: int) -> HttpResponse:
    """Ask for its end. A task that waits ends at once, one that runs when its node has stopped it."""
    task = find_task(task_id)
    require_control(request.user, task)
    if TaskState(task.state) in FINAL:
        raise Problem(409, "over", f"This task is {task.state} already; there is nothing to cancel.")

    def cancel() -> task_schemas.TaskOut:
        operations.cancel(task, request.user)
        return task_schemas.task_out(find_task(task_id))

    return answer_once(request, cancel, status=200)


@router.post("/{int:task_id}/retry", response={201: task_schemas.TaskOut})
def retry_task(request: SignedInRequest, task_id: int) -> HttpResponse:
    """Hand the same specification in once more, as a new task."""
    task = find_task(task_id)
    require_control(request.user, task)
    return answer_once(request, lambda: task_schemas.task_out(operations.retry(task, request.user)))


@nodes_router.get("/{int:node_id}/why", response=decision_schemas.NodeWhy)
def why_node(request: SignedInRequest, node_id: int) -> decision_schemas.NodeWhy:
    """What work a node gets and why not more, from the tasks that wait and the last placements."""
    require(request.user, Role.VIEWER)
    node = Node.objects.filter(id=node_id).first()
    if node is None:
        raise not_found(f"node {node_id}")
    try:
        return decision_schemas.node_why(work_of(node))
    except TimeoutError as error:
        raise Problem(503, "busy", "The panel is busy placing tasks; try again.") from error


def find_task(task_id: int) -> Task:
    tasks = Task.objects.select_related("node", "owner", "accepted_attempt")
    task = tasks.filter(id=task_id).first()
    if task is None:
        raise not_found(f"task {task_id}")
    return task
