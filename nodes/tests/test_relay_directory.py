"""The relay directory over time: versions count changes, and what agents are told gives what was signed."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.test import Client
from django.utils import timezone

from conftest import MakeNode, take_lease
from fogagent.overlay.directory import BadDirectory, Directory, Refusal, apply
from fogpanel.jobs import Run
from fogpanel.models import PanelPresence
from fogpanel.parameters import changing
from fogpanel.parameters import store as parameters
from nodes import jobs
from nodes.models import DirectoryVersion, Node, Relay
from nodes.relay_directory import publishing
from nodes.relay_directory.changes import changes_since
from nodes.relay_directory.publishing import GONE_LATELY_S, PAUSE_S, publish, published_entry
from nodes.tests.relays import (
    DAY,
    HOUR,
    NOW,
    SECOND,
    directory,
    listen,
    nodes_in,
    overlay_facts,
    say,
)

pytestmark = pytest.mark.django_db
LATER = NOW + timedelta(seconds=PAUSE_S)
GONE = timedelta(seconds=GONE_LATELY_S)


@pytest.fixture(autouse=True)
def panel_that_listens() -> None:
    listen(NOW)


def flags(node: Node) -> list[str]:
    entry = published_entry(Relay.objects.get(node=node))
    assert entry is not None
    return entry.flags


# --- Versions ----------------------------------------------------------------------------------------


def test_there_is_none_until_a_node_said_something(make_node: MakeNode) -> None:
    node = make_node()
    assert publish(NOW) is None
    say(node)
    assert publish(NOW) == int(NOW.timestamp())
    assert nodes_in(directory()) == {node.id}


def test_an_entry_says_what_the_node_is(make_node: MakeNode) -> None:
    node = make_node(region="eu-north", flags=["exit", "relay"])
    facts = overlay_facts(node.id, family="lab")
    say(node, family="lab")
    publish(NOW)
    [(identity, relay)] = directory().relays.items()
    assert identity == relay.identity == bytes.fromhex(node.public_key)
    assert (relay.onion_key, relay.sealing_key) == (facts.onion_key, bytes.fromhex(node.sealing_key))
    assert (relay.name, relay.region, relay.family) == (node.name, "eu-north", "lab")
    assert (relay.certificate, relay.address) == (facts.certificate, facts.address)
    assert (relay.flags, relay.bandwidth_kbps) == (["relay", "exit", "guard"], 0)


def test_versions_count_only_changes(make_node: MakeNode) -> None:
    node, other = make_node(flags=["relay"]), make_node()
    say(node)
    say(other)
    first = publish(NOW)
    assert first is not None
    Node.objects.update(cpu_percent=99, changed_at=LATER, flags=["relay"])
    Node.objects.filter(id=other.id).update(flags=[])
    Relay.objects.update(said_at=LATER)
    assert publish(LATER) is None
    Node.objects.filter(id=node.id).update(region="moon")
    second = publish(LATER)
    assert second == first + PAUSE_S
    newest = DirectoryVersion.objects.get(version=second)
    assert (newest.previous, newest.relays, newest.changes) == (first, 2, 1)
    assert Relay.objects.get(node=node).since == NOW
    assert dict(Relay.objects.values_list("node_id", "version")) == {node.id: second, other.id: first}


def test_at_most_one_in_a_while_and_the_more_seldom_the_more_relays(make_node: MakeNode) -> None:
    say(make_node())
    publish(NOW)
    say(make_node())
    assert publish(LATER - SECOND) is None
    DirectoryVersion.objects.update(relays=2000)
    assert publish(LATER) is None
    assert publish(NOW + 20 * SECOND) is not None


def test_a_number_is_never_given_out_twice_whatever_the_clock_does(make_node: MakeNode) -> None:
    node = make_node()
    say(node)
    first = publish(NOW)
    assert first is not None
    Relay.objects.update(family="new")
    DirectoryVersion.objects.update(made_at=NOW - DAY, expires_at=NOW + DAY)
    assert publish(NOW - 6 * HOUR) == first + 1


def test_a_panel_that_was_put_back_is_soon_above_all_that_others_have_seen(make_node: MakeNode) -> None:
    say(make_node())
    publish(NOW)
    held = directory()
    assert held.version == publishing.newest_number()
    assert publishing.publish_anew(LATER - SECOND) is None  # one came just now
    assert publishing.publish_anew(LATER) == held.version + PAUSE_S
    seen = directory(held)
    assert seen.relays == held.relays
    DirectoryVersion.objects.exclude(version=held.version).delete()  # as a backup has it
    assert publish(LATER + HOUR) is None
    assert publishing.publish_anew(LATER + HOUR) == seen.version + HOUR.total_seconds()


def test_a_panel_without_a_directory_makes_none_only_because_it_is_started(make_node: MakeNode) -> None:
    assert publishing.publish_anew(NOW) is None


# --- Who takes part ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "columns",
    [{"approved_at": None}, {"archived_at": NOW}, {"archived_at": NOW, "removed_at": NOW}, {"gone_at": NOW}],
    ids=str,
)
def test_who_may_not_or_is_not_there_does_not_come_in(make_node: MakeNode, columns: dict[str, Any]) -> None:
    say(make_node(**columns))
    assert publish(NOW) is None


def test_who_went_lately_stays_and_keeps_its_time(make_node: MakeNode) -> None:
    node = make_node()
    say(node)
    publish(NOW)
    since = Relay.objects.get().since
    Node.objects.update(gone_at=LATER, connected=False)
    listen(LATER + GONE)
    assert publish(LATER + GONE - SECOND) is None
    Node.objects.update(gone_at=None, connected=True)
    assert publish(LATER + GONE) is None
    assert Relay.objects.get().since == since == NOW


def test_who_is_gone_leaves_and_begins_anew_when_it_returns(make_node: MakeNode) -> None:
    node, other = make_node(), make_node()
    say(node)
    say(other)
    publish(NOW)
    before = directory()
    Node.objects.filter(id=node.id).update(gone_at=LATER)
    left, back = LATER + GONE, LATER + GONE + 6 * SECOND
    listen(left)
    assert publish(left) is not None
    without = directory(before)
    assert nodes_in(before) == {node.id, other.id} and nodes_in(without) == {other.id}
    Node.objects.filter(id=node.id).update(gone_at=None)
    listen(back)
    assert publish(back) is not None
    assert Relay.objects.get(node=node).since == back
    assert directory(without).relays == directory(before).relays == directory().relays


@pytest.mark.parametrize("column", ["archived_at", "removed_at"])
def test_who_is_archived_or_removed_leaves_at_once(make_node: MakeNode, operator: Any, column: str) -> None:
    node = make_node()
    say(node)
    publish(NOW)
    Node.objects.update(**{"archived_at": NOW, column: NOW})
    assert publish(LATER) is not None
    assert directory().relays == {}


def test_a_panel_that_was_away_takes_nobody_out_before_all_could_come_back(make_node: MakeNode) -> None:
    say(make_node())
    publish(NOW)
    Node.objects.update(gone_at=NOW)
    tomorrow = NOW + DAY
    assert publish(tomorrow) is None  # it still does not listen
    PanelPresence.objects.update(since=tomorrow, seen_at=tomorrow + GONE)
    assert publish(tomorrow + GONE - SECOND) is None
    assert publish(tomorrow + GONE) is not None


# --- Guards ------------------------------------------------------------------------------------------


def test_guards_are_relays_that_can_be_reached_and_are_stable(make_node: MakeNode) -> None:
    good = make_node(flags=["relay"])
    not_relay, hidden = make_node(flags=["exit"]), make_node(flags=["relay"])
    unstable = make_node(flags=["relay"], unstable_since=NOW)
    for node in (good, not_relay, unstable):
        say(node)
    say(hidden, address="")
    publish(NOW)
    assert [flags(node) for node in (good, not_relay, hidden, unstable)] == [
        ["relay", "guard"],
        ["exit"],
        ["relay"],
        ["relay"],
    ]


def test_after_the_stated_time_the_fast_are_guards(make_node: MakeNode) -> None:
    nodes = [make_node(flags=["relay"]) for _ in range(7)]
    for kbps, node in enumerate(nodes, start=1):
        say(node)
        Relay.objects.filter(node=node).update(bandwidth_kbps=1000 * kbps)
    publish(NOW)
    assert ["guard" in flags(node) for node in nodes] == [False] * 3 + [True] * 3 + [False]
    changing.change({"guard_after_days": 0.5}, None, NOW)
    parameters.copy.forget()
    publish(NOW + DAY / 2)
    assert ["guard" in flags(node) for node in nodes] == [False] * 3 + [True] * 4


def test_another_is_a_guard_while_one_is_away(make_node: MakeNode) -> None:
    nodes = [make_node(flags=["relay"]) for _ in range(4)]
    for node in nodes:
        say(node)
    publish(NOW)
    assert ["guard" in flags(node) for node in nodes] == [True] * 3 + [False]
    Node.objects.filter(id=nodes[0].id).update(gone_at=LATER)
    publish(LATER)
    assert ["guard" in flags(node) for node in nodes] == [True] * 4


# --- Signatures --------------------------------------------------------------------------------------


def test_it_is_signed_anew_when_half_of_its_time_is_over(make_node: MakeNode) -> None:
    say(make_node())
    publish(NOW)
    held = directory()
    assert held.expires_at - held.made_at == (3 * DAY).total_seconds()
    half = NOW + 1.5 * DAY
    assert publish(half) is None
    assert publish(half + SECOND) is not None
    changes = changes_since(held.version)
    assert (changes.upserts, changes.removed) == ([], [])
    renewed = directory(held, half + SECOND)
    assert renewed.relays == held.relays
    assert renewed.expires_at == (half + SECOND + 3 * DAY).timestamp()


def test_and_when_less_time_is_wanted(make_node: MakeNode) -> None:
    say(make_node())
    publish(NOW)
    changing.change({"directory_days": 1}, None, NOW)
    parameters.copy.forget()
    assert publish(LATER) is not None
    assert directory(now=LATER).expires_at == (LATER + DAY).timestamp()


def test_a_clock_that_is_a_little_ahead_does_not_hurry_versions(make_node: MakeNode) -> None:
    say(make_node())
    publish(NOW + SECOND)
    Node.objects.update(region="moon")
    assert publish(NOW) is None
    assert publish(LATER + SECOND) is not None


def test_a_clock_that_was_far_ahead_does_not_stop_versions(make_node: MakeNode) -> None:
    say(make_node())
    wrong = publish(NOW + HOUR)
    assert publish(NOW) is None
    Node.objects.update(region="moon")
    assert publish(NOW) == (wrong or 0) + 1


def test_another_panel_signed_something_else(make_node: MakeNode) -> None:
    say(make_node())
    publish(NOW)
    other = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    with pytest.raises(BadDirectory) as refused:
        apply(None, changes_since(0), other, NOW.timestamp())
    assert refused.value.reason is Refusal.FORGED


# --- Two at once -------------------------------------------------------------------------------------


def test_of_two_that_look_at_once_one_makes_the_version(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one has its version ready when the first is stored, and drops it."""
    node = make_node()
    say(node)
    publish(NOW)
    held = directory()
    Node.objects.update(region="first")
    made: list[int | None] = []
    look = publishing._look

    def look_and_be_overtaken(now: datetime) -> list[publishing.Row]:
        rows = look(now)
        if not made:
            made.append(None)
            Node.objects.update(region="second")
            made[0] = publish(now - SECOND / 2)
        return rows

    monkeypatch.setattr(publishing, "_look", look_and_be_overtaken)
    assert publish(LATER + SECOND) is None
    assert made[0] == publishing.newest_number() > held.version
    [relay] = directory(held).relays.values()
    assert relay.region == "second"


def test_the_job_run_twice_makes_one_version(make_node: MakeNode) -> None:
    say(make_node())
    jobs.publish_directory()
    jobs.publish_directory()
    assert DirectoryVersion.objects.count() == 1


# --- Any history -------------------------------------------------------------------------------------


class History:
    """Nodes that come, go and change at random, and agents that ask now and then."""

    def __init__(self, seed: int, make_node: MakeNode) -> None:
        self.rng = Random(seed)
        self.make_node = make_node
        self.now = NOW
        self.nodes: list[Node] = []
        self.held: list[Directory | None] = [None] * 4

    def step(self) -> None:
        self.now += SECOND * self.rng.choice((1, 6, 30, 70))
        listen(self.now)
        self.rng.choice((self.come, self.come, self.change, self.change, self.go, self.return_, self.leave))()
        if publish(self.now):
            self.expect_what_is_there()
        if publishing.newest_number():
            self.ask()

    def come(self) -> None:
        if len(self.nodes) < 12:
            self.nodes.append(self.make_node(flags=self.rng.sample(["relay", "exit", "mix"], 2)))
            say(self.nodes[-1], self.now)

    def some(self) -> Any:
        return Node.objects.filter(id__in=[n.id for n in self.nodes if self.rng.random() < 0.3])

    def change(self) -> None:
        new = str(self.rng.random())
        Relay.objects.filter(node__in=self.some()).update(family=new)
        self.some().update(region=new)

    def go(self) -> None:
        self.some().update(gone_at=self.now)

    def return_(self) -> None:
        self.some().update(gone_at=None, archived_at=None)

    def leave(self) -> None:
        self.some().update(archived_at=self.now)

    def expect_what_is_there(self) -> None:
        there = Node.objects.filter(relay__isnull=False, archived_at=None)
        certain = set(there.filter(gone_at=None).values_list("id", flat=True))
        lately = set(there.filter(gone_at__gt=self.now - GONE).values_list("id", flat=True))
        regions = dict(Node.objects.values_list("id", "region"))
        relays = directory(None, self.now).relays
        assert certain <= {relay.node for relay in relays.values()} <= certain | lately
        assert all(relay.region == regions[relay.node] for relay in relays.values())

    def ask(self) -> None:
        """An agent that may have been away for long gets what everybody has."""
        who = self.rng.randrange(len(self.held))
        held = self.held[who]
        if held is None or held.version < publishing.newest_number():
            self.held[who] = directory(held, self.now)
        whole = directory(None, self.now)
        assert self.held[who] == whole
        assert whole.version == publishing.newest_number()


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_changes_give_what_is_signed(seed: int, make_node: MakeNode) -> None:
    history = History(seed, make_node)
    for _ in range(60):
        history.step()
    assert DirectoryVersion.objects.count() > 10


# --- Limits, permission, what is kept ----------------------------------------------------------------


def test_no_more_than_agents_take(make_node: MakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [make_node() for _ in range(3)]
    for node in nodes:
        say(node)
    monkeypatch.setattr(publishing, "MAX_RELAYS", 2)
    publish(NOW)
    assert nodes_in(directory()) == {nodes[0].id, nodes[1].id}
    monkeypatch.setattr(publishing, "WHOLE_BYTES", len(bytes(Relay.objects.all()[0].published)) + 5)
    publish(LATER)
    assert nodes_in(directory()) == {nodes[0].id}


def test_old_versions_are_forgotten_and_the_newest_never(make_node: MakeNode) -> None:
    say(make_node())
    publish(NOW)
    Node.objects.update(region="moon")
    newest = publish(LATER)
    DirectoryVersion.objects.update(made_at=timezone.now() - 8 * DAY)
    jobs.forget_old_rows.run_now(Run(now=timezone.now(), since=timezone.now(), previous=None))
    assert list(DirectoryVersion.objects.values_list("version", flat=True)) == [newest]


def test_only_admins_look_at_it_and_nobody_changes_it(
    make_node: MakeNode, client: Client, operator: Any, admin_user: Any
) -> None:
    node = make_node(name="kiosk-3", flags=["exit"])
    say(node, family="lab")
    hidden = make_node(name="kiosk-4")
    say(hidden, address="")
    publish(NOW)
    pages = "/admin/nodes/relay/", f"/admin/nodes/relay/{node.id}/change/", "/admin/nodes/directoryversion/"
    client.force_login(operator)
    assert [client.get(page, follow=True).status_code for page in pages] == [403] * 3
    client.force_login(admin_user)
    assert [client.get(page).status_code for page in pages] == [200] * 3
    assert client.post(pages[1], {"family": "mine"}).status_code == 403

    def found(**asked: str) -> set[int]:
        return {row.pk for row in client.get(pages[0], asked).context["cl"].result_list}

    assert found(q="lab") == found(q="kiosk-3") == found(q=str(node.id)) == {node.id}
    assert found(address__isempty="1") == {hidden.id}
    assert found(since__isempty="1") == set()


def test_who_connects_anew_is_in_at_once(make_node: MakeNode) -> None:
    node = make_node(gone_at=NOW, connected=False)
    say(node)
    assert publish(NOW) is None
    take_lease(node)
    assert publish(NOW) is not None
