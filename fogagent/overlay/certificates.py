"""The certificate by which an agent proves on links who it is.

It belongs to a key of its own, not to the identity: the identity signs for the panel, and a key that TLS
libraries handle should be worth nothing there. Its subject is the identity in hex, so that whoever copies
another's certificate into its own entry of the directory is found out: it names somebody else.

Nothing else is in it: no host name, no address, and not even the time at which it was made, for its dates
are the same in every certificate.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from fogagent import private_file

VALID_FROM = datetime(1970, 1, 1, tzinfo=UTC)
"""So that a node whose clock stands at zero after a power cut still links."""
VALID_UNTIL = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""What RFC 5280, 4.1.2.5 prescribes for "no end": the directory says who counts, not a date in here."""


class BadCertificate(Exception):
    """Not a link certificate. ``str`` says why."""


@dataclass(frozen=True)
class LinkCertificate:
    """An agent's own certificate with its private key, in a file that only its user can read.

    The private key stays in the file, for Python's TLS reads it from nowhere else.
    """

    path: Path
    identity: bytes
    der: bytes

    @classmethod
    def load_or_create(cls, path: Path, identity: bytes) -> LinkCertificate:
        """Read what is at ``path``; where there is nothing, make it for this identity, with mode 600.

        Args:
            identity: the agent's Ed25519 public key, 32 bytes.

        Raises:
            ValueError: the file is there but holds no certificate with its key, or another identity's.
        """
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            private_file.create(path, _generate(identity))
            return cls.load_or_create(path, identity)
        der = _checked(path, text)
        if (named := named_identity(der)) != identity:
            raise ValueError(
                f"{path} belongs to the identity {named.hex()}, this agent is {identity.hex()}: remove the "
                "file to have a new one made."
            )
        return cls(path, identity, der)

    def load_into(self, context: ssl.SSLContext) -> None:
        """Have connections of this context show the certificate."""
        context.load_cert_chain(self.path)


def named_identity(der: bytes) -> bytes:
    """The identity that a link certificate names, 32 bytes.

    Raises:
        BadCertificate: it is no certificate, or names no identity.
    """
    try:
        (name,) = x509.load_der_x509_certificate(der).subject
        identity = bytes.fromhex(str(name.value))
    except (ValueError, x509.InvalidVersion) as error:
        raise BadCertificate(f"Not a link certificate: {error}") from error
    if len(identity) != 32:
        raise BadCertificate("The certificate names no identity of 32 bytes.")
    return identity


def _generate(identity: bytes) -> bytes:
    """A new key and its certificate, as PEM."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.hex())])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(VALID_FROM)
        .not_valid_after(VALID_UNTIL)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, algorithm=None)
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)


def _checked(path: Path, text: bytes) -> bytes:
    """The certificate in the file, as DER. Raises ValueError unless its key is there too and fits."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path)
        return x509.load_pem_x509_certificate(text).public_bytes(Encoding.DER)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"{path} is not a link certificate with its key: {error}") from error
