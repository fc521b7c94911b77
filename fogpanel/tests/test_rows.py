"""Many rows written by one prepared statement."""

from __future__ import annotations

import pytest
from django.db import IntegrityError
from django.utils import timezone

from conftest import MakeNode
from fogpanel.rows import as_time, create, insert_each, insert_numbered, select, update_each
from nodes.models import Group, Node, Order, Sample

pytestmark = pytest.mark.django_db

SAMPLE = ("node", "at", "cpu_percent", "memory_used_mb", "memory_total_mb", "running")


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


def test_inserted_rows_have_the_defaults_of_what_is_not_given(make_node: MakeNode) -> None:
    node = make_node()
    before = Order.objects.create(node=node, kind="run", body=b"0").id
    now = timezone.now()
    keys = insert_numbered(
        Order,
        ("node", "kind", "body", "created_at"),
        [(node.id, "run", b"1", now), (node.id, "cancel", b"2", now)],
    )
    first, second = Order.objects.filter(id__gt=before).order_by("id")
    assert keys == [first.id, second.id]
    assert (bytes(first.body), first.subject, first.sent_at, first.created_at) == (b"1", "", None, now)
    assert second.kind == "cancel"
    assert Order.objects.create(node=node, kind="run", body=b"3").id > keys[-1]


def test_numbers_start_with_the_first_row(make_node: MakeNode) -> None:
    node = make_node()
    keys = insert_numbered(Sample, SAMPLE, [(node.id, timezone.now(), 1.0, 2, 3, 4)])
    assert keys == [Sample.objects.get().id]


def test_new_objects_are_stored_as_they_are_and_get_their_keys(
    make_node: MakeNode, django_assert_num_queries: pytest.FixtureRequest
) -> None:
    node = make_node()
    now = timezone.now()
    with django_assert_num_queries(2):  # type: ignore[operator]
        made = [Order(node=node, kind=kind, body=b"1", created_at=now) for kind in ("run", "cancel")]
        create(made)
    stored = list(Order.objects.order_by("id"))
    assert stored == made
    assert [(order.node_id, order.kind, bytes(order.body), order.created_at) for order in stored] == [
        (node.id, "run", b"1", now),
        (node.id, "cancel", b"1", now),
    ]
    made[0].subject = "attempt:1"
    made[0].save()
    assert Order.objects.filter(subject="attempt:1").get() == made[0]


def test_rows_that_are_there_are_left_out(db: None) -> None:
    insert_each(Group, ("name",), [("a",)])
    insert_each(Group, ("name",), [("a",), ("b",)], ignore_conflicts=True)
    assert list(Group.objects.order_by("name").values_list("name", "needs_approval")) == [
        ("a", False),
        ("b", False),
    ]
    with pytest.raises(IntegrityError):
        insert_each(Group, ("name",), [("b",)])


def test_times_are_read_as_they_were_written(make_node: MakeNode) -> None:
    now = timezone.now()
    make_node(connected_at=now)
    [[column, computed]] = select("SELECT connected_at, MAX(connected_at) FROM nodes_node GROUP BY id")
    assert (as_time(column), as_time(computed)) == (now, now)
