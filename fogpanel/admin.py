"""Events, tokens and the panel's own state on the admin site."""

from __future__ import annotations

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest

from fogpanel import tokens
from fogpanel.admin_site import AmongNewest, LargeAdmin, ReadOnlyAdmin
from fogpanel.models import (
    ApiToken,
    Event,
    IdempotencyKey,
    JobState,
    PanelIdentity,
    PanelPresence,
    ParameterValue,
)


@admin.register(Event)
class EventAdmin(LargeAdmin):
    list_display = ("at", "level", "kind", "sentence", "actor_name", "subject_kind", "subject_id")
    list_filter = (("level", AmongNewest),)
    numbers = ("id",)
    texts = ("kind", "actor_name", "sentence")
    search_help_text = (
        "Number, or a kind (node.joined), user or words of the sentence among the newest events"
    )
    list_select_related = ("actor",)
    ordering = ("-id",)


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    list_display = (
        "name",
        "user",
        "prefix",
        "scopes",
        "created_at",
        "expires_at",
        "last_used_at",
        "revoked_at",
    )
    list_filter = ("revoked_at", "expires_at")
    search_fields = ("name", "prefix", "user__username")
    list_select_related = ("user",)
    exclude = ("digest",)
    ordering = ("-id",)
    actions = ("revoke",)

    @admin.action(description="Revoke the selected tokens")
    def revoke(self, request: HttpRequest, chosen: QuerySet[ApiToken]) -> None:
        assert isinstance(request.user, User)
        for token in chosen:
            tokens.revoke(token, request.user)
        messages.success(request, f"{len(chosen)} tokens are revoked.")


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(LargeAdmin):
    list_display = ("created_at", "key", "user", "status")
    names = ("user__username",)
    texts = ("key",)
    search_help_text = "User, or a key among the newest"
    list_select_related = ("user",)
    ordering = ("-id",)


@admin.register(JobState)
class JobStateAdmin(ReadOnlyAdmin):
    list_display = ("name", "due_at", "started_at", "finished_at", "since", "error")
    search_fields = ("name",)
    ordering = ("name",)


@admin.register(ParameterValue)
class ParameterValueAdmin(ReadOnlyAdmin):
    list_display = ("name", "value", "changed_at", "changed_by_name")
    search_fields = ("name",)
    list_select_related = ("changed_by",)
    ordering = ("name",)


@admin.register(PanelIdentity)
class PanelIdentityAdmin(ReadOnlyAdmin):
    list_display = ("id", "public_key")
    search_fields = ("public_key",)


@admin.register(PanelPresence)
class PanelPresenceAdmin(ReadOnlyAdmin):
    list_display = ("since", "seen_at")
