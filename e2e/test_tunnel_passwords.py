"""A tunnel for an entry that several people use: its owner and who it is shared with get passwords."""

from __future__ import annotations

import re
import socket

import pytest
from playwright.sync_api import Page, expect

from e2e.conftest import Visit
from e2e.looks import faults
from e2e.system.panel import Panel, until

NEW = "/services/vpn_coordinator/tunnels/new"


def shown_password(page: Page) -> str:
    told = page.get_by_test_id("new-tunnel-password").inner_text()
    found = re.search(r"[\w-]{22}", told)
    assert found is not None, told
    return found[0]


def test_each_user_gets_a_password_of_their_own_once(visit: Visit, panel: Panel) -> None:
    page = visit(NEW, "submitter")
    page.get_by_label("Name").fill("shared")
    page.get_by_label("Entry node").fill(panel.agents[0])
    page.get_by_label("Also for these users").fill("operator")
    page.get_by_label("Require a password").check()
    page.get_by_role("button", name="Create tunnel").click()
    first = shown_password(page)
    assert faults(page, phone=False) == []
    page.get_by_test_id("to-tunnel").click()
    expect(page.get_by_text("required: each of its users has one of their own")).to_be_visible()
    address = page.url
    assert first not in page.content()

    theirs = visit(address, "operator", phone=True)
    theirs.get_by_role("link", name="Get a password").click()
    theirs.get_by_role("button", name="Make the password").click()
    assert shown_password(theirs) != first
    assert faults(theirs, phone=True) == []

    page.get_by_test_id("share-tunnel").click()
    page.get_by_label("Also for these users").fill("")
    page.get_by_role("button", name="Share it with these").click()
    expect(page.get_by_text("nobody else")).to_be_visible()
    theirs.goto(f"{address}/password")
    expect(theirs.get_by_text("Only the person who created this tunnel")).to_be_visible()


# What a client of SOCKS says that has no password, and what it is told where one is asked for and where not.
WITHOUT, NO_METHOD, GO_ON = b"\x05\x01\x00", b"\x05\xff", b"\x05\x00"


def port_of(panel: Panel, tunnel: int) -> int:
    port: int = until("the tunnel is open", lambda: panel.get(f"/tunnels/{tunnel}")["port"])
    return port


def greet(port: int) -> socket.socket:
    program = socket.create_connection(("127.0.0.1", port), 20)
    program.sendall(WITHOUT)
    return program


def answer(port: int) -> bytes:
    """Nothing while the port is closed and opened again."""
    try:
        with greet(port) as program:
            return program.recv(2)
    except OSError:
        return b""


def is_cut(program: socket.socket) -> bool:
    try:
        return program.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_a_tunnel_in_use_is_switched_to_requiring_a_password_and_back(
    visit: Visit, panel: Panel, phone: bool
) -> None:
    made = panel.post("/tunnels", {"name": "in use", "entry": panel.agents[0]})["id"]
    port = port_of(panel, made)
    program = greet(port)
    assert program.recv(2) == GO_ON

    page = visit(f"/services/vpn_coordinator/tunnels/{made}/share", phone=phone)
    assert faults(page, phone=phone) == []
    page.get_by_test_id("guard-tunnel").click()
    expect(page.get_by_text("Every program that uses this tunnel now stops")).to_be_visible()
    assert faults(page, phone=phone) == []
    page.get_by_role("button", name="Require a password").click()
    password = shown_password(page)
    assert faults(page, phone=phone) == []
    assert is_cut(program)
    until("the port asks for one", lambda: answer(port) == NO_METHOD)

    page.get_by_test_id("to-tunnel").click()
    expect(page.get_by_text("had the tunnel in use ask for passwords")).to_be_visible()
    assert password not in page.content()
    page.get_by_test_id("guard-tunnel").click()
    expect(page.get_by_text("may use its port from then on")).to_be_visible()
    assert faults(page, phone=phone) == []
    page.get_by_role("button", name="Ask for no password").click()
    expect(page.get_by_text("asks for no password as soon as")).to_be_visible()
    until("the port asks for none", lambda: answer(port) == GO_ON)
    assert port_of(panel, made) == port
    program.close()
    panel.answer("DELETE", f"/tunnels/{made}")
