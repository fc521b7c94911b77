"""What every app shares: events, tokens, idempotency keys, and the state of periodic jobs."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class Event(models.Model):
    """Something that happened, for the audit page and the event stream. Written once, never changed.

    ``actor`` is the user who did it; where it is empty the panel itself did. Subjects are named by
    kind and id, since events outlive what they tell of.
    """

    class Level(models.TextChoices):
        INFO = "info"
        WARNING = "warning"
        ERROR = "error"

    at = models.DateTimeField(db_index=True)
    level = models.CharField(max_length=10, choices=Level.choices, default=Level.INFO)
    kind = models.CharField(max_length=60, help_text="For example node.joined or task.cancelled")
    sentence = models.CharField(max_length=500)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    actor_name = models.CharField(max_length=150, blank=True)
    subject_kind = models.CharField(max_length=40, blank=True)
    subject_id = models.BigIntegerField(null=True, blank=True)
    before = models.JSONField(null=True, blank=True)
    after = models.JSONField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["subject_kind", "subject_id", "-id"])]

    def __str__(self) -> str:
        return self.sentence


class ApiToken(models.Model):
    """A user's key to the API. Only its SHA-256 is stored; the text is shown once."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=12, help_text="The first characters, to recognise it by")
    digest = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class IdempotencyKey(models.Model):
    """The answer a POST already got, so that asking again with the same key changes nothing."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=200)
    request_digest = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    body = models.JSONField(null=True)
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="one_answer_per_key")]

    def __str__(self) -> str:
        return self.key


class JobState(models.Model):
    """One periodic job. Whoever moves ``due_at`` on has the run: see `fogpanel.jobs`."""

    name = models.CharField(max_length=100, primary_key=True)
    due_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    since = models.DateTimeField(null=True, blank=True, help_text="Runs have followed each other since then")
    error = models.TextField(blank=True)

    def __str__(self) -> str:
        return self.name


class ParameterValue(models.Model):
    """What a parameter was changed to, and by whom. No value: its default holds (again).

    See `fogpanel.parameters`.
    """

    name = models.CharField(max_length=60, primary_key=True)
    value = models.FloatField(null=True, blank=True)
    changed_at = models.DateTimeField(null=True, blank=True)
    changed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    changed_by_name = models.CharField(max_length=150, blank=True)

    def __str__(self) -> str:
        return self.name


class PanelPresence(models.Model):
    """The one row that says since when some process of the panel has been able to hear agents."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    since = models.DateTimeField()
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"listening since {self.since:%F %T}"


class PanelIdentity(models.Model):
    """The one row that says which key agents of this panel expect, on whatever host they ask for it.

    The key itself is a file on each host; see `nodes.identity`.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    public_key = models.CharField(max_length=64, help_text="Ed25519, hexadecimal")

    def __str__(self) -> str:
        return f"{self.public_key[:12]}…"
