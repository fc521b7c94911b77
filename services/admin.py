"""What the probes found, on the admin site."""

from __future__ import annotations

from django.contrib import admin

from fogpanel.admin_site import AmongNewest, LargeAdmin, ReadOnlyAdmin
from services.models import ServiceSample, ServiceState


@admin.register(ServiceState)
class ServiceStateAdmin(ReadOnlyAdmin):
    list_display = ("slug", "state", "sentence", "enabled", "probed_at")
    list_filter = ("state", "enabled")
    search_fields = ("slug",)
    ordering = ("slug",)


@admin.register(ServiceSample)
class ServiceSampleAdmin(LargeAdmin):
    list_display = ("at", "slug", "state", "value")
    list_filter = (("state", AmongNewest),)
    texts = ("slug",)
    search_help_text = "Name of a service (fog_coordinator), among the newest samples"
    ordering = ("-id",)
