"""Reports by the batch, and how long trials are kept."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import MakeNode
from fogagent.messages import CircuitTried
from nodes import inbox
from services.onion.models import Trial
from services.onion.tests.cast import HOUR, NOW, SECOND
from services.onion.trials import KEPT, store_tried, thin

pytestmark = pytest.mark.django_db


def make_trial(node_id: int, **columns: Any) -> Trial:
    usual = {"hops": 1, "size": 1, "asked_at": NOW, "deadline_at": NOW + 20 * SECOND}
    return Trial.objects.create(node_id=node_id, **(usual | columns))


def test_it_is_a_handler() -> None:
    assert store_tried in inbox.handlers()["circuittried"]


def test_many_are_stored_by_two_statements(make_node: MakeNode, django_assert_max_num_queries: Any) -> None:
    node = make_node()
    trials = [make_trial(node.id) for _ in range(30)]
    report = [(node.id, CircuitTried(trial=one.id, ok=True, path=[b"a" * 32], kbps=5)) for one in trials]
    unknown = (node.id, CircuitTried(trial=10**6, ok=True, path=[b"a" * 32]))
    with django_assert_max_num_queries(2):
        store_tried([*report, unknown], NOW)
    assert set(Trial.objects.values_list("ok", "kbps", "ended_at")) == {(True, 5, NOW)}


def test_a_failure_measures_nothing_and_says_why(make_node: MakeNode) -> None:
    node = make_node()
    trial = make_trial(node.id)
    store_tried([(node.id, CircuitTried(trial=trial.id, ok=False, build_ms=1.0))], NOW)
    trial.refresh_from_db()
    assert (trial.ok, trial.build_ms, trial.sentence) == (False, None, "Its node does not say why it failed.")


def test_another_path_than_ordered_is_a_failure(make_node: MakeNode) -> None:
    node = make_node()
    trial = make_trial(node.id, path=[(b"a" * 32).hex()])
    store_tried([(node.id, CircuitTried(trial=trial.id, ok=True, path=[b"b" * 32]))], NOW)
    trial.refresh_from_db()
    assert not trial.ok
    assert "another relay" in trial.sentence


def test_a_failure_without_a_path_keeps_the_ordered_one(make_node: MakeNode) -> None:
    node = make_node()
    trial = make_trial(node.id, path=["aa" * 32])
    store_tried([(node.id, CircuitTried(trial=trial.id, ok=False, sentence="Gone."))], NOW)
    trial.refresh_from_db()
    assert (trial.path, trial.sentence) == (["aa" * 32], "Gone.")


def test_no_nul_is_stored_which_postgresql_would_not(make_node: MakeNode) -> None:
    node = make_node()
    trials = [make_trial(node.id), make_trial(node.id)]
    said = zip(trials, ("a\0b", "\0"), strict=True)
    store_tried([(node.id, CircuitTried(trial=one.id, ok=False, sentence=text)) for one, text in said], NOW)
    assert list(Trial.objects.order_by("id").values_list("sentence", flat=True)) == [
        "ab",
        "Its node does not say why it failed.",
    ]


def test_old_ones_go_and_those_that_went_well_are_thinned(make_node: MakeNode) -> None:
    node = make_node()
    ages = [KEPT + SECOND, 2 * HOUR, 2 * HOUR - 60 * SECOND, 60 * SECOND]
    for ok in (True, False):
        for age in ages:
            make_trial(node.id, asked_at=NOW - age, ok=ok, ended_at=NOW)
    assert thin(NOW, None) == 3
    assert thin(NOW, NOW) == 0
    kept = Trial.objects.order_by("id").values_list("ok", "asked_at")
    assert [(ok, NOW - at) for ok, at in kept] == [
        (True, ages[1]),
        (True, ages[3]),
        *((False, age) for age in ages[1:]),
    ]
