"""An agent that stands still past its timeout: its work is done once, by it or by its replacement."""

from __future__ import annotations

from functools import partial
from typing import Any

from e2e.system.panel import Panel, until
from e2e.system.samples import count_slowly, counted

LINES, EVERY_S = 24, 0.5
"""Long enough that the original still runs when its replacement does."""


def attempts(panel: Panel, task: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = panel.task(task)["attempts"]
    return found


def is_replaced(panel: Panel, task: int) -> bool:
    """The first attempt is in doubt, and a second one runs beside it."""
    match attempts(panel, task):
        case [first, second]:
            return bool(first["doubted_at"] and not first["ended_at"] and second["started_at"])
    return False


def start(panel: Panel) -> tuple[int, str]:
    """A task that runs, and the name of its node."""
    task = panel.submit(**count_slowly(LINES, EVERY_S))
    return task, panel.wait_for_state(task, "running")["node"]["name"]


def check_done_once(panel: Panel, task: int, by: int) -> None:
    ended = panel.wait_for_state(task, "succeeded", "failed")
    first, second = ended["attempts"]
    assert (ended["state"], panel.output(task)) == ("succeeded", counted(LINES))
    assert [first["accepted"], second["accepted"]] == [by == 1, by == 2]
    assert {first["outcome"], second["outcome"]} == {"succeeded", "superseded"}
    nodes = (first["node"]["name"], second["node"]["name"])
    assert ended["node"]["name"] == nodes[by - 1]
    until("both nodes are free and at work", lambda: are_free(panel, nodes))


def are_free(panel: Panel, names: tuple[str, str]) -> bool:
    nodes = panel.nodes()
    return all(nodes[name]["status"] == "idle" and nodes[name]["open_attempts"] == 0 for name in names)


def test_the_original_comes_back_and_ends_first(panel: Panel) -> None:
    task, node = start(panel)
    with panel.frozen(node):
        until("a replacement runs", partial(is_replaced, panel, task))
    check_done_once(panel, task, by=1)


def test_the_replacement_ends_first(panel: Panel) -> None:
    task, node = start(panel)
    with panel.frozen(node):
        panel.wait_for_state(task, "succeeded", "failed")
    check_done_once(panel, task, by=2)
