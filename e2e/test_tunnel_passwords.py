"""A tunnel for an entry that several people use: its owner and who it is shared with get passwords."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from e2e.conftest import Visit
from e2e.looks import faults
from e2e.system.panel import Panel

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
