"""What a node takes part in the overlay as, from the options that its owner gave."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from urllib.parse import urlsplit

from fogagent.address import PanelAddress
from fogagent.options import LINK_PORT
from fogagent.overlay.exit_policy import Allowance, BadAllowance, ExitPolicy
from fogagent.overlay.exits import own_addresses

RELAYING = frozenset({"relay", "mix", "exit"})
NOWHERE = "none"


class BadPart(Exception):
    """An option that cannot be used. ``str`` names it and the rule."""


@dataclass(frozen=True)
class Part:
    relays: bool = False
    """Whether circuits of others may come through here."""
    enters: bool = False
    """Whether programs on this machine may enter by it: whether tunnels open here."""
    exit_policy: ExitPolicy | None = None
    """What they may reach from here; None: nothing, it is no exit."""
    exit_bytes_per_s: float | None = None
    host: str = ""
    port: int = 0
    """Where links are accepted: at no host, it only dials out; at port 0, a free one is taken."""
    address: str = ""
    """Where others reach it, "host:port"; empty: where it listens."""
    family: str = ""


def overlay_part(args: argparse.Namespace, panel: PanelAddress) -> Part:
    """Raises BadPart."""
    flags = set(args.flags)
    host, port = _listen(args.listen, bool(flags & RELAYING), panel)
    if args.address:
        _host_and_port("--address", args.address)
    return Part(
        relays="relay" in flags,
        enters="entry" in flags,
        exit_policy=_exit_policy(args.exit_allow, panel) if "exit" in flags else None,
        exit_bytes_per_s=args.exit_mb_per_s and args.exit_mb_per_s * 1e6,
        host=host,
        port=port,
        address=args.address,
        family=args.family,
    )


def _listen(asked: str | None, is_relay: bool, panel: PanelAddress) -> tuple[str, int]:
    if asked == NOWHERE or (asked is None and not is_relay):
        return "", 0
    if asked is not None:
        return _host_and_port("--listen", asked)
    return ("127.0.0.1", 0) if panel.loopback else ("0.0.0.0", LINK_PORT)


def _host_and_port(option: str, text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port is None or parts.path or parts.username is not None:
        raise BadPart(
            f"{option}: must look like 192.0.2.7:{LINK_PORT} or [2001:db8::7]:{LINK_PORT}, was {text!r}."
        )
    return host, port


def _exit_policy(allowed: list[str], panel: PanelAddress) -> ExitPolicy:
    try:
        allowances = [Allowance.parse(text) for text in allowed]
    except BadAllowance as error:
        raise BadPart(f"--exit-allow: {error}") from error
    parts = urlsplit(panel.base)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return ExitPolicy(allowances, panel=[parts.hostname or ""], panel_port=port, own=own_addresses())
