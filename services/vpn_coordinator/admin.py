"""Tunnels, carriages and canaries on the admin site."""

from __future__ import annotations

from django.contrib import admin

from fogpanel.admin_site import LargeAdmin, ReadOnlyAdmin
from services.vpn_coordinator.models import Carriage, GatewayRecord, PrivacyLevel, SealedCanary, Tunnel


@admin.register(Tunnel)
class TunnelAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "name",
        "entry",
        "hops",
        "is_open",
        "require_password",
        "clients",
        "created_by",
        "created_at",
        "stopped_at",
    )
    list_select_related = ("entry", "created_by")
    list_filter = ("is_open",)
    search_fields = ("name", "entry__name")
    ordering = ("-id",)


@admin.register(Carriage)
class CarriageAdmin(LargeAdmin):
    list_display = (
        "attempt_id",
        "gateway",
        "node",
        "created_at",
        "ended_at",
        "ok",
        "tries",
        "trouble",
        "reason",
        "build_ms",
        "took_ms",
        "size",
        "sentence",
    )
    numbers = ("attempt",)
    names = ("node__name",)
    search_help_text = "Number of an attempt, or the name of the node where it is to run"
    list_select_related = ("gateway", "node")
    ordering = ("-id",)


@admin.register(GatewayRecord)
class GatewayRecordAdmin(ReadOnlyAdmin):
    list_display = ("node", "results", "rests_until", "failed_at", "trouble")
    list_select_related = ("node",)
    search_fields = ("node__name",)
    ordering = ("-failed_at",)


@admin.register(SealedCanary)
class SealedCanaryAdmin(ReadOnlyAdmin):
    list_display = ("id", "sent_at", "ended_at", "ok", "step", "node", "took_ms", "size", "sentence")
    list_filter = ("ok", "step")
    list_select_related = ("node",)
    search_fields = ("node__name",)
    ordering = ("-id",)


@admin.register(PrivacyLevel)
class PrivacyLevelAdmin(ReadOnlyAdmin):
    list_display = ("level", "at", "refusal", "start_s", "samples", "bytes_per_s")
