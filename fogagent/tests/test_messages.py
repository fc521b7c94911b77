"""Frames of messages: what is refused, and with which sentence."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fogagent.messages import FrameError, decode_from_agent, decode_from_panel

DEEP = "[" * 5000


@pytest.mark.parametrize(
    ("decode", "kind"), [(decode_from_agent, "goodbye"), (decode_from_panel, "directorynews")]
)
@pytest.mark.parametrize("end", ["", "]" * len(DEEP) + "}]"])
def test_what_is_nested_beyond_reason_is_refused(
    decode: Callable[[str], object], kind: str, end: str
) -> None:
    with pytest.raises(FrameError, match="nested"):
        decode(f'[{{"type":"{kind}","more":{DEEP}{end}')
