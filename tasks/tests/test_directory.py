"""The list of tasks: tabs, search, and pages that never count or skip."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from fogpanel.keyset import PAGE_SIZE, count_capped, find_page
from tasks import directory
from tasks.directory import Query, Tab
from tasks.models import Task


def make(owner: User, count: int = 1, **columns: object) -> list[Task]:
    named = {"name": "render", "driver": "wasm", **columns}
    return Task.objects.bulk_create(Task(owner=owner, **named) for _ in range(count))


def ids(query: Query) -> list[int]:
    return [task.id for task in directory.find(query).page.rows]


def test_pages_follow_each_other_without_gap_or_repetition(submitter: User) -> None:
    made = make(submitter, 2 * PAGE_SIZE + 3)
    seen: list[int] = []
    after: int | None = None
    for _ in range(3):
        page = directory.find(Query(submitter, after=after)).page
        seen += [task.id for task in page.rows]
        assert page.after is None or isinstance(page.after, int)
        after = page.after
    assert after is None
    assert seen == sorted((task.id for task in made), reverse=True)


def test_going_back_shows_the_page_before(submitter: User) -> None:
    make(submitter, 2 * PAGE_SIZE + 3)
    first = directory.find(Query(submitter)).page
    second = directory.find(Query(submitter, after=first.rows[-1].id)).page
    back = directory.find(Query(submitter, before=second.rows[0].id)).page
    assert back.rows == first.rows
    assert (back.before, back.after) == (None, first.rows[-1].id)


def test_a_tab_of_two_states_keeps_their_common_order(submitter: User) -> None:
    made = [make(submitter, state=state)[0].id for state in ("failed", "expired", "succeeded", "failed")]
    assert ids(Query(submitter, Tab.FAILED)) == [made[3], made[1], made[0]]


def test_running_are_those_that_have_a_node(submitter: User) -> None:
    made = [make(submitter, state=state)[0].id for state in ("queued", "assigned", "running")]
    assert ids(Query(submitter, Tab.RUNNING)) == [made[2], made[1]]


def test_every_word_of_a_search_must_occur(submitter: User) -> None:
    wanted = make(submitter, name="Render frame 7")[0]
    make(submitter, name="render film")
    assert ids(Query(submitter, words="FRAME render")) == [wanted.id]


def test_a_search_looks_through_a_stated_span_and_says_where_to_go_on(
    submitter: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "SEARCH_SPAN", 10)
    old = make(submitter, name="needle")[0]
    make(submitter, 20)
    first = directory.find(Query(submitter, words="needle"))
    assert first.page.rows == []
    assert first.older_than is not None
    further = directory.find(Query(submitter, words="needle", after=first.older_than))
    last = directory.find(Query(submitter, words="needle", after=further.older_than))
    assert [*further.page.rows, *last.page.rows] == [old]


def test_mine_leaves_out_what_others_handed_in(submitter: User, operator: User) -> None:
    mine = make(submitter)[0]
    make(operator)
    assert ids(Query(submitter, mine=True)) == [mine.id]


def test_canaries_are_not_listed_nor_counted(submitter: User) -> None:
    make(submitter, canary=True)
    assert ids(Query(submitter)) == []
    assert directory.counts()[Tab.ALL] == "0"
    assert directory.newest_id() == 0


def test_counting_stops_at_its_limit(submitter: User) -> None:
    make(submitter, 6)
    assert count_capped(Task.objects.all(), limit=5) == "5+"
    assert count_capped(Task.objects.all(), limit=6) == "6"


def test_a_page_past_the_end_is_empty(submitter: User) -> None:
    only = make(submitter)[0]
    beyond = find_page([Task.objects.all()], "id", descending=True, after=only.id)
    assert (beyond.rows, beyond.before, beyond.after) == ([], None, None)
