"""Who an agent is, and how it and the panel prove themselves to each other.

An identity is an Ed25519 key (signing) and an X25519 key (sealing), made on the machine and never
sent anywhere. Every use of Ed25519 has a prefix of its own, so that a signature made for one purpose
is worth nothing for another.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fogagent import private_file

ENROL = b"fogpanel enrol v1\0"
AGENT_HELLO = b"fogpanel agent hello v1\0"
PANEL_WELCOME = b"fogpanel panel welcome v1\0"


class BadSignature(Exception):
    """A signature that does not fit its key, purpose or text."""


@dataclass(frozen=True)
class Identity:
    signing: Ed25519PrivateKey
    sealing: X25519PrivateKey

    @classmethod
    def generate(cls) -> Identity:
        return cls(Ed25519PrivateKey.generate(), X25519PrivateKey.generate())

    @classmethod
    def load_or_create(cls, path: Path) -> Identity:
        """Read the two 32-byte keys at ``path``; where there is none, make it with mode 600.

        Raises:
            ValueError: the file is there but is not an identity.
        """
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            fresh = cls.generate()
            private_file.create(path, fresh.signing.private_bytes_raw() + fresh.sealing.private_bytes_raw())
            return cls.load_or_create(path)
        if len(raw) != 64:
            raise ValueError(f"{path} is not an identity: it must hold 64 bytes, has {len(raw)}.")
        return cls(
            Ed25519PrivateKey.from_private_bytes(raw[:32]), X25519PrivateKey.from_private_bytes(raw[32:])
        )

    @property
    def public_key(self) -> bytes:
        return self.signing.public_key().public_bytes_raw()

    @property
    def sealing_key(self) -> bytes:
        return self.sealing.public_key().public_bytes_raw()

    def sign(self, purpose: bytes, text: bytes) -> bytes:
        return self.signing.sign(purpose + text)


def verify(public_key: bytes, purpose: bytes, text: bytes, signature: bytes) -> None:
    """Raises BadSignature unless ``signature`` was made by ``public_key`` for this purpose and text."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, purpose + text)
    except (InvalidSignature, ValueError) as error:
        raise BadSignature("The signature does not fit the key.") from error


def transcript(
    *, panel_key: bytes, agent_key: bytes, panel_nonce: bytes, agent_nonce: bytes, url: str
) -> bytes:
    """What both sides of the handshake sign. All four binary parts are 32 bytes, the URL comes last."""
    return panel_key + agent_key + panel_nonce + agent_nonce + url.encode()


def enrolment_text(*, panel_key: bytes, agent_key: bytes, sealing_key: bytes, join_key: str) -> bytes:
    """What an agent signs to enrol: it holds the key it names, and asks this panel only."""
    return panel_key + agent_key + sealing_key + join_key.encode()
