"""Tasks and the evidence of how they went on the admin site."""

from __future__ import annotations

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest

from fogpanel.admin_site import AmongNewest, LargeAdmin, Rows, by_hash
from tasks import operations
from tasks.models import (
    Attempt,
    Blob,
    BlobChunk,
    Decision,
    Explanation,
    LogChunk,
    Reservation,
    ResultChunk,
    Task,
    TaskBatch,
)
from tasks.states import OPEN


@admin.register(Task)
class TaskAdmin(LargeAdmin):
    list_display = (
        "id", "name", "owner", "state", "driver", "strategy", "privacy", "node", "created_at", "finished_at",
    )  # fmt: skip
    list_filter = ("state", ("strategy", AmongNewest), ("privacy", AmongNewest))
    numbers = ("id",)
    names = ("owner__username", "node__name")
    texts = ("name",)
    search_help_text = "Number, user, node, or words of the name among the newest tasks"
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
class TaskBatchAdmin(LargeAdmin):
    list_display = ("id", "name", "owner", "size", "stored", "created_at")
    numbers = ("id",)
    names = ("owner__username",)
    texts = ("name",)
    search_help_text = "Number, user, or words of the name among the newest batches"
    list_select_related = ("owner",)
    exclude = ("packed",)
    ordering = ("-id",)


@admin.register(Reservation)
class ReservationAdmin(LargeAdmin):
    list_display = ("id", "task", "owner", "privacy", "created_at", "expires_at", "used_at")
    numbers = ("id", "task")
    names = ("owner__username",)
    search_help_text = "Number of a reservation or a task, or a user"
    list_select_related = ("task", "owner")
    ordering = ("-id",)


@admin.register(ResultChunk)
class ResultChunkAdmin(LargeAdmin):
    list_display = ("id", "attempt", "offset")
    numbers = ("attempt", "attempt__task")
    search_help_text = "Number of a task or of an attempt"
    list_select_related = ("attempt",)
    ordering = ("-id",)


@admin.register(Attempt)
class AttemptAdmin(LargeAdmin):
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
    numbers = ("id", "task")
    names = ("node__name",)
    texts = ("outcome",)
    search_help_text = "Number of an attempt or a task, node, or an outcome among the newest attempts"
    list_select_related = ("task", "node")
    ordering = ("-id",)


@admin.register(Decision)
class DecisionAdmin(LargeAdmin):
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
    list_filter = (("strategy", AmongNewest),)
    numbers = ("id", "task")
    names = ("chosen__name",)
    search_help_text = "Number of a decision or a task, or the node that was chosen"
    list_select_related = ("task", "chosen")
    ordering = ("-id",)


@admin.register(Explanation)
class ExplanationAdmin(LargeAdmin):
    list_display = ("id", "shape", "fleet_version", "created_at")
    numbers = ("id",)
    texts = ("shape",)
    search_help_text = "Number, or a shape among the newest explanations"
    ordering = ("-id",)


@admin.register(LogChunk)
class LogChunkAdmin(LargeAdmin):
    list_display = ("id", "attempt", "stream", "offset")
    list_filter = (("stream", AmongNewest),)
    numbers = ("attempt", "attempt__task")
    search_help_text = "Number of a task or of an attempt"
    list_select_related = ("attempt",)
    readonly_fields = ("text",)
    ordering = ("-id",)

    @admin.display(description="text")
    def text(self, chunk: LogChunk) -> str:
        return bytes(chunk.content).decode(errors="replace")


@admin.register(Blob)
class BlobAdmin(LargeAdmin):
    list_display = ("sha256", "size", "created_at")
    texts = ("sha256",)
    search_help_text = "How its SHA-256 begins"
    ordering = ("-created_at",)

    def get_search_results(self, request: HttpRequest, queryset: Rows, search_term: str) -> tuple[Rows, bool]:
        return by_hash(queryset, "sha256", search_term.strip()), False


@admin.register(BlobChunk)
class BlobChunkAdmin(LargeAdmin):
    list_display = ("id", "blob", "index", "size")
    texts = ("blob",)
    search_help_text = "How the SHA-256 of its blob begins"
    ordering = ("-id",)

    def get_search_results(self, request: HttpRequest, queryset: Rows, search_term: str) -> tuple[Rows, bool]:
        return by_hash(queryset, "blob", search_term.strip()), False

    @admin.display(description="bytes")
    def size(self, chunk: BlobChunk) -> int:
        return len(bytes(chunk.content))
