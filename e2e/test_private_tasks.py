"""Private tasks in a browser, against the real panel: from the form to the opened result, and what fails."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Download, Page, Request, Route, expect

from e2e.conftest import SignedIn, Visit
from e2e.looks import faults
from e2e.private_form import LIVE_S, MARKER, PRINTED, SCRIPT, choose, fill, open_result, submit
from e2e.system.panel import Panel, until
from e2e.system.samples import echo_module

RESERVE = re.compile(r"/api/v1/reservations$")
HAND_IN = re.compile(r"/api/v1/reservations/\d+/task$")
RESULT = re.compile(r"/api/v1/tasks/\d+/sealed-result$")
DIRECTORY = re.compile(r"/api/v1/relay-directory$")


class Traffic:
    """What a page sends."""

    def __init__(self, page: Page) -> None:
        self.requests: list[Request] = []
        page.on("request", lambda request: self.requests.append(request))

    def holds(self, word: str) -> list[str]:
        """The addresses of requests that hold it, plain or in base64, in the address or the body."""
        needles = [word.encode(), *in_base64(word)]
        return [each.url for each in self.requests if any(needle in sent(each) for needle in needles)]

    def posts(self, address: re.Pattern[str]) -> list[Request]:
        return [each for each in self.requests if each.method == "POST" and address.search(each.url)]


def sent(request: Request) -> bytes:
    return request.url.encode() + (request.post_data_buffer or b"")


def in_base64(word: str) -> list[bytes]:
    """What base64 has of it, wherever it stands, without the characters that its neighbours share."""
    return [base64.b64encode(b" " * shift + word.encode())[4:-4] for shift in range(3)]


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
@pytest.mark.parametrize("level", ["private", "confidential"])
def test_a_task_is_sealed_handed_in_and_its_result_opened(visit: Visit, level: str, phone: bool) -> None:
    page = visit("/tasks/new", "submitter", phone=phone)
    traffic = Traffic(page)
    fill(page, level)
    expect(page.locator(f"#hides-{level}")).to_be_visible()
    expect(page.locator(f"#costs-{level}")).to_contain_text("4.0 KB padded")
    expect(page.locator("[data-testid^=preview-row-]")).to_have_count(5)
    assert faults(page, phone=phone) == []
    page.get_by_role("button", name="Preview").click()
    task = submit(page)
    expect(page.get_by_test_id("privacy-pill")).to_contain_text(level.capitalize())
    expect(page.get_by_test_id("task-logs")).to_have_count(0)
    open_result(page)
    opened = page.get_by_test_id("opened-result")
    expect(opened).to_contain_text("Exit code")
    expect(opened.get_by_test_id("opened-stdout")).to_have_text(PRINTED, use_inner_text=False)
    expect(opened.get_by_test_id("opened-stderr")).to_contain_text("to the other stream")
    expect(opened.locator("[data-fact=exit_code]")).to_have_text("3")
    expect(opened.locator("[data-differs]")).to_be_hidden()
    assert faults(page, phone=phone) == []
    assert traffic.holds(MARKER) == []
    page.goto("/tasks")
    expect(page.get_by_test_id(f"task-row-{task}")).to_contain_text(level)
    expect(page.get_by_test_id(f"task-row-{task}").locator(".cell-name svg")).to_be_visible()


def test_what_was_opened_stays_while_the_page_is_live(visit: Visit) -> None:
    page = visit("/tasks/new", "submitter")
    fill(page, "private")
    submit(page)
    open_result(page)
    expect(page.get_by_test_id("opened-stdout")).to_contain_text(MARKER)
    pushed = '<p id="sealed-state" data-state="there" hx-swap-oob="true">pushed</p>'
    page.evaluate(
        """(html) => {
          document.getElementById("sealed-state").setAttribute("data-before", "");
          htmx.swap("#sealed", html, { swapStyle: "none" });
        }""",
        pushed,
    )
    expect(page.locator("#sealed-state:not([data-before])")).to_be_visible()  # the panel may push, too
    expect(page.get_by_test_id("opened-stdout")).to_contain_text(MARKER)
    with page.expect_download() as download:
        page.get_by_test_id("opened-result").get_by_role("link", name="Download").first.click()
    assert MARKER in Path(download.value.path()).read_text()


def test_a_module_is_sealed_from_its_file(visit: Visit, tmp_path: Path) -> None:
    module = tmp_path / "telling-name.wasm"
    module.write_bytes(base64.b64decode(echo_module()))
    page = visit("/tasks/new", "submitter")
    page.get_by_test_id("task-driver").select_option("wasm")
    page.get_by_label("Or a file").set_input_files(module)
    page.get_by_label("Arguments").fill(MARKER)
    choose(page, "private")
    traffic = Traffic(page)
    submit(page)
    open_result(page)
    expect(page.get_by_test_id("opened-stdout")).to_contain_text(MARKER)
    expect(page.get_by_role("heading", level=1)).to_have_text("wasm task")
    assert traffic.holds(MARKER) == traffic.holds("telling-name") == []


# --- Keys --------------------------------------------------------------------------------------------


def test_keys_saved_as_a_file_open_it_elsewhere(visit: Visit, tmp_path: Path) -> None:
    page = visit("/tasks/new", "submitter")
    fill(page, "private")
    task = submit(page)
    with page.expect_download() as download:
        page.get_by_test_id("export-keys").click()
    keys = saved(download.value, tmp_path)
    other = visit(f"/tasks/{task}", "submitter")
    expect(other.get_by_test_id("sealed-result")).to_contain_text("Its keys are where it was handed in")
    expect(other.get_by_test_id("sealed-result")).to_contain_text(f"./fog logs {task}")
    expect(other.get_by_test_id("open-result")).to_be_hidden()
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(json.loads(keys.read_text()) | {"content_sha256": "A" * 43 + "="}))
    other.get_by_test_id("import-keys").set_input_files(wrong)
    expect(other.get_by_test_id("sealed-result")).to_contain_text("These are the keys of another task.")
    other.get_by_test_id("import-keys").set_input_files(keys)
    open_result(other)
    expect(other.get_by_test_id("opened-stdout")).to_contain_text(MARKER)


def saved(download: Download, folder: Path) -> Path:
    target = folder / download.suggested_filename
    download.save_as(target)
    return target


def test_who_may_only_look_is_offered_nothing_to_open(visit: Visit) -> None:
    page = visit("/tasks/new", "submitter")
    fill(page, "private")
    task = submit(page)
    viewer = visit(f"/tasks/{task}", "viewer")
    expect(viewer.get_by_test_id("sealed-result")).to_be_visible()
    expect(viewer.get_by_test_id("export-keys")).to_have_count(0)


# --- What is refused, and by whom ----------------------------------------------------------------------


def test_what_is_wrong_is_said_beside_its_field_and_nothing_is_lost(visit: Visit) -> None:
    page = visit("/tasks/new", "submitter")
    choose(page, "private")
    page.get_by_test_id("task-submit").click()
    expect(page.locator("#field-source")).to_contain_text("source: is missing")
    page.get_by_label("Source").fill(SCRIPT)
    page.get_by_label("Arguments").fill("'open")
    page.get_by_test_id("task-submit").click()
    expect(page.locator("#field-args")).to_contain_text("args: a quote is not closed")
    expect(page.locator("#field-source")).not_to_contain_text("is missing")
    page.get_by_label("Arguments").fill("")
    page.get_by_label("Time limit in seconds").fill("0")
    page.get_by_test_id("task-submit").click()
    expect(page.locator("#field-timeout_s")).to_contain_text("between 1 and 86400 seconds, was 0")
    expect(page.locator("#seal-notice")).to_contain_text("see the fields marked below")
    expect(page.get_by_label("Source")).to_have_value(SCRIPT)


def test_containers_cannot_be_private(visit: Visit) -> None:
    page = visit("/tasks/new", "submitter")
    page.get_by_test_id("task-driver").select_option("container")
    page.get_by_label("Image").fill("alpine")
    choose(page, "private")
    page.get_by_test_id("task-submit").click()
    expect(page.locator("#field-driver")).to_contain_text("container engines keep what they run")


def test_secret_cannot_be_chosen_and_says_why(visit: Visit) -> None:
    page = visit("/tasks/new", "submitter")
    expect(page.locator("#level-private")).to_be_enabled(timeout=LIVE_S)
    expect(page.locator("#level-secret")).to_be_disabled()
    expect(page.locator("#refusal-secret")).to_contain_text("mixnet")


def refused(page: Page, sentence: str, place: str = "#seal-notice") -> None:
    """Try to hand in: it is refused here with that, and nothing sealed went out."""
    traffic = Traffic(page)
    page.get_by_test_id("task-submit").click()
    expect(page.locator(place)).to_contain_text(sentence, timeout=LIVE_S)
    assert traffic.posts(HAND_IN) == []
    expect(page.get_by_label("Source")).to_have_value(SCRIPT)


def altering(change: Callable[[bytes], bytes]) -> Callable[[Route], None]:
    """Somebody between panel and browser, who changes what the panel answers."""

    def alter(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=change(answer.body()))

    return alter


def told(changed: Callable[[dict[str, object]], object]) -> Callable[[bytes], bytes]:
    def change(body: bytes) -> bytes:
        answer = json.loads(body)
        changed(answer)
        return json.dumps(answer).encode()

    return change


def test_terms_that_come_back_otherwise_seal_nothing(visit: Visit) -> None:
    page = visit("/tasks/new", "submitter")
    fill(page, "private")
    page.route(RESERVE, altering(told(lambda answer: answer["terms"].update(network=True))))  # type: ignore[attr-defined]
    refused(page, "The panel answers network = true, but network = false was asked for")


def test_a_result_that_was_changed_is_not_opened(visit: Visit) -> None:
    page = visit("/tasks/new", "submitter")
    fill(page, "private")
    submit(page)
    page.route(RESULT, altering(told(change_content)))
    open_result(page)
    error = page.get_by_test_id("sealed-result").get_by_role("alert")
    expect(error).to_contain_text("was not signed by the node", timeout=LIVE_S)
    expect(page.get_by_test_id("opened-result")).to_be_hidden()
    page.unroute(RESULT)
    page.route(RESULT, altering(told(lambda answer: answer.update(node="ab" * 32))))
    page.get_by_test_id("open-result").click()
    expect(error).to_contain_text("for which this task was not sealed")


def change_content(answer: dict[str, object]) -> None:
    sealed = bytearray(base64.b64decode(str(answer["sealed"])))
    sealed[-1] ^= 1
    answer["sealed"] = base64.b64encode(sealed).decode()


def test_a_lost_answer_makes_no_second_task(visit: Visit, panel: Panel) -> None:
    page = visit("/tasks/new", "submitter")
    page.get_by_label("Name").fill("handed in once")
    fill(page, "private")
    lost: list[str] = []

    def lose_the_first(route: Route) -> None:
        if not lost:
            lost.append(route.fetch().text())
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route(HAND_IN, lose_the_first)
    task = submit(page)
    assert json.loads(lost[0])["id"] == task
    found = [each["id"] for each in panel.get("/tasks?limit=50")["items"] if each["name"] == "handed in once"]
    assert found == [task]


# --- Browsers that cannot ------------------------------------------------------------------------------


def test_without_javascript_the_command_line_is_named(
    browser: Browser, panel: Panel, signed_in: SignedIn
) -> None:
    context = browser.new_context(
        base_url=panel.url, storage_state=signed_in("submitter"), java_script_enabled=False
    )
    page = context.new_page()
    page.goto("/tasks/new")
    expect(page.locator("#level-private")).to_be_disabled()
    expect(page.get_by_text("./fog run --privacy private FILE")).to_be_visible()
    context.close()


def test_a_task_like_a_private_one_is_private(visit: Visit) -> None:
    page = visit("/tasks/new", "submitter")
    fill(page, "private")
    submit(page)
    page.get_by_role("link", name="New task like this").click()
    expect(page.locator("#level-private")).to_be_checked()
    traffic = Traffic(page)
    fill(page, "private")
    submit(page)
    expect(page.get_by_test_id("privacy-pill")).to_contain_text("Private")
    assert traffic.holds(MARKER) == []


@pytest.mark.parametrize(
    ("lack", "why"),
    [
        (
            "Object.defineProperty(crypto, 'subtle', { value: undefined })",
            "only on pages that came over https",
        ),
        (
            "SubtleCrypto.prototype.generateKey = () => Promise.reject(new Error('no such curve'))",
            "lacks X25519",
        ),
        ("IDBFactory.prototype.open = () => { throw new Error('not here'); }", "keeps no data for this site"),
    ],
    ids=["plain http", "no X25519", "no database"],
)
def test_a_browser_that_cannot_seal_says_why(visit: Visit, lack: str, why: str) -> None:
    page = visit("", "submitter")
    page.add_init_script(lack)
    page.goto("/tasks/new")
    expect(page.get_by_test_id("task-privacy")).to_contain_text(why)
    expect(page.get_by_text("./fog run --privacy private FILE")).to_be_visible()
    expect(page.locator("#level-private")).to_be_disabled()


# --- When the nodes are gone -----------------------------------------------------------------------------


@contextlib.contextmanager
def joined(panel: Panel, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """An agent in a region of its own, which the signed directory lists."""
    agent = panel.join(name, "--region", "far-away")
    try:
        until(f"{name} is in the directory", lambda: name in listed(panel))
        yield agent
    finally:
        agent.kill()
        panel.answer("DELETE", f"/nodes/{panel.nodes()[name]['id']}")


def test_a_task_whose_only_node_is_gone_is_sealed_for_another(visit: Visit, panel: Panel) -> None:
    page = visit("/tasks/new", "submitter")
    notice = page.get_by_test_id("resealing")
    with joined(panel, "sealed-doomed") as doomed:
        fill(page, "private", f"import time\ntime.sleep(600)\n{SCRIPT}")
        page.get_by_label("Region").fill("far-away")
        page.get_by_label("Only there").check()
        submit(page)
        expect(page.locator("#task-head")).to_contain_text("on sealed-doomed", timeout=LIVE_S)
        doomed.kill()
        expect(notice).to_contain_text("It needs resealing", timeout=2 * LIVE_S)
        expect(page.get_by_role("list", name="Steps")).to_contain_text("Needs resealing")
        assert faults(page, phone=False) == []
        page.get_by_test_id("reseal").click()
        expect(notice).to_contain_text("No node can take such a task now", timeout=LIVE_S)
    with joined(panel, "sealed-saviour"):
        page.get_by_test_id("reseal").click()
        expect(notice).to_be_hidden(timeout=LIVE_S)
        expect(page.locator("#task-head")).to_contain_text("on sealed-saviour", timeout=LIVE_S)
        page.get_by_role("button", name="Cancel task").click()
        page.get_by_role("dialog").get_by_role("button", name="Cancel task").click()
        expect(page.get_by_test_id("task-status")).to_have_text("Cancelled", timeout=LIVE_S)


def listed(panel: Panel) -> str:
    """The names in the directory, among its bytes."""
    return panel.content("/relay-directory").decode("latin-1")
