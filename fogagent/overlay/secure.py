"""TLS over memory: bytes of the wire in, plain bytes out, and the other way. Knows no socket.

asyncio's own TLS transport holds a buffer of 256 KiB for each connection, be it idle or a stranger's, and
tells nobody of handshakes that failed, so that those under way could not be counted.
"""

from __future__ import annotations

import ssl
from contextlib import suppress

from fogagent.overlay.link_errors import HandshakeFailed, LinkEnded, LinkError

RECORD_BYTES = 16 * 1024
"""A TLS record carries no more, and one read returns no more than a record."""


class SecureChannel:
    """One end of a TLS connection.

    Raises:
        LinkError: from every method: the connection is over. What `outgoing` still returns should be sent,
            so that the other end learns why.
    """

    def __init__(self, context: ssl.SSLContext, *, accepting: bool) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=accepting)
        self._ending: LinkError | None = None  # what reading came to, once all before it is taken

    def receive(self, wire: memoryview) -> None:
        """Take over what came from the network."""
        self._incoming.write(wire)

    def shake_hands(self) -> bytes | None:
        """The certificate of the other end, as DER, once it has proven its key; None: not yet."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLError as error:
            raise _handshake_failure(error) from error
        return self._tls.getpeercert(binary_form=True)

    def decrypt(self) -> bytes:
        """All that was received since the last time; empty: nothing yet."""
        records: list[bytes] = []
        while self._ending is None and self._may_have_more:
            try:
                record = self._tls.read(RECORD_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError as error:
                self._ending = _ending(error)
            else:
                if record:
                    records.append(record)
                else:
                    self._ending = LinkEnded("The peer closed the link.")
        if self._ending is not None and not records:
            raise self._ending
        return b"".join(records)  # an end comes with the next call

    @property
    def _may_have_more(self) -> bool:
        """Whether reading could give anything. TLS would say so too, but by an exception, and one for each
        time that a cell is looked for costs about as much as decrypting the cell."""
        return self._incoming.pending > 0 or self._tls.pending() > 0

    def encrypt(self, plain: bytes | memoryview) -> bytes:
        """For the network."""
        try:
            self._tls.write(plain)
        except ssl.SSLError as error:
            raise _ending(error) from error
        return self._outgoing.read()

    def outgoing(self) -> bytes:
        """What TLS itself has to say: handshakes, alerts, changes of keys."""
        return self._outgoing.read()

    @property
    def unsent(self) -> int:
        """How many bytes `outgoing` would return."""
        return self._outgoing.pending

    def say_goodbye(self) -> bytes:
        """So that the other end can tell a link that was closed from one that was cut."""
        with suppress(ssl.SSLError):
            self._tls.unwrap()
        return self._outgoing.read()


def _handshake_failure(error: ssl.SSLError) -> HandshakeFailed:
    if isinstance(error, ssl.SSLCertVerificationError):
        return HandshakeFailed("It showed a certificate that is not in the directory.", retry=True)
    return HandshakeFailed(f"The handshake failed: {_reason(error)}.", retry=True)


def _ending(error: ssl.SSLError) -> LinkError:
    reason = _reason(error)
    if "certificate" in reason or "unknown ca" in reason:
        # The accepting end judges our certificate only after our side of the handshake is done.
        return HandshakeFailed("It does not know this node, or not yet.", retry=True)
    return LinkEnded(f"TLS ended the link: {reason}.")


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "unknown").replace("_", " ").lower()
