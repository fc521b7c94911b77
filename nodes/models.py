"""Nodes, the keys that let them in, their outbox, what they measured, and the relay directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.utils import timezone

from coordinator.values import Availability, NodeType


class Group(models.Model):
    """Nodes that belong together, and whether a newcomer waits for approval."""

    name = models.CharField(max_length=100, unique=True)
    needs_approval = models.BooleanField(default=False)

    def __str__(self) -> str:
        return self.name


class JoinKey(models.Model):
    """A key that lets machines enrol. Only its SHA-256 is stored; the text is shown once."""

    prefix = models.CharField(max_length=12, help_text="The first characters, to recognise it by")
    digest = models.CharField(max_length=64, unique=True)
    note = models.CharField(max_length=200, blank=True)
    group = models.ForeignKey(Group, on_delete=models.PROTECT, null=True, blank=True)
    labels = models.JSONField(default=dict, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    uses_left = models.PositiveIntegerField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.note or 'join key'} ({self.prefix}…)"


class Node(models.Model):
    """One machine: who it is, what it offers, what is free of that, and when it was last heard.

    Its status is not stored but derived from these facts (`nodes.status`). ``free_*`` is what no open
    attempt has reserved; it changes only by conditional updates (`tasks.capacity`). It
    is negative while an owner has shrunk the share below what is reserved already.
    Every write sets ``changed_at``, by which each process keeps its view of the fleet up to date.
    """

    if TYPE_CHECKING:
        id: int

    # Who it is
    name = models.CharField(max_length=100, unique=True)
    public_key = models.CharField(max_length=64, unique=True, help_text="Ed25519, hexadecimal")
    sealing_key = models.CharField(max_length=64, help_text="X25519, hexadecimal")
    group = models.ForeignKey(Group, on_delete=models.PROTECT, null=True, blank=True)
    join_key = models.ForeignKey(JoinKey, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    approved_at = models.DateTimeField(null=True, blank=True)
    archived_at = models.DateTimeField(null=True, blank=True, help_text="Out of the fleet since then")
    removed_at = models.DateTimeField(
        null=True, blank=True, help_text="Archived by an operator, for good: its key is refused"
    )

    # What it is
    node_type = models.CharField(
        max_length=20,
        choices=[(t.value, t.value.replace("_", " ")) for t in NodeType],
        default=NodeType.COMPUTE_NODE,
    )
    flags = models.JSONField(
        default=list, blank=True, help_text="What its owner grants: compute, relay, mix, …"
    )
    region = models.CharField(max_length=60, blank=True)
    latitude = models.FloatField(null=True, blank=True)
    longitude = models.FloatField(null=True, blank=True)
    address = models.GenericIPAddressField(null=True, blank=True)
    hostname = models.CharField(max_length=200, blank=True)
    platform = models.CharField(max_length=200, blank=True)
    agent_version = models.CharField(max_length=200, blank=True)
    labels = models.JSONField(default=dict, blank=True)
    drivers = models.JSONField(default=list, blank=True, help_text="[{name, available, reason, version}]")
    gpus = models.JSONField(default=list, blank=True, help_text="[{name, memory_mb}]")
    reputation = models.FloatField(default=1.0)

    # What it offers, and what of that is free
    cpu_millis = models.PositiveIntegerField(default=0)
    memory_mb = models.PositiveIntegerField(default=0)
    disk_mb = models.PositiveBigIntegerField(default=0)
    gpu_count = models.PositiveIntegerField(default=0)
    free_cpu_millis = models.IntegerField(default=0)
    free_memory_mb = models.IntegerField(default=0)
    free_disk_mb = models.BigIntegerField(default=0)
    free_gpu_count = models.IntegerField(default=0)
    open_attempts = models.PositiveIntegerField(default=0)
    last_assigned_at = models.DateTimeField(null=True, blank=True)

    # What the operator wants
    availability = models.CharField(
        max_length=20, choices=[(a.value, a.value) for a in Availability], default=Availability.SCHEDULABLE
    )
    drain_deadline_at = models.DateTimeField(
        null=True, blank=True, help_text="While it is drained: when what still runs there moves"
    )
    drain_total = models.PositiveIntegerField(default=0, help_text="What ran there when the drain began")

    # Its connection
    connected = models.BooleanField(default=False)
    epoch = models.PositiveBigIntegerField(
        default=0, help_text="Grows with each connection; the newest owns the node"
    )
    connected_at = models.DateTimeField(null=True, blank=True)
    disconnected_at = models.DateTimeField(null=True, blank=True)
    last_contact_at = models.DateTimeField(null=True, blank=True)
    deadline_at = models.DateTimeField(
        null=True, blank=True, db_index=True, help_text="Offline unless heard before then"
    )
    heartbeat_s = models.FloatField(default=30)
    timeout_s = models.FloatField(default=90)
    said_goodbye = models.BooleanField(default=False)
    gone_at = models.DateTimeField(null=True, blank=True, help_text="When its work was given to others")

    # How it behaves (`coordinator.behaviour`)
    flaps = models.JSONField(default=list, blank=True, help_text="When its connection broke of late, in s")
    unstable_since = models.DateTimeField(null=True, blank=True)
    unstable_until = models.DateTimeField(
        null=True, blank=True, help_text="Since or until when it was steady for long enough"
    )
    hold_s = models.FloatField(default=0, help_text="How long it has, or had, to be steady")
    cooling_until = models.DateTimeField(null=True, blank=True)
    cool_s = models.FloatField(default=0, help_text="How long it cools down, or did the last time")

    # What it measured last
    cpu_percent = models.FloatField(default=0)
    memory_used_mb = models.PositiveIntegerField(default=0)
    memory_total_mb = models.PositiveIntegerField(default=0)
    disk_free_mb = models.PositiveBigIntegerField(default=0)
    load_1m = models.FloatField(default=0)
    round_trip_ms = models.FloatField(null=True, blank=True, help_text="From the node to the panel and back")
    cached_inputs = models.JSONField(
        default=list, blank=True, help_text="SHA-256 of blobs that it need not fetch again"
    )

    changed_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        ordering = ["name"]
        # For sweeps over what is rare, and for lists that name only a column of all nodes.
        indexes = [
            models.Index(
                fields=["created_at"],
                name="node_unapproved",
                condition=models.Q(approved_at=None, archived_at=None),
            ),
            models.Index(fields=["region"], name="node_region", condition=models.Q(archived_at=None)),
            models.Index(
                fields=["drain_deadline_at"], name="node_drained", condition=~models.Q(drain_deadline_at=None)
            ),
            models.Index(
                fields=["unstable_until"], name="node_unstable", condition=~models.Q(unstable_since=None)
            ),
            models.Index(
                fields=["cooling_until"], name="node_cooling", condition=~models.Q(cooling_until=None)
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    """Something a node must do, kept until the node acknowledged it. The outbox.

    ``body`` is the encoded message without its ``order`` field. ``subject`` says what it is about
    ("attempt:12"), so that it can be withdrawn when that is over.
    """

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="orders")
    kind = models.CharField(max_length=20)
    subject = models.CharField(max_length=40, blank=True)
    body = models.BinaryField()
    created_at = models.DateTimeField(default=timezone.now)
    sent_at = models.DateTimeField(null=True, blank=True)
    acked_at = models.DateTimeField(null=True, blank=True)
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(
                fields=["node", "id"],
                name="order_pending",
                condition=models.Q(acked_at=None, withdrawn_at=None),
            ),
            models.Index(fields=["subject"], name="order_subject", condition=~models.Q(subject="")),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}".strip()


class Sample(models.Model):
    """One heartbeat's figures, for the charts of a node."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="samples")
    at = models.DateTimeField()
    cpu_percent = models.FloatField()
    memory_used_mb = models.PositiveIntegerField()
    memory_total_mb = models.PositiveIntegerField()
    running = models.PositiveIntegerField()

    class Meta:
        indexes = [models.Index(fields=["node", "at"]), models.Index(fields=["at"])]

    def __str__(self) -> str:
        return f"{self.node_id} at {self.at:%F %T}"


class Relay(models.Model):
    """What a node says of itself for the overlay, and how it stands in the directory.

    ``since``, ``published`` and ``version`` are written by `nodes.relay_directory.publishing` only, together
    with a row of `DirectoryVersion`; so all of ``published`` at any one moment are exactly what the newest
    version signs.
    """

    node = models.OneToOneField(Node, on_delete=models.PROTECT, primary_key=True, related_name="relay")

    # What it says
    onion_key = models.CharField(max_length=64, help_text="X25519, hexadecimal")
    certificate = models.BinaryField(max_length=2048, help_text="DER of what it shows on links")
    certificate_sha256 = models.CharField(max_length=64, unique=True, help_text="Of that, in hexadecimal")
    address = models.CharField(max_length=262, blank=True, help_text="host:port; empty: it only dials out")
    family = models.CharField(max_length=200, blank=True, help_text="Relays of one owner")
    asks_passwords = models.BooleanField(default=False, help_text="Its agent knows tunnels with passwords")
    said_at = models.DateTimeField(help_text="When it last said something new")

    # What the panel makes of it
    bandwidth_kbps = models.PositiveBigIntegerField(default=0, help_text="Measured; 0: not yet")
    since = models.DateTimeField(
        null=True, blank=True, help_text="Seen without break since then; empty: not in the directory"
    )
    published = models.BinaryField(default=b"", help_text="Its encoded entry; empty: not in the directory")
    version = models.PositiveBigIntegerField(
        default=0, db_index=True, help_text="Of the directory in which its entry last changed, came or went"
    )

    class Meta:
        ordering = ["node"]

    def __str__(self) -> str:
        return f"relay {self.node_id}"


class HostName(models.Model):
    """A name in relays' addresses, and where it led: kept by `nodes.relay_directory.names`."""

    name = models.CharField(max_length=255, primary_key=True)
    seen = models.JSONField(
        default=dict, help_text="Networks it led to lately, each with when last, in seconds since the epoch"
    )
    tried_at = models.DateTimeField(null=True, blank=True, help_text="Empty: not looked up yet")

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class DirectoryVersion(models.Model):
    """One version of the relay directory, as the panel signed it; the newest holds.

    Each has one successor: whoever stores it has made the next version, and a second one is refused.
    """

    version = models.PositiveBigIntegerField(primary_key=True)
    previous = models.PositiveBigIntegerField(unique=True, help_text="0: this was the first")
    made_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    digest = models.CharField(max_length=64, help_text="SHA-256 over all relays, hexadecimal")
    signature = models.CharField(max_length=128, help_text="Ed25519, hexadecimal")
    relays = models.PositiveIntegerField(help_text="How many it has")
    changes = models.PositiveIntegerField(help_text="How many came, went or changed")

    class Meta:
        ordering = ["-version"]

    def __str__(self) -> str:
        return str(self.version)


class EventCount(models.Model):
    """How many events of one kind a node caused lately (`nodes.telling`). Guarded by the node's lock."""

    if TYPE_CHECKING:
        node_id: int

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=60)
    began_at = models.DateTimeField(db_index=True)
    stored = models.PositiveIntegerField(default=0)
    left_out = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["node", "kind"], name="one_count_of_a_kind")]

    def __str__(self) -> str:
        return f"{self.kind} of node {self.node_id}"
