"""What a privacy level hides and costs, told before anything is sent."""

from __future__ import annotations

from fogagent.client.api import Api, Json
from fogagent.client.errors import ClientError
from fogagent.sealing.packing import room

NOT_MEASURED = "not measured yet"


def quote(api: Api, level: str, sealed_bytes: int) -> Json:
    """The panel's figures for this level.

    Raises:
        ClientError: the level cannot be had now; the sentence is the panel's.
    """
    # Not the size of what is inside, which the padding hides: the most that is sealed to as many bytes.
    for each in api.privacy(room(sealed_bytes)):
        if each["level"] == level:
            if each["refusal"]:
                raise ClientError(each["refusal"])
            return each
    raise ClientError(f"This panel knows no privacy level {level!r}.")


def told(quote: Json, sealed_bytes: int) -> str:
    """In words: a line for what it hides, one for what it costs."""
    times = "once" if quote["transfers"] == 1 else f"{quote['transfers']} times"
    return (
        f"{quote['level']}: {quote['hides']}\n"
        f"time to start: {_start(quote)}; to send: {sealed_bytes // 1024} KiB, {times} over a network; "
        f"speed: {_speed(quote)}"
    )


def _start(quote: Json) -> str:
    if quote["start_s"] is None:
        return NOT_MEASURED
    return f"{quote['start_s']:.1f} s (median of {quote['samples']})"


def _speed(quote: Json) -> str:
    if quote["bytes_per_s"] is None:
        return NOT_MEASURED
    return f"{quote['bytes_per_s'] / 1e6:.2g} MB/s"
