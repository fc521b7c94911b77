"""How `bench onion` fetches: what it says to a SOCKS server, and that it looks at what came."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from bench import through_socks
from bench.served_bytes import LOOPBACK, content
from bench.through_socks import (
    ROUNDS,
    SMALL,
    SMALL_FETCHES,
    SocksRefused,
    direct,
    fetch,
    measure,
    open_through,
    served_bytes,
)

GREETED = b"\x05\x00"
CONNECTED = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38"


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", b"\x01\x7f\x00\x00\x01"),
        ("::1", b"\x04" + bytes(15) + b"\x01"),
        ("fog.example", b"\x03\x0bfog.example"),
    ],
)
def test_addresses_are_packed_and_names_are_left_to_the_far_end(
    ends: tuple[socket.socket, socket.socket], host: str, address: bytes
) -> None:
    near, far = ends
    far.sendall(GREETED + CONNECTED + b"first")
    open_through(near, host, 1080)
    assert far.recv(100) == b"\x05\x01\x00\x05\x01\x00" + address + b"\x04\x38"
    assert near.recv(100) == b"first"  # of the stream itself


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (GREETED + b"\x05\x02\x00\x01", "not allowed by its rules"),
        (GREETED + b"\x05\xf7\x00\x01", "reply 247"),
        (b"\x05\xff", "without authentication"),
        (GREETED + b"\x05\x00", "hung up"),
    ],
)
def test_a_refusal_says_why(ends: tuple[socket.socket, socket.socket], said: bytes, reason: str) -> None:
    near, far = ends
    far.sendall(said)
    far.shutdown(socket.SHUT_WR)
    with pytest.raises(SocksRefused, match=reason):
        open_through(near, "127.0.0.1", 80)


@pytest.mark.parametrize("spoiled", [content(8)[:-1], content(8) + b"!", content(8)[:-1] + b"!", b""])
def test_other_bytes_than_were_served_are_no_figure(
    ends: tuple[socket.socket, socket.socket], spoiled: bytes
) -> None:
    near, far = ends
    far.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + spoiled)
    far.shutdown(socket.SHUT_WR)
    with pytest.raises(AssertionError, match="not the 8 served"):
        fetch(lambda *_: near, (LOOPBACK, 80), 8, bytearray(2048))


def test_what_is_served_is_what_comes() -> None:
    with served_bytes() as port:
        fetched = fetch(direct, (LOOPBACK, port), SMALL, bytearray(2 * SMALL))
    assert 0 < fetched.first_byte_s <= fetched.took_s


def test_those_that_are_compared_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(through_socks, "LARGE", 4 * SMALL)
    turns: list[str] = []

    def way(name: str) -> Callable[[str, int], socket.socket]:
        def connect(host: str, port: int) -> socket.socket:
            turns.append(name)
            return direct(host, port)

        return connect

    with served_bytes() as port:
        figures = measure([way("ours"), way("peer")], port)
    in_a_round = 1 + SMALL_FETCHES
    assert turns == ["ours", "peer"] + ROUNDS * (in_a_round * ["ours"] + in_a_round * ["peer"])
    assert all(0 < of.throughput_mb_s <= of.throughput_best_mb_s for of in figures)
