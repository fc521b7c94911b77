"""A page on which tests run the scripts of `static/` themselves, with no panel behind it."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page, Route

from fogpanel.supervisor.places import ROOT

ORIGIN = "http://localhost:9"
"""Nothing listens there, everything is answered from this checkout; browsers encrypt on localhost."""
POLICY = "default-src 'self'"
TYPES = {".js": "text/javascript", ".html": "text/html"}
PAGE = '<!doctype html><title>lab</title><script src="/static/vendor/msgpack.min.js"></script>'

IMPORT = """async (paths) => {
  const loaded = await Promise.all(paths.map((path) => import(`/static/${path}.js`)));
  window.lab = Object.fromEntries(paths.map((path, at) => [path.split("/").at(-1), loaded[at]]));
}"""


def open_lab(page: Page, *paths: str) -> None:
    """Open the page with ``lab.<module>`` for each of these modules (``sealing/task``)."""
    page.route(f"{ORIGIN}/**", _answer)
    page.goto(ORIGIN)
    page.evaluate(IMPORT, list(paths))


def run(page: Page, script: str, given: Any = None) -> Any:
    """What an async arrow function in JavaScript returns, in which ``lab`` has the modules."""
    return page.evaluate(script, given)


def _answer(route: Route) -> None:
    path = route.request.url.removeprefix(ORIGIN)
    headers = {"Content-Security-Policy": POLICY}
    if path == "/":
        route.fulfill(body=PAGE, content_type="text/html", headers=headers)
        return
    file = ROOT / path.lstrip("/")
    if file.is_file():
        route.fulfill(path=file, content_type=TYPES[file.suffix], headers=headers)
    else:
        route.fulfill(status=404)
