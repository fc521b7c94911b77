"""What answers a socket at an address that has none; Channels' own router would fail with a traceback."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

NOT_FOUND = 4404


async def nowhere(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Refuse the handshake, which the client sees as 403: there is nobody to accept it."""
    await receive()
    await send({"type": "websocket.close", "code": NOT_FOUND})
