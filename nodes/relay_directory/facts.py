"""What nodes say of themselves for the overlay, checked and stored; a handler like those of `nodes.handlers`.

What is wrong is refused with a sentence, and what was said before stays. A node that says the same again, as
it does on each connect, costs no write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from fogagent.messages import OverlayFacts, Problem
from fogpanel.rows import insert_each, update_each
from fogpanel.wakes import wake
from nodes import telling
from nodes.inbox import Reply
from nodes.models import Node, Relay
from nodes.relay_directory.addresses import Unusable, reachable
from nodes.relay_directory.certificates import certificate_problem
from nodes.relay_directory.courier import courier

RELAY_CHANGED = "relay-changed"


class Said(NamedTuple):
    """The columns of a relay that its node fills."""

    onion_key: str
    certificate: bytes
    certificate_sha256: str
    address: str
    family: str
    asks_passwords: bool


COLUMNS = (*Said._fields, "said_at")


class Wrong(Exception):
    """Facts that cannot be. ``str`` is a sentence that names the field."""


def store_overlay_facts(received: Sequence[tuple[int, OverlayFacts]], now: datetime) -> Iterable[Reply]:
    """Take over by what nodes are reached; the inbox has locked them."""
    told = dict(received)  # the last of each
    courier.follow(told)
    known = _said_before(told)
    nodes = Node.objects.only("name", "address").in_bulk(told)
    owners = _owners(told, known)
    new: dict[int, Said] = {}
    problems: list[Reply] = []
    for node_id, node in sorted(nodes.items()):
        try:
            said = _checked(told[node_id], node, known.get(node_id), owners)
        except (Unusable, Wrong) as wrong:
            problems.append((node_id, Problem(code="bad-overlay-facts", sentence=str(wrong))))
        else:
            if said != known.get(node_id):
                new[node_id] = said
    _store(new, known, now)
    _tell_new_keys(new, known, nodes, now)
    return problems


def _said_before(node_ids: Iterable[int]) -> dict[int, Said]:
    rows = Relay.objects.filter(node_id__in=node_ids).values_list("node_id", *Said._fields)
    return {node_id: Said(key, bytes(certificate), *rest) for node_id, key, certificate, *rest in rows}


def _owners(told: Mapping[int, OverlayFacts], known: Mapping[int, Said]) -> dict[str, int]:
    """Which node shows a certificate already, by its hash, of those that are new to their nodes."""
    digests = {sha256(facts.certificate).hexdigest() for facts in told.values()}
    digests -= {said.certificate_sha256 for said in known.values()}
    owners = {said.certificate_sha256: node_id for node_id, said in known.items()}
    if digests:
        others = Relay.objects.filter(certificate_sha256__in=digests)
        owners |= dict(others.values_list("certificate_sha256", "node_id"))
    return owners


def _checked(facts: OverlayFacts, node: Node, known: Said | None, owners: dict[str, int]) -> Said:
    """The columns that these facts fill; notes in ``owners`` whose certificate it is from now on.

    Raises:
        Unusable, Wrong: with a sentence that names the field.
    """
    said = Said(
        onion_key=facts.onion_key.hex(),
        certificate=facts.certificate,
        certificate_sha256=sha256(facts.certificate).hexdigest(),
        address=reachable(facts.address, node.address),
        family=facts.family,
        asks_passwords=facts.asks_passwords,
    )
    if not facts.family.isprintable():
        raise Wrong("family: must be printable text.")
    if known is not None and known.certificate_sha256 == said.certificate_sha256:
        return said  # checking one takes longer than all else
    if problem := certificate_problem(facts.certificate):
        raise Wrong(problem)
    # By its certificate a peer is told from others, so no two nodes have one.
    if owners.setdefault(said.certificate_sha256, node.id) != node.id:
        raise Wrong("certificate: another node shows this one; delete it here, so that a new one is made.")
    return said


def _store(new: Mapping[int, Said], known: Mapping[int, Said], now: datetime) -> None:
    changed = [(*said, now, node_id) for node_id, said in new.items() if node_id in known]
    came = [(node_id, *said, now) for node_id, said in new.items() if node_id not in known]
    update_each(Relay, COLUMNS, changed)
    insert_each(Relay, ("node", *COLUMNS), came)
    if new:
        wake(RELAY_CHANGED)


def _tell_new_keys(
    new: Mapping[int, Said], known: Mapping[int, Said], nodes: Mapping[int, Node], now: datetime
) -> None:
    """Keys are what others trust a relay by: that they changed is worth an event."""
    both = ((nodes[node_id], known[node_id], said) for node_id, said in new.items() if node_id in known)
    told = [
        telling.Told(node.id, f"{node.name} has {' and '.join(changes)}", node)
        for node, before, after in both
        if (changes := list(_new_keys(before, after)))
    ]
    telling.record_each("relay.keys", told, now)


def _new_keys(before: Said, after: Said) -> Iterator[str]:
    if before.onion_key != after.onion_key:
        yield f"a new onion key ({after.onion_key[:12]}…, was {before.onion_key[:12]}…)"
    if before.certificate_sha256 != after.certificate_sha256:
        yield (
            f"a new link certificate (SHA-256 {after.certificate_sha256[:12]}…, "
            f"was {before.certificate_sha256[:12]}…)"
        )
