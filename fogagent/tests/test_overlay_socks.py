"""The SOCKS 5 parser: whole requests, requests in pieces, and everything that is none."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fogagent.overlay.socks import REPLIES, Fault, Reply, Request, SocksError, SocksParser, reply
from fogagent.overlay.stream import Isolation, Reason, Target

NO_AUTH = b"\x05\x01\x00"
USER_PASSWORD = b"\x05\x02\x00\x02"
GENERAL_FAILURE = b"\x05\x01\x00\x01" + bytes(6)


def connect(host: bytes, port: int, kind: int = 3) -> bytes:
    length = bytes([len(host)]) if kind == 3 else b""
    return b"\x05\x01\x00" + bytes([kind]) + length + host + port.to_bytes(2, "big")


def user(name: bytes, password: bytes) -> bytes:
    return b"\x01" + bytes([len(name)]) + name + bytes([len(password)]) + password


def parse(*pieces: bytes) -> tuple[bytes, Request | None, bytes]:
    """What is answered in all, the request, and the rest."""
    parser = SocksParser()
    answers = b"".join(parser.receive(piece) for piece in pieces)
    return answers, parser.request, parser.rest


def test_a_name_is_passed_on_unresolved() -> None:
    answers, request, rest = parse(NO_AUTH, connect(b"Example.org", 443))
    assert answers == b"\x05\x00"
    assert request == Request(Target("Example.org", 443), Isolation())
    assert rest == b""


@pytest.mark.parametrize(
    ("kind", "raw", "host"),
    [
        (1, bytes([192, 0, 2, 7]), "192.0.2.7"),
        (4, bytes.fromhex("20010db8000000000000000000000001"), "2001:db8::1"),
        (3, b"192.0.2.7", "192.0.2.7"),
        (3, b"2001:db8::1", "2001:db8::1"),
        (3, b"_service.example.", "_service.example."),
    ],
)
def test_address_types(kind: int, raw: bytes, host: str) -> None:
    _, request, _ = parse(NO_AUTH + connect(raw, 80, kind))
    assert request is not None and request.target == Target(host, 80)


def test_user_and_password_isolate_and_are_preferred() -> None:
    answers, request, _ = parse(USER_PASSWORD, user(b"alice", b"\xff\0"), connect(b"a.example", 1))
    assert answers == b"\x05\x02" + b"\x01\x00"
    assert request is not None and request.isolation == Isolation(b"alice", b"\xff\0")


def test_an_empty_pair_is_accepted() -> None:
    _, request, _ = parse(USER_PASSWORD + user(b"", b"") + connect(b"a.example", 1))
    assert request is not None and request.isolation == Isolation()


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Isolation(b"alice", b"secret"))


def test_what_follows_the_request_is_the_rest() -> None:
    everything = NO_AUTH + connect(b"a.example", 80) + b"GET / HTTP/1.0\r\n"
    assert parse(everything)[2] == b"GET / HTTP/1.0\r\n"


@pytest.mark.parametrize(
    ("sent", "fault", "answer"),
    [
        (b"\x04\x01\x00\x50\x01\x01\x01\x01\0", Fault.SOCKS4, b"\x00\x5b" + bytes(6)),
        (b"\x16\x03\x01", Fault.TLS, b""),
        (b"\x00", Fault.GARBAGE, b""),
        (b"SSH-2.0-x", Fault.GARBAGE, b""),
        (b"\x05\x01\x01", Fault.NO_METHOD, b"\x05\xff"),
        (b"\x05\x00", Fault.NO_METHOD, b"\x05\xff"),
        (USER_PASSWORD + b"\x05", Fault.GARBAGE, b"\x05\x02" + b"\x01\x01"),
        (NO_AUTH + b"\x04\x01\x00\x01\x01", Fault.GARBAGE, b"\x05\x00" + GENERAL_FAILURE),
        (NO_AUTH + b"\x05\x02\x00\x01\x01", Fault.COMMAND, b"\x05\x00\x05\x07\x00\x01" + bytes(6)),
        (NO_AUTH + b"\x05\x03\x00\x01\x01", Fault.COMMAND, b"\x05\x00\x05\x07\x00\x01" + bytes(6)),
        (NO_AUTH + b"\x05\xf0\x00\x03\x01", Fault.COMMAND, b"\x05\x00\x05\x07\x00\x01" + bytes(6)),
        (NO_AUTH + b"\x05\x01\x00\x02\x01", Fault.ADDRESS_TYPE, b"\x05\x00\x05\x08\x00\x01" + bytes(6)),
        (NO_AUTH + connect(b"", 80), Fault.BAD_TARGET, b"\x05\x00" + GENERAL_FAILURE),
        (NO_AUTH + connect(b"a b", 80), Fault.BAD_TARGET, b"\x05\x00" + GENERAL_FAILURE),
        (NO_AUTH + connect(b"a\0b", 80), Fault.BAD_TARGET, b"\x05\x00" + GENERAL_FAILURE),
        (NO_AUTH + connect(b"fe80::1%1", 80), Fault.BAD_TARGET, b"\x05\x00" + GENERAL_FAILURE),
        (NO_AUTH + connect("bücher.example".encode(), 80), Fault.BAD_TARGET, b"\x05\x00" + GENERAL_FAILURE),
        (NO_AUTH + connect(b"a" * 254, 80), Fault.BAD_TARGET, b"\x05\x00" + GENERAL_FAILURE),
        (NO_AUTH + connect(b"a.example", 0), Fault.BAD_TARGET, b"\x05\x00" + GENERAL_FAILURE),
    ],
)
def test_faults_are_named_and_answered(sent: bytes, fault: Fault, answer: bytes) -> None:
    with pytest.raises(SocksError) as raised:
        SocksParser().receive(sent)
    assert (raised.value.fault, raised.value.answer) == (fault, answer)


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1\r\n", b"CONNECT a.example:443 HTTP/1.1\r\n", b"POST /"])
def test_http_is_told_what_this_port_speaks(line: bytes) -> None:
    with pytest.raises(SocksError) as raised:
        SocksParser().receive(line)
    assert raised.value.fault == Fault.HTTP
    head, _, body = raised.value.answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and b"speaks SOCKS 5, not HTTP" in body


def test_unsupported_commands_are_named() -> None:
    with pytest.raises(SocksError, match="UDP ASSOCIATE is not supported, only CONNECT is"):
        SocksParser().receive(NO_AUTH + b"\x05\x03\x00\x01\x01")


def test_after_a_fault_nothing_becomes_a_request() -> None:
    parser = SocksParser()
    for sent in (b"\x04", NO_AUTH, connect(b"a.example", 1)):
        with pytest.raises(SocksError) as raised:
            parser.receive(sent)
        assert raised.value.fault == Fault.SOCKS4
    assert parser.request is None and parser.rest == b""


def test_every_reason_has_its_reply() -> None:
    assert set(REPLIES) == set(Reason)
    assert reply(Reply.NOT_ALLOWED) == bytes.fromhex("05020001000000000000")


# --- Any split, any garbage --------------------------------------------------------------------------

hosts = st.from_regex(r"[A-Za-z0-9_.-]{1,253}", fullmatch=True)
pairs = st.none() | st.tuples(st.binary(max_size=255), st.binary(max_size=255))


def feed(
    data: bytes, cuts: list[int], parser: SocksParser | None = None
) -> tuple[bytes, Request | None, bytes, Fault | None]:
    """Feed it cut at these places; whatever comes is a request, a fault, or not yet either."""
    parser, answers = parser or SocksParser(), b""
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    for start, end in pairwise(places):
        if parser.request is not None:
            return answers, parser.request, parser.rest + data[start:], None
        try:
            answers += parser.receive(data[start:end])
        except SocksError as error:
            return answers + error.answer, None, b"", error.fault
    return answers, parser.request, parser.rest, None


@given(hosts, st.integers(1, 65535), pairs, st.binary(max_size=20), st.lists(st.integers(0, 900)))
def test_a_request_is_read_alike_however_it_is_cut(
    host: str, port: int, pair: tuple[bytes, bytes] | None, rest: bytes, cuts: list[int]
) -> None:
    hello = NO_AUTH if pair is None else USER_PASSWORD + user(*pair)
    answers, request, left, fault = feed(hello + connect(host.encode(), port) + rest, cuts)
    assert fault is None
    assert request == Request(Target(host, port), Isolation(*pair or (b"", b"")))
    assert answers == (b"\x05\x00" if pair is None else b"\x05\x02\x01\x00")
    assert left == rest


prefixes = st.sampled_from([b"", b"\x05", NO_AUTH, USER_PASSWORD, USER_PASSWORD + user(b"a", b"b")])
commands = st.sampled_from([b"", b"\x05\x01\x00\x01", b"\x05\x01\x00\x03", b"\x05\x01\x00\x04"])


@given(prefixes, commands, st.binary(max_size=600), st.lists(st.integers(0, 900)))
@example(b"", b"", b"\x05\xff", [1])
def test_garbage_is_judged_alike_however_it_is_cut_and_raises_nothing_else(
    prefix: bytes, command: bytes, garbage: bytes, cuts: list[int]
) -> None:
    data = prefix + command + garbage
    assert feed(data, cuts) == feed(data, []) == feed(data, list(range(len(data))))


@given(prefixes, commands, st.binary(max_size=2000))
def test_an_unfinished_request_is_kept_in_little_memory(prefix: bytes, command: bytes, data: bytes) -> None:
    parser = SocksParser()
    for byte in prefix + command + data:
        if parser.request is not None:
            break
        try:
            parser.receive(bytes([byte]))
        except SocksError:
            assert not parser._buffer
            break
        assert len(parser._buffer) <= 3 + 2 * 255
