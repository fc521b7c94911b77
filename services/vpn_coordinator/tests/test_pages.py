"""The pages: who sees what of which tunnel, with none and with many, what is wrong with a form."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from conftest import MakeNode
from fogpanel import live
from nodes.models import Node, Relay
from services.vpn_coordinator import live_topics, operations
from services.vpn_coordinator.models import Tunnel
from services.vpn_coordinator.pools import HOPS_MOST
from services.vpn_coordinator.probe import fog, of_tunnels
from services.vpn_coordinator.tests.conftest import MakeRelay, MakeTunnel
from services.vpn_coordinator.views import PAGE_SIZE

pytestmark = pytest.mark.django_db
HOME = "/services/vpn_coordinator/"
PORT = "41080"


@pytest.fixture
def tunnel(make_tunnel: MakeTunnel, other_submitter: User, make_relay: MakeRelay) -> Tunnel:
    """Of the submitter, shared with ann, open."""
    made = make_tunnel(allowed=[other_submitter], exit_region=make_relay().region, hops=1)
    Tunnel.objects.update(is_open=True, port=int(PORT), told_at=timezone.now(), clients=3)
    made.refresh_from_db()
    return made


def read(client: Client, user: User, path: str, status: int = 200) -> str:
    client.force_login(user)
    answer = client.get(path)
    assert answer.status_code == status, answer.content.decode()
    return answer.content.decode()


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


# --- Who sees and does what ---------------------------------------------------------------------------


def stranger(name: str) -> User:
    user = User.objects.create_user(name)
    user.groups.add(User.objects.get(username="ann").groups.get())
    return user


@pytest.mark.parametrize(
    ("who", "sees_port", "may_stop", "may_create"),
    [
        ("some-viewer", False, False, False),
        ("bob", False, False, True),
        ("some-submitter", True, True, True),
        ("ann", True, True, True),
        ("some-operator", True, True, True),
        ("some-admin", True, True, True),
    ],
)
def test_who_sees_and_does_what(
    client: Client,
    tunnel: Tunnel,
    viewer: User,
    operator: User,
    admin_user: User,
    who: str,
    sees_port: bool,
    may_stop: bool,
    may_create: bool,
) -> None:
    stranger("bob")
    user = User.objects.get(username=who)
    page, stop = f"{HOME}tunnels/{tunnel.id}", f"{HOME}tunnels/{tunnel.id}/stop"
    for path in (HOME, page):
        html = read(client, user, path)
        assert "browsing" in html
        assert (PORT in html) is sees_port
        assert (stop in html) is may_stop
    assert (f"{HOME}tunnels/new" in read(client, user, HOME)) is may_create
    read(client, user, f"{HOME}tunnels/new", 200 if may_create else 403)
    read(client, user, stop, 200 if may_stop else 403)
    assert client.post(stop).status_code == (302 if may_stop else 403)
    tunnel.refresh_from_db()
    assert (tunnel.stopped_at is not None) is may_stop


def test_whoever_has_no_role_sees_nothing(client: Client, tunnel: Tunnel) -> None:
    nobody = User.objects.create_user("nobody")
    for path in (HOME, f"{HOME}tunnels/{tunnel.id}", f"{HOME}tunnels/new"):
        read(client, nobody, path, 403)
    assert not live.registry["tunnels"].allow(nobody, "")


def test_lines_are_pushed_to_their_user_only(
    tunnel: Tunnel, submitter: User, viewer: User, other_submitter: User, operator: User
) -> None:
    key = f"{submitter.pk}.{tunnel.id}"
    allow = live.registry["tunnel-lines"].allow
    assert [allow(user, key) for user in (submitter, other_submitter, operator)] == [True, False, False]
    assert not allow(viewer, f"{viewer.pk}.{tunnel.id}")
    assert PORT in live_topics.render_lines(key)
    assert PORT in live_topics.render_lines(f"{other_submitter.pk}.{tunnel.id}")
    bob = stranger("bob")
    assert live_topics.render_lines(f"{bob.pk}.{tunnel.id}") == ""
    assert live_topics.render_lines(f"987654.{tunnel.id}") == ""


def test_what_everybody_may_watch_has_no_port_in_it(tunnel: Tunnel) -> None:
    for html in (live_topics.render_tunnels(str(tunnel.id)), live_topics.render_tunnel(str(tunnel.id))):
        assert f'id="tunnel-{tunnel.id}-now"' in html
        assert PORT not in html
    assert 'id="tunnel-events"' in live_topics.render_tunnel(str(tunnel.id))
    assert live_topics.render_tunnel("987654") == ""


def test_pages_watch_what_they_show(client: Client, tunnel: Tunnel, submitter: User, viewer: User) -> None:
    html = read(client, submitter, HOME)
    assert f",tunnels:{tunnel.id},tunnel-lines:{submitter.pk}.{tunnel.id}" in html
    assert "tunnel-lines" not in read(client, viewer, HOME)
    for name in re.findall(r"topics=([^\"]+)", html)[0].split(","):
        live.find(name)


def test_exits_and_pools_are_pushed(tunnel: Tunnel) -> None:
    html = live_topics.render_exits("")
    assert 'id="exit-map"' in html and 'id="tunnel-pools"' in html


# --- What is shown -------------------------------------------------------------------------------------


def test_with_nothing_it_says_what_to_do(client: Client, viewer: User, submitter: User) -> None:
    told = words(read(client, viewer, HOME))
    assert "No tunnel yet Whoever has the role submitter can create one." in told
    assert "No exit yet" in told
    html = read(client, submitter, HOME)
    assert 'data-testid="empty-state"' in html and f'href="{HOME}tunnels/new"' in html
    assert "not measured yet" in html
    assert "No tunnel was stopped" in read(client, submitter, f"{HOME}?stopped=on")


def test_the_line_to_paste_and_whose_loopback_it_is(client: Client, tunnel: Tunnel, submitter: User) -> None:
    for path in (HOME, f"{HOME}tunnels/{tunnel.id}"):
        told = words(read(client, submitter, path))
        assert f"curl --socks5-hostname 127.0.0.1:{PORT} https://example.org" in told
        assert f"SOCKS v5, host 127.0.0.1, port {PORT}" in told
        assert "The port is on the loopback of atlas: only programs on that machine reach it, whoever" in told


def test_a_card_tells_how_it_stands(client: Client, tunnel: Tunnel, viewer: User) -> None:
    Tunnel.objects.update(bytes_per_s=2048.0, sent_bytes=1024, received_bytes=3 * 1024 * 1024)
    told = words(read(client, viewer, HOME))
    assert "Open public as of" in told
    assert "atlas to eu-west · 1 hop" in told
    assert "Clients 3 Throughput now 2.0 KB/s Sent 1.0 KB Received 3.0 MB" in told


@pytest.mark.parametrize(
    ("columns", "node", "word", "sentence"),
    [
        ({"is_open": None}, {}, "Ordered", "atlas has not told yet that it is open."),
        ({"is_open": False, "sentence": "The port is taken."}, {}, "Not open", "The port is taken."),
        ({"sentence": "No exit."}, {}, "No circuit", "Its port is open, and nothing gets through: No exit."),
        ({}, {"connected": False}, "Entry silent", "The panel does not hear atlas now."),
        ({}, {"archived_at": timezone.now()}, "Entry gone", "atlas has left the fog."),
        ({}, {"flags": ["compute"]}, "Open", "The owner of atlas does not grant entry"),
        ({"exit_region": "atlantis"}, {}, "Open", "No exit in atlantis is ready now"),
        ({"hops": 5}, {}, "Open", "5 hops need as many relays besides atlas; ready now: 1."),
    ],
)
def test_each_trouble_has_its_sentence(
    client: Client,
    tunnel: Tunnel,
    viewer: User,
    columns: dict[str, object],
    node: dict[str, object],
    word: str,
    sentence: str,
) -> None:
    Tunnel.objects.update(**columns)
    Node.objects.filter(name="atlas").update(**node)
    told = words(read(client, viewer, f"{HOME}tunnels/{tunnel.id}"))
    assert word in told
    assert sentence in told


def test_enough_relays_are_so_many_besides_the_entry(
    client: Client, viewer: User, make_tunnel: MakeTunnel, make_relay: MakeRelay
) -> None:
    entry = make_relay(flags=["relay", "entry"])
    relays = [make_relay() for _ in range(HOPS_MOST)]
    page = f"{HOME}tunnels/{make_tunnel(entry=entry, hops=HOPS_MOST).id}"
    assert "hops need as many relays" not in read(client, viewer, page)
    Node.objects.filter(id=relays[0].id).update(connected=False)
    assert f"{HOPS_MOST} hops need as many relays besides {entry.name}; ready now: 7." in read(
        client, viewer, page
    )


@pytest.mark.parametrize(
    ("node", "relay"),
    [
        ({"connected": False}, {}),
        ({"flags": ["exit"]}, {}),
        ({}, {"address": ""}),
        ({}, {"since": None}),
    ],
)
def test_an_exit_that_is_not_ready_is_shown_and_not_counted_on(
    client: Client, viewer: User, tunnel: Tunnel, node: dict[str, object], relay: dict[str, object]
) -> None:
    assert "is ready" not in read(client, viewer, HOME)
    Node.objects.filter(relay__isnull=False).update(**node)
    Relay.objects.update(**relay)
    told = words(read(client, viewer, HOME))
    assert "eu-west 1 0 0" in told
    sentence = "No exit in eu-west is ready now; until one is, nothing can leave."
    assert sentence in told
    assert sentence in words(live_topics.render_tunnels(str(tunnel.id)))


def test_an_exit_that_vanished_is_told(
    client: Client, viewer: User, make_tunnel: MakeTunnel, make_relay: MakeRelay
) -> None:
    left = make_relay(name="exit-1")
    made = make_tunnel(exit_node=left, hops=1)
    Node.objects.filter(id=left.id).update(connected=False)
    assert "Its exit exit-1 is not connected now." in read(client, viewer, f"{HOME}tunnels/{made.id}")
    Node.objects.filter(id=left.id).update(archived_at=timezone.now())
    assert "Its exit exit-1 has left the fog" in read(client, viewer, f"{HOME}tunnels/{made.id}")


def test_the_exit_map_counts_what_is_free(
    client: Client, tunnel: Tunnel, viewer: User, make_relay: MakeRelay, make_node: MakeNode
) -> None:
    used, _, away = (make_relay(region="eu-north", name=f"n{n}") for n in range(3))
    Node.objects.filter(id=away.id).update(connected=False)
    make_node(name="hidden", flags=["exit"], region="eu-north")  # grants no relaying
    Tunnel.objects.update(used_exit=used)
    html = read(client, viewer, HOME)
    assert "eu-north 4 2 1" in words(html)
    assert "eu-west 1 1 1" in words(html)
    assert "n0: compute node, busy" in html and "n2: compute node, offline" in html


def test_pools_group_tunnels_and_tell_their_cost(
    client: Client, make_tunnel: MakeTunnel, viewer: User
) -> None:
    for hops in (1, 3, 4):
        made = make_tunnel(hops=hops)
        Tunnel.objects.filter(id=made.id).update(
            is_open=hops == 3, told_at=timezone.now(), build_ms=10.0 * hops, best_bytes_per_s=5e6
        )
    told = words(read(client, viewer, HOME))
    assert re.search(r"Public 1 hop .* 0 of 1 10 ms 4\.8.MB/s", told)
    assert re.search(r"Private 2 hops .* 0 of 0 not measured yet not measured yet", told)
    assert re.search(r"Confidential 3 to 8 hops .* 1 of 2 35 ms", told)


def test_many_tunnels_come_in_pages_with_few_queries(
    client: Client,
    make_tunnel: MakeTunnel,
    operator: User,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(PAGE_SIZE + 2):
        make_tunnel(name=f"tunnel {number}")
    Tunnel.objects.update(is_open=True, port=1080)
    client.force_login(operator)
    with django_assert_max_num_queries(15):
        html = client.get(HOME).content.decode()
    assert len(re.findall(r"<article ", html)) == PAGE_SIZE
    [older] = re.findall(r'href="(\?after=\d+)"', html)
    assert len(re.findall(r"<article ", read(client, operator, HOME + older))) == 2
    read(client, operator, f"{HOME}?after=x", 400)


def test_looking_writes_nothing(
    client: Client, tunnel: Tunnel, operator: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client.force_login(operator)
    with django_assert_max_num_queries(100) as queries:
        for path in (
            HOME,
            f"{HOME}tunnels/{tunnel.id}",
            f"{HOME}tunnels/new",
            f"{HOME}tunnels/{tunnel.id}/stop",
        ):
            assert client.get(path).status_code == 200
    assert [q["sql"] for q in queries.captured_queries if re.match("INSERT|UPDATE|DELETE", q["sql"])] == []


def test_its_history_is_on_its_page_and_linked_from_the_events(
    client: Client, tunnel: Tunnel, submitter: User
) -> None:
    operations.stop(submitter, tunnel, timezone.now())
    told = words(read(client, submitter, f"{HOME}tunnels/{tunnel.id}"))
    assert "some-submitter created the tunnel browsing from atlas to eu-west" in told
    assert "some-submitter stopped the tunnel browsing from atlas" in told
    assert PORT not in told
    for path in ("/events", "/control-panel"):
        assert f'href="{HOME}tunnels/{tunnel.id}"' in read(client, submitter, path)


# --- Creating and stopping ------------------------------------------------------------------------------


def test_a_form_creates_a_tunnel(client: Client, submitter: User, entry: Node) -> None:
    client.force_login(submitter)
    answer = client.post(f"{HOME}tunnels/new", {"name": "browsing", "entry": "atlas", "hops": "2"})
    made = Tunnel.objects.get()
    assert answer.headers["Location"] == f"{HOME}tunnels/{made.id}"
    assert (made.created_by, made.entry, made.hops, made.rotate_s) == (submitter, entry, 2, 600)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"entry": "nowhere"}, "entry: there is no node “nowhere”."),
        ({"name": ""}, "name: must be given"),
        ({"hops": "9"}, "hops: must be between 1 and 8, was 9."),
        ({"rotate_s": "3"}, "rotate_s: must be between 10 and 86400 seconds, was 3."),
        ({"port": "22"}, "port: must be between 1024 and 65535, was 22."),
        ({"allowed": "zoe"}, "allowed: there is no user “zoe”."),
        ({"exit_node": "atlas"}, "exit_node: the owner of atlas does not grant exit"),
    ],
)
@pytest.mark.usefixtures("entry")
def test_a_form_names_what_is_wrong_and_keeps_the_rest(
    client: Client, submitter: User, given: dict[str, str], sentence: str
) -> None:
    client.force_login(submitter)
    answer = client.post(
        f"{HOME}tunnels/new", {"name": "kept", "entry": "atlas", "exit_region": "eu"} | given
    )
    assert answer.status_code == 422
    html = answer.content.decode()
    assert sentence in html
    assert 'value="eu"' in html
    assert not Tunnel.objects.exists()


def test_the_form_shows_what_hops_cost(client: Client, make_tunnel: MakeTunnel, submitter: User) -> None:
    make_tunnel(hops=2)
    Tunnel.objects.update(told_at=timezone.now(), build_ms=12.4, best_bytes_per_s=None)
    told = words(read(client, submitter, f"{HOME}tunnels/new"))
    assert "2 private 12 ms not measured yet" in told
    assert "3 confidential not measured yet not measured yet" in told
    Tunnel.objects.update(told_at=timezone.now() - timedelta(days=8))
    assert "12 ms" not in words(read(client, submitter, f"{HOME}tunnels/new"))


def test_stopping_asks_first_and_needs_no_script(client: Client, tunnel: Tunnel, submitter: User) -> None:
    html = read(client, submitter, f"{HOME}tunnels/{tunnel.id}/stop")
    assert "atlas closes its port at once" in html and "3 clients now" in html
    assert f'<form class="row-gap" method="post" action="{HOME}tunnels/{tunnel.id}/stop"' in html
    tunnel.refresh_from_db()
    assert tunnel.stopped_at is None
    client.post(f"{HOME}tunnels/{tunnel.id}/stop")
    assert "This tunnel is stopped already." in read(client, submitter, f"{HOME}tunnels/{tunnel.id}/stop")
    assert "<article" not in read(client, submitter, HOME)
    assert "Stopped" in words(read(client, submitter, f"{HOME}?stopped=on"))


def test_a_tunnel_that_never_was(client: Client, operator: User) -> None:
    read(client, operator, f"{HOME}tunnels/987654", 404)
    read(client, operator, f"{HOME}tunnels/987654/stop", 404)


def test_the_admin_site_shows_and_changes_nothing(client: Client, tunnel: Tunnel, admin_user: User) -> None:
    assert "browsing" in read(client, admin_user, "/admin/vpn_coordinator/tunnel/")
    read(client, admin_user, f"/admin/vpn_coordinator/tunnel/{tunnel.id}/change/")
    read(client, admin_user, "/admin/vpn_coordinator/tunnel/add/", 403)


# --- The probe -------------------------------------------------------------------------------------------


def test_the_probe_reads_what_was_told(tunnel: Tunnel) -> None:
    now = timezone.now()
    found = of_tunnels(now)
    assert (found.state, found.sentence) == ("operational", "1 tunnel open, 3 clients")
    Tunnel.objects.update(is_open=False, sentence="The port is taken.")
    found = of_tunnels(now)
    assert (found.state, found.sentence) == ("down", "No tunnel is open. browsing: The port is taken.")


def test_the_probe_without_tunnels(entry: Node, make_relay: MakeRelay) -> None:
    make_relay()
    make_relay(region="eu-north")
    middle = make_relay(name="middle", flags=["relay"])
    found = of_tunnels(timezone.now())
    assert (found.state, found.sentence) == ("operational", "No tunnel yet; 2 exits in 2 regions are ready.")
    Node.objects.filter(id=middle.id).update(connected=False)
    found = of_tunnels(timezone.now())
    assert found.state == "degraded"
    assert "2 of 3 are connected. Start the agent of middle again." in found.sentence


def test_no_entry_is_a_relay_for_itself(make_relay: MakeRelay) -> None:
    for _ in range(3):
        make_relay(flags=["relay", "exit", "entry"])
    assert (fog(timezone.now()).relays, fog(timezone.now()).hops) == (3, 2)


# --- A form that is easy to fill in -------------------------------------------------------------------


def focused(html: str) -> list[str]:
    """The names of the fields that a browser goes to, beside the dialog's button that every page has."""
    return re.findall(r'<input[^>]*name="(\w+)"[^>]*\sautofocus', html)


def test_the_only_entry_is_named_already(client: Client, entry: Node, submitter: User) -> None:
    assert 'value="atlas"' in read(client, submitter, f"{HOME}tunnels/new")


def test_of_several_entries_none_is_chosen(
    client: Client, entry: Node, make_node: MakeNode, submitter: User
) -> None:
    make_node(name="brook", flags=["entry"])
    html = read(client, submitter, f"{HOME}tunnels/new")
    named = re.search(r'<input[^>]*name="entry"[^>]*>', html)
    assert named is not None and "value=" not in named[0]


def test_the_browser_goes_to_the_first_field_that_is_wrong(
    client: Client, tunnel: Tunnel, submitter: User
) -> None:
    path = f"{HOME}tunnels/new"
    assert focused(read(client, submitter, path)) == []
    assert focused(client.post(path, {"name": "fine", "entry": "nowhere", "port": "1"}).content.decode()) == [
        "entry"
    ]
    assert focused(client.post(path, {}).content.decode()) == ["name"]
    answer = client.post(f"{HOME}tunnels/{tunnel.id}/share", {"allowed": "nobody"})
    assert focused(answer.content.decode()) == ["allowed"]


def test_sharing_says_what_became_of_it(client: Client, tunnel: Tunnel, submitter: User) -> None:
    client.force_login(submitter)
    for given, told in (("ann", "is shared with ann."), ("", "is shared with nobody.")):
        answer = client.post(f"{HOME}tunnels/{tunnel.id}/share", {"allowed": given}, follow=True)
        assert told in words(answer.content.decode())
