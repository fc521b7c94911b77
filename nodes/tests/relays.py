"""What tests of the relay directory share: certificates, facts, and sockets that keep what they are sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from fogagent.messages import FromPanel, OverlayFacts
from fogagent.overlay.directory import Directory, apply
from fogpanel.models import PanelPresence
from nodes.identity import panel_identity
from nodes.models import Node
from nodes.relay_directory.changes import changes_since
from nodes.relay_directory.facts import store_overlay_facts

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)


@cache
def certificate(number: int = 0, signed_by: int | None = None) -> bytes:
    """DER of a certificate; self-signed unless by the key of another number."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fog")])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(_key(number).public_key())
        .serial_number(number + 1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2090, 1, 1, tzinfo=UTC))
    )
    signer = _key(number if signed_by is None else signed_by)
    return built.sign(signer, None).public_bytes(Encoding.DER)


def _key(number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(number.to_bytes(32))


def overlay_facts(number: int, **different: Any) -> OverlayFacts:
    """What the node of this number says."""
    usual = OverlayFacts(
        onion_key=number.to_bytes(32),
        certificate=certificate(number),
        address=f"10.0.{number % 250}.1:9001",
        family="",
    )
    return msgspec.structs.replace(usual, **different)


def say(node: Node, now: datetime = NOW, **different: Any) -> list[str]:
    """Let a node say its overlay facts; what it is told is wrong."""
    told = store_overlay_facts([(node.id, overlay_facts(node.id, **different))], now)
    return [problem.sentence for _, problem in told]  # type: ignore[union-attr]


def listen(now: datetime) -> None:
    """The panel hears agents now, and has for long."""
    PanelPresence.objects.update_or_create(id=1, defaults={"since": now - 365 * DAY, "seen_at": now})


def directory(held: Directory | None = None, now: datetime = NOW) -> Directory:
    """What an agent has that held this and asked."""
    changes = changes_since(held.version if held else 0)
    return apply(held, changes, panel_identity().public_key, now.timestamp())


def nodes_in(held: Directory) -> set[int]:
    return {relay.node for relay in held.relays.values()}


class FakeSocket:
    """Keeps what it was to send."""

    def __init__(self, node_id: int, epoch: int = 1) -> None:
        self.node_id = node_id
        self.epoch = epoch
        self.sent: list[FromPanel] = []

    def post(self, encoded: list[bytes]) -> None:
        self.sent += [msgspec.json.decode(one, type=FromPanel) for one in encoded]

    def refuse(self, code: str, sentence: str, *, retry: bool) -> None:
        raise AssertionError("nothing here is refused")
