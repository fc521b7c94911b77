"""The API of batches: many tasks in one request, and their results as they come."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from asgiref.sync import sync_to_async
from django.http import HttpResponse, StreamingHttpResponse
from ninja import Body, Router, Schema
from pydantic import Field

from fogpanel.access import Role, require
from fogpanel.api_auth import SignedInRequest
from fogpanel.idempotency import answer_once
from fogpanel.problems import not_found
from tasks import batch_results, batches
from tasks.models import TaskBatch
from tasks.task_schemas import TaskIn
from tasks.visibility import require_batch_content

router = Router(tags=["tasks"])


class BatchIn(Schema):
    """Either ``tasks``, or a ``template`` with ``parameters``: each row of the table makes a task of the
    template, in whose texts ``${name}`` stands for the row's value of that name. These texts come to at most
    64 MiB in all."""

    name: str = Field(default="", max_length=200)
    tasks: list[TaskIn] | None = Field(default=None, max_length=batches.BATCH_MOST)
    template: TaskIn | None = None
    parameters: list[dict[str, str | int | float]] | None = Field(default=None, max_length=batches.BATCH_MOST)


class BatchOut(Schema):
    id: int
    name: str
    size: int
    created_at: datetime


class BatchDetail(BatchOut):
    """``states``: how many of its tasks are in each."""

    states: dict[str, int]


SPECIFICATION = {"requestBody": {"content": {"application/json": {"schema": BatchIn.model_json_schema()}}}}


@router.post("/batch", response={201: BatchOut}, openapi_extra=SPECIFICATION)
def submit_batch(request: SignedInRequest, given: Annotated[dict[str, Any], Body()]) -> HttpResponse:
    """Hand in up to 10,000 tasks: all of them or, if one breaks a rule, none."""
    require(request.user, Role.SUBMITTER)
    name, specs = batches.read_batch(given)
    stored: list[tuple[TaskBatch, list[batches.TaskRow]]] = []

    def store() -> BatchOut:
        stored.append(batches.store_batch(request.user, name, specs))
        return BatchOut.model_validate(stored[-1][0], from_attributes=True)

    answer = answer_once(request, store)
    for batch, rest in stored:
        batches.unpack(batch.id, rest)
    return answer


@router.get("/batches/{int:batch_id}", response=BatchDetail)
def get_batch(request: SignedInRequest, batch_id: int) -> BatchDetail:
    """How far it is."""
    require(request.user, Role.VIEWER)
    batch = _find(batch_id)
    plain = BatchOut.model_validate(batch, from_attributes=True).model_dump()
    return BatchDetail(**plain, states=batches.states(batch))


@router.get("/batches/{int:batch_id}/results", response={200: str})
async def follow_results(request: SignedInRequest, batch_id: int) -> StreamingHttpResponse:
    """A line of JSON for each task as it ends (`application/x-ndjson`), from the first that ended on, until
    all have. A connection that broke is made good by asking again."""

    def find() -> TaskBatch:
        require(request.user, Role.VIEWER)
        batch = _find(batch_id)
        require_batch_content(request.user, batch)
        return batch

    batch = await sync_to_async(find)()
    return StreamingHttpResponse(batch_results.follow(batch), content_type="application/x-ndjson")


def _find(batch_id: int) -> TaskBatch:
    batch = TaskBatch.objects.defer("packed").filter(id=batch_id).first()
    if batch is None:
        raise not_found(f"batch {batch_id}")
    return batch
