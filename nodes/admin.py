"""Nodes, groups, join keys and relays on the admin site. Actions do what the panel's own pages do."""

from __future__ import annotations

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest

from coordinator.values import Availability
from fogpanel.admin_site import LargeAdmin, PanelAdmin, ReadOnlyAdmin
from nodes import joining, operations
from nodes.models import DirectoryVersion, EventCount, Group, HostName, JoinKey, Node, Order, Relay, Sample
from nodes.relay_directory.publishing import published_entry


@admin.register(Group)
class GroupAdmin(PanelAdmin):
    list_display = ("name", "needs_approval")
    list_filter = ("needs_approval",)
    search_fields = ("name",)


@admin.register(JoinKey)
class JoinKeyAdmin(ReadOnlyAdmin):
    list_display = (
        "prefix",
        "note",
        "group",
        "created_by",
        "created_at",
        "expires_at",
        "uses_left",
        "revoked_at",
    )
    list_filter = ("group", "expires_at", "revoked_at")
    search_fields = ("note", "prefix")
    list_select_related = ("group", "created_by")
    exclude = ("digest",)
    ordering = ("-id",)
    actions = ("revoke",)

    @admin.action(description="Revoke the selected keys")
    def revoke(self, request: HttpRequest, chosen: QuerySet[JoinKey]) -> None:
        assert isinstance(request.user, User)
        for key in chosen:
            joining.revoke_join_key(key, request.user)
        messages.success(request, f"{len(chosen)} keys are revoked. Machines that joined with them stay.")


@admin.register(Node)
class NodeAdmin(ReadOnlyAdmin):
    list_display = (
        "name", "node_type", "region", "availability", "connected", "last_contact_at",
        "cpu_millis", "free_cpu_millis", "memory_mb", "free_memory_mb", "open_attempts",
    )  # fmt: skip
    list_filter = (
        "node_type",
        "availability",
        "connected",
        "group",
        "approved_at",
        "archived_at",
        "removed_at",
    )
    search_fields = ("=id", "name", "hostname", "region", "public_key__startswith")
    list_select_related = ("group",)
    ordering = ("name",)
    actions = ("make_schedulable", "cordon", "drain", "maintain", "approve")

    @admin.action(description="Let the selected nodes take work")
    def make_schedulable(self, request: HttpRequest, chosen: QuerySet[Node]) -> None:
        self._set(request, chosen, Availability.SCHEDULABLE)

    @admin.action(description="Cordon the selected nodes: no more work")
    def cordon(self, request: HttpRequest, chosen: QuerySet[Node]) -> None:
        self._set(request, chosen, Availability.CORDONED)

    @admin.action(
        description="Drain the selected nodes: they finish their work in the usual time, then it moves"
    )
    def drain(self, request: HttpRequest, chosen: QuerySet[Node]) -> None:
        self._set(request, chosen, Availability.DRAINING)

    @admin.action(description="Take the selected nodes into maintenance: drained, and shown as taken out")
    def maintain(self, request: HttpRequest, chosen: QuerySet[Node]) -> None:
        self._set(request, chosen, Availability.MAINTENANCE)

    def _set(self, request: HttpRequest, chosen: QuerySet[Node], availability: Availability) -> None:
        assert isinstance(request.user, User)
        present = chosen.filter(archived_at=None)
        for node in present:
            operations.set_availability(node, availability, request.user)
        messages.success(request, f"{len(present)} nodes are {availability} now.")

    @admin.action(description="Approve the selected nodes")
    def approve(self, request: HttpRequest, chosen: QuerySet[Node]) -> None:
        assert isinstance(request.user, User)
        waiting = chosen.filter(approved_at=None, archived_at=None)
        for node in waiting:
            joining.approve(node, request.user)
        messages.success(request, f"{len(waiting)} nodes are approved.")


@admin.register(Order)
class OrderAdmin(LargeAdmin):
    list_display = ("id", "node", "kind", "subject", "created_at", "sent_at", "acked_at", "withdrawn_at")
    numbers = ("id",)
    names = ("node__name",)
    texts = ("subject",)
    search_help_text = "Number, node, or a subject (attempt:12) among the newest orders"
    list_select_related = ("node",)
    readonly_fields = ("message",)
    ordering = ("-id",)

    @admin.display(description="message")
    def message(self, order: Order) -> str:
        return bytes(order.body).decode()


@admin.register(Sample)
class SampleAdmin(LargeAdmin):
    list_display = ("at", "node", "cpu_percent", "memory_used_mb", "memory_total_mb", "running")
    names = ("node__name",)
    search_help_text = "Name of a node"
    list_select_related = ("node",)
    ordering = ("-id",)


@admin.register(Relay)
class RelayAdmin(ReadOnlyAdmin):
    list_display = ("node", "flags", "address", "family", "bandwidth_kbps", "since", "version", "said_at")
    list_filter = (("since", admin.EmptyFieldListFilter), ("address", admin.EmptyFieldListFilter), "said_at")
    search_fields = ("=node__id", "node__name", "address", "family", "onion_key__startswith")
    list_select_related = ("node",)
    readonly_fields = ("flags",)
    ordering = ("node",)

    @admin.display(description="flags as published")
    def flags(self, relay: Relay) -> str:
        entry = published_entry(relay)
        return ", ".join(entry.flags) if entry else "not in the directory"


@admin.register(HostName)
class HostNameAdmin(ReadOnlyAdmin):
    list_display = ("name", "networks", "tried_at")
    list_filter = ("tried_at",)
    search_fields = ("name",)
    ordering = ("name",)

    @admin.display(description="networks it led to lately")
    def networks(self, host: HostName) -> str:
        return ", ".join(host.seen) or "none"


@admin.register(DirectoryVersion)
class DirectoryVersionAdmin(LargeAdmin):
    list_display = ("version", "made_at", "expires_at", "relays", "changes", "digest")
    numbers = ("version",)
    search_help_text = "Number of a version"
    ordering = ("-version",)


@admin.register(EventCount)
class EventCountAdmin(ReadOnlyAdmin):
    list_display = ("node", "kind", "began_at", "stored", "left_out")
    list_select_related = ("node",)
    search_fields = ("node__name",)
    ordering = ("-id",)
