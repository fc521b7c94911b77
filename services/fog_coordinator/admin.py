"""Snapshots on the admin site."""

from __future__ import annotations

from django.contrib import admin

from fogpanel.admin_site import ReadOnlyAdmin
from services.fog_coordinator.models import Snapshot


@admin.register(Snapshot)
class SnapshotAdmin(ReadOnlyAdmin):
    list_display = ("id", "at")
    ordering = ("-id",)
