"""Frames of messages: what is refused, and with which sentence."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fogagent.messages import Carried, FrameError, NotCarried, decode_from_agent, decode_from_panel

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


def test_why_nothing_was_carried_may_be_unsaid_or_a_kind_of_later_days() -> None:
    start = '[{"type":"carried","order":1,"attempt":2,"ok":false'
    for more, kind in (
        ("", NotCarried.UNSAID),
        (',"kind":"no-circuit"', NotCarried.NO_CIRCUIT),
        (',"kind":"eaten-by-a-whale"', NotCarried.UNSAID),
    ):
        [told] = decode_from_agent(f"{start}{more}}}]")
        assert isinstance(told, Carried) and told.kind is kind
    with pytest.raises(FrameError, match="kind"):
        decode_from_agent(f'{start},"kind":7}}]')
