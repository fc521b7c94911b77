"""How a machine becomes a node: join keys, enrolment, approval, and the line to paste."""

from __future__ import annotations

import hashlib
import re
import secrets
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from coordinator.values import Availability
from fogagent.identity import ENROL, BadSignature, enrolment_text, verify
from fogagent.messages import Facts
from fogpanel import audit, live
from fogpanel.access import AnyUser
from nodes.handlers import described, facts_problem
from nodes.identity import panel_identity
from nodes.models import Group, JoinKey, Node

KEY_PREFIX = "fog_"
SHOWN_CHARACTERS = 8
MAX_USES = 10_000
MAX_LIFETIME_S = 366 * 86_400
STORE_TRIES = 5
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class JoinError(Exception):
    """A machine may not join. ``status`` is the HTTP status that fits."""

    def __init__(self, code: str, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.code, self.sentence, self.status = code, sentence, status


# --- Join keys -------------------------------------------------------------------------------------


def create_join_key(
    *,
    actor: AnyUser | None,
    note: str,
    group: Group | None,
    labels: Mapping[str, str],
    uses: int,
    lifetime_s: float,
) -> tuple[JoinKey, str]:
    """A new key and its text, which is not stored and cannot be shown again.

    Raises:
        ValueError: uses or lifetime_s outside their range.
    """
    if not 1 <= uses <= MAX_USES:
        raise ValueError(f"uses: must be between 1 and {MAX_USES}, was {uses}.")
    if not 60 <= lifetime_s <= MAX_LIFETIME_S:
        raise ValueError(f"lifetime_s: must be between 60 and {MAX_LIFETIME_S}, was {lifetime_s:g}.")
    text = KEY_PREFIX + secrets.token_urlsafe(24)
    now = timezone.now()
    with transaction.atomic():
        key = JoinKey.objects.create(
            prefix=text[:SHOWN_CHARACTERS],
            digest=_digest(text),
            note=note,
            group=group,
            labels=dict(labels),
            created_by_id=actor.pk if actor else None,
            created_at=now,
            expires_at=now + timedelta(seconds=lifetime_s),
            uses_left=uses,
        )
        audit.record("join_key.created", f"Join key {key} was made for {uses} uses", actor=actor, subject=key)
    return key, text


def revoke_join_key(key: JoinKey, actor: AnyUser) -> None:
    """Nobody joins with this key any more. Who joined with it stays."""
    with transaction.atomic():
        if JoinKey.objects.filter(id=key.id, revoked_at=None).update(revoked_at=timezone.now()):
            audit.record("join_key.revoked", f"Join key {key} was revoked", actor=actor, subject=key)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _use_key(text: str, now: datetime) -> JoinKey:
    """Take one use of the key, or say why there is none."""
    key = JoinKey.objects.select_related("group").filter(digest=_digest(text)).first()
    if key is None:
        raise JoinError("unknown-key", "join_key: no such key; copy it again or make a new one.", 403)
    if key.revoked_at is not None:
        raise JoinError("revoked-key", "join_key: this key was revoked; make a new one.", 403)
    if key.expires_at <= now:
        raise JoinError("expired-key", f"join_key: this key expired on {key.expires_at:%F %H:%M} UTC.", 403)
    if not JoinKey.objects.filter(id=key.id, uses_left__gt=0).update(uses_left=F("uses_left") - 1):
        raise JoinError("used-up-key", "join_key: this key is used up; make a new one.", 403)
    return key


# --- Enrolment -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class EnrolRequest:
    """What a machine sends to be let in. Keys are 32 raw bytes, the signature 64."""

    join_key: str
    public_key: bytes
    sealing_key: bytes
    signature: bytes
    name: str
    facts: Facts


@dataclass(frozen=True)
class Enrolled:
    node: Node
    panel_key: bytes

    @property
    def approved(self) -> bool:
        return self.node.approved_at is not None


def enrol(request: EnrolRequest, address: str | None) -> Enrolled:
    """Make a node of a machine that holds a good join key. Asking again changes nothing.

    Raises:
        JoinError: the key is wrong, used up, expired or revoked, the signature or a fact is wrong.
    """
    _verify(request)
    for _ in range(STORE_TRIES - 1):
        # Another machine may take the name, or this one ask twice, between our look and our write.
        with suppress(IntegrityError):
            return _enrol(request, address)
    return _enrol(request, address)


def _enrol(request: EnrolRequest, address: str | None) -> Enrolled:
    now = timezone.now()
    with transaction.atomic():
        known = Node.objects.filter(public_key=request.public_key.hex()).first()
        if known is not None and known.removed_at is None:
            return Enrolled(known, panel_identity().public_key)
        key = _use_key(request.join_key, now)
        node = _store_node(request, key, address, now, known)
        waits = "" if node.approved_at else ", waits for approval"
        audit.record(
            "node.joined", f"{node.name} joined with key {key.note or key.prefix}{waits}", subject=node
        )
        live.changed("nodes", "fleet", "topology")
    return Enrolled(node, panel_identity().public_key)


def _verify(request: EnrolRequest) -> None:
    text = enrolment_text(
        panel_key=panel_identity().public_key,
        agent_key=request.public_key,
        sealing_key=request.sealing_key,
        join_key=request.join_key,
    )
    try:
        verify(request.public_key, ENROL, text, request.signature)
    except BadSignature as error:
        raise JoinError(
            "bad-signature", "signature: does not fit public_key, or was made for another panel.", 403
        ) from error
    if request.name and not NAME.fullmatch(request.name):
        raise JoinError(
            "bad-name", "name: letters, digits and . _ -, starting with a letter or digit, at most 63.", 422
        )
    if problem := facts_problem(request.facts):
        raise JoinError("bad-facts", problem, 422)


def _store_node(
    request: EnrolRequest, key: JoinKey, address: str | None, now: datetime, removed: Node | None
) -> Node:
    """A new row; a machine that was removed and joins again gets its old row, and with it its history."""
    facts = request.facts
    node = removed or Node(public_key=request.public_key.hex())
    node.name = _free_name(request.name or facts.hostname or "node", node.pk)
    node.sealing_key = request.sealing_key.hex()
    node.group, node.join_key, node.address = key.group, key, address
    node.approved_at = None if key.group and key.group.needs_approval else now
    node.archived_at = node.removed_at = node.gone_at = None
    node.availability = Availability.SCHEDULABLE
    node.connected = node.said_goodbye = False
    node.open_attempts = 0
    node.cpu_millis = node.free_cpu_millis = facts.cpu_millis
    node.memory_mb = node.free_memory_mb = facts.memory_mb
    node.disk_mb = node.free_disk_mb = facts.disk_mb
    node.gpu_count = node.free_gpu_count = len(facts.gpus)
    for column, value in described(facts).items():
        setattr(node, column, value)
    node.labels = {**key.labels, **facts.labels}
    node.changed_at = now
    node.save()
    return node


def _free_name(wanted: str, node_id: int | None) -> str:
    """``wanted``, or ``wanted-2`` and so on where another node has it."""
    wanted = re.sub(r"[^A-Za-z0-9._-]+", "-", wanted).strip("-._") or "node"
    wanted = wanted[:60]
    taken = set(
        Node.objects.filter(name__startswith=wanted).exclude(id=node_id or 0).values_list("name", flat=True)
    )
    if wanted not in taken:
        return wanted
    return next(name for n in range(2, len(taken) + 3) if (name := f"{wanted}-{n}") not in taken)


def approve(node: Node, actor: AnyUser) -> None:
    """Let a waiting node in; its agent comes in with its next try."""
    now = timezone.now()
    with transaction.atomic():
        if Node.objects.filter(id=node.id, approved_at=None).update(approved_at=now, changed_at=now):
            audit.record("node.approved", f"{node.name} was approved", actor=actor, subject=node)
            live.changed("nodes", "fleet", "topology", f"node:{node.id}")


# --- The line to paste -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Wheel:
    """The agent's wheel as the panel serves it."""

    path: Path
    sha256: str

    @property
    def filename(self) -> str:
        return self.path.name


@dataclass(frozen=True)
class JoinLines:
    """``paste`` is for any machine with Python, ``checkout`` for one that has this project."""

    paste: str
    checkout: str


def agent_wheel() -> Wheel:
    """The newest wheel in the data folder.

    Raises:
        FileNotFoundError: set-up has not built it.
    """
    wheels = sorted(
        (settings.DATA_DIR / "agent").glob("fogagent-*.whl"), key=lambda path: path.stat().st_mtime
    )
    if not wheels:
        raise FileNotFoundError("The agent's wheel is not built yet: start the panel with ./fog up.")
    return _read_wheel(wheels[-1], wheels[-1].stat().st_mtime)


@cache
def _read_wheel(path: Path, modified: float) -> Wheel:
    return Wheel(path, hashlib.sha256(path.read_bytes()).hexdigest())


def join_lines(base_url: str, key_text: str) -> JoinLines:
    """What to paste on a machine. It pins the wheel's hash and the panel's key."""
    wheel = agent_wheel()
    panel_key = panel_identity().public_key.hex()
    source = f"{base_url}/agent/{wheel.filename}#sha256={wheel.sha256}"
    insecure = " --insecure" if _needs_insecure(base_url) else ""
    join = f"--join {shlex.quote(base_url)} --key {key_text} --panel-key {panel_key}{insecure}"
    paste = (
        "python3 -m venv ~/.fogagent && "
        f"~/.fogagent/bin/pip install --quiet {shlex.quote(source)} && "
        f"~/.fogagent/bin/fogagent agent {join}"
    )
    return JoinLines(paste=paste, checkout=f"./fog agent {join}")


def _needs_insecure(base_url: str) -> bool:
    """Whether an agent at another machine would have to be told that plain HTTP is meant."""
    return base_url.startswith("http://") and not re.match(r"http://(127\.|localhost|\[::1\])", base_url)
