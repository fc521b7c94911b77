"""Tunnels that require a password: who gets one, what the entry is told, and who loses access."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from fogagent.messages import OverlayStatus, SocksPassword, TunnelState
from fogagent.overlay.socks_passwords import by_name, entitled
from fogpanel.access import Refusal
from fogpanel.models import Event, IdempotencyKey
from nodes.models import Node, Order, Relay
from nodes.tests.relays import say
from services.control import NotNow
from services.vpn_coordinator import live_topics, operations, renewing
from services.vpn_coordinator.handlers import note_tunnels
from services.vpn_coordinator.models import Tunnel, TunnelPassword
from services.vpn_coordinator.renewing import create_with_password, renew
from services.vpn_coordinator.tests.conftest import MakeTunnel, pending
from services.vpn_coordinator.tests.test_api import PATH, ask
from services.vpn_coordinator.tests.test_pages import HOME, read, stranger, words
from services.vpn_coordinator.wishes import read as read_wish
from tasks.specification import SpecError

pytestmark = pytest.mark.django_db
GOOD = {"name": "browsing", "entry": "atlas", "require_password": True}


@pytest.fixture
def entry(entry: Node) -> Node:
    """Its agent says that it knows such tunnels."""
    assert say(entry, asks_passwords=True) == []
    return entry


@pytest.fixture
def tunnel(make_tunnel: MakeTunnel, other_submitter: User) -> Tunnel:
    """Of the submitter, shared with ann."""
    return make_tunnel(allowed=[other_submitter], require_password=True)


def known(entry: Node) -> list[SocksPassword]:
    """The passwords in the order that the entry would get now."""
    [order] = pending(entry)
    assert order.tunnels == []
    [spec] = order.guarded
    return spec.passwords


def opens(entry: Node, user: User, password: str) -> bool:
    return entitled(by_name(known(entry)), user.username.encode(), password.encode()) is not None


# --- Who gets one -----------------------------------------------------------------------------------


def test_each_user_gets_their_own_and_the_entry_can_check_it(
    entry: Node, tunnel: Tunnel, submitter: User, other_submitter: User
) -> None:
    assert known(entry) == []  # nobody has one yet, and so nobody gets in
    mine = renew(submitter, tunnel, timezone.now())
    theirs = renew(other_submitter, tunnel, timezone.now())
    assert mine != theirs
    assert opens(entry, submitter, mine) and opens(entry, other_submitter, theirs)
    assert not opens(entry, submitter, theirs) and not opens(entry, other_submitter, mine)


def test_a_new_one_replaces_the_last(entry: Node, tunnel: Tunnel, submitter: User) -> None:
    first, second = (renew(submitter, tunnel, timezone.now()) for _ in range(2))
    assert opens(entry, submitter, second) and not opens(entry, submitter, first)
    assert TunnelPassword.objects.count() == 1


def test_the_password_is_kept_nowhere(tunnel: Tunnel, submitter: User) -> None:
    text = renew(submitter, tunnel, timezone.now())
    row = TunnelPassword.objects.get()
    kept = [bytes(row.salt), bytes(row.digest), *(bytes(order.body) for order in Order.objects.all())]
    assert not any(text.encode() in each for each in kept)
    event = Event.objects.get(kind="tunnel.password")
    assert (event.actor, text in f"{event.sentence} {event.after}") == (submitter, False)


def test_others_get_none_not_even_operators(
    tunnel: Tunnel, viewer: User, operator: User, admin_user: User
) -> None:
    for user in (viewer, operator, admin_user, stranger("bob")):
        with pytest.raises(Refusal):
            renew(user, tunnel, timezone.now())
    assert not TunnelPassword.objects.exists()


def test_there_is_none_for_a_tunnel_that_asks_for_none_or_is_stopped(
    make_tunnel: MakeTunnel, tunnel: Tunnel, submitter: User
) -> None:
    with pytest.raises(NotNow, match="asks for no password"):
        renew(submitter, make_tunnel(), timezone.now())
    operations.stop(submitter, tunnel, timezone.now())
    with pytest.raises(NotNow, match="stopped"):
        renew(submitter, tunnel, timezone.now())


def test_an_order_holds_so_many(
    tunnel: Tunnel, submitter: User, other_submitter: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewing, "PASSWORDS_MOST", 1)
    renew(submitter, tunnel, timezone.now())
    renew(submitter, tunnel, timezone.now())  # in place of the first
    with pytest.raises(NotNow, match="which is the most"):
        renew(other_submitter, tunnel, timezone.now())


# --- Agents of before -------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [False, None])
def test_none_is_created_where_the_agent_would_not_ask(entry: Node, said: bool | None) -> None:
    if said is None:
        Relay.objects.all().delete()
    else:
        say(entry, asks_passwords=False)
    with pytest.raises(SpecError) as raised:
        read_wish(GOOD)
    [error] = raised.value.errors
    assert error.field == "require_password"
    assert "must be off for atlas: its agent is too old to ask for passwords" in error.message
    assert read_wish({**GOOD, "require_password": False}).entry == entry


def test_an_agent_that_was_replaced_by_an_older_one_is_named(
    client: Client, entry: Node, tunnel: Tunnel, submitter: User
) -> None:
    assert "too old" not in read(client, submitter, HOME)
    say(entry, asks_passwords=False)
    for path in (HOME, f"{HOME}tunnels/{tunnel.id}"):
        assert "The agent of atlas is too old to ask for passwords" in words(read(client, submitter, path))
    [order] = pending(entry)
    assert order.tunnels == [] and len(order.guarded) == 1  # where it does not look


# --- Who loses access -------------------------------------------------------------------------------


def test_who_is_taken_off_is_not_let_in_any_more(
    entry: Node, tunnel: Tunnel, submitter: User, other_submitter: User
) -> None:
    mine, theirs = (renew(user, tunnel, timezone.now()) for user in (submitter, other_submitter))
    bob = stranger("bob")
    operations.share(submitter, tunnel, [bob], timezone.now())
    assert opens(entry, submitter, mine) and not opens(entry, other_submitter, theirs)
    with pytest.raises(Refusal):
        renew(other_submitter, tunnel, timezone.now())
    assert opens(entry, bob, renew(bob, tunnel, timezone.now()))
    event = Event.objects.get(kind="tunnel.shared")
    assert event.before is not None and event.after is not None
    assert (event.before["allowed"], event.after["allowed"]) == (["ann"], ["bob"])


def test_only_its_owner_and_operators_share_it(
    tunnel: Tunnel, other_submitter: User, viewer: User, operator: User
) -> None:
    for user in (other_submitter, viewer, stranger("bob")):
        with pytest.raises(Refusal):
            operations.share(user, tunnel, [], timezone.now())
    operations.share(operator, tunnel, [], timezone.now())
    assert not tunnel.allowed.exists()


def deactivate(user: User) -> None:
    user.is_active = False
    user.save()


def leave_group(user: User) -> None:
    user.groups.clear()


def be_taken_from_group(user: User) -> None:
    Group.objects.get(name="submitter").user_set.remove(user)


def empty_group(user: User) -> None:
    Group.objects.get(name="submitter").user_set.clear()


@pytest.mark.parametrize("lose", [deactivate, leave_group, be_taken_from_group, empty_group, User.delete])
def test_whoever_is_no_submitter_any_more_is_not_let_in(
    entry: Node, tunnel: Tunnel, other_submitter: User, lose: Any
) -> None:
    renew(other_submitter, tunnel, timezone.now())
    assert [each.user for each in known(entry)] == ["ann"]
    Order.objects.update(acked_at=timezone.now())
    lose(other_submitter)
    assert known(entry) == []


def test_signing_in_orders_nothing(client: Client, tunnel: Tunnel, other_submitter: User) -> None:
    renew(other_submitter, tunnel, timezone.now())
    orders = Order.objects.count()
    client.force_login(other_submitter)
    assert Order.objects.count() == orders


# --- Pages ------------------------------------------------------------------------------------------


def test_the_answer_to_creating_shows_it_and_no_other_page_does(
    client: Client, entry: Node, submitter: User
) -> None:
    client.force_login(submitter)
    answer = client.post(f"{HOME}tunnels/new", {**GOOD, "require_password": "on"})
    assert (answer.status_code, answer["Cache-Control"]) == (200, "no-store")
    found = re.search(r'id="tunnel-password"[^>]*>([\w-]{22})<', answer.content.decode())
    assert found is not None
    assert opens(entry, submitter, found[1])
    tunnel = Tunnel.objects.get()
    Tunnel.objects.update(is_open=True, port=41080, told_at=timezone.now())
    for path in (HOME, f"{HOME}tunnels/{tunnel.id}", f"{HOME}tunnels/{tunnel.id}/password"):
        assert found[1] not in read(client, submitter, path)


def test_the_line_to_paste_names_the_user_and_warns_of_chromium(
    client: Client, tunnel: Tunnel, submitter: User, other_submitter: User
) -> None:
    Tunnel.objects.update(is_open=True, port=41080, told_at=timezone.now())
    for path in (HOME, f"{HOME}tunnels/{tunnel.id}"):
        told = words(read(client, other_submitter, path))
        assert "curl --socks5-hostname 127.0.0.1:41080 --proxy-user ann https://example.org" in told
        assert "Chromium (also Chrome and Edge) cannot use a tunnel with a password" in told
        assert "You have no password for it yet. Get a password" in told
    client.force_login(other_submitter)
    made = words(client.post(f"{HOME}tunnels/{tunnel.id}/password").content.decode())
    assert "curl --socks5-hostname 127.0.0.1:41080 --proxy-user ann https://example.org" in made
    assert re.search(r"socks5h://ann:[\w-]{22}@127.0.0.1:41080", made)
    told = words(read(client, other_submitter, HOME))
    assert "Your password was shown when it was made. New password" in told
    assert words(live_topics.render_lines(f"{other_submitter.pk}.{tunnel.id}")) in told


def test_who_may_only_stop_it_is_told_who_gets_a_password(
    client: Client, tunnel: Tunnel, operator: User
) -> None:
    Tunnel.objects.update(is_open=True, port=41080, told_at=timezone.now())
    told = words(read(client, operator, f"{HOME}tunnels/{tunnel.id}"))
    assert "It takes a password, which only the person who created it" in told
    read(client, operator, f"{HOME}tunnels/{tunnel.id}/password", 403)


def test_who_is_shown_what_of_passwords_and_sharing(
    client: Client, tunnel: Tunnel, submitter: User, other_submitter: User, viewer: User
) -> None:
    page = f"{HOME}tunnels/{tunnel.id}"
    for user, password, share in ((submitter, 200, 200), (other_submitter, 200, 403), (viewer, 403, 403)):
        assert (f"{page}/share" in read(client, user, page)) is (share == 200)
        read(client, user, f"{page}/password", password)
        read(client, user, f"{page}/share", share)


def test_sharing_by_the_form(client: Client, tunnel: Tunnel, submitter: User) -> None:
    path = f"{HOME}tunnels/{tunnel.id}/share"
    assert 'value="ann"' in read(client, submitter, path)
    stranger("bob")
    assert client.post(path, {"allowed": "ann, nobody"}).status_code == 422
    assert client.post(path, {"allowed": "bob"}).status_code == 302
    assert [user.username for user in tunnel.allowed.all()] == ["bob"]
    assert client.post(path, {"allowed": ""}).status_code == 302
    assert not tunnel.allowed.exists()
    operations.stop(submitter, tunnel, timezone.now())
    answer = client.post(path, {"allowed": "bob"})
    assert answer.status_code == 422 and "This tunnel is stopped." in answer.content.decode()


def test_a_password_of_a_stopped_tunnel_is_refused(client: Client, tunnel: Tunnel, submitter: User) -> None:
    operations.stop(submitter, tunnel, timezone.now())
    client.force_login(submitter)
    answer = client.post(f"{HOME}tunnels/{tunnel.id}/password")
    assert answer.status_code == 409 and "This tunnel is stopped." in answer.content.decode()


def test_what_was_refused_is_told_with_its_reason(
    client: Client, entry: Node, tunnel: Tunnel, viewer: User
) -> None:
    state = TunnelState(tunnel=tunnel.id, open=True, port=1080, wrong_passwords=3, missing_passwords=2**40)
    note_tunnels([(entry.id, OverlayStatus(tunnels=[state]))], timezone.now())
    told = f"3 refused: wrong password, {2**31 - 1} refused: no password."
    for path in (HOME, f"{HOME}tunnels/{tunnel.id}"):
        assert told in words(read(client, viewer, path))


def test_pages_take_few_queries(
    client: Client,
    make_tunnel: MakeTunnel,
    entry: Node,
    submitter: User,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    made = [make_tunnel(require_password=True) for _ in range(12)]
    for tunnel in made[:6]:
        renew(submitter, tunnel, timezone.now())
    client.force_login(submitter)
    page = f"{HOME}tunnels/{made[0].id}"
    for path in (HOME, page, f"{page}/password", f"{page}/share", f"{HOME}tunnels/new"):
        with django_assert_max_num_queries(15):
            assert client.get(path).status_code == 200


# --- API --------------------------------------------------------------------------------------------


def test_the_api_tells_it_once(entry: Node, submitter: User, other_submitter: User) -> None:
    given = {**GOOD, "allowed": ["ann"]}
    made = ask(submitter, "POST", PATH, given, Idempotency_Key="one")
    assert made.status_code == 201, made.content
    one = made.json()
    assert one["require_password"] is True and opens(entry, submitter, one["password"])
    assert ask(submitter, "POST", PATH, given, Idempotency_Key="one").status_code == 409
    assert one["password"] not in f"{[row.__dict__ for row in IdempotencyKey.objects.all()]}"
    path = f"{PATH}/{one['id']}"
    assert "password" not in ask(submitter, "GET", path).json()
    theirs = ask(other_submitter, "POST", f"{path}/password")
    assert (theirs.status_code, theirs.json()["user"]) == (201, "ann")
    assert opens(entry, other_submitter, theirs.json()["password"])
    assert ask(stranger("bob"), "POST", f"{path}/password").status_code == 403
    assert ask(other_submitter, "PUT", f"{path}/allowed", {"allowed": []}).status_code == 403
    shared = ask(submitter, "PUT", f"{path}/allowed", {"allowed": ["bob"]})
    assert (shared.status_code, shared.json()["allowed"]) == (200, ["bob"])
    assert not opens(entry, other_submitter, theirs.json()["password"])
    wrong = ask(submitter, "PUT", f"{path}/allowed", {"allowed": ["nobody"]})
    assert wrong.status_code == 422


def test_the_api_gives_none_where_none_is_needed(entry: Node, submitter: User) -> None:
    one = ask(submitter, "POST", PATH, {**GOOD, "require_password": False}).json()
    assert (one["require_password"], one["password"]) == (False, None)
    refused = ask(submitter, "POST", f"{PATH}/{one['id']}/password")
    assert (refused.status_code, refused.json()["code"]) == (409, "not-now")


def test_a_tunnel_is_not_left_without_its_owners_password(
    entry: Node, submitter: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewing, "PASSWORDS_MOST", 0)
    with pytest.raises(NotNow):
        create_with_password(submitter, read_wish(GOOD), timezone.now())
    assert not Tunnel.objects.exists() and not Order.objects.exists()
