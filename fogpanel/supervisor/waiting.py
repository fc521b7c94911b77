"""Waiting for something that only shows when one looks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def until(true: Callable[[], Awaitable[bool]], *, within_s: float, every_s: float = 0.05) -> bool:
    """Look every ``every_s`` until ``true()``; False when it was not within ``within_s``."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                if await true():
                    return True
                await asyncio.sleep(every_s)
    except TimeoutError:
        return False
