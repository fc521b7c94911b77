"""The keys of sealed tasks in a browser: seen, deleted, and what is said where it does not keep them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from e2e.conftest import Visit
from e2e.looks import faults
from e2e.private_form import LIVE_S, MARKER, SCRIPT, fill, open_result, submit
from e2e.system.panel import Panel
from e2e.test_private_tasks import HAND_IN, Traffic

KEYRING = """async () => {
  const script = document.querySelector("script[type=module]");
  return import(script.src.replace(/[^/]*$/, "keyring.js"));
}"""
UNLASTING = "StorageManager.prototype.persisted = StorageManager.prototype.persist = async () => false;"
ASKING = "StorageManager.prototype.persisted = async () => false;"
ASKING += "StorageManager.prototype.persist = () => new Promise(() => {});"  # until somebody answers
LASTING = "StorageManager.prototype.persisted = StorageManager.prototype.persist = async () => true;"


def row(page: Page, task: int) -> Locator:
    return page.get_by_test_id("sealed-key").filter(has_text=f"#{task}")


def standing(row: Locator) -> Locator:
    """How the task of a row stands, for which the page asks the panel once."""
    return row.locator("[data-standing]:visible")


def agree(page: Page, saying: str) -> None:
    """Say yes to what is asked, which has these words."""
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(saying)
    dialog.locator("[data-yes]").click()


def held(page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.evaluate(f"async () => (await ({KEYRING})()).all()")
    return found


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_keys_are_seen_and_deleted_one_by_one_and_all_that_are_done_with(
    visit: Visit, panel: Panel, phone: bool, dark: bool
) -> None:
    page = visit("/tasks/new", "submitter", phone=phone, dark=dark)
    tasks = []
    for level, source in (("private", SCRIPT), ("confidential", SCRIPT), ("private", "while True: pass")):
        page.goto("/tasks/new")
        fill(page, level, source)
        tasks.append(submit(page))
    opened, unopened, running = tasks
    page.goto(f"/tasks/{opened}")
    open_result(page)
    expect(page.get_by_test_id("opened-stdout")).to_contain_text(MARKER)
    page.goto(f"/tasks/{unopened}")
    expect(page.get_by_test_id("open-result")).to_be_visible(timeout=LIVE_S)
    panel.wait_for_state(running, "running")
    page.goto("/tasks")
    page.get_by_test_id("sealed-keys-link").click()
    expect(page.get_by_test_id("sealed-key")).to_have_count(3)
    expect(standing(row(page, opened))).to_have_text("Failed")
    expect(row(page, opened)).to_contain_text("opened here")
    expect(row(page, unopened)).to_contain_text("confidential")
    expect(row(page, unopened)).to_contain_text("not opened here")
    expect(standing(row(page, running))).to_have_text("Running")
    assert faults(page, phone=phone) == []
    page.get_by_test_id("delete-done-keys").click()
    agree(page, "Results that were opened here can never be opened again")
    expect(page.get_by_test_id("sealed-key")).to_have_count(2)
    expect(page.get_by_role("status")).to_contain_text([re.compile(f"#{opened} are deleted")])
    expect(page.get_by_test_id("delete-done-keys")).to_be_hidden()
    row(page, running).get_by_role("button").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep it").click()
    expect(page.get_by_test_id("sealed-key")).to_have_count(2)
    row(page, running).get_by_role("button").click()
    agree(page, "It has not ended, and cannot be sealed for other nodes then.")
    row(page, unopened).get_by_role("button").click()
    agree(page, "It has ended and was not opened here.")
    expect(page.get_by_test_id("empty-state")).to_be_visible()
    assert held(page) == []
    assert faults(page, phone=phone) == []
    page.goto(f"/tasks/{opened}")
    expect(page.get_by_test_id("sealed-result")).to_contain_text("Its keys are where it was handed in")
    page.goto(f"/tasks/{running}")
    page.get_by_role("button", name="Cancel task").click()
    agree(page, "stops wherever it runs")


def test_keys_whose_task_the_panel_does_not_have_say_so(visit: Visit, panel: Panel) -> None:
    """One that is not there, one whose number has another content, and one whose number was never told."""
    other = panel.submit(driver="python", name="another", source="print(1)")
    page = visit("/tasks/keys")
    numbers = json.dumps([987654321, other, None])
    page.evaluate(
        f"""async () => {{
          const keyring = await ({KEYRING})();
          for (const [at, task] of {numbers}.entries()) {{
            const keys = {{ content_sha256: `0${{at}}`, privacy: "private", reservations: {{}} }};
            await keyring.keep(task ? {{ ...keys, task }} : keys);
          }}
        }}"""
    )
    page.reload()
    expect(standing(row(page, 987654321))).to_have_text("the panel has it no more")
    expect(standing(row(page, other))).to_have_text("the panel has it no more")
    numberless = page.get_by_test_id("sealed-key").filter(has_text="without a number")
    expect(standing(numberless)).to_have_text("not known")
    row(page, other).get_by_role("button").click()
    agree(page, "there is nothing that its keys could open")
    expect(page.get_by_test_id("sealed-key")).to_have_count(2)


def test_a_task_whose_name_is_not_known_yet_is_told_from_the_words_beside_it(visit: Visit) -> None:
    page = visit("/tasks/keys", dark=True)
    page.evaluate(
        f"""async () => (await ({KEYRING})()).keep(
          {{ content_sha256: "00", privacy: "confidential", reservations: {{}}, task: 7 }}
        )"""
    )
    page.route("**/api/v1/tasks/7", lambda route: None)  # no answer
    page.reload()
    link = row(page, 7).get_by_role("link")
    expect(link).to_have_text("Task #7")
    expect(link).to_have_css("text-decoration-line", "underline")
    assert faults(page, phone=False) == []


def test_what_is_only_for_this_browser_is_not_in_a_key_file(visit: Visit) -> None:
    page = visit("/tasks/new", "submitter")
    fill(page, "private")
    submit(page)
    open_result(page)
    expect(page.get_by_test_id("opened-result")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_test_id("export-keys").click()
    saved = json.loads(download.value.path().read_text())
    assert {"content_key", "task"} <= saved.keys()
    assert saved.keys().isdisjoint({"kept_at", "opened_at"})
    assert held(page)[0]["opened_at"] >= held(page)[0]["kept_at"]


# --- Where the browser does not keep them ------------------------------------------------------------------


@pytest.mark.parametrize("promise", [UNLASTING, ASKING, LASTING], ids=["no", "asks", "yes"])
def test_whether_the_browser_promises_to_keep_them_is_told(visit: Visit, promise: str) -> None:
    page = visit("", "submitter")
    page.add_init_script(promise)
    page.goto("/tasks/new")
    fill(page, "private")
    submit(page)
    expect(page.get_by_test_id("export-keys")).to_be_visible()
    may_drop = page.get_by_text("The browser may drop them when it is short of room")
    expect(may_drop).to_be_visible(visible=promise != LASTING)
    page.goto("/tasks/keys")
    expect(page.get_by_test_id("sealed-key")).to_have_count(1)
    if promise == LASTING:
        expect(page.get_by_test_id("ask-to-keep")).to_be_hidden()
        return
    page.get_by_test_id("ask-to-keep").click()
    told = "This browser refused: it may drop" if promise == UNLASTING else "which may ask you"
    expect(page.get_by_text(told)).to_be_visible()


def test_without_room_for_keys_nothing_is_handed_in(visit: Visit, panel: Panel) -> None:
    page = visit("/tasks/new", "submitter")
    fill(page, "private")
    traffic = Traffic(page)
    devtools = page.context.new_cdp_session(page)
    devtools.send("Storage.overrideQuotaForOrigin", {"origin": panel.url, "quotaSize": 1})
    page.get_by_test_id("task-submit").click()
    expect(page.locator("#seal-notice")).to_contain_text("no room left for keys", timeout=LIVE_S)
    assert traffic.posts(HAND_IN) == []
    expect(page.get_by_label("Source")).to_have_value(SCRIPT)
    devtools.send("Storage.overrideQuotaForOrigin", {"origin": panel.url})
    submit(page)


def test_a_database_of_newer_pages_is_not_touched(visit: Visit) -> None:
    page = visit("/settings", "submitter")
    page.evaluate(
        """() => new Promise((resolve) => {
          indexedDB.open("fogpanel", 2).onsuccess = (event) => { event.target.result.close(); resolve(); };
        })"""
    )
    page.goto("/tasks/new")
    expect(page.get_by_test_id("task-privacy")).to_contain_text("Newer pages of this panel were open")
    expect(page.locator("#level-private")).to_be_disabled()
    page.goto("/tasks/keys")
    expect(page.get_by_role("alert")).to_contain_text("Newer pages of this panel were open")


def test_a_database_that_another_tab_holds_is_not_waited_for_without_end(visit: Visit) -> None:
    """Deleting waits for the tab that has it open, and whoever opens it then waits for that."""
    holder = visit("/settings", "submitter")
    holder.evaluate(
        """() => new Promise((resolve) => {
          indexedDB.open("fogpanel", 1).onsuccess = (event) => {
            window.held = event.target.result;
            indexedDB.deleteDatabase("fogpanel").onblocked = resolve;
          };
        })"""
    )
    page = holder.context.new_page()
    page.goto("/tasks/new")
    expect(page.get_by_test_id("task-privacy")).to_contain_text("another tab may hold it", timeout=LIVE_S)
    expect(page.get_by_text("./fog run --privacy private FILE")).to_be_visible()
