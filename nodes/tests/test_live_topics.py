"""What browsers may name as the key of a live topic: anything, since it comes from a query string."""

from __future__ import annotations

import pytest

from conftest import MakeNode
from fogpanel import live

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("topic", ["node", "circuits"])
@pytest.mark.parametrize("key", ["abc", "\0", "-1", "²", "1.5.x", "9" * 30, "9" * 5000])
def test_a_key_that_names_no_node_shows_nothing(topic: str, key: str) -> None:
    found = live.registry[topic]
    assert found.watched is not None
    found.watched(key)
    assert found.render(key, 0)[0] == ""


def test_the_key_of_a_node_shows_it(make_node: MakeNode) -> None:
    node = make_node()
    assert "node-status" in live.registry["node"].render(str(node.id), 0)[0]
