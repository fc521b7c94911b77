"""What nodes tell of their circuits, trials and measurements on the admin site."""

from __future__ import annotations

from django.contrib import admin

from fogpanel.admin_site import LargeAdmin, ReadOnlyAdmin
from services.onion.models import Measurement, OverlayState, Trial


@admin.register(OverlayState)
class OverlayStateAdmin(ReadOnlyAdmin):
    list_display = ("node", "at", "directory", "links", "circuits_open", "relayed_circuits", "relayed_bytes")
    search_fields = ("=node__id", "node__name")
    list_select_related = ("node",)
    ordering = ("node",)


@admin.register(Trial)
class TrialAdmin(LargeAdmin):
    list_display = (
        "id",
        "asked_at",
        "node",
        "relay",
        "hops",
        "ended_at",
        "ok",
        "build_ms",
        "echo_ms",
        "kbps",
    )
    numbers = ("id",)
    names = ("node__name",)
    search_help_text = "Number of a trial, or the name of the node that tried"
    list_select_related = ("node", "relay")
    ordering = ("-id",)


@admin.register(Measurement)
class MeasurementAdmin(ReadOnlyAdmin):
    list_display = ("relay", "at", "by", "ok", "kbps", "due_at")
    list_filter = ("ok",)
    search_fields = ("=relay__id", "relay__name")
    list_select_related = ("relay", "by")
    ordering = ("relay",)
