"""The key by which a relay proves in a circuit's handshake that it is the one in the directory."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fogagent import private_file

KEY = 32


def load_or_create_onion_key(path: Path) -> X25519PrivateKey:
    """Read the 32-byte key at ``path``; where there is none, make it with mode 600.

    Raises:
        ValueError: the file is there but is no key.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        private_file.create(path, X25519PrivateKey.generate().private_bytes_raw())
        return load_or_create_onion_key(path)
    if len(raw) != KEY:
        raise ValueError(f"{path} is not an onion key: it must hold {KEY} bytes, has {len(raw)}.")
    return X25519PrivateKey.from_private_bytes(raw)
