"""What `bench live` makes of what was sent and what was seen."""

from __future__ import annotations

import pytest

from bench.live import shown_after


def test_a_beat_that_a_later_one_replaced_is_on_the_screen_with_that() -> None:
    sent = [(7, 1.0), (9, 1.1), (12, 2.0)]
    seen = [("load 0.50", 900.0), ("load 0.90", 1250.0), ("load 1.20", 2100.0)]
    assert shown_after(sent, seen) == pytest.approx([250, 150, 100])


def test_a_beat_that_is_not_there_yet_has_no_time() -> None:
    assert shown_after([(7, 1.0), (9, 1.1)], [("load 0.70", 1050.0)]) == pytest.approx([50])


def test_a_picture_from_before_a_beat_with_the_same_figures_is_not_of_it() -> None:
    assert shown_after([(107, 1.0)], [("load 0.70", 999.0)]) == []
