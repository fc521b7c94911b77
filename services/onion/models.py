"""What nodes tell of their circuits, the circuits that the panel has them try, and how fast relays are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Q

from nodes.models import Node


class OverlayState(models.Model):
    """A node's part in the overlay, as it last told (`fogagent.messages.OverlayStatus`).

    The lists are kept as they came, bytes in base64: `services.onion.states` reads them.
    """

    node = models.OneToOneField(Node, on_delete=models.CASCADE, primary_key=True, related_name="+")
    at = models.DateTimeField(db_index=True, help_text="When it told")
    directory = models.PositiveBigIntegerField(help_text="Version of the relay directory that it has")
    links = models.PositiveBigIntegerField()
    relayed_circuits = models.PositiveBigIntegerField()
    relayed_bytes = models.PositiveBigIntegerField(help_text="Since its agent started")
    exit_streams = models.PositiveBigIntegerField()
    circuits = models.JSONField(default=list, help_text="[CircuitState]")
    circuits_open = models.PositiveIntegerField(help_text="How many those are")
    guards = models.JSONField(default=list, help_text="[GuardState]")
    builds = models.JSONField(default=list, help_text="[[up to so many ms, circuits]]")
    trouble = models.TextField(blank=True, help_text="Why the last circuit could not be built")

    # Of two statuses that are far enough apart
    counted_at = models.DateTimeField(help_text="When relayed_bytes were last compared")
    counted_bytes = models.PositiveBigIntegerField(help_text="What they were then")
    relayed_bytes_per_s = models.FloatField(null=True, help_text="Empty: not known yet")

    class Meta:
        ordering = ["-at"]

    def __str__(self) -> str:
        return f"overlay of {self.node_id} at {self.at:%F %T}"


class Trial(models.Model):
    """A circuit that a node was asked to build, to have bytes echoed, and to let go.

    With a ``relay`` it leads through that one alone, to measure it; without, the node chooses.
    """

    if TYPE_CHECKING:
        id: int

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="+", help_text="Who tries")
    relay = models.ForeignKey(
        Node, on_delete=models.CASCADE, null=True, blank=True, related_name="+", help_text="Who is measured"
    )
    hops = models.PositiveSmallIntegerField()
    to_exit = models.BooleanField(default=False, help_text="The last relay must be an exit")
    size = models.PositiveIntegerField(help_text="Bytes to be echoed")
    asked_at = models.DateTimeField(db_index=True)
    deadline_at = models.DateTimeField()

    ended_at = models.DateTimeField(null=True, blank=True, help_text="Empty: under way")
    ok = models.BooleanField(default=False)
    sentence = models.TextField(blank=True, help_text="Why not")
    path = models.JSONField(default=list, blank=True, help_text="Identities of relays, the entry first")
    build_ms = models.FloatField(null=True, blank=True)
    echo_ms = models.FloatField(null=True, blank=True)
    kbps = models.PositiveBigIntegerField(null=True, blank=True, help_text="Both ways together")

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["id"], name="trial_of_choice", condition=Q(relay=None)),
            models.Index(fields=["id"], name="trial_of_relay", condition=Q(relay__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"trial {self.id}"


class Measurement(models.Model):
    """How a relay was reached when it was last measured, and when it is to be measured next."""

    relay = models.OneToOneField(Node, on_delete=models.CASCADE, primary_key=True, related_name="+")
    due_at = models.DateTimeField(db_index=True)
    trial = models.PositiveBigIntegerField(help_text="The last one that counts in here")
    at = models.DateTimeField()
    by = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="+")
    ok = models.BooleanField()
    sentence = models.TextField(blank=True, help_text="Why it could not be reached")
    kbps = models.PositiveBigIntegerField(null=True, blank=True, help_text="This time, not smoothed")

    class Meta:
        ordering = ["relay"]

    def __str__(self) -> str:
        return f"measurement of {self.relay_id} at {self.at:%F %T}"
