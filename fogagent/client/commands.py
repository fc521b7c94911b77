"""The client's commands. Each takes its options and returns its exit code."""

from __future__ import annotations

import argparse
import getpass
import platform
import sys
import time
from collections.abc import Callable
from functools import partial, wraps

from fogagent.address import BadAddress, PanelAddress
from fogagent.client import settings, show
from fogagent.client.api import Api, Json
from fogagent.client.batch import Results, batch_body
from fogagent.client.errors import ClientError
from fogagent.client.following import Follower, exit_code
from fogagent.client.keyring import Keyring
from fogagent.client.options import PUBLIC
from fogagent.client.panel_key import accept_older, check_shown, known_relays
from fogagent.client.private import PrivateTasks
from fogagent.client.private_following import PrivateFollower
from fogagent.client.quotes import quote, told
from fogagent.client.sealed import prepare
from fogagent.client.settings import SignedIn
from fogagent.client.submission import specification
from fogagent.sealing.errors import SealingError

INTERRUPTED = 130


def _explained(act: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """A command whose expected errors are one sentence and the exit code 1."""

    @wraps(act)
    def explained(args: argparse.Namespace) -> int:
        try:
            return act(args)
        except (ClientError, BadAddress, SealingError) as error:
            show.notice(str(error), style="red")
            return 1

    return explained


def _panel() -> Api:
    signed_in = settings.load()
    # How it is reached was settled when the token was made.
    return Api(PanelAddress.parse(signed_in.url, insecure=True), signed_in.token)


def _private(api: Api) -> PrivateTasks:
    slug = PanelAddress.parse(settings.load().url, insecure=True).slug
    return PrivateTasks(api, Keyring(slug), partial(known_relays, api))


@_explained
def login(args: argparse.Namespace) -> int:
    address, keys = PanelAddress.parse(args.url, insecure=args.insecure), settings.known_keys()
    given = args.panel_key.hex() if args.panel_key else None
    with Api(address) as api:
        key = api.identity()
        check_shown(address.base, key, known=keys.get(address.base), given=given)
        token = _given_token(args) or _new_token(api, address, args.user)
    with Api(address, token) as api:
        api.tasks(state=None, most=1)  # a token that does not work is refused now, not later
    path = settings.save(SignedIn(address.base, token, keys | {address.base: key}))
    show.notice(f"Signed in to {address.base}; the token is in {path}.", style="green")
    if keys.get(address.base) != key:
        show.notice(f"The key of {address.base} is {key}; another one is refused from now on.")
    return 0


def _given_token(args: argparse.Namespace) -> str:
    return sys.stdin.readline().strip() if args.token == "-" else args.token or ""


def _new_token(api: Api, address: PanelAddress, user: str | None) -> str:
    user = user or input(f"User name at {address.base}: ")
    password = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    return api.create_token(user, password, f"fog on {platform.node()}")


@_explained
def run(args: argparse.Namespace) -> int:
    if args.privacy == PUBLIC:
        body = specification(args)
        with _panel() as api:
            return _go_through(args, api.submit(body), partial(Follower, api))
    prepared = prepare(args)
    with _panel() as api:
        private = _private(api)
        private.tidy(time.time())
        figures = quote(api, prepared.privacy, len(prepared.task.content))
        if not args.json:
            show.notice(told(figures, len(prepared.task.content)))
        return _go_through(args, private.hand_in(prepared), partial(PrivateFollower, api, private))


def _go_through(
    args: argparse.Namespace, task: Json, follower: Callable[..., Follower | PrivateFollower]
) -> int:
    """What remains when a task is handed in: follow it, unless nobody wants to."""
    if args.detach:
        show.json(task) if args.json else show.notice(f"task {task['id']} handed in: {task['url']}")
        return 0
    if not args.json:
        show.notice(f"task {task['id']} handed in: {task['url']}")
    try:
        ended = follower(task["id"], quiet=args.json).follow()
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
        follower = _follower(api, api.task(args.task))
        if not args.follow:
            follower.show_now()
            return 0
        try:
            return exit_code(follower.follow())
        except KeyboardInterrupt:
            return INTERRUPTED


def _follower(api: Api, task: Json) -> Follower | PrivateFollower:
    if task["privacy"] == PUBLIC:
        return Follower(api, task["id"])
    private = _private(api)
    private.keys(task)  # or it is said at once that they are elsewhere
    return PrivateFollower(api, private, task["id"])


@_explained
def reseal(args: argparse.Namespace) -> int:
    with _panel() as api:
        reserved = _private(api).reseal(api.task(args.task))
    show.notice(f"task {args.task} is sealed again, for {reserved.names}")
    return 0


@_explained
def accept_directory(args: argparse.Namespace) -> int:
    with _panel() as api:
        accept_older(api, args.version)
    show.notice(f"version {args.version} of the panel's directory is gone by; older ones are refused")
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


@_explained
def tunnels(args: argparse.Namespace) -> int:
    with _panel() as api:
        items = api.tunnels(stopped=args.stopped, most=args.limit)
    show.json(items) if args.json else show.tunnels(items)
    return 0


@_explained
def create_tunnel(args: argparse.Namespace) -> int:
    asked = {name: getattr(args, name) for name in ("name", "entry", "exit_region", "exit_node", "allowed")}
    amounts = {name: getattr(args, name) for name in ("hops", "rotate_s", "port", "require_password")}
    with _panel() as api:
        made = api.create_tunnel(
            {name: value for name, value in {**asked, **amounts}.items() if value is not None}
        )
    if args.json:
        show.json(made)
        return 0
    show.notice(f"tunnel {made['id']} is ordered from {made['entry']}; its port: ./fog tunnels")
    for remark in made["remarks"]:
        show.notice(remark, style="yellow")
    _tell_password(made)
    return 0


def _tell_password(tunnel: Json) -> None:
    if tunnel.get("password"):
        show.notice("your password for it, shown only now (Chromium cannot use a tunnel with a password):")
        show.output("stdout", tunnel["password"] + "\n")


@_explained
def share_tunnel(args: argparse.Namespace) -> int:
    with _panel() as api:
        tunnel = api.share_tunnel(args.tunnel, args.allowed or [])
    show.notice(f"tunnel {tunnel['id']} is shared with {', '.join(tunnel['allowed']) or 'nobody'}")
    return 0


@_explained
def tunnel_password(args: argparse.Namespace) -> int:
    with _panel() as api:
        made = api.tunnel_password(args.tunnel)
    show.notice(
        f"a new password of {made['user']} for tunnel {args.tunnel}, shown only now; the one before is void"
    )
    show.output("stdout", made["password"] + "\n")
    return 0


@_explained
def guard_tunnel(args: argparse.Namespace) -> int:
    with _panel() as api:
        tunnel = api.guard_tunnel(args.tunnel, not args.off)
    asks = "asks for a password" if tunnel["require_password"] else "asks for no password"
    show.notice(f"tunnel {tunnel['id']} {asks} as soon as {tunnel['entry']} is told")
    _tell_password(tunnel)
    return 0


@_explained
def stop_tunnel(args: argparse.Namespace) -> int:
    with _panel() as api:
        tunnel = api.stop_tunnel(args.tunnel)
    show.notice(f"tunnel {tunnel['id']} is stopped; {tunnel['entry']} closes its port")
    return 0


@_explained
def batch(args: argparse.Namespace) -> int:
    with _panel() as api:
        batch_id = args.follow
        if not batch_id:
            batch_id = api.submit_batch(batch_body(args))["id"]
            show.notice(f"batch {batch_id} handed in: ./fog batch --follow {batch_id}")
        elif args.file or args.template or args.table:
            raise ClientError("--follow ID takes no tasks: that batch is handed in already.")
        if args.follow is None:
            return 0
        try:
            return _collect(api, batch_id, args.output)
        except KeyboardInterrupt:
            output = f" --output {args.output}" if args.output else ""
            show.notice(f"\nIt goes on without us: ./fog batch --follow {batch_id}{output}")
            return INTERRUPTED


def _collect(api: Api, batch_id: int, output: str | None) -> int:
    """Follow a batch to its end; 0 only if every task succeeded."""
    before = api.batch(batch_id)
    with Results(output) as results, show.progress(before["name"], before["size"]) as advance:
        for result in api.results(batch_id):
            results.put(result)
            advance(result["state"])
    ended = api.batch(batch_id)
    counts = ", ".join(f"{count} {state}" for state, count in ended["states"].items() if count)
    succeeded = ended["states"].get("succeeded", 0) == ended["size"]
    show.notice(f"batch {batch_id}: {counts}", style="green" if succeeded else "red")
    return 0 if succeeded else 1


@_explained
def topology(args: argparse.Namespace) -> int:
    with _panel() as api:
        fleet = api.topology()
    show.json(fleet) if args.json else show.topology(fleet)
    return 0


@_explained
def services(args: argparse.Namespace) -> int:
    with _panel() as api:
        items = api.services()
    show.json(items) if args.json else show.services(items)
    return 0
