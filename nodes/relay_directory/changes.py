"""What changed in the relay directory since a version.

The entries of the newest version are what stands in the rows, so what changed since another one is found by
index. Which versions there were is known for as long as their rows are kept; whoever has one that is not
known gets the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from fogagent.overlay.directory import Changes, Relay
from fogpanel.rows import select
from nodes.models import DirectoryVersion
from nodes.relay_directory.publishing import newest_number, newest_version

_decode = msgspec.msgpack.Decoder(Relay).decode

_CHANGED = """
SELECT n.public_key, r.published FROM nodes_relay r JOIN nodes_node n ON n.id = r.node_id
WHERE r.version > {since} ORDER BY r.node_id
"""


def base_for(since: int) -> int:
    """What changes are to begin from for whoever has that version: 0, the whole, where it is not known."""
    return since if DirectoryVersion.objects.filter(version=since).exists() else 0


def changes_since(base: int) -> Changes:
    """From that version, which must be known, or 0, to the newest; there must be one."""
    while True:
        newest = newest_version()
        assert newest is not None
        rows = select(_CHANGED, since=base)
        # What stands in the rows is of the newest version: read again if another one came meanwhile.
        if newest.version == newest_number():
            return _changes(base, newest, rows)


def _changes(base: int, newest: DirectoryVersion, rows: Iterable[Sequence[bytes]]) -> Changes:
    entries = [(bytes.fromhex(str(public_key)), bytes(published)) for public_key, published in rows]
    return Changes(
        base=base,
        version=newest.version,
        made_at=newest.made_at.timestamp(),
        expires_at=newest.expires_at.timestamp(),
        upserts=[_decode(published) for _, published in entries if published],
        removed=[identity for identity, published in entries if base and not published],
        digest=bytes.fromhex(newest.digest),
        signature=bytes.fromhex(newest.signature),
    )
