"""The options of the client's commands. Importing this is cheap: an agent's start goes through it, too."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fogagent.options import panel_key

if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]

DRIVERS = ("python", "wasm", "command", "container")
PUBLIC = "public"
PRIVACY = (PUBLIC, "private", "confidential", "secret")


def add_parsers(commands: _Commands) -> None:
    _add_login(commands)
    _add_run(commands)
    _add_tasks(commands)
    _add_logs(commands)
    _add_reseal(commands)
    _add_accept_directory(commands)
    _add_nodes(commands)
    _add_cancel(commands)
    _add_tunnels(commands)
    _add_batch(commands)
    _add_topology(commands)
    _add_services(commands)


def _command(commands: _Commands, name: str, help: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    parser.set_defaults(act=f"fogagent.client.commands:{name.replace('-', '_')}")
    return parser


def _add_login(commands: _Commands) -> None:
    parser = _command(commands, "login", "sign in to a panel and keep a token for it here")
    parser.add_argument("url", metavar="URL", help="the panel's address")
    parser.add_argument("--user", help="asked for when not given")
    parser.add_argument("--token", help="use this API token instead of making one; - reads it")
    parser.add_argument(
        "--panel-key",
        metavar="HEX",
        type=panel_key,
        help="the panel's public key, in place of a known one",
    )
    parser.add_argument("--insecure", action="store_true", help="allow plain HTTP beyond this machine")


def _add_run(commands: _Commands) -> None:
    parser = _command(commands, "run", "hand in a task, show what it prints, and exit as it does")
    parser.usage = "fog run [FILE] [options] [-- ARGS ...]"
    parser.epilog = (
        "Of a task that is private (sealed for its node) or confidential (and brought to it over a circuit) "
        "the panel sees neither what runs nor what comes of it, but sees its driver, limits, region, labels "
        "and --name; no name is made up from the file's. What it prints comes at its end. "
        "Examples: fog run count.py --region eu-west -- 10; fog run --privacy private count.py"
    )
    add = parser.add_argument
    add("file", metavar="FILE", nargs="?", help="a script (.py) or a module (.wasm)")
    add("--driver", choices=DRIVERS, help="what runs it (default: by the file's name)")
    add("--image", help="for --driver container")
    add("--name", help="what the task is called (default: the file's name, if it is public)")
    add("--privacy", choices=PRIVACY, default=PUBLIC, help="from whom it is hidden (default: public)")
    add("--strategy", help="how its node is chosen: least_loaded, round_robin, affinity_based, …")
    add("--region", help="the region it should run in")
    add("--region-required", action="store_true", help="wait rather than run in another region")
    add("--cores", type=float, help="how many it needs, such as 0.5")
    add("--memory-mb", type=int, help="memory it needs")
    add("--timeout", type=float, metavar="S", help="seconds after which it is stopped")
    add("--stdin", metavar="FILE", help="its standard input; - passes on ours")
    add("--env", type=_pair, action="append", default=[], metavar="K=V", help="may be repeated")
    add("--label", type=_pair, action="append", default=[], metavar="K=V", help="a label its node must have")
    add("--network", action="store_true", help="ask for network access, if its node's owner allows it")
    add("--priority", type=int, help="1 to 10; higher goes first")
    add("--max-attempts", type=int, help="how often it is tried")
    add("--detach", action="store_true", help="do not wait for it")
    add("--json", action="store_true", help="print the task as JSON, nothing else")


def _add_tasks(commands: _Commands) -> None:
    parser = _command(commands, "tasks", "list tasks, the newest first")
    parser.add_argument("--state", help="only those that are queued, running, succeeded, failed, …")
    parser.add_argument("--limit", type=int, default=50, help="how many at most (default: 50)")
    parser.add_argument("--json", action="store_true", help="print them as JSON")


def _add_logs(commands: _Commands) -> None:
    parser = _command(commands, "logs", "show what a task printed")
    parser.add_argument("task", metavar="ID", type=int)
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on until it is over, and exit as it does"
    )


def _add_reseal(commands: _Commands) -> None:
    parser = _command(commands, "reseal", "seal a private task for other nodes when its own are gone")
    parser.epilog = "The keys must be on this machine. Whoever follows a task need not do this."
    parser.add_argument("task", metavar="ID", type=int)


def _add_accept_directory(commands: _Commands) -> None:
    help = "seal by an older directory of nodes than the panel gave before"
    parser = _command(commands, "accept-directory", help)
    parser.epilog = (
        "For a panel that was restored from a backup, as its operator says: what it gave last is forgotten, "
        "and only what is older than this version is refused from then on."
    )
    parser.add_argument("version", metavar="VERSION", type=int, help="as the refusal names it")


def _add_nodes(commands: _Commands) -> None:
    parser = _command(commands, "nodes", "list nodes and what they have free")
    parser.add_argument("--status", help="only those that are active, idle, busy, offline or in maintenance")
    parser.add_argument("--limit", type=int, default=1000, help="how many at most (default: 1000)")
    parser.add_argument("--json", action="store_true", help="print them as JSON")


def _add_cancel(commands: _Commands) -> None:
    parser = _command(commands, "cancel", "ask for the end of a task")
    parser.add_argument("task", metavar="ID", type=int)


def _add_tunnels(commands: _Commands) -> None:
    parser = _command(commands, "tunnels", "list tunnels, or create, share and stop one")
    parser.add_argument("--stopped", action="store_true", help="only those that were stopped")
    parser.add_argument("--limit", type=int, default=50, help="how many at most (default: 50)")
    parser.add_argument("--json", action="store_true", help="print them as JSON")
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    _add_create_tunnel(actions)
    share = actions.add_parser("share", help="say who may use it besides you; all others lose access")
    share.set_defaults(act="fogagent.client.commands:share_tunnel")
    share.add_argument("tunnel", metavar="ID", type=int)
    _add_allow(share)
    password = actions.add_parser("password", help="get a password of your own for it, in place of the last")
    password.set_defaults(act="fogagent.client.commands:tunnel_password")
    password.add_argument("tunnel", metavar="ID", type=int)
    guard = actions.add_parser(
        "require-password", help="let in only who has a password for it; all that use it without end"
    )
    guard.set_defaults(act="fogagent.client.commands:guard_tunnel")
    guard.add_argument("tunnel", metavar="ID", type=int)
    guard.add_argument("--off", action="store_true", help="let in everybody on its entry again")
    stop = actions.add_parser("stop", help="have its entry close it")
    stop.set_defaults(act="fogagent.client.commands:stop_tunnel")
    stop.add_argument("tunnel", metavar="ID", type=int)


def _add_create_tunnel(actions: _Commands) -> None:
    create = actions.add_parser("create", help="have a node open a SOCKS port whose streams leave elsewhere")
    create.set_defaults(act="fogagent.client.commands:create_tunnel")
    add = create.add_argument
    add("name", metavar="NAME", help="what it is called")
    add("--entry", metavar="NODE", required=True, help="the node whose programs are to use it")
    add("--exit-region", metavar="REGION", help="where its streams leave (default: anywhere)")
    add("--exit-node", metavar="NODE", help="in place of a region")
    add("--hops", type=int, help="how many relays, 1 to 8 (default: 3)")
    add("--rotate-s", type=int, metavar="S", help="how long a circuit takes new streams (default: 600)")
    add("--port", type=int, help="on the entry's loopback (default: one that is free)")
    _add_allow(create)
    add(
        "--require-password",
        action="store_true",
        default=None,
        help="let in only who has a password for it; Chromium cannot use such a tunnel",
    )
    add("--json", action="store_true", help="print the tunnel as JSON")


def _add_allow(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow",
        metavar="USER",
        action="append",
        dest="allowed",
        help="who else may use it; may be repeated",
    )


def _add_batch(commands: _Commands) -> None:
    parser = _command(commands, "batch", "hand in many tasks at once, and collect their results")
    parser.usage = "fog batch [FILE | --template T.json --table T.csv] [--follow [ID]] [--output FILE]"
    parser.epilog = (
        "FILE is JSON (a list of tasks as the API takes them) or JSON lines (.jsonl). In the texts of a "
        "template ${name} stands for the column of that name. Results are JSON lines. Example: "
        "fog batch tasks.jsonl --follow --output results.jsonl"
    )
    add = parser.add_argument
    add("file", metavar="FILE", nargs="?", help="the tasks: .json or .jsonl")
    add("--template", metavar="T.json", help="one task, to be filled from each row of the table")
    add("--table", metavar="T.csv", help="a heading with the names, and a row for each task")
    add("--name", help="what the batch is called")
    add("--privacy", choices=PRIVACY, default=PUBLIC, help="batches are public")
    add(
        "--follow",
        metavar="ID",
        type=int,
        nargs="?",
        const=0,
        help="print results as tasks end; with ID of a batch that was handed in before",
    )
    add("--output", metavar="FILE", help="write results there; goes on where an earlier run stopped")


def _add_topology(commands: _Commands) -> None:
    parser = _command(commands, "topology", "show the fleet as counts and totals")
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def _add_services(commands: _Commands) -> None:
    parser = _command(commands, "services", "show how the panel's services do")
    parser.add_argument("--json", action="store_true", help="print them as JSON")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"must look like NAME=VALUE, was {text!r}")
    return key, value
