"""The options of the command `agent`. Importing this is cheap: it knows nothing of what they lead to."""

from __future__ import annotations

import argparse
import base64
import os
from functools import partial
from pathlib import Path

NODE_TYPES = ("compute_node", "edge_device", "relay_node", "mixnode", "gateway")
FLAGS = ("compute", "relay", "mix", "exit", "entry")
ALLOWANCES = ("command", "container", "network")
LINK_PORT = 9171
"""Where relays accept links if their owner names no other port."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "agent",
        help="join this machine to a panel and run its tasks",
        description="Join this machine to a panel and run its tasks. The first start needs the panel's "
        "address and a join key; later ones with the same state folder need the address only.",
    )
    _add_panel_options(parser)
    _add_machine_options(parser)
    _add_overlay_options(parser)
    parser.set_defaults(act="fogagent.joining:run")


def _add_panel_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--join", metavar="URL", required=True, help="the panel's address")
    parser.add_argument(
        "--key", metavar="KEY", default=os.environ.get("FOG_JOIN_KEY"), help="join key (or FOG_JOIN_KEY)"
    )
    parser.add_argument("--panel-key", metavar="HEX", type=panel_key, help="the panel's public key, pinned")
    parser.add_argument(
        "--insecure", action="store_true", help="allow plain HTTP and an unknown panel key beyond loopback"
    )
    parser.add_argument("--state", metavar="DIR", type=Path, help="where the agent keeps who it is")


def _add_machine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="", help="what the node is called (default: the host's name)")
    parser.add_argument("--region", default="", help="such as eu-west")
    parser.add_argument("--lat", type=partial(_between, -90.0, 90.0), metavar="DEG", help="latitude")
    parser.add_argument("--lon", type=partial(_between, -180.0, 180.0), metavar="DEG", help="longitude")
    parser.add_argument("--type", choices=NODE_TYPES, default="compute_node", help="what it mainly is")
    parser.add_argument(
        "--flags", type=_flags, default=["compute"], help=f"what it may do: some of {','.join(FLAGS)}"
    )
    parser.add_argument("--label", type=_label, action="append", default=[], metavar="K=V")
    parser.add_argument("--cores", type=partial(_between, 0.001, 10_000.0), help="share of the cores")
    parser.add_argument("--memory-mb", type=partial(_whole_between, 1, 100_000_000), help="share of memory")
    parser.add_argument(
        "--allow",
        choices=ALLOWANCES,
        action="append",
        default=[],
        help="let tasks run sandboxed commands, containers, or use the network; may be repeated",
    )


def _add_overlay_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "the overlay",
        "Links between agents, for circuits and tunnels. A relay accepts them, others only dial.",
    )
    group.add_argument(
        "--listen",
        metavar="HOST:PORT",
        help="where links are accepted, or none (default: a relay beside its panel takes a free port on "
        f"127.0.0.1, any other relay 0.0.0.0:{LINK_PORT}, and a node that is no relay accepts none)",
    )
    group.add_argument(
        "--address", metavar="HOST:PORT", default="", help="where other nodes reach this one, if elsewhere"
    )
    group.add_argument(
        "--family",
        default="",
        metavar="NAME",
        help="the same for all relays of one owner: no circuit has two",
    )
    group.add_argument(
        "--exit-allow",
        action="append",
        default=[],
        metavar="NAME=NETWORK[:PORT]",
        help="let an exit reach these private addresses, such as lab=10.1.0.0/16; may be repeated",
    )
    group.add_argument(
        "--exit-mb-per-s",
        type=partial(_between, 0.001, 100_000.0),
        metavar="MB",
        help="the most that an exit passes on, both directions together",
    )


def panel_key(text: str) -> bytes:
    """A public key of 32 bytes as people paste it: 64 hexadecimal digits, or base64."""
    try:
        if len(text) == 64:
            return bytes.fromhex(text)
        key = base64.b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise argparse.ArgumentTypeError(f"must be 64 hexadecimal digits, was {text!r}")
    return key


def _flags(text: str) -> list[str]:
    flags = [flag for flag in text.split(",") if flag]
    if unknown := [flag for flag in flags if flag not in FLAGS]:
        raise argparse.ArgumentTypeError(
            f"must be some of {','.join(FLAGS)}; {', '.join(unknown)} is not among them"
        )
    return list(dict.fromkeys(flags))


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals) or max(len(key), len(value)) > 200:
        raise argparse.ArgumentTypeError(f"must look like gpu=a100, was {text!r}")
    return key, value


def _between(least: float, most: float, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"must be a number between {least:g} and {most:g}, was {text!r}")
    return value


def _whole_between(least: int, most: int, text: str) -> int:
    value = _between(least, most, text)
    if value != int(value):
        raise argparse.ArgumentTypeError(f"must be a whole number, was {text!r}")
    return int(value)
