"""The page with none, few and many; one node's circuits; relays page by page; what is pushed."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from conftest import MakeFleet, MakeNode
from fogagent.messages import PathVerdict
from fogpanel import live
from nodes.models import HostName, Node, Relay
from nodes.relay_directory.publishing import publish
from nodes.tests.relays import say
from services.catalogue import BY_SLUG
from services.onion import circuits
from services.onion.models import Measurement, OverlayState, Trial
from services.onion.page import MEASUREMENTS_SHOWN
from services.onion.relays import FIRST_SHOWN, speed
from services.onion.service import ONION
from services.onion.states import store_overlay_status
from services.onion.tests.cast import SECOND, answer, key, make_relays, status
from services.onion.trials import Builder, Wanted, ask

pytestmark = pytest.mark.django_db
PAGE = "/services/onion/"


@pytest.fixture(autouse=True)
def in_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BY_SLUG, "onion", ONION)


@pytest.fixture
def visitor(client: Client, viewer: User) -> Client:
    client.force_login(viewer)
    return client


@pytest.fixture
def relays(make_node: MakeNode) -> list[Node]:
    return make_relays(make_node, 3, timezone.now())


def read(visitor: Client, path: str = PAGE, status: int = 200) -> str:
    answer = visitor.get(path)
    assert answer.status_code == status, path
    return answer.content.decode()


def words(html: str) -> str:
    """Its text, without markup and with single blanks."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


class TestPage:
    def test_with_none_it_says_what_to_do(self, visitor: Client) -> None:
        body = read(visitor)
        assert "--flags relay" in body
        assert "No node has told of circuits yet" in body
        assert 'data-testid="address-rule-waived"' not in body

    def test_each_of_the_viewers_alike_and_nobody_else(self, client: Client) -> None:
        for path in (PAGE, "/services/onion/circuits", "/services/onion/relays"):
            assert client.get(path).status_code == 302
        client.force_login(User.objects.create_user("newcomer"))
        for path in (PAGE, "/services/onion/circuits", "/services/onion/relays"):
            assert client.get(path).status_code == 403

    def test_a_circuit_hop_by_hop(self, visitor: Client, relays: list[Node]) -> None:
        store_overlay_status([(relays[0].id, status(relays))], timezone.now())
        body = read(visitor, "/services/onion/circuits?node=relay-0")
        stations = re.findall(r'class="hop">(.*?)</span></li>', body, re.DOTALL)
        assert [words(one) for one in stations] == [
            "relay-0 this node · region-0",
            "relay-0 entry · region-0",
            "relay-1 middle · region-1",
            "relay-2 exit · region-2",
        ]
        text = words(body)
        for told in (
            "2 min 5 s old",
            "built in 31 ms",
            "2 streams",
            "takes new streams for",
            "for tunnel 7",
            "Two are of the family lab.",  # of a rule that failed, in full
        ):
            assert told in text, told
        for state in ("passed", "waived", "failed"):
            assert f'data-state="{state}"' in body
        assert re.findall(r"up to \d+ ms \d+", text) == ["up to 25 ms 6", "up to 50 ms 3"]

    def test_a_circuit_in_short(self, visitor: Client, relays: list[Node]) -> None:
        store_overlay_status([(relays[0].id, status(relays))], timezone.now())
        text = words(read(visitor).partition('id="circuits"')[2].partition('id="onion-trials"')[0])
        for told in (
            "relay-0 region-0 relay-1 region-1 relay-2 region-2",
            "built in 31 ms",
            "for tunnel 7",
            "keeps 1 rule 1 waived",
            "Two are of the family lab.",
        ):
            assert told in text, told
        assert "All on one machine." not in text  # of the rule that is waived

    def test_a_relay_with_what_it_does(self, visitor: Client, relays: list[Node]) -> None:
        now = timezone.now()
        store_overlay_status([(relays[0].id, status(relays, relayed_bytes=0))], now - 2 * SECOND)
        store_overlay_status([(relays[0].id, status(relays, relayed_bytes=4096))], now)
        Relay.objects.filter(node=relays[0]).update(bandwidth_kbps=12_345)
        for relay, ok in ((relays[0], True), (relays[1], False)):
            Measurement.objects.create(
                relay=relay,
                due_at=now,
                trial=1,
                at=now,
                by=relays[2],
                ok=ok,
                sentence="" if ok else "No way.",
            )
        body = read(visitor)
        rows = [words(row) for row in re.findall(r'<tr data-testid="relay-row-.*?</tr>', body, re.DOTALL)]
        assert "guard" in rows[0] and "12.3 Mbit/s" in rows[0] and "Reached" in rows[0]
        assert "2.0\xa0KB/s" in body
        assert "Not reached No way. By relay-2" in rows[1] and "not measured yet" in rows[1]
        assert "Not tried yet" in rows[2]
        whole = words(read(visitor, "/services/onion/relays"))
        assert "Reached By relay-2" in whole and "4.0 KB in all" in whole

    def test_one_that_is_away_is_not_called_reached(self, visitor: Client, relays: list[Node]) -> None:
        now = timezone.now()
        Measurement.objects.create(
            relay=relays[0], due_at=now, trial=1, at=now, by=relays[2], ok=True, sentence=""
        )
        Node.objects.filter(id=relays[0].id).update(connected=False)
        body = words(read(visitor))
        assert "Away Start its agent again" in body
        assert "Reached By" not in body

    def test_one_that_cannot_be_dialled_says_so(self, visitor: Client, make_node: MakeNode) -> None:
        make_relays(make_node, 1, timezone.now(), address="")
        assert "It names no address to dial" in read(visitor)

    def test_the_waiver_shows_while_it_applies(
        self, visitor: Client, make_node: MakeNode, relays: list[Node]
    ) -> None:
        assert "address-rule-waived" not in read(visitor)
        now = timezone.now()
        Node.objects.update(address="127.0.0.1")
        for relay in relays:
            assert say(relay, now, address=f"127.0.0.1:{9000 + relay.id}") == []
        publish(now + 60 * SECOND)
        assert "The address rule is waived" in read(visitor)
        assert "The address rule is waived" in read(visitor, "/services/onion/relays")
        assert say(relays[1], now, address="10.9.1.1:9001") == []
        publish(now + 120 * SECOND)
        assert "address-rule-waived" not in read(visitor)

    def test_trials_of_late(self, visitor: Client, relays: list[Node]) -> None:
        now = timezone.now()
        builder = Builder(relays[0].id, "", b"")
        for number in range(3):
            trial = ask(builder, Wanted(hops=2), now)
            if number:
                answer(
                    trial, now, relays[1:], ok=number == 2, sentence="relay-1 refused." if number == 1 else ""
                )
        text = words(read(visitor).partition('id="onion-trials"')[2])
        assert "2 relays of its own choice Under way" in text
        assert "relay-1 region-1 relay-2 region-2 Failed relay-1 refused." in text
        assert "Echoed built in 23.4 ms" in text

    def test_many_measurements_do_not_push_trials_out(self, visitor: Client, relays: list[Node]) -> None:
        builder = Builder(relays[0].id, "", b"")
        ask(builder, Wanted(hops=3), timezone.now())
        for _ in range(20):
            ask(builder, Wanted(hops=1, relay_id=relays[1].id), timezone.now())
        text = words(read(visitor).partition('id="onion-trials"')[2])
        assert text.count("Under way") == 1 + MEASUREMENTS_SHOWN
        assert "3 relays of its own choice" in text

    def test_a_relay_that_is_no_node_is_named_by_its_key(self, visitor: Client, relays: list[Node]) -> None:
        stranger = Node(public_key="ab" * 32)
        store_overlay_status([(relays[0].id, status([stranger, *relays[1:]]))], timezone.now())
        assert "abababab… relay-1 region-1" in words(read(visitor))
        assert "abababab… entry" in words(read(visitor, "/services/onion/circuits?node=relay-0"))

    def test_what_agents_say_is_text(self, visitor: Client, relays: list[Node]) -> None:
        evil = "<script>alert(1)</script>"
        told = status(relays, trouble=evil)
        told.circuits[0].verdicts.append(PathVerdict(rule=evil, state=evil, sentence=evil))
        store_overlay_status([(relays[0].id, told)], timezone.now())
        assert "<script>alert" not in read(visitor)
        assert "<script>alert" not in read(visitor, "/services/onion/circuits?node=relay-0")


class TestMany:
    @pytest.fixture
    def fleet(self, make_node: MakeNode, relays: list[Node]) -> list[Node]:
        """Many that tell of many circuits each; the ids grow with the age of their word."""
        nodes = [make_node() for _ in range(30)]
        one = status(relays)
        many = status(relays, circuits=one.circuits * 50, trouble="No guard can be reached.")
        for age, node in enumerate(nodes):
            store_overlay_status([(node.id, many)], timezone.now() - timedelta(minutes=age))
        return nodes

    def test_only_the_newest_are_shown_and_it_says_so(self, visitor: Client, fleet: list[Node]) -> None:
        body = read(visitor)
        shown = [int(one) for one in re.findall(r'data-testid="circuits-of-(\d+)"', body)]
        assert shown == [node.id for node in fleet[: circuits.NODES_SHOWN]]
        assert "The circuits of the 10 nodes with the newest word; ask for any other by its name." in body
        assert body.count('class="circuit"') == circuits.NODES_SHOWN * circuits.CIRCUITS_OF_EACH
        assert "Show all 50 circuits" in body

    def test_those_that_left_the_fleet_are_not_among_them(self, visitor: Client, fleet: list[Node]) -> None:
        Node.objects.filter(id=fleet[0].id).update(archived_at=timezone.now())
        body = read(visitor)
        assert f"circuits-of-{fleet[0].id}" not in body

    def test_where_all_are_shown_it_says_so(self, visitor: Client, fleet: list[Node]) -> None:
        OverlayState.objects.exclude(node__in=fleet[: circuits.NODES_SHOWN]).delete()
        assert "What 10 nodes tell of their circuits." in read(visitor)
        OverlayState.objects.exclude(node=fleet[0]).delete()
        assert "What 1 node tells of its circuits." in read(visitor)

    def test_few_queries_however_many(
        self,
        visitor: Client,
        fleet: list[Node],
        relays: list[Node],
        django_assert_max_num_queries: DjangoAssertNumQueries,
    ) -> None:
        now = timezone.now()
        ask(Builder(relays[0].id, "", b""), Wanted(hops=1, through=(key(relays[1]),)), now)
        for relay in relays:
            Measurement.objects.create(relay=relay, due_at=now, trial=1, at=now, by=relays[2], ok=True)
        with django_assert_max_num_queries(14):
            read(visitor)

    def test_the_page_of_a_node_shows_all_with_their_rules_in_full(
        self, visitor: Client, fleet: list[Node]
    ) -> None:
        body = read(visitor, f"/services/onion/circuits?node={fleet[-1].name}")
        assert body.count('class="circuit"') == 50
        assert "waived: All on one machine." in words(body)
        assert f"circuits:{fleet[-1].id}" in body


class TestOneNode:
    def test_an_unknown_name_is_told(self, visitor: Client) -> None:
        assert "There is no node “nobody”" in read(visitor, "/services/onion/circuits?node=nobody", 404)

    def test_no_name_leads_to_the_service(self, visitor: Client) -> None:
        assert visitor.get("/services/onion/circuits").headers["Location"] == PAGE

    def test_one_that_never_told(self, visitor: Client, make_node: MakeNode) -> None:
        node = make_node()
        assert "It has not told of circuits yet" in read(
            visitor, f"/services/onion/circuits?node={node.name}"
        )


def test_a_name_that_is_not_looked_up_is_told_as_an_unknown_network(
    visitor: Client, make_fleet: MakeFleet
) -> None:
    make_fleet(1, flags=["relay"])
    node, now = Node.objects.get(), timezone.now()
    Relay.objects.create(
        node=node,
        certificate=b"",
        certificate_sha256=node.public_key,
        address="relay.example:1",
        said_at=now,
        since=now,
    )
    assert "Network unknown" in read(visitor)
    assert "Its name is not looked up yet. A path has at most one relay like this." in words(read(visitor))
    HostName.objects.create(name="relay.example", tried_at=now)
    assert "Its name leads nowhere that the panel could find." in read(visitor, "/services/onion/relays")


def test_relays_page_by_page(visitor: Client, make_fleet: MakeFleet) -> None:
    make_fleet(120, flags=["relay"])
    Relay.objects.bulk_create(
        Relay(
            node=node,
            certificate=b"",
            certificate_sha256=node.public_key,
            address="192.0.2.1:1",
            said_at=timezone.now(),
            since=timezone.now(),
        )
        for node in Node.objects.all()
    )
    seen: list[int] = []
    path = "/services/onion/relays"
    while path:
        body = read(visitor, path)
        seen += [int(one) for one in re.findall(r'data-testid="relay-row-(\d+)"', body)]
        following = re.search(r'href="([^"]+)" rel="next"', body)
        path = following[1] if following else ""
    assert seen == list(Node.objects.order_by("id").values_list("id", flat=True))
    before = re.search(r'href="([^"]+)" rel="prev"', body)
    assert before is not None and "relay-row" in read(visitor, before[1])
    assert "120 in the directory" in body
    first = read(visitor)
    assert first.count('data-testid="relay-row-') == FIRST_SHOWN
    assert f"the first {FIRST_SHOWN} in the directory" in first
    assert 'href="/services/onion/relays">Show all relays' in first
    assert 'role="alert"' in read(visitor, "/services/onion/relays?after=x", 400)


class TestLive:
    def render(self, name: str) -> str:
        topic, key = live.find(name)
        return topic.render(key, 0)[0]

    def test_what_is_pushed_replaces_what_the_page_shows(self, visitor: Client, relays: list[Node]) -> None:
        store_overlay_status([(relays[0].id, status(relays))], timezone.now())
        bodies = {
            "relays": read(visitor),
            "circuits": read(visitor),
            f"circuits:{relays[0].id}": read(visitor, "/services/onion/circuits?node=relay-0"),
            "relays:after.0": read(visitor, "/services/onion/relays"),
        }
        for topic, body in bodies.items():
            pushed = self.render(topic)
            replaced = re.findall(r'id="([\w-]+)"[^>]*hx-swap-oob', pushed)
            assert replaced, topic
            for target in replaced:
                assert f'id="{target}"' in body
            assert re.search(rf'topics=nav[^"]*,{re.escape(topic)}["&,]', body), topic

    @pytest.mark.parametrize(
        "name",
        [
            "circuits:0",
            "circuits:x",
            "circuits:" + "9" * 30,
            "relays:x",
            "relays:after.x",
            "relays:sideways.1",
        ],
    )
    def test_keys_of_nothing_show_nothing(self, name: str, db: None) -> None:
        assert self.render(name) == ""

    def test_a_status_changes_them(self, relays: list[Node], monkeypatch: pytest.MonkeyPatch) -> None:
        told: list[str] = []
        monkeypatch.setattr(live, "changed", lambda *topics: told.extend(topics))
        store_overlay_status([(relays[0].id, status(relays))], timezone.now())
        assert set(told) == {"relays", "circuits"}
        assert all(live.registry[name].pause_s for name in told)


@pytest.mark.parametrize(
    ("kbps", "text"),
    [
        (1, "1 kbit/s"),
        (999, "999 kbit/s"),
        (1000, "1.0 Mbit/s"),
        (123_456, "123 Mbit/s"),
        (2_500_000, "2.5 Gbit/s"),
    ],
)
def test_speed(kbps: int, text: str) -> None:
    assert speed(kbps) == text


def test_a_word_of_a_strange_time_is_shown(visitor: Client, relays: list[Node]) -> None:
    told: Any = status(relays)
    strange = told.guards[0].__class__(identity=b"z" * 32, since=0.0, until=1e300, reached=False)
    told.guards.append(strange)
    store_overlay_status([(relays[0].id, told)], timezone.now())
    assert "9999" in read(visitor, "/services/onion/circuits?node=relay-0")
    assert OverlayState.objects.count() == 1
    assert not Trial.objects.exists()


def test_a_guard_that_was_set_aside_says_why(visitor: Client, relays: list[Node]) -> None:
    told: Any = status(relays)
    told.guards.append(
        told.guards[0].__class__(
            identity=b"z" * 32,
            since=1.0,
            until=2.0,
            reached=True,
            sentence="Set aside: it carried <none> on.",
        )
    )
    store_overlay_status([(relays[0].id, told)], timezone.now())
    assert "Set aside: it carried &lt;none&gt; on." in read(visitor)
    page = read(visitor, "/services/onion/circuits?node=relay-0")
    assert "Set aside: it carried &lt;none&gt; on." in page
    assert words(page).count("Set aside") == 2
