"""Who may hold a link with this node, and what TLS is told about it.

Python's TLS verifies certificates by trust anchors only. So each certificate that was ever admitted is an
anchor for the links that this node accepts, and once TLS has found that the other end holds its key, the link
is judged by exactly the bytes that were shown: an anchor that is admitted no longer, or that signed for
somebody else, opens nothing.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable
from typing import NamedTuple

from fogagent.overlay.certificates import BadCertificate, LinkCertificate, named_identity
from fogagent.overlay.link_errors import HandshakeFailed

SLICE = 32
"""So many anchors are loaded at once: OpenSSL sorts all of them for each, and thousands take a second."""

log = logging.getLogger("fogagent")


class Peer(NamedTuple):
    identity: bytes
    """Ed25519 public key, 32 bytes."""
    certificate: bytes
    """DER of the certificate that it shows on links; it must name the identity."""
    address: str
    """``host:port``, an IPv6 address in brackets; empty: it cannot be dialled."""


class Trust:
    """The admitted peers, and TLS contexts that let in them alone. To be used from one thread."""

    def __init__(self, certificate: LinkCertificate) -> None:
        self._certificate = certificate
        self._peers: dict[bytes, Peer] = {}
        self._named: dict[bytes, bytes] = {}
        """By certificate: whom it names, nobody where it is of no use."""
        self._left_out: set[Peer] = set()
        self._anchors: set[bytes] = set()
        self._missing: list[bytes] = []
        self.accepting = self._fresh_context(ssl.PROTOCOL_TLS_SERVER)
        """For links that others open; it knows those whom `load_some` has come to."""

    def admit(self, peers: Iterable[Peer]) -> None:
        """From now on these and no others. A peer whose certificate does not name it is left out."""
        entries, known = list(peers), self._named
        self._named = {}
        for certificate in (peer.certificate for peer in entries):
            name = known.get(certificate)
            self._named[certificate] = _whom_it_names(certificate) if name is None else name
        self._peers = {p.identity: p for p in entries if self._named[p.certificate] == p.identity}
        self._leave_out({p for p in entries if self._named[p.certificate] != p.identity})
        self._missing = [p.certificate for p in self._peers.values() if p.certificate not in self._anchors]

    def _leave_out(self, peers: set[Peer]) -> None:
        for peer in peers - self._left_out:
            names = self._named[peer.certificate].hex() or "nobody"
            log.warning("No links with %s: its certificate names %s.", peer.identity.hex(), names)
        self._left_out = peers

    def peer(self, identity: bytes) -> Peer | None:
        return self._peers.get(identity)

    def whose(self, certificate: bytes) -> Peer | None:
        """The admitted peer that shows this certificate."""
        peer = self._peers.get(self._named.get(certificate, b""))
        return peer if peer is not None and peer.certificate == certificate else None

    def load_some(self) -> bool:
        """Load anchors of those who may connect, for a few milliseconds; returns whether more are to come."""
        batch, self._missing = self._missing[:SLICE], self._missing[SLICE:]
        for certificate in batch:
            self._anchors.add(certificate)
            try:
                self.accepting.load_verify_locations(cadata=certificate)
            except ssl.SSLError as error:
                log.warning(
                    "TLS cannot use the link certificate of %s: %s", self._named[certificate].hex(), error
                )
        return bool(self._missing)

    def dialling(self, peer: Peer) -> ssl.SSLContext:
        """For a link to this peer: nobody else's certificate will do.

        Raises:
            HandshakeFailed: TLS cannot use the certificate, or our own can no longer be read.
        """
        try:
            context = self._fresh_context(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(cadata=peer.certificate)
        except OSError as error:
            raise HandshakeFailed(f"TLS cannot use the certificates: {error}.", retry=False) from error
        return context

    def _fresh_context(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # it is identities that count
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an anchor need not be an authority
        if protocol == ssl.PROTOCOL_TLS_SERVER:
            context.num_tickets = 0  # links live long, and nobody resumes one
        self._certificate.load_into(context)
        return context


def _whom_it_names(certificate: bytes) -> bytes:
    try:
        return named_identity(certificate)
    except BadCertificate:
        return b""
