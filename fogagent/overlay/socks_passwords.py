"""Passwords for SOCKS ports that ask for one: the panel makes them, and an agent can only check them.

What is kept and sent is HMAC-SHA-256 of the password under a salt of its own. A slow hash would add nothing:
the password is 128 random bits, which nobody guesses however fast, while every program on the machine could
keep the agent busy with wrong ones.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TypeAlias

from fogagent.messages import SocksPassword

PASSWORD_BYTES = 16
SALT_BYTES = 16
DIGEST_BYTES = 32
MOST_NAME_BYTES = 255
"""So long a name can be in RFC 1929."""

ByName: TypeAlias = Mapping[bytes, SocksPassword]


def new_password() -> str:
    """Of letters, digits, ``-`` and ``_``, so that it can stand in an address as it is."""
    return secrets.token_urlsafe(PASSWORD_BYTES)


def digest_of(salt: bytes, password: bytes) -> bytes:
    return hmac.digest(salt, password, "sha256")


_NOBODY = SocksPassword(
    user="", salt=secrets.token_bytes(SALT_BYTES), digest=secrets.token_bytes(DIGEST_BYTES)
)
"""No password fits it. With it, a name that nobody has takes as long as one that somebody has."""


def by_name(passwords: Iterable[SocksPassword]) -> ByName:
    return {each.user.encode(): each for each in passwords}


def entitled(passwords: ByName, name: bytes, password: bytes) -> SocksPassword | None:
    """The one that was given: of the user ``name``, or of ``user`` where the name is ``user+anything``.

    Names of users may have a ``+`` themselves, so all that ``name`` may stand for are tried.
    """
    fitting = [
        known
        for known in (passwords.get(user, _NOBODY) for user in _users(name))
        if hmac.compare_digest(digest_of(known.salt, password), known.digest)
    ]
    return fitting[0] if fitting else None


def _users(name: bytes) -> Iterator[bytes]:
    """``a``, ``a+b`` and ``a+b+c`` of ``a+b+c``."""
    return accumulate(name.split(b"+"), lambda before, more: before + b"+" + more)
