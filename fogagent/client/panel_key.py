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
from fogagent.client.directory_mark import DirectoryMark, OlderDirectory, Seen
from fogagent.client.errors import ClientError
from fogagent.overlay.directory import BadDirectory, Directory, Relay, in_utc, judge


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
        KeyChanged, OlderDirectory, ClientError: the panel shows another key, or its directory is not to be
            trusted.
    """
    key = _pinned(api)
    mark = DirectoryMark(key)
    # Before the panel is asked: what another program sees meanwhile may be newer than our answer.
    newest = _newest(mark)
    given = _given(api, key)
    if newest is not None and given.version < newest.version:
        raise OlderDirectory(given, newest)
    _note(mark, given)
    return given.relays


def accept_older(api: Api, version: int) -> None:
    """From now on go by this version, which the panel must give now. Raises ClientError."""
    key = _pinned(api)
    given = _given(api, key)
    if given.version != version:
        raise ClientError(
            f"The panel gives version {given.version} of its directory now, of {in_utc(given.made_at)}, not "
            f"{version}. Nothing was changed."
        )
    mark = DirectoryMark(key)
    try:
        mark.go_by(_seen(given))
    except OSError as error:
        raise ClientError(f"That cannot be kept in {mark.path}: {error}. Nothing was changed.") from error


def _given(api: Api, key: bytes) -> Directory:
    """What the panel gives now, once it is known to be by this key."""
    try:
        directory, _ = judge(None, api.relay_directory(), key, time.time())
    except BadDirectory as error:
        raise ClientError(
            f"The panel's directory of nodes is refused, so nothing was sealed. {error}"
        ) from error
    return directory


def _newest(mark: DirectoryMark) -> Seen | None:
    try:
        return mark.newest()
    except (OSError, ValueError) as error:
        show.notice(
            f"Which directory the panel gave last cannot be read from {mark.path}: {error}. An older one "
            "would not be noticed now.",
            style="yellow",
        )
        return None


def _note(mark: DirectoryMark, given: Directory) -> None:
    try:
        mark.note(_seen(given))
    except OSError as error:
        show.notice(
            f"Which directory the panel gave cannot be kept in {mark.path}: {error}. An older one would not "
            "be noticed next time.",
            style="yellow",
        )


def _seen(given: Directory) -> Seen:
    return Seen(given.version, given.made_at, time.time())


def _pinned(api: Api) -> bytes:
    """The panel's key; pinned now, where somebody signed in before keys were."""
    signed_in, shown = settings.load(), api.identity()
    known = signed_in.keys.get(signed_in.url)
    if known is None:
        settings.save(replace(signed_in, keys={**signed_in.keys, signed_in.url: shown}))
        show.notice(f"The key of {signed_in.url} is {shown}; another one is refused from now on.")
    check_shown(signed_in.url, shown, known=known, given=None)
    return bytes.fromhex(shown)
