"""What is wrong with how a page looks and speaks: layout, sizes, and what axe finds."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

TOUCH_PX = 44

# What people press first on a phone.
PRIMARY = ".btn, .bottom a, .tabs a, .form-control, .form-select, summary"

TOO_SMALL = """([selector, least]) => [...document.querySelectorAll(selector)]
  .filter((element) => element.checkVisibility({ visibilityProperty: true }))
  .map((element) => [element, element.getBoundingClientRect()])
  .filter(([, box]) => box.width > 0 && box.height < least - 0.5)
  .map(([element, box]) => `${element.outerHTML.slice(0, 120)} is ${box.height} px high`)
"""
# Pages are filled and updated piece by piece; what is half done for a moment is not how they look.
AT_REST = """() => new Promise((resolve) => {
  const quietMs = 150, mostMs = 10_000;
  const busy = () => document.querySelector(".htmx-request, .htmx-swapping, .htmx-settling, .htmx-added")
    || document.fonts.status !== "loaded" || document.readyState !== "complete";
  const wait = () => { clearTimeout(timer); timer = setTimeout(look, quietMs); };
  const observer = new MutationObserver(wait);
  let timer;
  const look = () => { if (busy()) wait(); else { observer.disconnect(); resolve(); } };
  observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
  wait();
  setTimeout(resolve, mostMs);
})"""
BEYOND_THE_EDGE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def faults(page: Page, *, phone: bool) -> list[str]:
    """Each as a sentence, once the page has been at rest for a moment."""
    page.evaluate(AT_REST)
    sideways = ["the page scrolls sideways"] if page.evaluate(BEYOND_THE_EDGE) > 0 else []
    small = page.evaluate(TOO_SMALL, [PRIMARY, TOUCH_PX]) if phone else []
    return [*sideways, *small, *violations(page)]


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {each['nodes'][0]['target']} {each['nodes'][0]['failureSummary']}" for each in found
    ]
