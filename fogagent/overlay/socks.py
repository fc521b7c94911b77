"""SOCKS 5 as its server hears it (RFC 1928, RFC 1929): bytes in, bytes to answer and one request out.

Only CONNECT. It knows no network and no clock, and keeps at most one message of a client, some hundred bytes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from fogagent.messages import SocksPassword
from fogagent.overlay.stream import BadTarget, Isolation, Reason, Target

VERSION = 5
NO_AUTHENTICATION, USER_PASSWORD, NO_METHOD = 0, 2, 0xFF
USER_PASSWORD_VERSION = 1
CONNECT = 1
IPV4, NAME, IPV6 = 1, 3, 4
TLS_HANDSHAKE = 22


class Reply(IntEnum):
    """What the answer to a request says (RFC 1928, section 6)."""

    SUCCEEDED = 0
    FAILURE = 1
    NOT_ALLOWED = 2
    HOST_UNREACHABLE = 4
    REFUSED = 5
    TTL_EXPIRED = 6
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_NOT_SUPPORTED = 8


REPLIES = {
    Reason.NOT_ALLOWED: Reply.NOT_ALLOWED,
    Reason.CANNOT_RESOLVE: Reply.HOST_UNREACHABLE,
    Reason.REFUSED: Reply.REFUSED,
    Reason.UNREACHABLE: Reply.HOST_UNREACHABLE,
    Reason.TIMEOUT: Reply.TTL_EXPIRED,
    Reason.BUSY: Reply.FAILURE,
    Reason.FAILED: Reply.FAILURE,
}


class Fault(StrEnum):
    """Why a client's bytes are no request for a stream, by name."""

    SOCKS4 = "socks4"
    HTTP = "http"
    TLS = "tls"
    GARBAGE = "garbage"
    NO_METHOD = "no-method"
    NO_PASSWORD = "no-password"
    WRONG_PASSWORD = "wrong-password"
    COMMAND = "command-not-supported"
    ADDRESS_TYPE = "address-type-not-supported"
    BAD_TARGET = "bad-target"


class SocksError(Exception):
    """The client's fault. ``answer`` should be sent before the connection ends."""

    def __init__(self, fault: Fault, sentence: str, answer: bytes = b"") -> None:
        super().__init__(sentence)
        self.fault, self.answer = fault, answer


@dataclass(frozen=True)
class Request:
    target: Target
    isolation: Isolation


def reply(code: Reply) -> bytes:
    """An answer to a request. The bound address is zero: it would be that of the exit, and is not told."""
    return bytes((VERSION, code, 0, IPV4)) + bytes(6)


HTTP_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
    b"This port speaks SOCKS 5, not HTTP. Enter it as a SOCKS host, or as socks5h:// in a proxy setting.\n"
)
SOCKS4_ANSWER = bytes((0, 91)) + bytes(6)  # "rejected or failed", in the words of version 4


class SocksParser:
    """One connection of a client: ``request`` is there once all of it has come.

    A client may send everything at once without waiting for answers; what follows the request is ``rest``.
    Where ``entitled`` is given, a client needs a user and password that it finds; ``password`` is what it
    found. Otherwise any pair will do: it only isolates.
    """

    def __init__(self, entitled: Callable[[bytes, bytes], SocksPassword | None] | None = None) -> None:
        self.request: Request | None = None
        self.password: SocksPassword | None = None
        self._entitled = entitled
        self._buffer = bytearray()
        self._isolation = Isolation()
        self._error: SocksError | None = None
        self._step: Callable[[], bytes | None] = self._greeting

    @property
    def rest(self) -> bytes:
        return bytes(self._buffer) if self.request is not None else b""

    def receive(self, data: bytes) -> bytes:
        """Take what came and return what to answer.

        Raises:
            SocksError: it is no request for a stream. So is everything after it.
        """
        if self._error is not None:
            raise self._error
        self._buffer += data
        answers = bytearray()
        try:
            while self.request is None and (answer := self._step()) is not None:
                answers += answer
        except SocksError as error:
            self._buffer.clear()
            error.answer = bytes(answers) + error.answer
            self._error = error
            raise
        return bytes(answers)

    # Each step returns what to answer, or None while its message is not complete.

    def _greeting(self) -> bytes | None:
        if self._buffer and self._buffer[0] != VERSION:
            raise _not_socks5(self._buffer[0])
        if len(self._buffer) < 2 or (message := self._take(2 + self._buffer[1])) is None:
            return None
        methods = message[2:]
        # The one that isolates goes first: a client that has a user offers none as well, as a courtesy.
        if USER_PASSWORD in methods:
            self._step = self._user_password
            return bytes((VERSION, USER_PASSWORD))
        if self._entitled is not None:
            raise SocksError(
                Fault.NO_PASSWORD,
                "The client has no password, and this port asks for one.",
                bytes((VERSION, NO_METHOD)),
            )
        if NO_AUTHENTICATION in methods:
            self._step = self._target
            return bytes((VERSION, NO_AUTHENTICATION))
        raise SocksError(
            Fault.NO_METHOD,
            "The client offers neither 'no authentication' nor user and password.",
            bytes((VERSION, NO_METHOD)),
        )

    def _user_password(self) -> bytes | None:
        buffer = self._buffer
        if buffer and buffer[0] != USER_PASSWORD_VERSION:
            raise SocksError(
                Fault.GARBAGE, "Where a user and password were due came something else.", b"\x01\x01"
            )
        if len(buffer) < 2 or len(buffer) < 3 + buffer[1]:
            return None
        split = 2 + buffer[1]
        message = self._take(split + 1 + buffer[split])
        if message is None:
            return None
        self._isolation = Isolation(message[2:split], message[split + 1 :])
        if self._entitled is not None:
            self.password = self._entitled(self._isolation.user, self._isolation.password)
            if self.password is None:
                raise _refused(self._isolation)
        self._step = self._target
        return bytes((USER_PASSWORD_VERSION, 0))

    def _target(self) -> bytes | None:
        if len(self._buffer) < 5:  # up to the length of a name
            return None
        version, command, _, kind, length = self._buffer[:5]
        _check_request(version, command, kind)
        start, size = {IPV4: (4, 4), IPV6: (4, 16), NAME: (5, length)}[kind]
        message = self._take(start + size + 2)
        if message is None:
            return None
        host, port = message[start : start + size], int.from_bytes(message[-2:], "big")
        try:
            target = Target(_host(kind, host), port)
        except BadTarget as error:
            raise SocksError(Fault.BAD_TARGET, str(error), reply(Reply.FAILURE)) from error
        self.request = Request(target, self._isolation)
        return b""

    def _take(self, size: int) -> bytes | None:
        if len(self._buffer) < size:
            return None
        message = bytes(self._buffer[:size])
        del self._buffer[:size]
        return message


def _refused(given: Isolation) -> SocksError:
    answer = bytes((USER_PASSWORD_VERSION, 1))
    if not given.password:
        return SocksError(Fault.NO_PASSWORD, "The client has a user and no password.", answer)
    return SocksError(
        Fault.WRONG_PASSWORD, "The client's user and password are not those of anybody.", answer
    )


def _not_socks5(first: int) -> SocksError:
    if first == 4:
        return SocksError(Fault.SOCKS4, "The client speaks SOCKS 4; this port speaks SOCKS 5.", SOCKS4_ANSWER)
    if chr(first) in "GHPODTC":  # GET, HEAD, POST, PUT, PATCH, OPTIONS, DELETE, TRACE, CONNECT
        return SocksError(Fault.HTTP, "The client speaks HTTP; this port speaks SOCKS 5.", HTTP_ANSWER)
    if first == TLS_HANDSHAKE:
        return SocksError(Fault.TLS, "The client speaks TLS; this port speaks SOCKS 5.")
    return SocksError(Fault.GARBAGE, "The client does not speak SOCKS 5.")


def _check_request(version: int, command: int, kind: int) -> None:
    if version != VERSION:
        raise SocksError(Fault.GARBAGE, "Where a request was due came something else.", reply(Reply.FAILURE))
    if command != CONNECT:
        name = {2: "BIND", 3: "UDP ASSOCIATE"}.get(command, f"Command {command}")
        raise SocksError(
            Fault.COMMAND, f"{name} is not supported, only CONNECT is.", reply(Reply.COMMAND_NOT_SUPPORTED)
        )
    if kind not in (IPV4, IPV6, NAME):
        raise SocksError(
            Fault.ADDRESS_TYPE, f"There is no address type {kind}.", reply(Reply.ADDRESS_NOT_SUPPORTED)
        )


def _host(kind: int, raw: bytes) -> str:
    return raw.decode("ascii", "backslashreplace") if kind == NAME else str(ipaddress.ip_address(raw))
