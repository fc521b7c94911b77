"""A transaction that needs more nodes than it began with begins anew with them."""

from __future__ import annotations

import pytest

from fogpanel import audit
from fogpanel.models import Event
from nodes.locks import need, with_nodes

pytestmark = pytest.mark.django_db


def test_what_was_done_without_all_nodes_is_undone_and_done_again() -> None:
    found = [{1, 2}, {1, 2, 3}, {1, 3}]
    tried: list[set[int]] = []

    def work() -> str:
        tried.append(found[len(tried)])
        audit.record("node.tried", f"needs {sorted(tried[-1])}")
        need(tried[-1])
        return "done"

    assert with_nodes([1], work) == "done"
    assert tried == found
    assert [event.sentence for event in Event.objects.all()] == ["needs [1, 3]"]


def test_what_it_began_with_it_need_not_ask_for() -> None:
    tries = []

    def work() -> None:
        tries.append(1)
        need([1, 2])

    with_nodes([2, 1], work)
    assert tries == [1]


def test_one_that_fails_leaves_nothing_locked_behind() -> None:
    def fail() -> None:
        raise ValueError

    with pytest.raises(ValueError):
        with_nodes([1], fail)
    need([2])  # nothing is held, so there is nothing to begin anew
