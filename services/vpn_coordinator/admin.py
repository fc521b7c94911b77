"""Tunnels on the admin site."""

from __future__ import annotations

from django.contrib import admin

from fogpanel.admin_site import ReadOnlyAdmin
from services.vpn_coordinator.models import Tunnel


@admin.register(Tunnel)
class TunnelAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "name",
        "entry",
        "hops",
        "is_open",
        "clients",
        "created_by",
        "created_at",
        "stopped_at",
    )
    list_select_related = ("entry", "created_by")
    list_filter = ("is_open",)
    search_fields = ("name", "entry__name")
    ordering = ("-id",)
