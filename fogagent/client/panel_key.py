"""The panel's key as it was first seen from here, and the relay directory that this key vouches for.

What is private is sealed for keys of nodes that stand in the directory. Whoever could sign one in the panel's
name could have everything sealed for himself: so a panel that shows another key than before is refused, as
ssh does it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from msgspec.structs import replace

from fogagent.client import settings, show
from fogagent.client.api import Api
from fogagent.client.errors import ClientError
from fogagent.overlay.directory import BadDirectory, Relay, judge


class KeyChanged(ClientError):
    """The panel shows another key than the one that was pinned."""


def check_shown(base: str, shown: str, *, known: str | None, given: str | None) -> None:
    """Compare the key that the panel at ``base`` shows with what its user gave, else with what is pinned.

    Raises:
        KeyChanged: it is another one.
    """
    if given is not None and shown != given:
        raise KeyChanged(f"The panel at {base} shows the key {shown}, not the one given. Nothing was sent.")
    if given is None and known is not None and shown != known:
        raise KeyChanged(
            f"The panel at {base} shows another key than before: {shown}, not {known}. Somebody may be in "
            "between, or it was set up anew. Nothing was sent. Ask its operator, to whom “Add node” shows "
            f"the key; if it is the new one: ./fog login {base} --panel-key {shown}"
        )


def known_relays(api: Api) -> Mapping[bytes, Relay]:
    """Those of the directory that the panel gives now, by identity.

    Raises:
        KeyChanged, ClientError: the panel shows another key, or its directory is not to be trusted.
    """
    key = _pinned(api)
    try:
        directory, _ = judge(None, api.relay_directory(), key, time.time())
    except BadDirectory as error:
        raise ClientError(
            f"The panel's directory of nodes is refused, so nothing was sealed. {error}"
        ) from error
    return directory.relays


def _pinned(api: Api) -> bytes:
    """The panel's key; pinned now, where somebody signed in before keys were."""
    signed_in, shown = settings.load(), api.identity()
    known = signed_in.keys.get(signed_in.url)
    if known is None:
        settings.save(replace(signed_in, keys={**signed_in.keys, signed_in.url: shown}))
        show.notice(f"The key of {signed_in.url} is {shown}; another one is refused from now on.")
    check_shown(signed_in.url, shown, known=known, given=None)
    return bytes.fromhex(shown)
