"""The components that show amounts, times and states."""

from __future__ import annotations

import re

import pytest
from django.template import Context, Template
from django.utils.safestring import mark_safe

from coordinator.values import NodeType
from fogpanel.templatetags import fog
from services.models import State
from tasks.states import TaskState


def draw(tag: str, **context: object) -> str:
    return Template("{% load fog %}" + tag).render(Context(context))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "—"),
        (0.0003, "0.3 ms"),
        (0.25, "250 ms"),
        (8.4, "8.4 s"),
        (30.0, "30 s"),
        (0, "0 s"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (7200, "2 h"),
        (7800, "2 h 10 min"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert fog.duration(seconds) == text


@pytest.mark.parametrize(
    ("amount_mb", "text"), [(512, "512 MB"), (2048, "2.0 GB"), (147_456, "144 GB"), (2_000_000, "1.9 TB")]
)
def test_megabytes(amount_mb: int, text: str) -> None:
    assert fog.megabytes(amount_mb) == text


@pytest.mark.parametrize(
    ("cpu_millis", "text"), [(250, "0.25"), (1000, "1"), (1500, "1.5"), (2_000_000, "2,000"), (0, "0")]
)
def test_cores(cpu_millis: int, text: str) -> None:
    assert fog.cores(cpu_millis) == text


def test_counts_stop_at_a_thousand() -> None:
    assert (fog.capped(1000), fog.capped(1001)) == ("1,000", "1,000+")


@pytest.mark.parametrize("state", [*State, *TaskState, "active", "idle", "busy", "offline", "maintenance"])
def test_every_state_has_an_icon_and_a_word(state: str) -> None:
    pill = draw("{% state_pill state %}", state=state)
    assert "<svg" in pill
    assert fog.words(state) in pill


def test_a_bar_shares_the_whole() -> None:
    bar = draw("{% stacked_bar parts 'Nodes' %}", parts=[("ok", 3), ("bad", 1)])
    assert re.findall(r'class="(\w+)" x="([\d.]+)" width="([\d.]+)"', bar) == [
        ("ok", "0.00", "75.00"),
        ("bad", "75.00", "25.00"),
    ]


def test_an_empty_whole_draws_an_empty_bar() -> None:
    assert 'width="0.00"' in draw("{% meter 0 0 'CPU' %}")


def test_load_bars_show_what_is_reserved_and_what_is_measured() -> None:
    drawn = draw("{% load_bars 250 1000 12.3 'CPU' %}")
    assert re.findall('aria-label="(.*?)"', drawn) == ["CPU reserved", "CPU measured"]
    assert re.findall('<rect class="(.*?)" x="0.00" width="(.*?)"', drawn) == [
        ("accent", "25.00"),
        ("mute", "12.30"),
    ]
    assert "<small>12 % measured</small>" in drawn


def test_a_sparkline_goes_from_edge_to_edge_and_starts_at_zero() -> None:
    line = draw("{% sparkline values 'Course' %}", values=[0, None, 5, 10])
    assert 'polyline points="0.00,29.00 50.00,15.00 100.00,1.00"' in line


def test_one_value_is_no_course() -> None:
    assert draw("{% sparkline values 'Course' %}", values=[3]).strip() == ""


def test_beats_stand_at_the_right_edge() -> None:
    bars = re.findall(
        r'<rect class="(\w+)"', draw("{% beats states 'History' slots=4 %}", states=["down", "operational"])
    )
    assert bars == ["none", "none", "down", "operational"]


def test_names_are_escaped() -> None:
    tags = "{% copy_line it 'x' %}{% empty_state 'server' it it %}{% meter 1 2 it %}{% load_bars 1 2 3 it %}"
    assert "<b>" not in draw(tags, it="<b>")


def test_node_types_are_known_in_words() -> None:
    assert {fog.words(node_type) for node_type in NodeType} >= {"Edge device", "Gateway"}


def test_a_pill_escapes_its_word_even_after_the_same_word_was_marked_safe() -> None:
    word = "<b>bold</b>"
    assert word in fog.state_pill("active", mark_safe(word))
    assert word not in fog.state_pill("active", word)
