"""What the probes found: the present state of each service and its history."""

from __future__ import annotations

from django.db import models


class State(models.TextChoices):
    OPERATIONAL = "operational"
    DEGRADED = "degraded"
    DOWN = "down"
    DISABLED = "disabled"


class ServiceState(models.Model):
    """What the last probe of a service measured. No row: it was not probed yet."""

    slug = models.CharField(max_length=40, primary_key=True)
    enabled = models.BooleanField(default=True)
    state = models.CharField(max_length=12, choices=State.choices, blank=True)
    sentence = models.CharField(max_length=300, blank=True)
    figures = models.JSONField(default=list, help_text="[{label, value, unit}], the key figure first")
    probed_at = models.DateTimeField(null=True, blank=True)
    probe_wanted_at = models.DateTimeField(
        null=True, blank=True, help_text="Probed at once unless it was after this"
    )

    def __str__(self) -> str:
        return self.slug


class ServiceSample(models.Model):
    """One probe's result, for the beat bar and the sparkline. ``value`` is the key figure."""

    slug = models.CharField(max_length=40)
    at = models.DateTimeField()
    state = models.CharField(max_length=12, choices=State.choices)
    value = models.FloatField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["slug", "-at"])]

    def __str__(self) -> str:
        return f"{self.slug} {self.state} at {self.at:%F %T}"
