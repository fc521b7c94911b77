"""A stored decision in words and bars."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.utils import timezone

from conftest import MakeNode
from coordinator.values import Candidate, RoutingStrategy
from coordinator.values import Decision as Routed
from nodes.models import Node
from tasks.explaining import explain, previews
from tasks.models import Decision, Explanation, Task


def decided(owner: User, chosen: Node | None, nodes: list[Node], **columns: object) -> Decision:
    rows = [
        {
            "node_id": nodes[0].id,
            "name": nodes[0].name,
            "region": "eu-west",
            "score": 0.75,
            "parts": {"reputation": 0.5, "low_load": 0.25},
            "reason": None,
            "detail": "",
        },
        {
            "node_id": nodes[1].id,
            "name": nodes[1].name,
            "region": "us-east",
            "score": None,
            "parts": {},
            "reason": "memory",
            "detail": "memory: 512 of 2048 MB free",
        },
    ]
    task = Task.objects.create(name="t", owner=owner, driver="wasm")
    usual = {
        "task": task,
        "strategy": "least_loaded",
        "chosen": chosen,
        "considered": 2,
        "eligible": 1,
        "rejected": {"memory": 1},
        "explanation": Explanation.objects.create(rows=rows, shape="s", fleet_version=1),
        "decided_at": timezone.now(),
        "took_us": 61.0,
    }
    return Decision.objects.create(**(usual | columns))


def test_scores_become_bars_and_reasons_sentences(submitter: User, make_node: MakeNode) -> None:
    nodes = [make_node(), make_node()]
    explained = explain(decided(submitter, nodes[0], nodes))
    [eligible] = explained.rows.eligible
    assert eligible.chosen
    assert eligible.bar == [("part-0", "0.00", "50.00"), ("part-1", "50.00", "25.00")]
    assert explained.rows.legend == [("part-0", "reputation"), ("part-1", "low load")]
    assert [row.why for row in explained.rows.rejected] == ["memory: 512 of 2048 MB free"]
    assert explained.shows_all


def test_the_other_strategies_stand_beside_the_one_taken(submitter: User, make_node: MakeNode) -> None:
    nodes = [make_node(), make_node()]
    others = {"round_robin": nodes[1].id, "privacy_aware": None}
    explained = explain(decided(submitter, nodes[0], nodes, others=others))
    assert [(row.strategy, row.node, row.taken) for row in explained.others] == [
        ("round_robin", nodes[1].name, False),
        ("least_loaded", nodes[0].name, True),
        ("privacy_aware", None, False),
    ]


def test_a_large_fleet_says_how_many_fell(submitter: User, make_node: MakeNode) -> None:
    nodes = [make_node(), make_node()]
    decision = decided(submitter, None, nodes, considered=900, rejected={"memory": 3, "not_connected": 896})
    explained = explain(decision)
    assert not explained.shows_all
    assert explained.fell == [("not connected", 896), ("memory", 3)]


def test_a_preview_names_each_strategys_node_or_why_there_is_none() -> None:
    candidate = Candidate(node_id=4, name="atlas-04", region="eu-west", score=0.8)
    found = Routed(
        task_id=0,
        strategy=RoutingStrategy.ROUND_ROBIN,
        chosen=4,
        considered=3,
        eligible=2,
        rejected={"memory": 1},
        candidates=(candidate,),
    )
    none = Routed(
        task_id=0,
        strategy=RoutingStrategy.PRIVACY_AWARE,
        chosen=None,
        considered=3,
        eligible=0,
        rejected={"onion": 3},
    )
    rows = previews({RoutingStrategy.PRIVACY_AWARE: none, RoutingStrategy.ROUND_ROBIN: found})
    assert [(row.strategy, row.node) for row in rows] == [("round_robin", "atlas-04"), ("privacy_aware", "")]
    assert rows[1].fell == [("onion", 3)]
