"""A task, its attempts, why each went where it went, and what it printed.

Foreign keys that an index of several columns begins with have none of their own: each index is written with
every task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.utils import timezone

from coordinator.values import RoutingStrategy
from nodes.models import Node
from tasks.privacy import SEALED, Privacy
from tasks.states import TaskState

STATE_CHOICES = [(state.value, state.value) for state in TaskState]
PRIVACY_CHOICES = [(level.value, level.value) for level in Privacy]
STRATEGY_CHOICES = [(strategy.value, strategy.value.replace("_", " ")) for strategy in RoutingStrategy]


class Blob(models.Model):
    """Bytes by their SHA-256: scripts, modules, inputs. Stored in chunks, so that hosts share no folder."""

    sha256 = models.CharField(max_length=64, primary_key=True)
    size = models.PositiveBigIntegerField()
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return self.sha256[:12]


class BlobChunk(models.Model):
    blob = models.ForeignKey(Blob, on_delete=models.CASCADE, related_name="chunks", db_index=False)
    index = models.PositiveIntegerField()
    content = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["blob", "index"], name="one_chunk_per_index")]

    def __str__(self) -> str:
        return f"{self.blob_id[:12]} chunk {self.index}"


class TaskBatch(models.Model):
    """Tasks that were handed in together. ``packed`` holds what is no row yet of them: `tasks.batches`."""

    if TYPE_CHECKING:
        id: int

    name = models.CharField(max_length=200)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    size = models.PositiveIntegerField()
    stored = models.PositiveIntegerField(default=0, help_text="How many of its tasks are rows")
    packed = models.BinaryField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["id"], name="batch_packed", condition=models.Q(packed__isnull=False)),
        ]

    def __str__(self) -> str:
        return self.name


class Reservation(models.Model):
    """The nodes that a sealed task may go to, and its content key wrapped for each of them.

    It is made first, since keys are wrapped for one reservation, and becomes a task's when the wraps come. A
    task that waits because none of its nodes is there any more can get another one.
    """

    if TYPE_CHECKING:
        id: int

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    task = models.ForeignKey(
        "Task", on_delete=models.CASCADE, null=True, blank=True, related_name="reservations"
    )
    privacy = models.CharField(max_length=12, choices=PRIVACY_CHOICES)
    specification = models.JSONField(help_text="Columns of the task; nothing of what is sealed")
    nodes = models.JSONField(help_text="Their numbers, the one that was chosen first")
    wraps = models.JSONField(default=dict, help_text="Node → content key wrapped for it, base64")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(help_text="Until then it can be used")
    used_at = models.DateTimeField(null=True, blank=True, help_text="When the wraps came")

    class Meta:
        indexes = [
            models.Index(
                fields=["expires_at"], name="reservation_unused", condition=models.Q(used_at__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"reservation {self.id}"


class Task(models.Model):
    """Work that somebody handed in. Its state changes as `tasks.states` allows and no other way."""

    if TYPE_CHECKING:
        id: int

    name = models.CharField(max_length=200)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="tasks", db_index=False
    )
    state = models.CharField(max_length=12, choices=STATE_CHOICES, default=TaskState.QUEUED)
    canary = models.BooleanField(default=False, help_text="Sent by a probe; left out of lists and statistics")

    batch = models.ForeignKey(TaskBatch, on_delete=models.SET_NULL, null=True, blank=True, db_index=False)
    batch_index = models.PositiveIntegerField(null=True, blank=True, help_text="Its place in the batch")

    privacy = models.CharField(max_length=12, choices=PRIVACY_CHOICES, default=Privacy.PUBLIC)
    reservation = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Number of the one that names the nodes it is sealed for now"
    )
    reseal_wanted_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when none of these nodes is there"
    )

    # What to run; of a sealed task, the payload is the sealed content, and the rest is in there
    driver = models.CharField(max_length=20)
    payload = models.ForeignKey(Blob, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    image = models.CharField(max_length=500, blank=True)
    args = models.JSONField(default=list, blank=True)
    env = models.JSONField(default=dict, blank=True)
    stdin = models.ForeignKey(Blob, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    network = models.BooleanField(default=False)
    timeout_s = models.FloatField(default=60)

    # What it needs, and where it should go
    cpu_millis = models.PositiveIntegerField(default=1000)
    memory_mb = models.PositiveIntegerField(default=256)
    disk_mb = models.PositiveBigIntegerField(default=0)
    gpu_count = models.PositiveIntegerField(default=0)
    strategy = models.CharField(max_length=20, choices=STRATEGY_CHOICES, default=RoutingStrategy.LEAST_LOADED)
    region = models.CharField(max_length=60, blank=True)
    region_required = models.BooleanField(default=False)
    labels = models.JSONField(default=dict, blank=True)
    onion_required = models.BooleanField(default=False)
    priority = models.PositiveSmallIntegerField(default=5)
    max_attempts = models.PositiveSmallIntegerField(default=3)

    # How it went
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="A task still queued then expires")
    assigned_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    attempts_made = models.PositiveSmallIntegerField(default=0)
    accepted_attempt = models.OneToOneField(
        "Attempt", on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    node = models.ForeignKey(
        Node,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="tasks",
        db_index=False,
        help_text="Where it was last sent",
    )
    wait_reasons = models.JSONField(
        default=dict, blank=True, help_text="Reason → number of nodes, while it waits"
    )
    reason = models.CharField(max_length=500, blank=True, help_text="Why it failed, was cancelled or expired")
    exit_code = models.IntegerField(null=True, blank=True)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["-priority", "id"], name="task_queue", condition=models.Q(state="queued")),
            models.Index(fields=["state", "-id"], name="task_state"),
            models.Index(
                fields=["id"],
                name="task_sealed_queued",
                condition=models.Q(state="queued", reservation__isnull=False),
            ),
            models.Index(fields=["owner", "-id"], name="task_owner"),
            models.Index(fields=["node", "-id"], name="task_node"),
            models.Index(fields=["-finished_at"], name="task_finished"),
            models.Index(
                fields=["batch", "batch_index"], name="task_batch", condition=models.Q(batch__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_sealed(self) -> bool:
        return self.privacy in SEALED

    @property
    def needs_resealing(self) -> bool:
        return self.state == TaskState.QUEUED and self.reseal_wanted_at is not None


class Attempt(models.Model):
    """One try of a task on one node. Open until ``ended_at`` is set; only open ones can be reported on."""

    if TYPE_CHECKING:
        id: int

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="attempts")
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="attempts")
    number = models.PositiveSmallIntegerField()
    reservation = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Number of the one whose key its order has"
    )
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    doubted_at = models.DateTimeField(
        null=True, blank=True, help_text="When its node fell silent; it stays open (`tasks.doubt`)"
    )
    ended_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(
        max_length=20, blank=True, help_text="As its node reported it, or lost, superseded"
    )
    sentence = models.CharField(max_length=2000, blank=True)
    exit_code = models.IntegerField(null=True, blank=True)
    usage = models.JSONField(null=True, blank=True)
    truncated = models.BooleanField(default=False)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["node"], name="attempt_open", condition=models.Q(ended_at=None))]

    def __str__(self) -> str:
        return f"attempt {self.number} of task {self.task_id}"


class Explanation(models.Model):
    """The node by node part of decisions; tasks of one shape decided on one fleet version share it."""

    rows = models.JSONField(help_text="[{node_id, name, region, score, parts, reason, detail}]")
    shape = models.CharField(max_length=64)
    fleet_version = models.BigIntegerField()
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"shape {self.shape} at fleet {self.fleet_version}"


class Decision(models.Model):
    """Why a task went where it went, or why it waits.

    A wait whose nodes fall at the same filters again is counted, not written again: all else stays as
    it was found first.
    """

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="decisions")
    attempt = models.OneToOneField(
        Attempt, on_delete=models.CASCADE, null=True, blank=True, related_name="decision"
    )
    strategy = models.CharField(max_length=20, choices=STRATEGY_CHOICES)
    chosen = models.ForeignKey(Node, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    considered = models.PositiveIntegerField()
    eligible = models.PositiveIntegerField()
    rejected = models.JSONField(default=dict, help_text="Filter → number of nodes that fell at it")
    others = models.JSONField(default=dict, help_text="Strategy → node id it would have chosen, or null")
    explanation = models.ForeignKey(Explanation, on_delete=models.SET_NULL, null=True, blank=True)
    decided_at = models.DateTimeField()
    count = models.PositiveIntegerField(default=1, help_text="How often this was found, at least")
    last_at = models.DateTimeField(null=True, blank=True, help_text="When it was found again, the last time")
    took_us = models.FloatField()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"task {self.task_id}: {'node ' + str(self.chosen_id) if self.chosen_id else 'waits'}"


class ResultChunk(models.Model):
    """A stretch of a sealed result, which its submitter alone can open. ``offset`` counts its bytes."""

    attempt = models.ForeignKey(
        Attempt, on_delete=models.CASCADE, related_name="result_chunks", db_index=False
    )
    offset = models.PositiveBigIntegerField()
    content = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["attempt", "offset"], name="one_result_chunk")]

    def __str__(self) -> str:
        return f"result of attempt {self.attempt_id} from byte {self.offset}"


class LogChunk(models.Model):
    """A stretch of what an attempt printed. ``offset`` counts bytes from the start of its stream."""

    attempt = models.ForeignKey(Attempt, on_delete=models.CASCADE, related_name="log_chunks", db_index=False)
    stream = models.CharField(max_length=6, choices=[("stdout", "stdout"), ("stderr", "stderr")])
    offset = models.PositiveBigIntegerField()
    content = models.BinaryField()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["attempt", "stream", "offset"], name="one_chunk_per_offset")
        ]

    def __str__(self) -> str:
        return f"{self.stream} of attempt {self.attempt_id} from byte {self.offset}"
