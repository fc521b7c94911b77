"""Bringing an order and its sealed content to another node, over a circuit that is for this alone.

`fogagent.overlay.receiving` is the other end, and says what goes over the stream.
"""

from __future__ import annotations

import asyncio
import time
from typing import BinaryIO

from fogagent.messages import MAX_SENTENCE, Carried, Carry, NotCarried
from fogagent.overlay.onion.builder import NoCircuit
from fogagent.overlay.onion.client import OnionClient
from fogagent.overlay.onion.errors import OnionError
from fogagent.overlay.onion.own_circuit import OwnCircuit
from fogagent.overlay.onion.path import Wishes
from fogagent.overlay.onion.stream import Stream
from fogagent.overlay.reading import StreamBroken, reader_of
from fogagent.overlay.receiving import LENGTH_BYTES, PIECE_BYTES, TAKEN, TASK


class _NotTaken(Exception):
    """``str`` says why."""


def not_carried(order: Carry, kind: NotCarried, sentence: str, reason: str = "") -> Carried:
    """``reason``: the node's, where it refused."""
    return Carried(
        order=order.order,
        attempt=order.attempt,
        ok=False,
        sentence=sentence[:MAX_SENTENCE],
        kind=kind,
        reason=reason,
    )


async def carry(client: OnionClient, order: Carry, content: BinaryIO, within_s: float) -> Carried:
    """What came of the order; what failed is told, and nothing of it is raised.

    A path that cannot be built is given up for another one, as long as there is time.
    """
    until = asyncio.get_running_loop().time() + within_s
    try:
        async with asyncio.timeout_at(until):
            own = await client.builder.build(Wishes(hops=order.hops, exit_node=order.to, needs_exit=False))
    except NoCircuit as error:
        return not_carried(order, NotCarried.NO_CIRCUIT, f"There is no circuit to its node: {error}")
    except TimeoutError:
        why = f" {client.trouble}" if client.trouble else ""
        sentence = f"No circuit to its node could be built within {within_s:.3g} s.{why}"
        return not_carried(order, NotCarried.NO_CIRCUIT, sentence)
    name = own.path[-1].name
    try:
        async with asyncio.timeout_at(until):
            return await _bring(own, order, content)
    except _NotTaken as error:
        return not_carried(order, NotCarried.REFUSED, f"{name} did not take it: {error}")
    except OnionError as error:
        return not_carried(order, NotCarried.LOST, f"It was lost on its way to {name}: {error}")
    except StreamBroken as error:
        return _broken(order, name, error)
    except TimeoutError:
        return not_carried(order, NotCarried.TIMEOUT, f"{name} did not have it within {within_s:.3g} s.")
    finally:
        own.circuit.close()


def _broken(order: Carry, name: str, error: StreamBroken) -> Carried:
    if error.code == "circuit":
        return not_carried(order, NotCarried.LOST, f"It was lost on its way to {name}: {error}")
    return not_carried(order, NotCarried.REFUSED, f"It was refused by {name}: {error}", error.code)


async def _bring(own: OwnCircuit, order: Carry, content: BinaryIO) -> Carried:
    """Raises _NotTaken, StreamBroken, OnionError, OSError."""
    began = time.perf_counter()
    stream = own.circuit.open_stream(TASK)
    try:
        reader = reader_of(stream)
        await _send(stream, order.letter, content)
        answer = await reader.read(1)
    finally:
        stream.abort("done")
    if answer != TAKEN:
        raise _NotTaken("it gave no answer that is known here.")
    return Carried(
        order=order.order,
        attempt=order.attempt,
        ok=True,
        build_ms=1000 * own.build_s,
        took_ms=1000 * (time.perf_counter() - began),
        size=order.content.size,
    )


async def _send(stream: Stream, letter: bytes, content: BinaryIO) -> None:
    """All of it, no faster than it goes; no more of it once the stream is over."""
    stream.write(len(letter).to_bytes(LENGTH_BYTES, "big") + letter)
    while stream.ending is None and (piece := await asyncio.to_thread(content.read, PIECE_BYTES)):
        stream.write(piece)
        await stream.room()
    stream.finish()
