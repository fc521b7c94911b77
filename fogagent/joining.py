"""The command `agent`: join a panel, or start again where an earlier start left off."""

from __future__ import annotations

import argparse
import asyncio
import logging
import resource
import signal
import sqlite3
from collections.abc import Callable
from functools import partial
from random import Random

from fogagent import fingerprint
from fogagent.address import BadAddress, PanelAddress
from fogagent.drivers.base import Permissions
from fogagent.drivers.engine import CacheError
from fogagent.drivers.pool import Pool
from fogagent.enrol import Enrolment, EnrolmentError
from fogagent.home import BadHome, Home, Locked, Membership
from fogagent.identity import Identity
from fogagent.instructions import ExitCode
from fogagent.messages import DriverFact, Facts
from fogagent.overlay.part import BadPart, overlay_part
from fogagent.shell.agent import Agent

OPEN_FILES = 4096
"""Of which links and an exit's connections take up to 1,600."""

log = logging.getLogger("fogagent")


class CannotStart(Exception):
    """The agent cannot start. ``str`` says what to do about it."""


def run(args: argparse.Namespace) -> int:
    """Be an agent until stopped. Returns the exit code."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname).1s %(message)s", datefmt="%H:%M:%S"
    )
    logging.getLogger("websockets").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    leave_no_core_dump()
    allow_many_connections()
    try:
        address = PanelAddress.parse(args.join, insecure=args.insecure)
        home = Home(args.state.expanduser().resolve()) if args.state else Home.of(address)
        home.lock()
        return asyncio.run(_serve(args, address, home))
    except Locked as error:
        log.error("%s", error)
        return ExitCode.LOCKED
    except (BadAddress, BadHome, BadPart, CacheError, CannotStart, EnrolmentError) as error:
        log.error("%s", error)
    except sqlite3.Error as error:
        log.error("%s cannot be used: %s. Move it away if it is damaged.", home.spool, error)
    except OSError as error:
        log.error("The state folder cannot be used: %s.", error)
    return ExitCode.FAILED


def leave_no_core_dump() -> None:
    """Keys and opened tasks are in our memory and our workers', and must not get to disk in a crash."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))


def allow_many_connections() -> None:
    """An exit alone may have more of them than the 1024 files that processes may usually have open."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


async def _serve(args: argparse.Namespace, address: PanelAddress, home: Home) -> int:
    stop = _Stop()
    identity = home.identity()
    member = _known_member(args, address, home)
    pool = Pool(home.cache, _permissions(args.allow))
    try:
        await pool.start()
        describe = partial(_describe, args, home)
        facts = await asyncio.to_thread(describe, await pool.driver_facts())
        if member is None:
            member = await asyncio.to_thread(_enrol, args, address, home, identity, facts)
        agent = Agent(
            address=address,
            home=home,
            identity=identity,
            panel_key=member.panel_key,
            workers=pool,
            facts=facts,
            describe=describe,
            rng=Random(),
            part=overlay_part(args, address),
        )
        stop.calls(agent.stop)
        return await agent.run()
    except asyncio.CancelledError:
        return ExitCode.STOPPED
    finally:
        await pool.close()


class _Stop:
    """SIGTERM and Ctrl-C: end the start-up, later ask the agent to stop in order."""

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.calls(lambda _: task.cancel())

    def calls(self, stop: Callable[[str], object]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop, f"asked to by {number.name}")


def _describe(args: argparse.Namespace, home: Home, drivers: list[DriverFact]) -> Facts:
    return fingerprint.fingerprint(
        state_dir=home.path,
        drivers=drivers,
        cpu_millis=round(args.cores * 1000) if args.cores else None,
        memory_mb=args.memory_mb,
        region=args.region,
        latitude=args.lat,
        longitude=args.lon,
        node_type=args.type,
        flags=args.flags,
        labels=dict(args.label),
    )


def _permissions(allowed: list[str]) -> Permissions:
    return Permissions(
        allow_command="command" in allowed,
        allow_container="container" in allowed,
        allow_network="network" in allowed,
    )


# --- Joining ---------------------------------------------------------------------------------------


def _known_member(args: argparse.Namespace, address: PanelAddress, home: Home) -> Membership | None:
    """What an earlier start learnt. Raises CannotStart if that does not go with the options."""
    member = home.membership()
    if member is None:
        if not args.key:
            raise CannotStart(
                f"{home.path} belongs to no panel yet: give a join key with --key or FOG_JOIN_KEY. "
                "The panel's Add node dialog shows the whole line."
            )
        if not (args.panel_key or address.loopback or args.insecure):
            raise CannotStart(
                "--panel-key: must be given for a panel on another machine, so that nobody between can "
                "pose as it. The panel's Add node dialog shows it; --insecure trusts whoever answers first."
            )
        return None
    if args.panel_key and args.panel_key != member.panel_key:
        raise CannotStart(
            f"--panel-key: this agent joined a panel with the key {member.panel_key.hex()}, not that "
            f"one. To join another panel use another folder with --state, or remove {home.path}."
        )
    if member.url != address.base:
        log.info("the panel moved from %s to %s; its key must still be the same", member.url, address.base)
    return member


def _enrol(
    args: argparse.Namespace, address: PanelAddress, home: Home, identity: Identity, facts: Facts
) -> Membership:
    with Enrolment(address) as enrolment:
        panel_key = args.panel_key or _key_on_trust(enrolment)
        member, waits = enrolment.join(
            identity=identity, join_key=args.key, panel_key=panel_key, name=args.name, facts=facts
        )
    home.remember(member)
    log.info("joined %s as %s (node %d)", address.base, member.name, member.node)
    if waits:
        log.info("an operator has to approve this node before it gets work")
    return member


def _key_on_trust(enrolment: Enrolment) -> bytes:
    key = enrolment.panel_key()
    log.info("trusting the key that the panel shows now: %s", key.hex())
    return key
