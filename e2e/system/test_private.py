"""Private tasks between real agents: what was sealed stays so, arrives over three hops, and runs once."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from e2e.system import sealed_work
from e2e.system.api import until
from e2e.system.leaks import Marker, everything, rows
from e2e.system.private_fog import AGENTS, GATEWAYS, NODES, PrivateFog
from e2e.system.route import Route
from e2e.system.sealed_work import SealedStream
from e2e.system.submitter import Private, Submitter, seal
from e2e.system.traffic import Mark
from fogagent.messages import MAX_STDIN_BYTES, Outcome

RESEAL_S = 20
NEAR = NODES[:3]
"""They are of one region, and so reserved before the other one."""
MEASURED_BY = 1024 * 1024
"""So many bytes cross a circuit, each way, by which a relay is measured."""
LEVELS = ("private", "confidential")
TASKS = 40
ANOTHER_WITHIN_S = 10
"""From the end of a gateway to the end of what it was to bring: before it would be taken for silent."""
EXPIRED = "None of the nodes that it was sealed for could take it, and nobody sealed it for others in time."


@pytest.fixture(scope="module")
def fog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateFog]:
    with PrivateFog(tmp_path_factory.mktemp("private"), FOGPANEL_RESEAL_S=str(RESEAL_S)) as started:
        yield started


@pytest.fixture
def submitter(fog: PrivateFog) -> Submitter:
    fog.wait_until_whole()
    return Submitter(fog)


# --- What comes of them ------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_what_a_task_did_comes_back_inside_and_nowhere_else(
    fog: PrivateFog, submitter: Submitter, level: str
) -> None:
    script = b"import sys\nprint(6 * 7)\nprint('oh', file=sys.stderr)\nsys.exit(3)\n"
    task = submitter.hand_in(seal(level, script))
    outside = submitter.wait(task)
    inside = submitter.result(task)
    assert (inside.outcome, inside.exit_code) == (Outcome.EXIT_CODE, 3)
    assert (inside.stdout, inside.stderr) == (b"42\n", b"oh\n")
    assert "3" in inside.sentence
    assert (outside["state"], outside["exit_code"], outside["reason"]) == ("failed", None, "")
    [attempt] = outside["attempts"]
    assert (attempt["exit_code"], attempt["sentence"], attempt["accepted"]) == (None, "", True)
    assert attempt["usage"]["wall_s"] > 0
    assert not any(attempt["usage"].get(name) for name in ("stdout_bytes", "stderr_bytes"))
    assert fog.log_text(task.id) == ""


@pytest.mark.parametrize(
    ("name", "ordered", "sealed"), [("driver", "wasm", "python"), ("timeout_s", 3600.0, 60.0)]
)
def test_a_node_refuses_what_is_not_what_was_sealed(
    fog: PrivateFog, submitter: Submitter, name: str, ordered: object, sealed: object
) -> None:
    task = seal("private", b"print('done')")
    promised = submitter.reserve(task)
    alter_order(fog, promised.reservation, name, ordered)
    submitter.use(task, promised)
    ended = submitter.wait(task)
    assert ended["state"] == "failed"
    assert (
        ended["reason"] == f"The order says {name} = {ordered}, but the submitter sealed {name} = {sealed}."
    )


def alter_order(fog: PrivateFog, reservation: int, name: str, value: object) -> None:
    """As a hostile panel would, between reservation and order."""
    [(found,)] = fog.select("SELECT specification FROM tasks_reservation WHERE id = ?", reservation)
    changed = json.dumps({**json.loads(found), name: value})
    with closing(sqlite3.connect(fog.database, timeout=20)) as connection, connection:
        connection.execute(
            "UPDATE tasks_reservation SET specification = ? WHERE id = ?", [changed, reservation]
        )


# --- Who learns what ---------------------------------------------------------------------------------


def test_nothing_of_what_is_inside_is_found_outside(fog: PrivateFog, submitter: Submitter) -> None:
    markers = {kind: Marker() for kind in ("public", *LEVELS, "module")}
    public = fog.submit(**sealed_work.marked_openly(markers["public"]))
    sealed = [submitter.hand_in(sealed_work.marked(level, markers[level])) for level in LEVELS]
    module = submitter.hand_in(sealed_work.marked_module("private", markers["module"]))
    ended = fog.wait_for_state(public, "succeeded", "failed")
    for task in (*sealed, module):
        assert submitter.wait(task)["state"] == "succeeded"
    for task, level in zip(sealed, LEVELS, strict=True):
        assert markers[level].find(submitter.result(task).stdout) == {"vgra", "nidts"}
    assert markers["module"].find(submitter.result(module).stdout) == {"argv"}

    found: dict[str, dict[str, set[str]]] = {kind: {} for kind in markers}
    for place, data in (*everything(fog.folder, fog.traffic), *rows(fog.database)):
        for kind, marker in markers.items():
            if kinds := marker.find(data):
                found[kind].setdefault(place, set()).update(kinds)
    node = ended["node"]["name"]
    given, printed = {"source", "argv", "env", "stdin"}, {"vgra", "vne", "nidts"}
    for place in ("traffic of web", f"traffic of {node}", "database"):
        assert given | printed <= found["public"][place], place
    assert "source" in found["public"][node]
    assert not any(found[kind] for kind in ("module", *LEVELS)), found


def test_each_station_knows_its_neighbours_only(fog: PrivateFog, submitter: Submitter) -> None:
    before, task, attempt = until("one is brought at the first try", partial(brought_at_once, fog, submitter))
    size = len(task.sealed.content)
    assert size > 3 * MEASURED_BY / 2, "it stands out from what relays are measured by"
    ended = fog.task(task.id)
    route = Route(fog.traffic, before, fog.identities(), attempt, size)
    path = route.path()
    gateway, *_, node = path
    assert (len(set(path)), node) == (4, ended["node"]["name"])
    assert gateway in GATEWAYS
    for number, station in enumerate(path):
        assert route.neighbours(station) == (set(path[:number][-1:]), set(path[number + 1 :][:1]))
        assert not route.strangers_on_links(station)
    assert [route.told_of(station) for station in path] == [{node}, set(), set(), set()]
    assert not route.ordered_over_own_connection(node)
    kept = f"*/blobs/{task.sealed.key.content_sha256.hex()}"
    until("neither end keeps what would tell of the other", lambda: not list(fog.folder.glob(kept)))


def brought_at_once(fog: PrivateFog, submitter: Submitter) -> tuple[Mark, Private, int] | None:
    """A large task that has ended, its attempt, and a mark before it. On a slow machine a gateway may not be
    done in time, and another one brings it as well."""
    before = fog.traffic.mark()
    task = submitter.hand_in(seal("confidential", b"print(7)", stdin=secrets.token_bytes(MAX_STDIN_BYTES)))
    submitter.wait(task)
    match fog.select(_CARRIED, task.id):
        case [(attempt, 0)]:
            return before, task, attempt
    return None


_CARRIED = """
SELECT a.id, c.tries FROM tasks_attempt a JOIN vpn_coordinator_carriage c ON c.attempt_id = a.id
WHERE a.task_id = ?
"""


# --- What breaks -------------------------------------------------------------------------------------


def test_each_acknowledged_task_has_one_result_whatever_is_killed(
    fog: PrivateFog, submitter: Submitter
) -> None:
    stream = SealedStream(fog, TASKS)
    strikes: tuple[Callable[[], None], ...] = (
        lambda: fog.kill_agent("gateway-1", lambda: fog.is_to_carry("gateway-1") or stream.over),
        lambda: fog.kill_agent("node-2", lambda: fog.is_to_run("node-2") or stream.over),
        lambda: fog.kill_agent("gateway-2", lambda: fog.is_to_carry("gateway-2") or stream.over),
        lambda: fog.kill_agent("relay-1", partial(stream.goes_on, len(stream.tasks) + 3)),
        lambda: fog.kill("web"),
    )
    stream.start()
    for turn, strike in enumerate(strikes, start=1):
        stream.wait_for(turn * TASKS // (len(strikes) + 1))
        strike()
    stream.wait_for(TASKS)
    assert set(submitter.settle(stream.tasks, within_s=120).values()) == {"succeeded"}
    for task in stream.tasks:
        attempts = fog.task(task.id)["attempts"]
        assert [attempt["accepted"] for attempt in attempts].count(True) == 1
        assert submitter.result(task).stdout.decode() == stream.acknowledged[task.id]
    begun = Counter(job for name in set(AGENTS) - {"node-2"} for job in fog.traffic.jobs(name))
    assert set(begun.values()) == {1}, "a node begins an attempt once, however often it is brought"
    assert fog.select("SELECT 1 FROM vpn_coordinator_carriage WHERE tries > 0"), "none was brought by another"


def test_a_gateway_that_is_killed_costs_seconds(fog: PrivateFog, submitter: Submitter) -> None:
    tasks: list[Private] = []

    def is_asked() -> bool:
        """While it is stopped: one of these is for it, and the others pass."""
        tasks.append(submitter.hand_in(seal("confidential", b"print(7)")))
        return fog.is_to_carry("gateway-1")

    fog.kill_agent("gateway-1", is_asked)
    assert set(submitter.settle(tasks, within_s=ANOTHER_WITHIN_S).values()) == {"succeeded"}


def test_tasks_whose_nodes_are_all_gone_are_resealed_or_expire(fog: PrivateFog, submitter: Submitter) -> None:
    moved = seal("confidential", b"print(6 * 7)", region="here", strategy="proximity_based")
    left = seal("private", b"print(6 * 9)", region="here", region_required=True)
    promised = [(task, submitter.reserve(task)) for task in (moved, left)]
    assert {node.hex() for _, each in promised for node in each.nodes} == near(fog)
    with fog.without(NEAR):
        for task, each in promised:
            submitter.use(task, each)
        until("it needs resealing", partial(needs_resealing, fog, moved.id))
        until("it is resealed", lambda: submitter.reseal(moved))
        ended = submitter.wait(moved)
        assert (ended["state"], ended["node"]["name"]) == ("succeeded", "node-4")
        assert submitter.result(moved).stdout == b"42\n"
        ended = submitter.wait(left)
        assert (ended["state"], ended["reason"]) == ("expired", EXPIRED)


def near(fog: PrivateFog) -> set[str]:
    return {identity for name, identity in fog.identities().items() if name in NEAR}


def needs_resealing(fog: PrivateFog, task_id: int) -> dict[str, Any] | None:
    task = fog.task(task_id)
    return task if task["needs_resealing"] else None


def test_tasks_that_cannot_be_carried_to_their_nodes_are_resealed(
    fog: PrivateFog, submitter: Submitter
) -> None:
    confidential = seal("confidential", b"print(6 * 7)", region="here", strategy="proximity_based")
    private = seal("private", b"print(6 * 9)", region="here", region_required=True)
    promised = [(task, submitter.reserve(task)) for task in (confidential, private)]
    assert {node.hex() for _, each in promised for node in each.nodes} == near(fog)
    with fog.without_relaying(NEAR):
        for task, each in promised:
            submitter.use(task, each)
        assert submitter.wait(private)["state"] == "succeeded"
        until("it needs resealing", partial(needs_resealing, fog, confidential.id))
        until("it is resealed", lambda: submitter.reseal(confidential))
        ended = submitter.wait(confidential)
        assert (ended["state"], ended["node"]["name"]) == ("succeeded", "node-4")
        assert submitter.result(confidential).stdout == b"42\n"
