"""The way out of the overlay: resolve once, check every address, dial one that was checked."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from typing import Any

import psutil

from fogagent.overlay.exit_policy import ExitPolicy, read_address
from fogagent.overlay.stream import BadTarget, Reason, StreamRefused, Target

MOST_ADDRESSES = 8
LOOKED_EVERY_S = 60.0
"""Between two looks at where the panel and this machine are."""
LOOK_UPS_MOST = 256
"""With those that wait for a thread, wanted or abandoned: clients come and go faster than names are found."""
RESOLVING_SHARE = 0.5
"""Of the time that dialling may take; a name whose servers are silent must leave some for its addresses."""

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""All numeric addresses of a name, the preferred first. Raises OSError or UnicodeError."""

# A look-up cannot be interrupted, only abandoned. Names whose servers never answer must not use up the
# threads that the rest of the agent works with, so the exit has a few of its own.
_resolvers = ThreadPoolExecutor(16, "exit-resolver")
_room = threading.BoundedSemaphore(LOOK_UPS_MOST)

# What failed at several addresses is told by the reason that says most.
_TELLING = (Reason.REFUSED, Reason.TIMEOUT, Reason.UNREACHABLE)


class ExitRefused(StreamRefused):
    """Nothing was dialled, or nothing answered. ``str`` says for each address why."""


def own_addresses() -> list[str]:
    """The addresses of this machine's interfaces, for `ExitPolicy`."""
    return [
        entry.address
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family in (socket.AF_INET, socket.AF_INET6)
    ]


async def resolve(host: str, port: int) -> list[str]:
    if not _room.acquire(blocking=False):
        raise OSError(f"this exit has {LOOK_UPS_MOST} names to look up already")
    abandoned = threading.Event()
    looking = _resolvers.submit(_look_up, host, port, abandoned)
    try:
        # Not cancelled itself, which would leave it in the queue and tell us that it has gone from there.
        found = await asyncio.shield(asyncio.wrap_future(looking))
    finally:
        abandoned.set()
    return [_numeric(place) for *_, place in found]


def _look_up(host: str, port: int, abandoned: threading.Event) -> list[tuple[Any, ...]]:
    """In a thread; nothing for who has gone before it was his turn."""
    try:
        return [] if abandoned.is_set() else socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    finally:
        _room.release()


async def keep_known(
    policy: ExitPolicy,
    *,
    every_s: float = LOOKED_EVERY_S,
    resolve: Resolve = resolve,
    own: Callable[[], list[str]] = own_addresses,
) -> None:
    """Have ``policy`` know where the panel's names lead and which addresses this machine has, which both
    change in time; until cancelled. A name that cannot be resolved leads where it led before."""
    led: dict[str, list[str]] = {}
    while True:
        for name in policy.panel_names:
            with suppress(OSError, UnicodeError):
                led[name] = await resolve(name, 0)
        policy.know(panel=chain.from_iterable(led.values()), own=own())
        await asyncio.sleep(every_s)


async def dial(
    host: str, port: int, policy: ExitPolicy, *, timeout_s: float, resolve: Resolve = resolve
) -> socket.socket:
    """A connected, non-blocking TCP socket to ``host`` (a name or a numeric address).

    A name is resolved once; only the addresses of that answer which ``policy`` allows are dialled, as
    numbers, so that a second answer can lead nowhere else. They are dialled in order, each with its share
    of the time that is left.

    Raises:
        ExitRefused: not-allowed, cannot-resolve, refused, unreachable or timeout.
    """
    try:
        target = Target(host, port)
    except BadTarget as error:
        raise ExitRefused(Reason.CANNOT_RESOLVE, str(error)) from error
    deadline = asyncio.get_running_loop().time() + timeout_s
    addresses = await _addresses(target, policy, timeout_s * RESOLVING_SHARE, resolve)
    allowed = _allowed(target, addresses, policy)
    return await _dial_in_order(allowed, port, deadline)


async def _addresses(target: Target, policy: ExitPolicy, timeout_s: float, resolve: Resolve) -> list[str]:
    if read_address(target.host) is not None:
        return [target.host]
    if refusal := policy.refusal_of_name(target.host):
        raise ExitRefused(Reason.NOT_ALLOWED, refusal.sentence)
    try:
        async with asyncio.timeout(timeout_s):
            found = await resolve(target.host, target.port)
    except TimeoutError:
        raise ExitRefused(
            Reason.TIMEOUT, f"{target.host} could not be resolved within {timeout_s:g} s."
        ) from None
    except (OSError, UnicodeError) as error:
        raise ExitRefused(
            Reason.CANNOT_RESOLVE, f"{target.host} cannot be resolved: {_words(error)}."
        ) from error
    if not found:
        raise ExitRefused(Reason.CANNOT_RESOLVE, f"{target.host} has no address.")
    return list(dict.fromkeys(found))


def _allowed(target: Target, addresses: list[str], policy: ExitPolicy) -> list[str]:
    refusals = {address: policy.refusal(address, target.port) for address in addresses}
    # As it was checked: an IPv4 address that is mapped into IPv6 is dialled as what it is.
    allowed = [str(read_address(address)) for address, refusal in refusals.items() if refusal is None]
    if not allowed:
        sentences = dict.fromkeys(refusal.sentence for refusal in refusals.values() if refusal)
        raise ExitRefused(
            Reason.NOT_ALLOWED,
            f"The exit does not dial {target}: {' '.join(list(sentences)[:MOST_ADDRESSES])}",
        )
    return allowed[:MOST_ADDRESSES]


async def _dial_in_order(addresses: list[str], port: int, deadline: float) -> socket.socket:
    loop = asyncio.get_running_loop()
    failures: dict[str, Reason] = {}
    for tried, address in enumerate(addresses):
        share_s = (deadline - loop.time()) / (len(addresses) - tried)
        try:
            return await _connect(address, port, share_s)
        except OSError as error:  # a timeout is one as well
            failures[f"{Target(address, port)} {_failure(error)}"] = _reason(error)
    reason = next(reason for reason in _TELLING if reason in failures.values())
    raise ExitRefused(reason, f"{'; '.join(failures)}.")


async def _connect(address: str, port: int, timeout_s: float) -> socket.socket:
    """Raises OSError, of which TimeoutError is one."""
    six = ":" in address
    connection = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        # The other end may lose its power while a stream is silent.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        async with asyncio.timeout(timeout_s):
            await asyncio.get_running_loop().sock_connect(connection, (address, port))
    except BaseException:
        connection.close()
        raise
    return connection


def _reason(error: OSError) -> Reason:
    if isinstance(error, TimeoutError):
        return Reason.TIMEOUT
    return Reason.REFUSED if isinstance(error, ConnectionRefusedError) else Reason.UNREACHABLE


def _failure(error: OSError) -> str:
    match _reason(error):
        case Reason.TIMEOUT:
            return "did not answer in time"
        case Reason.REFUSED:
            return "refused the connection"
        case _:
            return f"cannot be reached ({_words(error)})"


def _numeric(place: tuple[object, ...]) -> str:
    """The address within a socket address, with its zone where there is one."""
    address, _, *rest = place
    zone = f"%{rest[1]}" if len(rest) == 2 and rest[1] else ""
    return str(address) if "%" in str(address) else f"{address}{zone}"


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
