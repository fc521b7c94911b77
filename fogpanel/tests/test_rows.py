"""Many rows written by one prepared statement."""

from __future__ import annotations

import pytest

from conftest import MakeNode
from fogpanel.rows import update_each
from nodes.models import Node

pytestmark = pytest.mark.django_db


def test_each_row_gets_its_own_values(make_node: MakeNode) -> None:
    first, second, other = make_node(), make_node(), make_node()
    rows = [("a", {"zone": "a"}, first.id), ("b", {"zone": "b"}, second.id)]
    assert update_each(Node, ("region", "labels"), rows) == 2
    stored = list(Node.objects.order_by("id").values_list("region", "labels"))
    assert stored == [("a", {"zone": "a"}), ("b", {"zone": "b"}), (other.region, other.labels)]


def test_the_condition_keeps_rows_and_is_counted(make_node: MakeNode) -> None:
    away, here = make_node(connected=False), make_node()
    rows = [("moved", away.id), ("moved", here.id)]
    assert update_each(Node, ("region",), rows, where="connected") == 1
    assert Node.objects.get(region="moved") == here


def test_a_foreign_key_is_named_as_on_the_model(make_node: MakeNode) -> None:
    node = make_node(group=None)
    assert update_each(Node, ("group", "name"), [(None, "renamed", node.id)]) == 1
    assert Node.objects.get(id=node.id).name == "renamed"


def test_no_rows_are_no_statement(django_assert_num_queries: pytest.FixtureRequest) -> None:
    with django_assert_num_queries(0):  # type: ignore[operator]
        assert update_each(Node, ("region",), []) == 0
