"""Snapshots and what-if on the admin site."""

from __future__ import annotations

from django.contrib import admin

from fogpanel.admin_site import ReadOnlyAdmin
from services.fog_coordinator.models import Snapshot, WhatIf


@admin.register(Snapshot)
class SnapshotAdmin(ReadOnlyAdmin):
    list_display = ("id", "at")
    ordering = ("-id",)


@admin.register(WhatIf)
class WhatIfAdmin(ReadOnlyAdmin):
    list_display = ("id", "asked_at", "asked_by", "tasks", "percent", "finished_at", "error")
    list_select_related = ("asked_by",)
    ordering = ("-id",)
