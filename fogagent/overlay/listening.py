"""Where a node accepts links, and what others are told of it."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

from fogagent.overlay.link_errors import CannotListen
from fogagent.overlay.links import Links
from fogagent.overlay.part import Part
from fogagent.overlay.remembered import recall, remember

log = logging.getLogger("fogagent")


async def listen(links: Links, part: Part, last_port: Path) -> str:
    """The address at which others reach us; empty where they cannot. ``last_port`` is a file."""
    if not part.host:
        return ""
    try:
        port = await _take_port(links, part, last_port)
    except CannotListen as error:
        log.warning("%s This node relays nothing until that is mended and it is started anew.", error)
        return ""
    host = f"[{part.host}]" if ":" in part.host else part.host
    return part.address or f"{host}:{port}"


async def _take_port(links: Links, part: Part, last_port: Path) -> int:
    """The port where links are accepted. Where any will do, it is the one of last time, if that is free:
    so what the directory says of us stays true. Raises CannotListen."""
    before = recall(last_port)
    port = 0
    if not part.port and before.isdigit() and int(before) < 2**16:
        with suppress(CannotListen):
            port = await links.listen(part.host, int(before))
    port = port or await links.listen(part.host, part.port)
    with suppress(OSError):  # then it is another one next time
        remember(last_port, str(port).encode())
    return port
