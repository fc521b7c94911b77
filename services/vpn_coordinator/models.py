"""Tunnels, as wished for and as last told; orders that gateways bring to nodes; and canaries."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING
from urllib.parse import quote as percent

from django.conf import settings
from django.db import models

from nodes.models import Node
from services.vpn_coordinator.troubles import REASON_LENGTH, Trouble
from tasks.models import PRIVACY_CHOICES, Attempt, Task
from tasks.privacy import Privacy

SLUG = "vpn_coordinator"
DEFAULT_HOPS = 3
DEFAULT_ROTATE_S = 600


class TunnelQuerySet(models.QuerySet["Tunnel"]):
    def with_nodes(self) -> TunnelQuerySet:
        """Together with what pages say of them: entry and whether it asks for passwords, exits, and who
        created them."""
        found = self.select_related("entry", "exit_node", "used_exit", "created_by")
        asks = models.F("entry__relay__asks_passwords")
        return found.annotate(entry_asks_passwords=asks)  # type: ignore[no-redef]  # so that it has a type


class Tunnel(models.Model):
    """A SOCKS port on the loopback of its entry, whose streams leave the overlay at an exit.

    Rows of one entry are written only while that node is locked (`nodes.locks`).
    """

    if TYPE_CHECKING:
        id: int
        entry_id: int
        exit_node_id: int | None
        created_by_id: int | None
        entry_asks_passwords: (
            bool | None
        )  # where it was read with its nodes; None: its agent said nothing yet

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
    require_password = models.BooleanField(
        default=False, help_text="Off: every program on the entry may use its port"
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
    wrong_passwords = models.PositiveIntegerField(default=0, help_text="Clients refused since it was opened")
    missing_passwords = models.PositiveIntegerField(default=0, help_text="Clients refused without one")
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

    def proxy_as(self, user: str, password: str) -> str:
        return f"socks5h://{percent(user, safe='')}:{password}@127.0.0.1:{self.port}"

    def curl_line_as(self, user: str) -> str:
        """For who needs none, an empty user; curl asks for the password of a user who comes without one."""
        given = f"--proxy-user {quote(user)} " if user else ""
        return f"curl --socks5-hostname 127.0.0.1:{self.port} {given}https://example.org"

    @property
    def refusals(self) -> str:
        """How many clients were refused for which reason, in words; empty: none."""
        counts = ((self.wrong_passwords, "wrong password"), (self.missing_passwords, "no password"))
        return ", ".join(f"{count} refused: {reason}" for count, reason in counts if count)

    @property
    def exit_in_words(self) -> str:
        """Where its streams are to leave. Reads the exit node."""
        return self.exit_node.name if self.exit_node else self.exit_region or "anywhere"


class TunnelPassword(models.Model):
    """By what the entry of a tunnel knows one of its users; the password itself is kept nowhere.

    Rows of tunnels of one entry are written only while that node is locked, but for users who are deleted.
    """

    if TYPE_CHECKING:
        id: int
        tunnel_id: int
        user_id: int

    tunnel = models.ForeignKey(Tunnel, on_delete=models.CASCADE, related_name="passwords")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    salt = models.BinaryField(max_length=16)
    digest = models.BinaryField(max_length=32, help_text="HMAC-SHA-256 of the password under the salt")
    made_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tunnel", "user"], name="one_password_each")]

    def __str__(self) -> str:
        return f"password of user {self.user_id} for tunnel {self.tunnel_id}"


class Carriage(models.Model):
    """How the order of one confidential attempt gets to its node: a gateway brings it, over a circuit.

    Without a gateway it waits for one until ``due_at``; with one, ``due_at`` is when that one is taken for
    silent. It is over when its attempt has begun or ended.
    """

    if TYPE_CHECKING:
        id: int
        attempt_id: int
        node_id: int
        gateway_id: int | None

    attempt = models.OneToOneField(Attempt, on_delete=models.CASCADE, related_name="carriage")
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="+", help_text="Where it is to run")
    run = models.BinaryField(help_text="The order without its content, for further tries")
    created_at = models.DateTimeField()

    # The present try
    gateway = models.ForeignKey(
        Node, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", help_text="Who brings it"
    )
    asked_at = models.DateTimeField(null=True, blank=True, help_text="When that gateway was asked")
    due_at = models.DateTimeField(help_text="When something has to be done about it, unless it is over")

    # Those before
    tries = models.PositiveSmallIntegerField(default=0, help_text="That failed")
    failed_at = models.DateTimeField(null=True, blank=True, help_text="When the last of them did")
    tried = models.JSONField(default=list, blank=True, help_text="Gateways, by id, in their order")
    trouble = models.CharField(
        max_length=16, choices=Trouble, blank=True, help_text="Why it waits, or what failed last, by name"
    )
    reason = models.CharField(
        max_length=REASON_LENGTH, blank=True, help_text="The name by which its node refused it"
    )
    sentence = models.CharField(max_length=500, blank=True, help_text="The same for people")

    # How it went
    brought_at = models.DateTimeField(null=True, blank=True, help_text="When its gateway said so")
    ended_at = models.DateTimeField(null=True, blank=True)
    ok = models.BooleanField(null=True, help_text="Unknown: under way, or its attempt ended before")
    hops = models.PositiveSmallIntegerField(default=DEFAULT_HOPS)
    build_ms = models.FloatField(null=True, blank=True, help_text="Of the circuit")
    took_ms = models.FloatField(null=True, blank=True, help_text="From there until its node had it")
    size = models.PositiveBigIntegerField(default=0, help_text="Bytes of sealed content")

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["due_at"], name="carriage_open", condition=models.Q(ended_at=None)),
            models.Index(fields=["created_at"], name="carriage_created"),
        ]

    def __str__(self) -> str:
        return f"carriage of attempt {self.attempt_id}"


class GatewayRecord(models.Model):
    """What came of the last orders that a gateway was to bring (`reliability.Reliance`); only of those that
    failed once."""

    if TYPE_CHECKING:
        node_id: int

    node = models.OneToOneField(Node, on_delete=models.CASCADE, primary_key=True, related_name="+")
    results = models.CharField(max_length=5, blank=True, help_text="The newest last; 0: failed")
    rests_until = models.DateTimeField(null=True, blank=True, help_text="Asked last until then")
    failed_at = models.DateTimeField(null=True, blank=True, help_text="When it failed last")
    trouble = models.CharField(max_length=16, choices=Trouble, blank=True, help_text="Why, by name")

    def __str__(self) -> str:
        return f"record of gateway {self.node_id}"


class SealedCanary(models.Model):
    """A small sealed task that the panel handed in as its own client, to see that it comes back.

    Only here the panel has a key of a sealed task, its own, and only until that is over.
    """

    if TYPE_CHECKING:
        id: int

    class Step(models.TextChoices):
        RESERVE = "reserve"
        CARRY = "carry"
        RUN = "run"
        OPEN = "open"

    task = models.ForeignKey(
        Task, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", help_text="Kept for an hour"
    )
    level = models.CharField(max_length=12, choices=PRIVACY_CHOICES, default=Privacy.CONFIDENTIAL)
    word = models.CharField(max_length=32, help_text="What it is to print")
    result_key = models.BinaryField(
        default=b"", editable=False, help_text="X25519, private; empty: it is over"
    )
    size = models.PositiveIntegerField(default=0, help_text="Bytes of sealed content")
    sent_at = models.DateTimeField(db_index=True)
    deadline_at = models.DateTimeField()

    ended_at = models.DateTimeField(null=True, blank=True, help_text="Empty: under way")
    ok = models.BooleanField(default=False)
    step = models.CharField(max_length=8, choices=Step.choices, blank=True, help_text="Where it failed")
    sentence = models.CharField(max_length=500, blank=True, help_text="Why")
    node = models.ForeignKey(
        Node,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="Where it was last",
    )
    took_ms = models.FloatField(null=True, blank=True, help_text="Until its result was there")

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"sealed canary {self.id}"


class PrivacyLevel(models.Model):
    """What a level of privacy cost and whether it could be had when a job last looked (`tasks.quotes.Quote`).

    For the service's page, which is not to wait for that.
    """

    level = models.CharField(max_length=12, choices=PRIVACY_CHOICES, primary_key=True)
    at = models.DateTimeField()
    refusal = models.CharField(max_length=1000, blank=True, help_text="Why it could not be had")
    start_s = models.FloatField(null=True, blank=True, help_text="From handing in to start, the median")
    samples = models.PositiveIntegerField(default=0)
    bytes_per_s = models.FloatField(null=True, blank=True)

    def __str__(self) -> str:
        return self.level
