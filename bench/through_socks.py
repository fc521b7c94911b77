"""What streams through a SOCKS5 port are worth: how many bytes a second, and how soon the first one comes.

The same client and the same local server for whoever is measured, ours and peers alike, and for a direct
connection, which is the bound of both. ``python -m bench.through_socks PORT`` prints the figures as JSON.

Those that are to be compared take turns: in each of several rounds each has one fetch of 64 MiB and a few of
1 KiB, so that what else runs on the machine falls on all of them. Throughput is the median of the large
fetches, each on a stream of its own, from the moment before connecting to the last byte, after one that does
not count: the windows of a circuit have settled by then, as they have for anybody who uses it for long. The
best stands beside it: what else runs only ever takes away. What came is compared with what was served after
each fetch, outside its time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache, partial
from ipaddress import IPv4Address, ip_address
from itertools import chain
from typing import TypeAlias

from bench.load_program import LoadProgram
from bench.served_bytes import LOOPBACK, content

LARGE, SMALL = 64 * 2**20, 1024  # bytes
ROUNDS, SMALL_FETCHES = 7, 15  # and one large fetch in each round
HEAD_BYTES = 1024  # more than the server says before the content
PATIENCE_S = 60.0
MB = 1e6

VERSION, NO_AUTHENTICATION, CONNECT, SUCCEEDED = 5, 0, 1, 0  # RFC 1928
IPV4, NAME, IPV6 = 1, 3, 4
ADDRESS_BYTES = {IPV4: 4, IPV6: 16}
REPLIES = (
    "succeeded", "general failure", "not allowed by its rules", "network unreachable", "host unreachable",
    "connection refused", "took too long", "command not supported", "address type not supported",
)  # fmt: skip

Connect: TypeAlias = Callable[[str, int], socket.socket]


class SocksRefused(Exception):
    """A SOCKS server did not open a stream; ``str`` says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFigures:
    throughput_mb_s: float  # millions of bytes a second, the median
    throughput_best_mb_s: float
    first_byte_p50_ms: float  # from the moment before connecting, on a fresh stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    rate_mb_s: float
    first_bytes_s: Sequence[float]


def measure(ways: Sequence[Connect], port: int, host: str = LOOPBACK) -> list[StreamFigures]:
    """Fetch by each of these ways from ``served_bytes`` at ``port``; ``host`` is what the far ends know this
    machine by.

    Raises:
        SocksRefused: no stream was opened.
        OSError: a connection broke or said nothing for a minute.
    """
    fetches = [partial(fetch, way, (host, port), buffer=bytearray(HEAD_BYTES + LARGE)) for way in ways]
    for each in fetches:
        each(LARGE)
    rounds = [[_one_round(each) for each in fetches] for _ in range(ROUNDS)]
    return [_figures(of_one) for of_one in zip(*rounds, strict=True)]


def _one_round(fetch: Callable[[int], Fetched]) -> Round:
    return Round(
        rate_mb_s=LARGE / MB / fetch(LARGE).took_s,
        first_bytes_s=[fetch(SMALL).first_byte_s for _ in range(SMALL_FETCHES)],
    )


def _figures(rounds: Sequence[Round]) -> StreamFigures:
    rates = [each.rate_mb_s for each in rounds]
    return StreamFigures(
        throughput_mb_s=statistics.median(rates),
        throughput_best_mb_s=max(rates),
        first_byte_p50_ms=1000
        * statistics.median(chain.from_iterable(each.first_bytes_s for each in rounds)),
    )


@contextmanager
def served_bytes() -> Iterator[int]:
    """The port of the local server, which runs in a process of its own for as long as it is needed."""
    with LoadProgram.started("bench.served_bytes") as server:
        yield server.tell("port")


# --- One fetch -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fetched:
    first_byte_s: float
    took_s: float


def fetch(connect: Connect, target: tuple[str, int], size: int, buffer: bytearray) -> Fetched:
    """Fetch ``size`` bytes on a fresh stream; they must be those that were served."""
    began = time.perf_counter()
    with connect(*target) as stream:
        stream.sendall(b"GET /%d HTTP/1.0\r\n\r\n" % size)
        received = stream.recv_into(buffer)
        first_byte_s = time.perf_counter() - began
        with memoryview(buffer) as room:
            while more := stream.recv_into(room[received:]):
                received += more
    took_s = time.perf_counter() - began
    _check(memoryview(buffer)[:received], size)
    return Fetched(first_byte_s, took_s)


def _check(answer: memoryview, size: int) -> None:
    head, _, _ = bytes(answer[:HEAD_BYTES]).partition(b"\r\n\r\n")
    body = answer[len(head) + 4 :]
    assert hashlib.sha256(body).digest() == _digest(size), f"{len(body)} bytes came, not the {size} served"


@cache
def _digest(size: int) -> bytes:
    return hashlib.sha256(content(size)).digest()


# --- Ways to connect -------------------------------------------------------------------------------


def direct(host: str, port: int) -> socket.socket:
    stream = socket.create_connection((host, port), PATIENCE_S)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    return stream


def through(socks_port: int) -> Connect:
    """Connect through the SOCKS5 server on loopback at ``socks_port``; names are resolved at the far end."""

    def connect(host: str, port: int) -> socket.socket:
        stream = direct(LOOPBACK, socks_port)
        try:
            open_through(stream, host, port)
        except BaseException:
            stream.close()
            raise
        return stream

    return connect


def open_through(stream: socket.socket, host: str, port: int) -> None:
    """Ask the SOCKS server at the other end of ``stream`` to connect it. Raises SocksRefused."""
    stream.sendall(bytes([VERSION, 1, NO_AUTHENTICATION]))
    if _exactly(stream, 2) != bytes([VERSION, NO_AUTHENTICATION]):
        raise SocksRefused("the SOCKS server does not serve without authentication")
    stream.sendall(bytes([VERSION, CONNECT, 0]) + _packed(host) + port.to_bytes(2))
    _, reply, _, kind = _exactly(stream, 4)
    if reply != SUCCEEDED:
        said = REPLIES[reply] if reply < len(REPLIES) else f"reply {reply}"
        raise SocksRefused(f"the SOCKS server did not connect to {host}:{port}: {said}")
    bound = _exactly(stream, 1)[0] if kind == NAME else ADDRESS_BYTES[kind]
    _exactly(stream, bound + 2)


def _packed(host: str) -> bytes:
    try:
        address = ip_address(host)
    except ValueError:
        name = host.encode("idna")
        return bytes([NAME, len(name)]) + name
    return bytes([IPV4 if isinstance(address, IPv4Address) else IPV6]) + address.packed


def _exactly(stream: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        if not (more := stream.recv(size - len(received))):
            raise SocksRefused("the SOCKS server hung up")
        received += more
    return received


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.through_socks")
    parser.add_argument("port", type=int, help="of a SOCKS5 server on loopback")
    parser.add_argument("--host", default=LOOPBACK, help="what its far end knows this machine by")
    asked = parser.parse_args()
    with served_bytes() as port:
        figures = measure([through(asked.port), direct], port, asked.host)
    print(json.dumps(dict(zip(("through", "direct"), map(asdict, figures), strict=True))))


if __name__ == "__main__":
    main()
