"""What the canaries of all probes share: the program that they run, and accounts that they belong to."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import wasmtime
from django.contrib.auth.models import User

FOG_COORDINATOR = "fog-coordinator-probe"
VPN_COORDINATOR = "vpn-coordinator-probe"
OWNERS = (FOG_COORDINATOR, VPN_COORDINATOR)
"""Names of accounts."""


@lru_cache
def program() -> bytes:
    """A WebAssembly command that prints its first argument, translated from the text beside this file."""
    return bytes(wasmtime.wat2wasm(Path(__file__).with_name("canary.wat").read_text()))


def account(name: str) -> User:
    """The account of this name, which has no role and cannot sign in; made when it is first asked for."""
    found = User.objects.filter(username=name).first()
    if found is None:
        found, made = User.objects.get_or_create(username=name, defaults={"is_active": False})
        if made:
            found.set_unusable_password()
            found.save(update_fields=["password"])
    return found
