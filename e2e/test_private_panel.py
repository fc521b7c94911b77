"""What a browser remembers of the panel that it sealed for, and what it says when that does not fit."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from e2e.conftest import Visit
from e2e.looks import faults
from e2e.private_form import LIVE_S, SCRIPT, fill, submit
from e2e.system.panel import Panel, until
from e2e.test_private_tasks import DIRECTORY, Traffic, altering, refused
from fogagent.overlay.directory import decode_changes

DOUBT = "#seal-doubt"
KEYRING = """async () => {
  const script = document.querySelector("script[type=module]");
  return import(script.src.replace(/[^/]*$/, "keyring.js"));
}"""
SHOWN = re.compile(r"/api/v1/agents/panel$")


def see_newer(page: Page) -> None:
    """Have it keep a version that is far above the one that the panel gives, which may make new ones."""
    page.evaluate(
        f"""async () => {{
          const keyring = await ({KEYRING})();
          const {{ panel_key }} = await (await fetch("/api/v1/agents/panel")).json();
          const key = Uint8Array.from(atob(panel_key), (character) => character.charCodeAt(0));
          const {{ version, made_at }} = await keyring.seenDirectory(key);
          await keyring.noteDirectory(key, {{ version: version + 1e7, made_at: made_at + 1e7 }});
        }}"""
    )


def seal_once(page: Page) -> None:
    page.goto("/tasks/new")
    fill(page, "private")
    submit(page)


def given(panel: Panel) -> bytes:
    with contextlib.closing(panel.client()) as client:
        content: bytes = client.get("/relay-directory").content
    return content


@contextlib.contextmanager
def changed(panel: Panel, name: str) -> Iterator[None]:
    """A node more, and with it a newer directory."""
    before = decode_changes(given(panel)).version
    agent = panel.join(name)
    try:
        until("there is a newer directory", lambda: decode_changes(given(panel)).version > before)
        yield
    finally:
        agent.kill()
        with contextlib.closing(panel.client()) as client:
            client.delete(f"/nodes/{panel.nodes()[name]['id']}")


def replaying(body: bytes) -> Any:
    def replay(route: Route) -> None:
        route.fulfill(body=body, content_type="application/vnd.msgpack")

    return replay


# --- An older directory ----------------------------------------------------------------------------------


def test_a_directory_of_before_seals_nothing_until_somebody_says_so(visit: Visit, panel: Panel) -> None:
    old = given(panel)
    page = visit("", "submitter")
    with changed(panel, "sealed-newcomer"):
        seal_once(page)
    page.route(DIRECTORY, replaying(old))
    page.goto("/tasks/new")
    version = decode_changes(old).version
    expect(page.locator(DOUBT)).to_contain_text(f"It is version {version} of 20", timeout=LIVE_S)
    expect(page.locator(DOUBT)).to_contain_text("was seen in this browser")
    for level in ("private", "confidential"):
        expect(page.locator(f"#level-{level}")).to_be_disabled()
    expect(page.locator("#level-public")).to_be_enabled()
    go_by_the_older(page, "Keep it")
    expect(page.locator(DOUBT)).to_be_visible()
    go_by_the_older(page, "Go by the older one")
    expect(page.locator(DOUBT)).to_be_hidden()
    fill(page, "private")
    submit(page)
    page.unroute(DIRECTORY)
    seal_once(page)
    page.route(DIRECTORY, replaying(old))  # it was accepted once, not for ever
    page.goto("/tasks/new")
    expect(page.locator(DOUBT)).to_be_visible(timeout=LIVE_S)


def go_by_the_older(page: Page, answer: str) -> None:
    page.locator(DOUBT).get_by_role("button", name="Go by the older one").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Nodes that were thrown out may stand in it")
    dialog.get_by_role("button", name=answer).click()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_it_is_also_seen_when_handing_in(visit: Visit, phone: bool, dark: bool) -> None:
    page = visit("", "submitter", phone=phone, dark=dark)
    seal_once(page)
    page.goto("/tasks/new")
    fill(page, "private")
    see_newer(page)
    refused(page, "is refused, so nothing was sealed", DOUBT)
    expect(page.locator(DOUBT)).to_be_focused()
    expect(page.locator("#level-confidential")).to_be_disabled()
    assert faults(page, phone=phone) == []


def test_a_panel_that_gives_a_newer_one_again_is_doubted_no_more(visit: Visit, panel: Panel) -> None:
    """As one does that was restored: nobody has to load the page anew."""
    old = given(panel)
    page = visit("", "submitter")
    with changed(panel, "sealed-latecomer"):
        seal_once(page)
    page.route(DIRECTORY, replaying(old))
    page.goto("/tasks/new")
    expect(page.locator(DOUBT)).to_be_visible(timeout=LIVE_S)
    page.unroute(DIRECTORY)
    expect(page.locator(DOUBT)).to_be_hidden(timeout=LIVE_S)
    expect(page.locator("#level-private")).to_be_enabled()


def test_of_two_tabs_neither_takes_back_what_the_other_has_seen(visit: Visit) -> None:
    """Nor is an answer refused because the other tab got a newer one while it was on its way."""
    page = visit("", "submitter")
    seal_once(page)
    page.goto("/tasks/new")
    fill(page, "private")
    other = page.context.new_page()
    other.goto("/tasks/keys")

    def overtaken(route: Route) -> None:
        answer = route.fetch()
        see_newer(other)
        route.fulfill(response=answer)

    page.route(DIRECTORY, overtaken)
    submit(page)
    page.unroute(DIRECTORY)
    page.goto("/tasks/new")
    expect(page.locator(DOUBT)).to_contain_text("was seen in this browser", timeout=LIVE_S)


# --- Another key, another signature, another clock ---------------------------------------------------------


def flipped(body: bytes) -> bytes:
    """Near the end is the signature of a directory."""
    return body[:-10] + bytes([body[-10] ^ 1]) + body[-9:]


def test_a_forged_directory_seals_nothing(visit: Visit) -> None:
    page = visit("/tasks/new", "submitter")
    fill(page, "private")
    page.route(DIRECTORY, altering(flipped))
    refused(page, "was not signed by this panel", DOUBT)
    expect(page.locator(DOUBT).get_by_role("button")).to_have_count(0)


def know_another_key(page: Page) -> None:
    page.evaluate(f"async () => (await ({KEYRING})()).trust(new Uint8Array(32))")


def test_a_panel_with_another_key_than_before_is_not_trusted_until_somebody_says_so(visit: Visit) -> None:
    page = visit("/tasks/new", "submitter")
    fill(page, "private")
    know_another_key(page)
    refused(page, "This panel shows another key than before", DOUBT)
    page.get_by_role("button", name="Trust the new key").click()
    expect(page.locator(DOUBT)).to_be_hidden()
    submit(page)


def test_that_a_panel_was_set_up_anew_is_said_before_anything_is_filled_in(visit: Visit) -> None:
    page = visit("", "submitter")
    seal_once(page)
    page.goto("/tasks/keys")
    expect(page.get_by_role("alert")).to_have_count(0)
    know_another_key(page)
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("This panel shows another key", timeout=LIVE_S)
    page.goto("/tasks/new")
    expect(page.locator(DOUBT)).to_contain_text("This panel shows another key than before", timeout=LIVE_S)
    expect(page.locator("#level-private")).to_be_disabled()
    page.get_by_role("button", name="Trust the new key").click()
    expect(page.locator("#level-private")).to_be_enabled()


def test_a_clock_that_is_ahead_is_named_with_both_times(visit: Visit) -> None:
    page = visit("", "submitter")
    page.clock.install(time="2099-01-02T03:04:05Z")
    page.goto("/tasks/new")
    fill(page, "private")
    refused(page, "and here it is 2099-01-02 03:0", DOUBT)
    expect(page.locator(DOUBT)).to_contain_text("this machine's clock is ahead")


def test_who_has_sealed_nothing_here_is_not_asked_about(visit: Visit) -> None:
    page = visit("", "submitter")
    traffic = Traffic(page)
    with page.expect_response(re.compile("/api/v1/privacy")):
        page.goto("/tasks/new")
    expect(page.locator("#level-private")).to_be_enabled(timeout=LIVE_S)
    asked = [each.url for each in traffic.requests]
    assert [url for url in asked if DIRECTORY.search(url) or SHOWN.search(url)] == []


# --- Browsers that do not run our modules ------------------------------------------------------------------


def without_modules(page: Page) -> None:
    """As browsers see the pages that know no modules: their scripts are of a kind that is not run."""

    def hide(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace('type="module"', 'type="text/unknown"'))

    page.route(re.compile(r"/tasks/(new|keys|\d+)$"), hide)


def test_a_browser_that_knows_no_modules_says_why_it_cannot_seal(visit: Visit) -> None:
    page = visit("", "submitter")
    seal_once(page)
    task = page.url
    without_modules(page)
    page.goto("/tasks/new")
    expect(page.locator("#cannot-seal")).to_be_visible()
    expect(page.locator("#cannot-seal")).to_contain_text("this browser did not run the script that seals")
    expect(page.get_by_text("./fog run --privacy private FILE")).to_be_visible()
    expect(page.locator("#level-private")).to_be_disabled()
    page.goto("/tasks/keys")
    expect(page.get_by_text("this one did not run the script that reads them")).to_be_visible()
    page.goto(task)
    expect(page.get_by_text("did not run the script that opens results")).to_be_visible()


@pytest.mark.parametrize("broken", ["lost", "not understood"])
def test_a_script_that_did_not_come_or_is_not_understood_is_named_too(visit: Visit, broken: str) -> None:
    def answer(route: Route) -> None:
        if broken == "lost":
            route.abort()
        else:
            route.fulfill(body="export const = 1;", content_type="text/javascript")

    page = visit("", "submitter")
    page.route(re.compile(r"/private/costs[^/]*\.js$"), answer)
    page.goto("/tasks/new")
    expect(page.locator("#cannot-seal")).to_contain_text("the script did not come", timeout=LIVE_S)
    expect(page.locator("#cannot-seal")).to_be_visible()


def test_a_browser_that_runs_them_is_told_nothing(visit: Visit) -> None:
    page = visit("", "submitter")
    page.goto("/tasks/new", wait_until="load")
    expect(page.locator("#level-private")).to_be_enabled(timeout=LIVE_S)
    expect(page.locator("#cannot-seal")).to_be_hidden()
    expect(page.get_by_label("Source")).not_to_have_value(SCRIPT)
