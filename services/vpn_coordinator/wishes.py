"""What a tunnel may be asked to be. Form and API give the same fields and are told the same sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import User

from fogpanel.access import Role, allows
from nodes.models import Node, Relay
from services.vpn_coordinator.models import DEFAULT_HOPS, DEFAULT_ROTATE_S
from services.vpn_coordinator.pools import HOPS_LEAST, HOPS_MOST
from tasks.fields import Fields, shown
from tasks.specification import SpecError

FIELDS = (
    "name",
    "entry",
    "exit_region",
    "exit_node",
    "hops",
    "rotate_s",
    "port",
    "allowed",
    "require_password",
)
ROTATE_LEAST_S, ROTATE_MOST_S = 10, 86_400
PORT_LEAST, PORT_MOST = 1024, 65_535
ALLOWED_MOST = 50
TOO_OLD = (
    "must be off for {entry}: its agent is too old to ask for passwords, or takes no part in the overlay. "
    "Update the agent and have it connect, or use a tunnel with another entry."
)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A tunnel as `read` lets it pass."""

    name: str
    entry: Node
    exit_region: str = ""
    exit_node: Node | None = None
    hops: int = DEFAULT_HOPS
    rotate_s: int = DEFAULT_ROTATE_S
    port: int = 0
    allowed: list[User] = field(default_factory=list)
    require_password: bool = False


def read(given: Mapping[str, Any]) -> Wish:
    """Nodes are given by name (or, as a number, by id), users by name.

    Raises SpecError with everything that is wrong with it.
    """
    fields = Fields(given)
    for name in given:
        if name not in FIELDS:
            fields.refuse(str(name)[:40], f"is not a field of a tunnel; known are {', '.join(FIELDS)}.")
    name = fields.text("name", most=100)
    if not fields.has("name"):
        fields.refuse("name", "must be given, such as “browsing”.")
    entry = _entry(fields, given.get("entry"))
    exit_region = fields.text("exit_region", most=60)
    exit_node = _exit(fields, given.get("exit_node"), entry)
    if exit_region and fields.has("exit_node"):
        fields.refuse("exit_node", "must be empty where exit_region is given: one of the two decides.")
    hops = fields.whole("hops", least=HOPS_LEAST, most=HOPS_MOST, default=DEFAULT_HOPS)
    rotate_s = fields.whole(
        "rotate_s", least=ROTATE_LEAST_S, most=ROTATE_MOST_S, default=DEFAULT_ROTATE_S, unit="seconds"
    )
    port = _port(fields, given.get("port"))
    allowed = _users(fields, given.get("allowed"))
    require_password = fields.flag("require_password")
    if require_password and entry is not None and not asks_passwords(entry):
        fields.refuse("require_password", TOO_OLD.format(entry=entry.name))
    if fields.errors or entry is None:
        raise SpecError(fields.errors)
    return Wish(
        name=name,
        entry=entry,
        exit_region=exit_region,
        exit_node=exit_node,
        hops=hops,
        rotate_s=rotate_s,
        port=port,
        allowed=allowed,
        require_password=require_password,
    )


def read_allowed(given: object) -> list[User]:
    """With whom a tunnel is to be shared, by name. Raises SpecError."""
    fields = Fields({})
    allowed = _users(fields, given)
    if fields.errors:
        raise SpecError(fields.errors)
    return allowed


def require_asking(entry: Node) -> None:
    """Raises SpecError unless a tunnel that begins there can require a password."""
    if not asks_passwords(entry):
        fields = Fields({})
        fields.refuse("require_password", TOO_OLD.format(entry=entry.name))
        raise SpecError(fields.errors)


def asks_passwords(entry: Node) -> bool:
    """Whether its agent knows tunnels with passwords, as it said when it last connected."""
    return Relay.objects.filter(node=entry, asks_passwords=True).exists()


def _entry(fields: Fields, given: object) -> Node | None:
    if not fields.has("entry"):
        fields.refuse("entry", "must be the name of the node whose programs are to use the tunnel.")
        return None
    node = _node(fields, "entry", given)
    if node and not node.connected and "entry" not in node.flags:
        fields.refuse(
            "entry", f"{node.name} is not connected now and grants no entry; choose a node that is."
        )
    return node


def _exit(fields: Fields, given: object, entry: Node | None) -> Node | None:
    if not fields.has("exit_node"):
        return None
    node = _node(fields, "exit_node", given)
    if node and "exit" not in node.flags:
        rule = f"the owner of {node.name} does not grant exit; the exit map shows the nodes that are exits."
        fields.refuse("exit_node", rule)
    elif node and node == entry:
        fields.refuse("exit_node", "must be another node than the entry.")
    return node


def _node(fields: Fields, name: str, given: object) -> Node | None:
    """The node of this name or number, as long as it is part of the fog."""
    if isinstance(given, bool) or not isinstance(given, str | int):
        fields.refuse(name, f"must be the name or the number of a node, was {shown(given)}.")
        return None
    node = _find(given)
    if node is None:
        fields.refuse(name, f"there is no node {shown(given)}.")
    elif node.archived_at is not None:
        fields.refuse(name, f"{node.name} has left the fog; choose a node that is part of it.")
    elif node.approved_at is None:
        fields.refuse(name, f"{node.name} still waits for an operator's approval.")
    else:
        return node
    return None


def _find(given: str | int) -> Node | None:
    if isinstance(given, int):
        return Node.objects.filter(id=given).first() if 0 < given < 2**63 else None
    # What cannot be printed some databases refuse even to look for.
    return Node.objects.filter(name=given.strip()).first() if given.isprintable() else None


def _port(fields: Fields, given: object) -> int:
    if given in (0, "0"):
        return 0
    return fields.whole("port", least=PORT_LEAST, most=PORT_MOST, default=0)


def _users(fields: Fields, given: object) -> list[User]:
    if given in (None, ""):
        return []
    names = given.replace(",", " ").split() if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        fields.refuse("allowed", f"must be a list of user names, was {shown(given)}.")
        return []
    if len(names) > ALLOWED_MOST:
        fields.refuse("allowed", f"must be at most {ALLOWED_MOST} users, were {len(names)}.")
        return []
    wanted = [name for name in names if name.isprintable()]  # as for nodes
    found = {user.username: user for user in User.objects.filter(username__in=wanted, is_active=True)}
    for name in names:
        if name not in found:
            fields.refuse("allowed", f"there is no user {shown(name)}.")
        elif not allows(found[name], Role.SUBMITTER):
            fields.refuse("allowed", f"{name} cannot use tunnels: that needs the role submitter.")
    return [found[name] for name in dict.fromkeys(names) if name in found]
