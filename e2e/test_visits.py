"""Every page, on a desktop and a phone, light and dark: one visit checks layout, console and axe."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from e2e.conftest import Visit
from e2e.system.panel import Panel

TOUCH_PX = 44

# What people press first on a phone.
PRIMARY = ".btn, .bottom a, .tabs a, .form-control, .form-select, summary"

TOO_SMALL = """([selector, least]) => [...document.querySelectorAll(selector)]
  .filter((element) => element.checkVisibility({ visibilityProperty: true }))
  .map((element) => [element, element.getBoundingClientRect()])
  .filter(([, box]) => box.width > 0 && box.height < least - 0.5)
  .map(([element, box]) => `${element.outerHTML.slice(0, 120)} is ${box.height} px high`)
"""
BEYOND_THE_EDGE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


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
def addresses(panel: Panel) -> dict[str, str]:
    """Each page with something on it."""
    done = panel.submit(
        driver="python", name="done", source="import sys\nprint(1)\nprint(2, file=sys.stderr)"
    )
    waits = panel.submit(driver="python", name="waits", source="print(1)", cores=200)
    panel.wait_for_state(done, "succeeded")
    node = next(iter(panel.nodes().values()))["id"]
    tunnel = panel.post("/tunnels", {"name": "browsing", "entry": panel.agents[0]})["id"]
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
        "nodes": "/nodes",
        "node": f"/nodes/{node}",
        "work of a node": f"/nodes/{node}/why",
        "drain a node": f"/nodes/{node}/drain",
        "add node": "/nodes/add",
        "tasks": "/tasks",
        "no tasks": "/tasks?q=nothing-is-called-this",
        "new task": "/tasks/new",
        "task": f"/tasks/{done}",
        "task explained now": f"/tasks/{done}/explain",
        "waiting task": f"/tasks/{waits}",
        "events": "/events",
        "settings": "/settings",
        "not found": "/nodes/987654321",
    }


PAGES = (
    "control panel", "service", "topology over time", "what if", "onion circuits", "circuits of a node",
    "relays", "tunnels", "no tunnel stopped", "new tunnel", "tunnel", "stop a tunnel",
    "nodes", "node", "work of a node", "drain a node", "add node", "tasks",
    "no tasks", "new task", "task", "task explained now", "waiting task", "events", "settings", "not found",
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
    assert page.evaluate(BEYOND_THE_EDGE) <= 0, "the page scrolls sideways"
    if phone:
        assert page.evaluate(TOO_SMALL, [PRIMARY, TOUCH_PX]) == []
    assert violations(page) == []


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_the_sign_in_page(visit: Visit, phone: bool) -> None:
    page = visit("/sign-in", name="", phone=phone)
    assert page.evaluate(BEYOND_THE_EDGE) <= 0
    assert violations(page) == []


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {each['nodes'][0]['target']} {each['nodes'][0]['failureSummary']}" for each in found
    ]
