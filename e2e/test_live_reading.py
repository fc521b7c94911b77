"""Reading a page while pushes replace its parts: what was opened stays open, and the focus where it was."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from e2e.conftest import Visit
from e2e.looks import faults
from e2e.system.panel import Panel, until

SCREENS = 6
"""So many of a phone a page with five nodes and a tunnel may be long."""


@pytest.fixture(scope="module")
def tunnel(panel: Panel) -> int:
    """It has circuits, and carried nothing yet."""
    made: int = panel.post("/tunnels", {"name": "read", "entry": panel.agents[0]})["id"]
    until("the tunnel is open", lambda: panel.get(f"/tunnels/{made}")["port"])
    asked = f"/circuits?node={panel.nodes()[panel.agents[0]]['id']}"
    until("it has a circuit", lambda: any(each["circuits"] for each in panel.get(asked)["items"]))
    return made


def wait_for_push(page: Page, part: Locator) -> None:
    """Until another element stands in its place."""
    was = part.element_handle()
    page.wait_for_function("element => !element.isConnected", arg=was)


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_what_was_opened_stays_open_and_the_focus_where_it_was(
    visit: Visit, panel: Panel, tunnel: int, phone: bool
) -> None:
    page = visit(f"/services/onion/circuits?node={panel.agents[0]}", phone=phone)
    told = page.get_by_test_id(f"circuits-of-{panel.nodes()[panel.agents[0]]['id']}")
    summary = told.get_by_text("What each rule says").first
    summary.focus()
    page.keyboard.press("Enter")
    expect(told.locator("details[open]")).to_have_count(1)
    for _ in range(2):
        wait_for_push(page, told)
        expect(told.locator("details[open]")).to_have_count(1)
        expect(summary).to_be_focused()
    page.keyboard.press("Enter")
    wait_for_push(page, told)
    expect(told.locator("details[open]")).to_have_count(0)
    assert faults(page, phone=phone) == []


@pytest.mark.parametrize(
    "address", ["/services/onion/", "/services/vpn_coordinator/", "/services/onion/relays"]
)
def test_a_page_is_not_endless_on_a_phone(visit: Visit, tunnel: int, address: str) -> None:
    page = visit(address, phone=True)
    height, screen = page.evaluate("[document.documentElement.scrollHeight, innerHeight]")
    assert height <= SCREENS * screen
