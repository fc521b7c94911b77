"""Priority decides between tasks of one moment; against a stream of urgent ones, waiting does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coordinator.queueing import AGEING_S, in_turn, turn_of
from coordinator.tests.fleets import NOW, a_task

moments = st.integers(0, 10**6).map(float)
priorities = st.integers(1, 10)


def test_of_tasks_of_one_moment_the_most_urgent_goes_first() -> None:
    some = [a_task(priority, priority=priority, submitted_at=NOW) for priority in (1, 10, 5)]
    assert [task.task_id for task in in_turn(some)] == [10, 5, 1]


def test_of_equal_priority_the_oldest_goes_first() -> None:
    late, early = a_task("late", submitted_at=NOW), a_task("early", submitted_at=NOW - 1)
    assert [task.task_id for task in in_turn([late, early])] == ["early", "late"]


@given(moments, priorities, moments, priorities)
def test_no_task_is_overtaken_by_what_comes_nine_steps_later(
    first: float, low: int, later: float, high: int
) -> None:
    waiting = a_task("waiting", priority=low, submitted_at=first)
    newcomer = a_task("newcomer", priority=high, submitted_at=first + later)
    if later > 9 * AGEING_S:
        assert turn_of(waiting) < turn_of(newcomer)


def test_a_stream_of_urgent_tasks_starves_nobody() -> None:
    """One place a second, one urgent task a second: the least urgent of all is placed within the bound."""
    waiting = [a_task("patient", priority=1, submitted_at=NOW)]
    waiting += [a_task(f"backlog-{n}", priority=10, submitted_at=NOW) for n in range(100)]
    placed_after = None
    for second in range(round(9 * AGEING_S) + 200):
        waiting.append(a_task(second, priority=10, submitted_at=NOW + second))
        first = in_turn(waiting)[0]
        waiting.remove(first)
        if first.task_id == "patient":
            placed_after = second
            break
    assert placed_after is not None
    assert 9 * AGEING_S <= placed_after <= 9 * AGEING_S + 100
