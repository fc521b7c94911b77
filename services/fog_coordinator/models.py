"""What the coordinator's page looks back on: the fleet as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models


class Snapshot(models.Model):
    """The fleet and the flow of work at one moment, bounded in size however many nodes there are."""

    if TYPE_CHECKING:
        id: int

    at = models.DateTimeField(unique=True)
    groups = models.JSONField(help_text="[[region, kind, status, number of nodes]]")
    nodes = models.JSONField(help_text="[[id, name, region, kind, status]]; empty in a fleet above 300 nodes")
    flows = models.JSONField(help_text="[[from, to, moved, placements in the minute before]]")

    class Meta:
        ordering = ["at"]

    def __str__(self) -> str:
        return f"the fleet at {self.at:%F %T}"
