"""Tunnels: what was wished for, and how each is as its entry last told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models

from nodes.models import Node

SLUG = "vpn_coordinator"
DEFAULT_HOPS = 3
DEFAULT_ROTATE_S = 600


class TunnelQuerySet(models.QuerySet["Tunnel"]):
    def with_nodes(self) -> TunnelQuerySet:
        """Together with what pages say of them: entry, exits and who created them."""
        return self.select_related("entry", "exit_node", "used_exit", "created_by")


class Tunnel(models.Model):
    """A SOCKS port on the loopback of its entry, whose streams leave the overlay at an exit.

    Rows of one entry are written only while that node is locked (`nodes.locks`).
    """

    if TYPE_CHECKING:
        id: int
        entry_id: int
        exit_node_id: int | None
        created_by_id: int | None

    # What was wished for
    name = models.CharField(max_length=100)
    entry = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="tunnels")
    exit_region = models.CharField(max_length=60, blank=True, help_text="Empty, and no exit node: anywhere")
    exit_node = models.ForeignKey(Node, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    hops = models.PositiveSmallIntegerField(default=DEFAULT_HOPS)
    rotate_s = models.PositiveIntegerField(
        default=DEFAULT_ROTATE_S, help_text="How long a circuit takes new streams"
    )
    wanted_port = models.PositiveIntegerField(default=0, help_text="0: one that is free")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    allowed = models.ManyToManyField(
        settings.AUTH_USER_MODEL, blank=True, related_name="+", help_text="Who may use it besides its owner"
    )
    created_at = models.DateTimeField()
    stopped_at = models.DateTimeField(null=True, blank=True)

    # How it is, as its entry last told
    told_at = models.DateTimeField(null=True, blank=True, help_text="Empty: its entry told nothing yet")
    is_open = models.BooleanField(null=True, help_text="Unknown: its entry does not know it (yet)")
    port = models.PositiveIntegerField(default=0)
    sentence = models.CharField(max_length=500, blank=True, help_text="Why it is not open, or has no circuit")
    clients = models.PositiveIntegerField(default=0)
    sent_bytes = models.PositiveBigIntegerField(default=0)
    received_bytes = models.PositiveBigIntegerField(default=0)
    used_exit = models.ForeignKey(
        Node,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="It leaves here now",
    )

    # What was measured of it
    counted_at = models.DateTimeField(null=True, blank=True, help_text="When counted_bytes were told")
    counted_bytes = models.PositiveBigIntegerField(default=0)
    bytes_per_s = models.FloatField(null=True, blank=True, help_text="Both ways, between two statuses")
    best_bytes_per_s = models.FloatField(null=True, blank=True)
    build_ms = models.FloatField(null=True, blank=True, help_text="Of its circuits, the median")

    objects = TunnelQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["entry"], name="tunnel_open", condition=models.Q(stopped_at=None)),
            models.Index(fields=["told_at"], name="tunnel_told"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def proxy(self) -> str:
        """The address of its port; whoever uses it leaves looking names up to the exit."""
        return f"socks5h://127.0.0.1:{self.port}"

    @property
    def curl_line(self) -> str:
        return f"curl --socks5-hostname 127.0.0.1:{self.port} https://example.org"

    @property
    def exit_in_words(self) -> str:
        """Where its streams are to leave. Reads the exit node."""
        return self.exit_node.name if self.exit_node else self.exit_region or "anywhere"
