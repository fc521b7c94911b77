"""Which panel the client speaks to, and the token it has for it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from fogagent.client.errors import ClientError


class SignedIn(msgspec.Struct, frozen=True):
    url: str
    token: str


def settings_path() -> Path:
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder) / "fogpanel" / "client.json"


def load() -> SignedIn:
    """Raises ClientError when nobody has signed in from here, or the file is damaged."""
    path = settings_path()
    try:
        return msgspec.json.decode(path.read_bytes(), type=SignedIn)
    except FileNotFoundError:
        raise ClientError("Sign in first: ./fog login URL") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ClientError(f"{path} is damaged ({error}). Sign in again: ./fog login URL") from error


def save(signed_in: SignedIn) -> Path:
    """Write it where only this user can read it."""
    path = settings_path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(signed_in))
    temporary.replace(path)
    return path
