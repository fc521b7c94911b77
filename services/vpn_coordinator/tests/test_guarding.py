"""Switching a tunnel to asking for passwords, and back: who does it, and what the entry is told."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from fogagent.messages import SetTunnels
from fogpanel.access import Refusal
from fogpanel.models import Event
from nodes.models import Node, Order
from nodes.tests.relays import say
from services.control import NotNow
from services.vpn_coordinator import operations, renewing
from services.vpn_coordinator.guarding import set_require_password
from services.vpn_coordinator.models import Tunnel, TunnelPassword
from services.vpn_coordinator.passwords import others_of
from services.vpn_coordinator.renewing import renew
from services.vpn_coordinator.tests.conftest import MakeTunnel, pending
from services.vpn_coordinator.tests.test_api import PATH, ask
from services.vpn_coordinator.tests.test_pages import HOME, read, stranger, words
from services.vpn_coordinator.tests.test_passwords import opens
from tasks.specification import SpecError

pytestmark = pytest.mark.django_db


@pytest.fixture
def entry(entry: Node) -> Node:
    """Its agent says that it knows such tunnels."""
    assert say(entry, asks_passwords=True) == []
    return entry


@pytest.fixture
def tunnel(make_tunnel: MakeTunnel, other_submitter: User) -> Tunnel:
    """Of the submitter, shared with ann, without a password."""
    return make_tunnel(allowed=[other_submitter])


def switch(actor: User, tunnel: Tunnel, required: bool) -> str:
    return set_require_password(actor, tunnel, required, timezone.now())


def ordered(entry: Node) -> SetTunnels:
    [order] = pending(entry)
    return order


# --- What it does -------------------------------------------------------------------------------------


def test_switched_on_only_the_owner_has_a_password_at_first(
    entry: Node, tunnel: Tunnel, submitter: User, other_submitter: User
) -> None:
    before = ordered(entry).tunnels
    password = switch(submitter, tunnel, True)
    order = ordered(entry)
    assert order.tunnels == [] and [each.port for each in order.guarded] == [each.port for each in before]
    assert opens(entry, submitter, password)
    assert [row.user for row in TunnelPassword.objects.all()] == [submitter]
    assert opens(entry, other_submitter, renew(other_submitter, tunnel, timezone.now()))


def test_switched_off_no_password_is_left_that_could_come_back(
    entry: Node, tunnel: Tunnel, submitter: User, other_submitter: User
) -> None:
    first = switch(submitter, tunnel, True)
    theirs = renew(other_submitter, tunnel, timezone.now())
    orders = Order.objects.count()
    assert switch(submitter, tunnel, False) == ""
    assert Order.objects.count() == orders + 1  # and not one for each password that went
    order = ordered(entry)
    assert (len(order.tunnels), order.guarded) == (1, [])
    again = switch(submitter, tunnel, True)
    assert [opens(entry, submitter, each) for each in (first, again)] == [False, True]
    assert not opens(entry, other_submitter, theirs)


@pytest.mark.parametrize("required", [True, False])
def test_to_ask_for_what_is_so_changes_nothing(tunnel: Tunnel, submitter: User, required: bool) -> None:
    switch(submitter, tunnel, True)
    if not required:
        switch(submitter, tunnel, False)
    before = Event.objects.count(), Order.objects.count(), list(TunnelPassword.objects.values())
    assert switch(submitter, tunnel, required) == ""
    assert (Event.objects.count(), Order.objects.count(), list(TunnelPassword.objects.values())) == before


def test_both_leave_an_event(tunnel: Tunnel, submitter: User, operator: User) -> None:
    password = switch(submitter, tunnel, True)
    switch(operator, tunnel, False)
    for kind, actor, was in (("tunnel.guarded", submitter, False), ("tunnel.unguarded", operator, True)):
        event = Event.objects.get(kind=kind)
        assert event.before is not None and event.after is not None
        assert (event.actor, event.before["require_password"]) == (actor, was)
        assert event.after["require_password"] is not was
        assert password not in f"{event.sentence} {event.before} {event.after}"


# --- Who may, and what is in the way ------------------------------------------------------------------


def test_only_who_may_share_it_switches_it(tunnel: Tunnel, other_submitter: User, viewer: User) -> None:
    for user in (other_submitter, viewer, stranger("bob")):
        with pytest.raises(Refusal):
            switch(user, tunnel, True)
    tunnel.refresh_from_db()
    assert not tunnel.require_password


def test_an_operator_switches_it_and_gets_no_password(tunnel: Tunnel, operator: User) -> None:
    assert others_of(operator, tunnel) == ["ann", "some-submitter"]
    assert switch(operator, tunnel, True) == ""
    tunnel.refresh_from_db()
    assert tunnel.require_password and not TunnelPassword.objects.exists()


@pytest.mark.parametrize("said", [False, None])
def test_an_agent_of_before_is_not_told_to_ask(
    entry: Node, tunnel: Tunnel, submitter: User, said: bool | None
) -> None:
    if said is None:
        entry.relay.delete()
    else:
        say(entry, asks_passwords=False)
    with pytest.raises(SpecError) as raised:
        switch(submitter, tunnel, True)
    [error] = raised.value.errors
    assert error.field == "require_password"
    assert "must be off for atlas: its agent is too old to ask for passwords" in error.message
    assert len(ordered(entry).tunnels) == 1


def test_one_whose_agent_was_replaced_by_an_older_one_can_be_switched_off(
    entry: Node, tunnel: Tunnel, submitter: User
) -> None:
    switch(submitter, tunnel, True)
    say(entry, asks_passwords=False)
    switch(submitter, tunnel, False)
    assert len(ordered(entry).tunnels) == 1


def test_it_is_not_left_without_its_owners_password(
    entry: Node, tunnel: Tunnel, submitter: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewing, "PASSWORDS_MOST", 0)
    with pytest.raises(NotNow, match="which is the most"):
        switch(submitter, tunnel, True)
    tunnel.refresh_from_db()
    assert not tunnel.require_password and len(ordered(entry).tunnels) == 1


def test_a_stopped_one_is_not_switched(tunnel: Tunnel, submitter: User) -> None:
    operations.stop(submitter, tunnel, timezone.now())
    with pytest.raises(NotNow, match="stopped"):
        switch(submitter, tunnel, True)


# --- Pages --------------------------------------------------------------------------------------------


def test_the_page_says_what_it_means_and_then_shows_the_password_once(
    client: Client, entry: Node, tunnel: Tunnel, submitter: User
) -> None:
    Tunnel.objects.update(is_open=True, port=41080, told_at=timezone.now(), clients=3)
    page = f"{HOME}tunnels/{tunnel.id}"
    for path in (page, f"{page}/share"):
        assert f"{page}/require-password" in read(client, submitter, path)
    asked = words(read(client, submitter, f"{page}/require-password"))
    assert "Every program that uses this tunnel now stops until it has a password : 3 clients now" in asked
    assert "These make one of their own on the tunnel’s page: ann." in asked
    answer = client.post(f"{page}/require-password", {"require_password": "on"})
    assert (answer.status_code, answer["Cache-Control"]) == (200, "no-store")
    found = re.search(r'id="tunnel-password"[^>]*>([\w-]{22})<', answer.content.decode())
    assert found is not None and opens(entry, submitter, found[1])
    asked = words(read(client, submitter, f"{page}/require-password"))
    assert found[1] not in asked
    assert "Every program on atlas may use its port from then on" in asked
    assert client.post(f"{page}/require-password", {"require_password": "off"}).status_code == 302
    assert "asks for no password as soon as atlas is told" in words(client.get(page).content.decode())


def test_a_page_that_is_out_of_date_does_not_do_the_opposite(
    client: Client, tunnel: Tunnel, submitter: User
) -> None:
    client.force_login(submitter)
    path = f"{HOME}tunnels/{tunnel.id}/require-password"
    assert client.post(path, {"require_password": "off"}).status_code == 302
    assert client.post(path, {}).status_code == 422
    tunnel.refresh_from_db()
    assert not tunnel.require_password


def test_the_page_tells_of_an_agent_of_before(
    client: Client, entry: Node, tunnel: Tunnel, submitter: User
) -> None:
    say(entry, asks_passwords=False)
    path = f"{HOME}tunnels/{tunnel.id}/require-password"
    told = read(client, submitter, path)
    assert "The agent of atlas is too old to ask for passwords" in told and "guard-form" not in told
    answer = client.post(path, {"require_password": "on"})
    assert answer.status_code == 422 and "its agent is too old" in answer.content.decode()


def test_who_may_open_the_page(
    client: Client, tunnel: Tunnel, submitter: User, other_submitter: User, operator: User, viewer: User
) -> None:
    page = f"{HOME}tunnels/{tunnel.id}"
    for user, status in ((submitter, 200), (operator, 200), (other_submitter, 403), (viewer, 403)):
        assert (f"{page}/require-password" in read(client, user, page)) is (status == 200)
        read(client, user, f"{page}/require-password", status)
        assert client.post(f"{page}/require-password").status_code == (422 if status == 200 else 403)
    assert "You get none, since the tunnel is neither yours" in read(
        client, operator, f"{page}/require-password"
    )


# --- API ----------------------------------------------------------------------------------------------


def test_the_api_switches_it(entry: Node, tunnel: Tunnel, submitter: User, other_submitter: User) -> None:
    path = f"{PATH}/{tunnel.id}/require-password"
    assert ask(other_submitter, "PUT", path, {"require_password": True}).status_code == 403
    on = ask(submitter, "PUT", path, {"require_password": True})
    assert (on.status_code, on.json()["require_password"]) == (200, True)
    assert opens(entry, submitter, on.json()["password"])
    assert ask(submitter, "PUT", path, {"require_password": True}).json()["password"] is None
    off = ask(submitter, "PUT", path, {"require_password": False})
    assert (off.status_code, off.json()["require_password"], off.json()["password"]) == (200, False, None)
    assert ask(submitter, "PUT", path, {}).status_code == 422
    say(entry, asks_passwords=False)
    refused = ask(submitter, "PUT", path, {"require_password": True})
    assert (refused.status_code, "its agent is too old" in refused.content.decode()) == (422, True)
    operations.stop(submitter, tunnel, timezone.now())
    assert ask(submitter, "PUT", path, {"require_password": True}).status_code == 409
