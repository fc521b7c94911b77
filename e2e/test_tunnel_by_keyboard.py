"""A new user's first tunnel without a mouse: made, its line copied, shared and stopped."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from e2e.conftest import Visit
from e2e.looks import faults
from e2e.system.panel import Panel

MOST_TABS = 40

# It says so for two seconds, which a slow machine may miss.
NOTE_COPIED = """new MutationObserver((changes) => {
  window.copied ||= changes.some((change) => change.target.textContent.includes("Copied"));
}).observe(document.body, { childList: true, subtree: true })"""


def tab_to(page: Page, wanted: Locator) -> None:
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"{MOST_TABS} times Tab do not lead to {wanted}")


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_a_tunnel_is_made_used_shared_and_stopped_by_keyboard(
    visit: Visit, panel: Panel, phone: bool
) -> None:
    page = visit("/services/vpn_coordinator/", "submitter", phone=phone)
    tab_to(page, page.get_by_test_id("new-tunnel"))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_role("button", name="Create tunnel"))
    page.keyboard.press("Enter")
    expect(page.get_by_label("Name")).to_be_focused()  # the first of those that are missing
    page.keyboard.type("by keyboard")
    page.keyboard.press("Tab")
    page.keyboard.insert_text(panel.agents[0])
    tab_to(page, page.get_by_role("button", name="Create tunnel"))
    page.keyboard.press("Enter")
    expect(page.locator("[data-testid^=tunnel-state-][data-state=open]")).to_be_visible(timeout=30_000)

    copy = page.get_by_role("button", name="Copy").first
    tab_to(page, copy)
    assert faults(page, phone=phone) == []  # its words can be read on the ground that it has then
    page.evaluate(NOTE_COPIED)
    page.keyboard.press("Enter")
    page.wait_for_function("window.copied")

    tab_to(page, page.get_by_test_id("share-tunnel"))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_label("Also for these users"))
    page.keyboard.type("operator")
    page.keyboard.press("Enter")
    expect(page.get_by_text("is shared with operator.")).to_be_visible()

    tab_to(page, page.get_by_test_id("stop-tunnel"))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_role("button", name="Stop it"))
    page.keyboard.press("Enter")
    expect(page.get_by_text("is stopped;")).to_be_visible()
    assert faults(page, phone=phone) == []
