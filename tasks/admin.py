"""Tasks and the evidence of how they went on the admin site."""

from __future__ import annotations

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest

from fogpanel.admin_site import ReadOnlyAdmin
from tasks import operations
from tasks.models import Attempt, Blob, BlobChunk, Decision, Explanation, LogChunk, Task, TaskBatch
from tasks.states import OPEN


@admin.register(Task)
class TaskAdmin(ReadOnlyAdmin):
    list_display = ("id", "name", "owner", "state", "driver", "strategy", "node", "created_at", "finished_at")
    list_filter = ("state", "strategy", "canary", "created_at")
    search_fields = ("=id", "name", "owner__username__exact", "node__name__exact")
    list_select_related = ("owner", "node")
    ordering = ("-id",)
    actions = ("cancel",)

    @admin.action(description="Cancel the selected tasks")
    def cancel(self, request: HttpRequest, chosen: QuerySet[Task]) -> None:
        assert isinstance(request.user, User)
        open_tasks = chosen.filter(state__in=OPEN)
        for task in open_tasks:
            operations.cancel(task, request.user)
        messages.success(request, f"{len(open_tasks)} tasks are being cancelled.")


@admin.register(TaskBatch)
class TaskBatchAdmin(ReadOnlyAdmin):
    list_display = ("id", "name", "owner", "size", "stored", "created_at")
    list_filter = ("created_at",)
    search_fields = ("=id", "name", "owner__username__exact")
    list_select_related = ("owner",)
    exclude = ("packed",)
    ordering = ("-id",)


@admin.register(Attempt)
class AttemptAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "task",
        "number",
        "node",
        "outcome",
        "exit_code",
        "created_at",
        "started_at",
        "ended_at",
    )
    list_filter = ("created_at",)
    search_fields = ("=id", "=task__id", "node__name__exact", "outcome__exact")
    list_select_related = ("task", "node")
    ordering = ("-id",)


@admin.register(Decision)
class DecisionAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "task",
        "strategy",
        "chosen",
        "considered",
        "eligible",
        "decided_at",
        "took_us",
    )
    list_filter = ("strategy",)
    search_fields = ("=id", "=task__id", "chosen__name__exact")
    list_select_related = ("task", "chosen")
    ordering = ("-id",)


@admin.register(Explanation)
class ExplanationAdmin(ReadOnlyAdmin):
    list_display = ("id", "shape", "fleet_version", "created_at")
    search_fields = ("=id", "shape__exact")
    ordering = ("-id",)


@admin.register(LogChunk)
class LogChunkAdmin(ReadOnlyAdmin):
    list_display = ("id", "attempt", "stream", "offset")
    list_filter = ("stream",)
    search_fields = ("=attempt__task__id", "=attempt__id")
    search_help_text = "Number of a task or of an attempt"
    list_select_related = ("attempt",)
    readonly_fields = ("text",)
    ordering = ("-id",)

    @admin.display(description="text")
    def text(self, chunk: LogChunk) -> str:
        return bytes(chunk.content).decode(errors="replace")


@admin.register(Blob)
class BlobAdmin(ReadOnlyAdmin):
    list_display = ("sha256", "size", "created_at")
    search_fields = ("sha256__startswith",)
    ordering = ("-created_at",)


@admin.register(BlobChunk)
class BlobChunkAdmin(ReadOnlyAdmin):
    list_display = ("id", "blob", "index", "size")
    search_fields = ("blob__sha256__startswith",)
    ordering = ("-id",)

    @admin.display(description="bytes")
    def size(self, chunk: BlobChunk) -> int:
        return len(bytes(chunk.content))
