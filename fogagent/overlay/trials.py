"""Trying a circuit: build it, have bytes echoed by its last relay, tell how that went."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

from fogagent.messages import MAX_SENTENCE, CircuitTried, TryCircuit
from fogagent.overlay.directory import Directory, Relay
from fogagent.overlay.exit_streams import ECHO
from fogagent.overlay.onion.builder import Builder, NoCircuit
from fogagent.overlay.onion.errors import OnionError
from fogagent.overlay.onion.own_circuit import OwnCircuit
from fogagent.overlay.onion.path import Wishes
from fogagent.overlay.onion.stream import Stream

KILOBIT = 1000 / 8


async def try_circuit(builder: Builder, directory: Directory | None, order: TryCircuit) -> CircuitTried:
    """What came of the order; what failed is told, and nothing is raised."""
    try:
        async with asyncio.timeout(order.timeout_s):
            own = await _build(builder, directory, order)
            try:
                return await _try(own, order)
            finally:
                own.circuit.close()
    except NoCircuit as error:
        return CircuitTried(trial=order.trial, ok=False, sentence=str(error)[:MAX_SENTENCE])
    except TimeoutError:
        sentence = f"The circuit did not echo {order.size:,} bytes within {order.timeout_s:g} s."
        return CircuitTried(trial=order.trial, ok=False, sentence=sentence)


async def _build(builder: Builder, directory: Directory | None, order: TryCircuit) -> OwnCircuit:
    """Raises NoCircuit."""
    wishes = Wishes(
        hops=len(order.through) or order.hops, needs_exit=order.to_exit, exit_region=order.exit_region
    )
    if not order.through:
        return await builder.build(wishes)
    return await builder.build_over([_listed(directory, each) for each in order.through], wishes)


def _listed(directory: Directory | None, identity: bytes) -> Relay:
    relay = None if directory is None else directory.relays.get(identity)
    if relay is None:
        raise NoCircuit(f"The relay {identity.hex()[:8]}… is not in this node's directory.")
    return relay


async def _try(own: OwnCircuit, order: TryCircuit) -> CircuitTried:
    path = [relay.identity for relay in own.path]
    sent = os.urandom(order.size)
    began = time.perf_counter()
    try:
        echoed, ending = await _echo(own.circuit.open_stream(ECHO), sent)
    except OnionError as error:
        echoed, ending = b"", str(error)
    took = time.perf_counter() - began
    if echoed != sent:
        sentence = f"The bytes did not come back as they were sent: {ending or 'they were changed'}."
        return CircuitTried(trial=order.trial, ok=False, sentence=sentence, path=path)
    return CircuitTried(
        trial=order.trial,
        ok=True,
        path=path,
        build_ms=1000 * own.build_s,
        echo_ms=1000 * took,
        kbps=round(2 * order.size / KILOBIT / took),
    )


async def _echo(stream: Stream, sent: bytes) -> tuple[bytes, str]:
    """What came back, and how the stream ended."""
    came = bytearray()
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    tell = _once(ended)

    def on_data(data: bytes) -> None:
        if len(came) + len(data) <= len(sent):
            came.extend(data)
        else:
            tell("more than was sent came back")

    stream.set_reader(on_data, tell)
    stream.write(sent)
    stream.finish()
    try:
        ending = await ended
    finally:
        stream.abort("done")
    return bytes(came), ending


def _once(told: asyncio.Future[str]) -> Callable[[str], None]:
    def tell(what: str) -> None:
        if not told.done():
            told.set_result(what)

    return tell
