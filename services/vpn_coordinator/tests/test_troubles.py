"""Names of why something was not carried: those of agents and the panel's are the same."""

from __future__ import annotations

import pytest

from fogagent.messages import Carried, NotCarried
from services.vpn_coordinator.models import Carriage
from services.vpn_coordinator.troubles import Trouble, told


@pytest.mark.parametrize("kind", NotCarried)
def test_each_that_a_gateway_tells_is_known_and_fits(kind: NotCarried) -> None:
    trouble = told(Carried(order=1, attempt=1, ok=False, kind=kind)).trouble
    assert trouble == (kind.value or Trouble.UNSAID)
    column = Carriage._meta.get_field("trouble")
    assert len(trouble) <= (column.max_length or 0) and trouble.label


def test_what_an_agent_of_before_says_is_kept_and_silence_is_told() -> None:
    assert told(Carried(order=1, attempt=1, ok=False, sentence="No\0 way.")).sentence == "No way."
    assert told(Carried(order=1, attempt=1, ok=False)).sentence == "Its gateway does not say why."
    assert len(told(Carried(order=1, attempt=1, ok=False, reason="x" * 200)).reason) == 60
