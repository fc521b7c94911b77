"""Which panel the client speaks to, the token it has for it, and the keys of panels that it knows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from fogagent import private_file
from fogagent.client.errors import ClientError

HexKey = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class SignedIn(msgspec.Struct, frozen=True):
    url: str
    token: str
    keys: dict[str, HexKey] = {}
    """By address: the Ed25519 key that the panel there showed when it was first used from here."""


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


def known_keys() -> dict[str, HexKey]:
    """None, where nobody has signed in yet or the file is damaged: signing in mends both."""
    try:
        return load().keys
    except ClientError:
        return {}


def save(signed_in: SignedIn) -> Path:
    """Write it where only this user can read it."""
    path = settings_path()
    private_file.replace(path, msgspec.json.encode(signed_in))
    return path
