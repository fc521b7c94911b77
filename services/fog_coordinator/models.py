"""What the coordinator's page looks back on: the fleet as it was, and what others would have done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models


class Snapshot(models.Model):
    """The fleet and the flow of work at one moment, bounded in size however many nodes there are."""

    if TYPE_CHECKING:
        id: int

    at = models.DateTimeField(unique=True)
    groups = models.JSONField(help_text="[[region, kind, status, number of nodes]]")
    nodes = models.JSONField(help_text="[[id, name, region, kind, status]]; empty in a fleet above 300 nodes")
    flows = models.JSONField(help_text="[[from, to, moved, placements]]")
    flows_over_s = models.FloatField(default=60, help_text="The time before it that the flows tell of")

    class Meta:
        ordering = ["at"]

    def __str__(self) -> str:
        return f"the fleet at {self.at:%F %T}"


class WhatIf(models.Model):
    """The last tasks placed once more by each strategy. Whoever moves ``seen_at`` on has the work."""

    if TYPE_CHECKING:
        id: int

    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    asked_at = models.DateTimeField()
    tasks = models.PositiveIntegerField(help_text="How many of the last tasks that ran")
    seen_at = models.DateTimeField(null=True, blank=True, help_text="When a worker was last at it")
    percent = models.PositiveSmallIntegerField(default=0)
    finished_at = models.DateTimeField(null=True, blank=True)
    result = models.JSONField(default=dict, blank=True, help_text="See services.fog_coordinator.what_if")
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["id"], name="what_if_open", condition=models.Q(finished_at=None)),
        ]

    def __str__(self) -> str:
        return f"what if, of {self.tasks} tasks"
