"""Every page, on a desktop and a phone, light and dark: one visit checks layout, console and axe."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page, expect

from e2e.conftest import SignedIn, Visit
from e2e.looks import faults
from e2e.private_form import fill, submit
from e2e.system.panel import ADMIN, Panel


@dataclass
class Complaints:
    """What the browser has to say of a page."""

    texts: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self.texts.append(str(error)))

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.texts.append(text)


@pytest.fixture(scope="module")
def addresses(panel: Panel, browser: Browser, signed_in: SignedIn) -> dict[str, str]:
    """Each page with something on it."""
    done = panel.submit(
        driver="python", name="done", source="import sys\nprint(1)\nprint(2, file=sys.stderr)"
    )
    waits = panel.submit(driver="python", name="waits", source="print(1)", cores=200)
    panel.wait_for_state(done, "succeeded")
    node = next(iter(panel.nodes().values()))["id"]
    sealed = hand_in_sealed(browser, panel, signed_in)
    tunnel = panel.post("/tunnels", {"name": "browsing", "entry": panel.agents[0]})["id"]
    shared = {"name": "shared", "entry": panel.agents[0], "require_password": True}
    guarded = panel.post("/tunnels", shared)["id"]
    return {
        "control panel": "/control-panel",
        "service": "/services/fog_coordinator/",
        "topology over time": "/services/fog_coordinator/topology?position=0",
        "what if": "/services/fog_coordinator/what-if",
        "onion circuits": "/services/onion/",
        "circuits of a node": f"/services/onion/circuits?node={panel.agents[0]}",
        "relays": "/services/onion/relays",
        "tunnels": "/services/vpn_coordinator/",
        "no tunnel stopped": "/services/vpn_coordinator/?stopped=on",
        "new tunnel": "/services/vpn_coordinator/tunnels/new",
        "tunnel": f"/services/vpn_coordinator/tunnels/{tunnel}",
        "stop a tunnel": f"/services/vpn_coordinator/tunnels/{tunnel}/stop",
        "share a tunnel": f"/services/vpn_coordinator/tunnels/{guarded}/share",
        "tunnel with a password": f"/services/vpn_coordinator/tunnels/{guarded}",
        "password of a tunnel": f"/services/vpn_coordinator/tunnels/{guarded}/password",
        "require a password": f"/services/vpn_coordinator/tunnels/{tunnel}/require-password",
        "ask for no password": f"/services/vpn_coordinator/tunnels/{guarded}/require-password",
        "nodes": "/nodes",
        "node": f"/nodes/{node}",
        "work of a node": f"/nodes/{node}/why",
        "drain a node": f"/nodes/{node}/drain",
        "add node": "/nodes/add",
        "tasks": "/tasks",
        "no tasks": "/tasks?q=nothing-is-called-this",
        "new task": "/tasks/new",
        "new private task": f"/tasks/new?from={sealed}",
        "no keys": "/tasks/keys",
        "sealed task": f"/tasks/{sealed}",
        "task": f"/tasks/{done}",
        "task explained now": f"/tasks/{done}/explain",
        "waiting task": f"/tasks/{waits}",
        "events": "/events",
        "settings": "/settings",
        "not found": "/nodes/987654321",
    }


def hand_in_sealed(browser: Browser, panel: Panel, signed_in: SignedIn) -> int:
    """One that has ended, whose keys are in no browser any more."""
    context = browser.new_context(base_url=panel.url, storage_state=signed_in(ADMIN))
    page = context.new_page()
    page.goto("/tasks/new")
    fill(page, "confidential")
    task = submit(page)
    context.close()
    panel.wait_for_state(task, "failed")
    return task


PAGES = (
    "control panel", "service", "topology over time", "what if", "onion circuits", "circuits of a node",
    "relays", "tunnels", "no tunnel stopped", "new tunnel", "tunnel", "stop a tunnel",
    "share a tunnel", "tunnel with a password", "password of a tunnel",
    "require a password", "ask for no password",
    "nodes", "node", "work of a node", "drain a node", "add node", "tasks",
    "no tasks", "new task", "new private task", "no keys", "sealed task", "task", "task explained now",
    "waiting task", "events", "settings", "not found",
)  # fmt: skip


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", PAGES)
def test_a_visit(visit: Visit, addresses: dict[str, str], name: str, phone: bool, dark: bool) -> None:
    page = visit("", phone=phone, dark=dark)
    complaints = Complaints()
    complaints.listen(page)
    page.goto(addresses[name])
    if name != "not found":
        expect(page.get_by_test_id("ws-status")).to_have_attribute("data-status", "connected", timeout=30_000)
        assert complaints.texts == []
    assert faults(page, phone=phone) == []


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_the_sign_in_page(visit: Visit, phone: bool) -> None:
    page = visit("/sign-in", name="", phone=phone)
    assert faults(page, phone=phone) == []
