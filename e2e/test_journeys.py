"""What people come for, done in a browser against the real panel."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, WebSocketRoute, expect

from e2e.conftest import SignedIn, Visit, sign_in
from e2e.system.panel import Panel, until
from fogpanel.supervisor.places import ROOT

LIVE_S = 60_000  # milliseconds; enough for two slow cores
LINES = 16


def prints_for(seconds: float) -> str:
    """The source of a task that is under way for so long, and prints its lines meanwhile."""
    lines = f"for n in range(1, {LINES + 1}):\n    print('line', n)\n    time.sleep({seconds / LINES})\n"
    return f"import time\n{lines}"


def connected(page: Page) -> None:
    expect(page.get_by_test_id("ws-status")).to_have_attribute("data-status", "connected", timeout=LIVE_S)


def hand_in(page: Page, source: str, name: str) -> str:
    """Fill the form, submit it, and return the id of the task whose page opens."""
    page.get_by_label("Name").fill(name)
    page.get_by_label("Source").fill(source)
    page.get_by_test_id("task-submit").click()
    page.wait_for_url(re.compile(r"/tasks/\d+$"))
    return page.url.rpartition("/")[2]


def test_a_wrong_password_says_what_to_do_and_the_right_one_opens(visit: Visit, panel: Panel) -> None:
    page = visit("/control-panel", name="")
    page.get_by_label("Name").fill("submitter")
    page.get_by_label("Password").fill("not it")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("do not belong together")).to_be_visible()
    sign_in(page, panel, "submitter")
    expect(page.get_by_test_id("service-grid")).to_be_visible()


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_a_script_is_handed_in_and_watched_until_it_succeeds(visit: Visit, phone: bool) -> None:
    page = visit("/tasks/new", "submitter", phone=phone)
    hand_in(page, prints_for(8), "watched")
    page.evaluate("window.sameDocument = true")
    log, status = page.get_by_test_id("task-logs"), page.get_by_test_id("task-status")
    expect(log).to_contain_text("line 1", timeout=LIVE_S)
    expect(status).to_have_text("Running")
    expect(log).not_to_contain_text(f"line {LINES}")
    expect(log).to_contain_text(f"line {LINES}", timeout=LIVE_S)
    expect(status).to_have_text("Succeeded", timeout=LIVE_S)
    expect(page.get_by_role("region", name="Result")).to_contain_text("Exit code", timeout=LIVE_S)
    expect(page.get_by_role("button", name="Run again", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Cancel task")).to_be_hidden()
    assert page.evaluate("window.sameDocument"), "the page was loaded anew"
    expect(log.locator("li")).to_have_text([f"line {n}" for n in range(1, LINES + 1)])


def test_the_decision_says_why_that_node_and_what_others_would_have_chosen(visit: Visit) -> None:
    page = visit("/tasks/new", "submitter")
    hand_in(page, "print('decided')", "decided")
    decision = page.get_by_test_id("task-decision")
    expect(decision).to_contain_text("chosen", timeout=LIVE_S)
    expect(decision).to_contain_text("5 nodes considered")
    for strategy in ("Round robin", "Least loaded", "Affinity based", "Proximity based", "Privacy aware"):
        expect(decision.get_by_role("row", name=strategy)).to_be_visible()


def test_the_preview_follows_the_form(visit: Visit) -> None:
    page = visit("/tasks/new", "submitter")
    rows = page.locator("[data-testid^=preview-row-]")
    expect(rows).to_have_count(5)
    page.get_by_label("Region").fill("ap-south")
    page.get_by_label("Only there").check()
    for row in rows.all():
        expect(row).to_contain_text("mix-ap-south")
    page.get_by_label("Region").fill("nowhere")
    expect(rows.first).to_contain_text("Would wait")
    page.get_by_label("Memory in MB").fill("1")
    expect(page.get_by_test_id("task-preview")).to_contain_text("memory_mb: must be between 16")


def test_a_task_that_fits_nowhere_says_why_and_is_cancelled(visit: Visit) -> None:
    page = visit("/tasks/new", "submitter")
    page.get_by_label("Cores").fill("200")
    hand_in(page, "print('never')", "too large")
    waits = page.get_by_role("region", name="Why it waits")
    expect(waits).to_contain_text("5 nodes", timeout=LIVE_S)
    connected(page)
    page.get_by_role("button", name="Cancel task").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel task").click()
    expect(page.get_by_test_id("task-status")).to_have_text("Cancelled", timeout=LIVE_S)


def test_a_running_task_is_cancelled(visit: Visit) -> None:
    page = visit("/tasks/new", "submitter")
    hand_in(page, "import time\nprint('on', flush=True)\ntime.sleep(600)", "long")
    expect(page.get_by_test_id("task-logs")).to_contain_text("on", timeout=LIVE_S)
    page.get_by_role("button", name="Cancel task").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel task").click()
    expect(page.get_by_test_id("task-status")).to_have_text("Cancelled", timeout=LIVE_S)


def test_bad_input_is_named_next_to_its_field_and_nothing_is_lost(visit: Visit) -> None:
    page = visit("/tasks/new", "submitter")
    page.get_by_label("Source").fill("print('kept')")
    page.get_by_label("Time limit in seconds").fill("0")
    page.get_by_test_id("task-submit").click()
    expect(page.locator("#field-timeout_s")).to_contain_text("between 1 and 86400 seconds, was 0")
    expect(page.get_by_label("Source")).to_have_value("print('kept')")


def test_a_new_task_appears_in_an_open_list(visit: Visit, panel: Panel) -> None:
    page = visit("/tasks", "viewer")
    connected(page)
    task = panel.submit(driver="python", source="print(1)", name="appears")
    row = page.get_by_test_id(f"task-row-{task}")
    expect(row).to_be_visible(timeout=LIVE_S)
    expect(row).to_contain_text("Succeeded", timeout=LIVE_S)
    page.get_by_test_id("tab-succeeded").click()
    expect(page.get_by_test_id(f"task-row-{task}")).to_be_visible()


def test_a_node_is_found_and_its_status_changes_before_ones_eyes(visit: Visit, panel: Panel) -> None:
    node = panel.nodes()["relay-eu-north"]["id"]
    page = visit("/nodes", "operator")
    page.get_by_test_id("node-search").fill("relay")
    rows = page.locator("[data-testid^=node-row-]")
    expect(rows).to_have_count(1)
    connected(page)
    other = visit(f"/nodes/{node}", "operator")
    try:
        other.get_by_test_id("drain-button").click()
        asked = other.get_by_role("dialog")
        asked.get_by_label("What for").select_option("maintenance")
        asked.get_by_label("What runs there may go on for").select_option("0")
        asked.get_by_role("button", name="Drain").click()
        expect(rows.first).to_contain_text("Maintenance", timeout=LIVE_S)
    finally:
        other.get_by_role("button", name="Resume").click()
    expect(rows.first).to_contain_text("Idle", timeout=LIVE_S)
    page.get_by_test_id("node-filter-status").select_option("offline")
    expect(page.get_by_test_id("empty-state")).to_be_visible()


@contextlib.contextmanager
def pasted(line: str, folder: Path) -> Iterator[None]:
    """The agent that the pasted line starts, here without installing it anew from the panel's wheel."""
    options = shlex.split(line.partition("fogagent agent ")[2])
    command = [sys.executable, "-m", "fogagent", "agent", *options, "--name", "sixth", "--state", str(folder)]
    agent = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        agent.terminate()
        agent.wait(30)


def test_add_node_shows_a_line_that_works(visit: Visit, panel: Panel, tmp_path: Path) -> None:
    page = visit("/nodes", "operator")
    page.get_by_test_id("add-node-button").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Note").fill("the sixth")
    dialog.get_by_role("button", name="Make the key").click()
    line = page.get_by_test_id("join-command").inner_text()
    wheel = re.search(r"http\S+?/agent/(fogagent-\S+?\.whl)#sha256=[0-9a-f]{64}", line)
    assert wheel, line
    assert f"--join {panel.url}" in line
    assert "--panel-key" in line
    expect(page.get_by_test_id("joined")).to_contain_text("Waiting for the machine")
    with pasted(line, tmp_path):
        expect(page.get_by_test_id("joined")).to_contain_text("sixth joined", timeout=LIVE_S)
        dialog.get_by_role("button", name="Close").click()
        row = page.locator("[data-testid^=node-row-]", has_text="sixth")
        expect(row).to_be_visible()
        row.get_by_role("link").click()
        page.get_by_role("button", name="Remove").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        expect(page.get_by_text("sixth is removed")).to_be_visible()


def test_a_viewer_is_told_which_role_is_missing(visit: Visit, panel: Panel) -> None:
    task = panel.submit(driver="python", source="print('private words')", name="private")
    panel.wait_for_state(task, "succeeded")
    page = visit(f"/tasks/{task}", "viewer")
    expect(page.get_by_text("role operator")).to_be_visible()
    expect(page.get_by_text("private words")).to_have_count(0)
    expect(page.get_by_role("button", name="Run again")).to_have_count(0)
    refused = page.goto("/tasks/new")
    assert refused and refused.status == 403
    expect(page.get_by_text("needs the role submitter")).to_be_visible()


def test_a_lost_socket_is_said_and_found_again(visit: Visit) -> None:
    page = visit("/tasks", "viewer")
    routes: list[WebSocketRoute] = []

    def pass_on(route: WebSocketRoute) -> None:
        routes.append(route)
        route.connect_to_server()

    page.route_web_socket(re.compile("/ws/live/"), pass_on)
    page.reload()
    connected(page)
    page.route_web_socket(re.compile("/ws/live/"), lambda route: route.close(code=1012))
    routes[-1].close(code=1012)
    expect(page.get_by_test_id("ws-status")).to_have_attribute("data-status", "reconnecting")
    page.route_web_socket(re.compile("/ws/live/"), pass_on)
    connected(page)


def test_pages_work_without_javascript(browser: Browser, panel: Panel, signed_in: SignedIn) -> None:
    context = browser.new_context(
        base_url=panel.url, storage_state=signed_in("submitter"), java_script_enabled=False
    )
    page = context.new_page()
    page.goto("/tasks/new")
    page.get_by_label("Source").fill("print('plain')")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("[data-testid^=preview-row-]")).to_have_count(5)
    expect(page.get_by_label("Source")).to_have_value("print('plain')")
    page.get_by_test_id("task-submit").click()
    page.wait_for_url(re.compile(r"/tasks/\d+$"))
    task = int(page.url.rpartition("/")[2])
    panel.wait_for_state(task, "succeeded")
    page.reload()
    expect(page.get_by_test_id("task-logs")).to_contain_text("plain")
    context.close()


def test_the_screenshot_of_the_readme(visit: Visit, panel: Panel) -> None:
    """Some work, so that the picture shows a fog that does something."""
    regions = ("eu-west", "eu-north", "us-east")
    tasks = [
        panel.submit(
            driver="python",
            name=f"frame-{n:02}",
            source=prints_for(4),
            region=regions[n % 3],
            cores=0.25,
        )
        for n in range(30)
    ]
    panel.wait_for_state(tasks[11], "succeeded")
    page = visit("/control-panel")
    connected(page)
    expect(page.get_by_test_id("service-status-fog_coordinator")).to_contain_text(
        "Operational", timeout=LIVE_S
    )
    target = ROOT / "docs" / "images" / "control-panel.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=target)
    assert target.stat().st_size > 20_000
    for task in tasks:  # or those that come next wait for them
        panel.wait_for_state(task, "succeeded")


def test_a_task_moves_when_its_node_dies(visit: Visit, panel: Panel) -> None:
    agent = panel.join("doomed", "--region", "far-away")
    page = visit("/tasks/new", "submitter")
    page.get_by_label("Region").fill("far-away")
    page.get_by_test_id("task-strategy").select_option("proximity_based")
    hand_in(page, prints_for(10), "moving")
    expect(page.locator("#task-head")).to_contain_text("on doomed", timeout=LIVE_S)
    expect(page.get_by_test_id("task-logs")).to_contain_text("line 2", timeout=LIVE_S)
    agent.kill()
    expect(page.get_by_role("list", name="Steps")).to_contain_text("In doubt on doomed", timeout=LIVE_S)
    expect(page.get_by_test_id("task-logs")).to_contain_text("attempt 2 on", timeout=LIVE_S)
    expect(page.get_by_test_id("task-status")).to_have_text("Succeeded", timeout=LIVE_S)
    expect(page.get_by_test_id("task-decision")).to_contain_text("doomed")
    node = visit(f"/nodes/{panel.nodes()['doomed']['id']}", "operator")
    expect(node.locator("#node-status")).to_contain_text("Offline")
    node.get_by_role("button", name="Remove").click()
    node.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(node.get_by_text("doomed is removed")).to_be_visible()


def test_a_nodes_page_follows_its_beats(visit: Visit, panel: Panel) -> None:
    page = visit(f"/nodes/{panel.nodes()['compute-eu-west']['id']}", "viewer")
    connected(page)
    course = page.locator("#load-course")
    before = course.get_attribute("data-course") or ""
    expect(course).not_to_have_attribute("data-course", before, timeout=LIVE_S)
    expect(page.locator("#load-chart canvas")).to_be_visible()


def test_the_slider_looks_back_and_comes_to_now_again(visit: Visit, panel: Panel) -> None:
    def snapshots() -> bool:
        slider = page.locator("#moment")
        page.reload()
        return int(slider.get_attribute("max") or 0) >= 2

    page = visit("/services/fog_coordinator/", "viewer")
    until("two snapshots are taken", snapshots, every_s=1.0)
    connected(page)
    past, present = page.get_by_test_id("topology-past"), page.get_by_test_id("topology-present")
    expect(present).to_be_visible()
    page.get_by_test_id("topology-slider").press("ArrowLeft")
    expect(past).to_contain_text("As it was")
    expect(present).to_be_hidden()
    expect(page.get_by_test_id("topology-slider")).to_be_focused()
    page.get_by_role("link", name="Later").click()
    expect(past).to_have_count(0)
    expect(present).to_be_visible()


def test_strategies_are_compared_by_what_ran(visit: Visit, panel: Panel) -> None:
    task = panel.submit(driver="python", source="print(1)", name="replayed")
    panel.wait_for_state(task, "succeeded")
    page = visit("/services/fog_coordinator/what-if", "operator")
    connected(page)
    page.get_by_role("button", name="Compare").click()
    for name in ("As it was", "Round robin", "Privacy aware"):
        expect(page.get_by_role("row", name=name).first).to_be_visible(timeout=LIVE_S)


def test_one_node_is_asked_about_by_name(visit: Visit, panel: Panel) -> None:
    task = panel.submit(driver="python", source="print(1)", name="asked about")
    panel.wait_for_state(task, "succeeded")
    page = visit(f"/tasks/{task}", "viewer")
    page.get_by_test_id("explain-now").click()
    page.get_by_test_id("explain-search").fill("mix-ap")
    answer = page.get_by_test_id("explained-now")
    expect(answer).to_contain_text("1 to 1 of 1")
    answer.get_by_role("link", name="mix-ap-south").click()
    expect(page.get_by_test_id("node-why")).to_contain_text("as of", timeout=LIVE_S)
