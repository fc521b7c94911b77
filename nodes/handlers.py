"""What agents say about themselves, stored. Each handler takes all such messages of one batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from coordinator.values import NodeType
from fogagent.messages import Acknowledge, Facts, Goodbye, Heartbeat, Problem
from fogpanel import live, metrics
from fogpanel.rows import change, insert_each, select, update_each
from fogpanel.wakes import wake
from nodes import telling
from nodes.gone import give_work_away
from nodes.inbox import Reply
from nodes.models import Node, Sample

MAX_AHEAD_S = 120.0
"""A heartbeat dated further ahead than this comes from a wrong clock and is refused."""

IDS_AT_ONCE = 500  # databases limit the parameters of a statement

KNOWN_FLAGS = ("compute", "relay", "mix", "exit", "entry")


def store_facts(received: Sequence[tuple[int, Facts]], now: datetime) -> Iterable[Reply]:
    """Take over what machines say they are; refuse what they cannot be."""
    problems = [(node_id, facts_problem(facts)) for node_id, facts in received]
    wrong = {node_id: problem for node_id, problem in problems if problem}
    told = {node_id: facts for node_id, facts in received if not facts_problem(facts)}  # the last of each
    if told:
        _take_over(told, now)
        wake("node-changed", *told)
        live.changed("nodes", "fleet", "topology", *(f"node:{node_id}" for node_id in told))
    return [(node_id, Problem(code="bad-facts", sentence=problem)) for node_id, problem in wrong.items()]


def facts_problem(facts: Facts) -> str:
    """What is wrong with these facts, as a sentence that names the field; empty if nothing."""
    if facts.node_type not in set(NodeType):
        return f"node_type: must be one of {', '.join(NodeType)}, was {facts.node_type!r}."
    if unknown := set(facts.flags) - set(KNOWN_FLAGS):
        return f"flags: must be among {', '.join(KNOWN_FLAGS)}, {', '.join(sorted(unknown))} is not."
    return ""


AMOUNTS = ("cpu_millis", "memory_mb", "disk_mb", "gpu_count")


def _take_over(told: Mapping[int, Facts], now: datetime) -> None:
    """Store what these nodes are; the inbox has locked them."""
    nodes = Node.objects.filter(id__in=told).order_by("id").select_related("join_key")
    read = nodes.only(*AMOUNTS, *(f"free_{name}" for name in AMOUNTS), "join_key__labels", "join_key")
    changes = {node.id: _columns(node, told[node.id], now) for node in read}
    names = tuple(next(iter(changes.values()), ()))
    update_each(Node, names, [(*columns.values(), node_id) for node_id, columns in changes.items()])


def _columns(node: Node, facts: Facts, now: datetime) -> dict[str, object]:
    offered = {
        "cpu_millis": facts.cpu_millis,
        "memory_mb": facts.memory_mb,
        "disk_mb": facts.disk_mb,
        "gpu_count": len(facts.gpus),
    }
    # What is free changes by as much as what is offered, since what is reserved stays reserved.
    free = {
        f"free_{name}": getattr(node, f"free_{name}") + amount - getattr(node, name)
        for name, amount in offered.items()
    }
    labels = {**(node.join_key.labels if node.join_key else {}), **facts.labels}
    return {**offered, **free, **described(facts), "labels": labels, "changed_at": now}


def described(facts: Facts) -> dict[str, object]:
    """The columns of a node that its facts fill as they are."""
    return {
        "node_type": facts.node_type,
        "flags": list(facts.flags),
        "region": facts.region[:60],
        "latitude": facts.latitude,
        "longitude": facts.longitude,
        "hostname": facts.hostname,
        "platform": facts.platform,
        "agent_version": facts.version,
        "drivers": [
            {"name": d.name, "available": d.available, "reason": d.reason, "version": d.version}
            for d in facts.drivers
        ],
        "gpus": [{"name": gpu.name, "memory_mb": gpu.memory_mb} for gpu in facts.gpus],
        "cached_inputs": list(facts.cached),
    }


VITALS = (
    "cpu_percent",
    "memory_used_mb",
    "memory_total_mb",
    "disk_free_mb",
    "load_1m",
    "last_contact_at",
    "deadline_at",
    "changed_at",
)
SAMPLE = ("node", "at", "cpu_percent", "memory_used_mb", "memory_total_mb", "running")


def store_heartbeats(received: Sequence[tuple[int, Heartbeat]], now: datetime) -> Iterable[Reply]:
    """Note that nodes live and how they are. The panel's own clock says when it heard of it."""
    ahead = now.timestamp() + MAX_AHEAD_S
    replies = [(node_id, _from_the_future(beat, now)) for node_id, beat in received if beat.at > ahead]
    beats = {node_id: beat for node_id, beat in received if beat.at <= ahead}
    if beats:
        _write_vitals(beats, now)
        metrics.HEARTBEATS.inc(len(beats))
        _note_round_trips(beats)
        insert_each(Sample, SAMPLE, [_sample(node_id, beat, now) for node_id, beat in sorted(beats.items())])
        live.changed("nodes", "fleet", *(f"node:{node_id}" for node_id in beats))
    return replies


_TIMEOUTS = "SELECT id, timeout_s, connected FROM nodes_node WHERE id IN {ids}"


def _write_vitals(beats: dict[int, Heartbeat], now: datetime) -> None:
    nodes = select(_TIMEOUTS, ids=set(beats))
    timeouts = {node_id: timeout_s for node_id, timeout_s, _ in nodes}
    _wake_the_lost(node_id for node_id, _, connected in nodes if not connected)
    rows = [
        (
            beat.cpu_percent,
            beat.memory_used_mb,
            beat.memory_total_mb,
            beat.disk_free_mb,
            beat.load_1m,
            now,
            now + timedelta(seconds=timeouts[node_id]),
            now,
            node_id,
        )
        for node_id, beat in sorted(beats.items())
        if node_id in timeouts
    ]
    update_each(Node, VITALS, rows)


def _note_round_trips(beats: dict[int, Heartbeat]) -> None:
    """Few say one: agents tell it when it has changed."""
    told = [
        (each.round_trip_ms, node_id) for node_id, each in beats.items() if each.round_trip_ms is not None
    ]
    update_each(Node, ("round_trip_ms",), told)


def _wake_the_lost(node_ids: Iterable[int]) -> None:
    """These were taken for lost but still speak: only a new connection tells what they really hold."""
    if lost := list(node_ids):
        wake("node-lost", *lost)


def _sample(node_id: int, beat: Heartbeat, now: datetime) -> tuple[object, ...]:
    return (node_id, now, beat.cpu_percent, beat.memory_used_mb, beat.memory_total_mb, beat.running)


def _from_the_future(beat: Heartbeat, now: datetime) -> Problem:
    ahead = beat.at - now.timestamp()
    return Problem(
        code="clock-ahead",
        sentence=f"at: must not be more than {MAX_AHEAD_S:g} s ahead of the panel's clock, was {ahead:.0f} s "
        "ahead. Set this machine's clock; until then its heartbeats do not count.",
    )


_ACKNOWLEDGE = """
UPDATE nodes_order SET acked_at = {now} WHERE id IN {ids} AND node_id = {node_id} AND acked_at IS NULL
"""


def acknowledge_orders(received: Sequence[tuple[int, Acknowledge]], now: datetime) -> None:
    """Orders are safe with their nodes. A node can acknowledge its own orders only."""
    orders: dict[int, list[int]] = defaultdict(list)
    for node_id, message in received:
        orders[node_id] += message.orders
    for node_id, ids in sorted(orders.items()):
        for start in range(0, len(ids), IDS_AT_ONCE):
            change(_ACKNOWLEDGE, node_id=node_id, ids=ids[start : start + IDS_AT_ONCE], now=now)


def say_goodbye(received: Sequence[tuple[int, Goodbye]], now: datetime) -> None:
    """Nodes leave in order: what they run may go to others at once."""
    ids = {node_id for node_id, _ in received}
    Node.objects.filter(id__in=ids).update(said_goodbye=True, gone_at=now, changed_at=now)
    leaving = Node.objects.filter(id__in=ids).order_by("id")
    told = [telling.Told(node.id, f"{node.name} said goodbye", node) for node in leaving]
    telling.record_each("node.goodbye", told, now)
    give_work_away(dict.fromkeys(ids, "its node said goodbye"), now, silent=False)
    wake("node-changed", *ids)
    live.changed("nodes", "fleet", "topology", *(f"node:{node_id}" for node_id in ids))
