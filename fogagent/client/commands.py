"""The client's commands and their options."""

from __future__ import annotations

import argparse
import getpass
import platform
import sys
from collections.abc import Callable

from fogagent.address import BadAddress, PanelAddress
from fogagent.client import settings, show
from fogagent.client.api import Api
from fogagent.client.errors import ClientError
from fogagent.client.following import Follower, exit_code
from fogagent.client.settings import SignedIn
from fogagent.client.submission import DRIVERS, specification

INTERRUPTED = 130

_Commands = argparse._SubParsersAction  # argparse has no public name for it


def add_parsers(commands: _Commands[argparse.ArgumentParser]) -> None:
    _add_login(commands)
    _add_run(commands)
    _add_tasks(commands)
    _add_logs(commands)
    _add_nodes(commands)
    _add_cancel(commands)


def _command(
    commands: _Commands[argparse.ArgumentParser],
    name: str,
    act: Callable[[argparse.Namespace], int],
    help: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")

    def act_or_explain(args: argparse.Namespace) -> int:
        try:
            return act(args)
        except (ClientError, BadAddress) as error:
            show.notice(str(error), style="red")
            return 1

    parser.set_defaults(act=act_or_explain)
    return parser


def _panel() -> Api:
    signed_in = settings.load()
    # How it is reached was settled when the token was made.
    return Api(PanelAddress.parse(signed_in.url, insecure=True), signed_in.token)


# --- login -----------------------------------------------------------------------------------------


def _add_login(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _command(commands, "login", _login, "sign in to a panel and keep a token for it here")
    parser.add_argument("url", metavar="URL", help="the panel's address")
    parser.add_argument("--user", help="asked for when not given")
    parser.add_argument("--token", help="use this API token instead of making one; - reads it")
    parser.add_argument("--insecure", action="store_true", help="allow plain HTTP beyond this machine")


def _login(args: argparse.Namespace) -> int:
    address = PanelAddress.parse(args.url, insecure=args.insecure)
    token = sys.stdin.readline().strip() if args.token == "-" else args.token
    if not token:
        user = args.user or input(f"User name at {address.base}: ")
        password = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
        with Api(address) as api:
            token = api.create_token(user, password, f"fog on {platform.node()}")
    with Api(address, token) as api:
        api.tasks(state=None, most=1)  # a token that does not work is refused now, not later
    path = settings.save(SignedIn(address.base, token))
    show.notice(f"Signed in to {address.base}; the token is in {path}.", style="green")
    return 0


# --- run -------------------------------------------------------------------------------------------


def _add_run(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _command(commands, "run", _run, "hand in a task, show what it prints, and exit as it does")
    parser.usage = "fog run [FILE] [options] [-- ARGS ...]"
    parser.epilog = "Example: fog run count.py --region eu-west -- 10"
    add = parser.add_argument
    add("file", metavar="FILE", nargs="?", help="a script (.py) or a module (.wasm)")
    add("--driver", choices=DRIVERS, help="what runs it (default: by the file's name)")
    add("--image", help="for --driver container")
    add("--name", help="what the task is called (default: the file's name)")
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


def _run(args: argparse.Namespace) -> int:
    body = specification(args)
    with _panel() as api:
        task = api.submit(body)
        if args.detach:
            show.json(task) if args.json else show.notice(f"task {task['id']} handed in: {task['url']}")
            return 0
        if not args.json:
            show.notice(f"task {task['id']} handed in: {task['url']}")
        try:
            ended = Follower(api, task["id"], quiet=args.json).follow()
        except KeyboardInterrupt:
            show.notice(f"\nIt goes on without us: ./fog logs -f {task['id']}, or ./fog cancel {task['id']}")
            return INTERRUPTED
        if args.json:
            show.json(ended)
        return exit_code(ended)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"must look like NAME=VALUE, was {text!r}")
    return key, value


# --- Looking ---------------------------------------------------------------------------------------


def _add_tasks(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _command(commands, "tasks", _tasks, "list tasks, the newest first")
    parser.add_argument("--state", help="only those that are queued, running, succeeded, failed, …")
    parser.add_argument("--limit", type=int, default=50, help="how many at most (default: 50)")
    parser.add_argument("--json", action="store_true", help="print them as JSON")


def _tasks(args: argparse.Namespace) -> int:
    with _panel() as api:
        items = api.tasks(state=args.state, most=args.limit)
    show.json(items) if args.json else show.tasks(items)
    return 0


def _add_logs(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _command(commands, "logs", _logs, "show what a task printed")
    parser.add_argument("task", metavar="ID", type=int)
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on until it is over, and exit as it does"
    )


def _logs(args: argparse.Namespace) -> int:
    with _panel() as api:
        if args.follow:
            try:
                return exit_code(Follower(api, args.task).follow())
            except KeyboardInterrupt:
                return INTERRUPTED
        for chunks in api.log(args.task, follow=False):
            for chunk in chunks:
                show.output(chunk["stream"], chunk["text"])
    return 0


def _add_nodes(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _command(commands, "nodes", _nodes, "list nodes and what they have free")
    parser.add_argument("--status", help="only those that are active, idle, busy, offline or in maintenance")
    parser.add_argument("--limit", type=int, default=1000, help="how many at most (default: 1000)")
    parser.add_argument("--json", action="store_true", help="print them as JSON")


def _nodes(args: argparse.Namespace) -> int:
    with _panel() as api:
        items = api.nodes(status=args.status, most=args.limit)
    show.json(items) if args.json else show.nodes(items)
    return 0


def _add_cancel(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _command(commands, "cancel", _cancel, "ask for the end of a task")
    parser.add_argument("task", metavar="ID", type=int)


def _cancel(args: argparse.Namespace) -> int:
    with _panel() as api:
        task = api.cancel(args.task)
    ended = "" if task["finished_at"] else "; its node will stop it"
    show.notice(f"task {task['id']} is {task['state']}{ended}")
    return 0
