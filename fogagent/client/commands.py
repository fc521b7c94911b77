"""The client's commands. Each takes its options and returns its exit code."""

from __future__ import annotations

import argparse
import getpass
import platform
import sys
from collections.abc import Callable
from functools import wraps

from fogagent.address import BadAddress, PanelAddress
from fogagent.client import settings, show
from fogagent.client.api import Api
from fogagent.client.errors import ClientError
from fogagent.client.following import Follower, exit_code
from fogagent.client.settings import SignedIn
from fogagent.client.submission import specification

INTERRUPTED = 130


def _explained(act: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """A command whose expected errors are one sentence and the exit code 1."""

    @wraps(act)
    def explained(args: argparse.Namespace) -> int:
        try:
            return act(args)
        except (ClientError, BadAddress) as error:
            show.notice(str(error), style="red")
            return 1

    return explained


def _panel() -> Api:
    signed_in = settings.load()
    # How it is reached was settled when the token was made.
    return Api(PanelAddress.parse(signed_in.url, insecure=True), signed_in.token)


@_explained
def login(args: argparse.Namespace) -> int:
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


@_explained
def run(args: argparse.Namespace) -> int:
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


@_explained
def tasks(args: argparse.Namespace) -> int:
    with _panel() as api:
        items = api.tasks(state=args.state, most=args.limit)
    show.json(items) if args.json else show.tasks(items)
    return 0


@_explained
def logs(args: argparse.Namespace) -> int:
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


@_explained
def nodes(args: argparse.Namespace) -> int:
    with _panel() as api:
        items = api.nodes(status=args.status, most=args.limit)
    show.json(items) if args.json else show.nodes(items)
    return 0


@_explained
def cancel(args: argparse.Namespace) -> int:
    with _panel() as api:
        task = api.cancel(args.task)
    ended = "" if task["finished_at"] else "; its node will stop it"
    show.notice(f"task {task['id']} is {task['state']}{ended}")
    return 0
